//! What the subscribers of one receiver got: sequences checked, latencies counted.
//!
//! Each (connection, topic, publisher) has its own sequence, which starts at 0 and must come
//! dense and in order. The common case, the next number, costs one compare. Owns no socket and no
//! thread.

use std::collections::HashMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::latency::Latencies;
use crate::plan::{Plan, Share};
use crate::stamp::Stamp;

/// What one receiver has got so far.
#[derive(Debug)]
pub(crate) struct Record {
    run: u8,
    topics: u32,
    topics_per_connection: u32,
    publishers: u32,
    first_connection: u32,
    /// The sequence number that comes next, at `(connection, topic, publisher)`.
    next: Vec<u32>,
    gaps: Gaps,
    measuring: bool,
    received: u64,
    totals: Totals,
}

/// The figures of one receiver, or of several added up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Messages received while measuring, without doubled ones.
    pub messages: u64,
    /// Bytes read while measuring, headers included.
    pub bytes: u64,
    /// System calls that read them.
    pub reads: u64,
    /// Messages of the whole run that never came.
    pub lost: u64,
    /// Messages of the whole run that came again.
    pub doubled: u64,
    /// Messages of the whole run that came after a later one.
    pub reordered: u64,
    /// Frames with data that are not of this run.
    pub foreign: u64,
    /// Connections that the peer ended during the run.
    pub closed: u32,
    /// Why the first of them was ended.
    pub first_close: Option<String>,
    /// From when a message should have been sent until it was read.
    pub response: Latencies,
    /// From when a message was sent until it was read.
    pub service: Latencies,
}

impl Totals {
    /// Adds the figures of another receiver.
    pub(crate) fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.reads += other.reads;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.foreign += other.foreign;
        self.closed += other.closed;
        if self.first_close.is_none() {
            self.first_close.clone_from(&other.first_close);
        }
        self.response.merge(&other.response);
        self.service.merge(&other.service);
    }
}

impl Record {
    /// An empty record for the connections of `share`.
    #[must_use]
    pub(crate) fn new(plan: &Plan, share: Share) -> Self {
        let topics_per_connection = plan.shape.topics_per_connection;
        let publishers = u32::from(plan.publishers);
        let slots = share.count as usize * (topics_per_connection * publishers) as usize;
        Self {
            run: plan.run,
            topics: plan.shape.topics.len() as u32,
            topics_per_connection,
            publishers,
            first_connection: share.first,
            next: vec![0; slots],
            gaps: Gaps::default(),
            measuring: false,
            received: 0,
            totals: Totals::default(),
        }
    }

    /// Messages received since the start, without doubled ones.
    #[must_use]
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Starts or stops counting latencies, messages, bytes and reads.
    pub(crate) fn set_measuring(&mut self, measuring: bool) {
        self.measuring = measuring;
    }

    /// Notes one read of this many bytes.
    #[inline]
    pub(crate) fn read(&mut self, bytes: usize) {
        if self.measuring {
            self.totals.bytes += bytes as u64;
            self.totals.reads += 1;
        }
    }

    /// Notes that the peer ended a connection.
    pub(crate) fn closed(&mut self, why: impl FnOnce() -> String) {
        self.totals.closed += 1;
        self.totals.first_close.get_or_insert_with(why);
    }

    /// Notes a data frame of connection number `connection` of this share, whose first topic is
    /// `first_topic`, read at `now_ns`. Returns its stamp if this message came for the first time.
    #[inline]
    pub(crate) fn message(
        &mut self,
        connection: usize,
        first_topic: u32,
        content: &[u8],
        now_ns: u64,
    ) -> Option<Stamp> {
        let stamp = Stamp::find(content)?;
        let Some(slot) = self.slot(connection, first_topic, &stamp) else {
            self.totals.foreign += 1;
            return None;
        };
        if self.next[slot] == stamp.sequence {
            self.next[slot] += 1;
        } else if !self.out_of_sequence(slot, stamp.sequence) {
            return None;
        }
        self.received += 1;
        if self.measuring {
            self.totals.messages += 1;
            let response_ns = now_ns.saturating_sub(stamp.intended_ns);
            self.totals.response.record(response_ns);
            let late_ns = u64::from(stamp.late_us) * 1_000;
            self.totals.service.record(response_ns.saturating_sub(late_ns));
        }
        Some(stamp)
    }

    /// Where this sequence's next number stands; `None` for a stamp that is not of this run or
    /// not of this connection's topics.
    #[inline]
    fn slot(&self, connection: usize, first_topic: u32, stamp: &Stamp) -> Option<usize> {
        let publisher = u32::from(stamp.publisher);
        if stamp.run != self.run || publisher >= self.publishers || stamp.topic >= self.topics {
            return None;
        }
        let before = if stamp.topic < first_topic { self.topics } else { 0 };
        let place = stamp.topic + before - first_topic;
        if place >= self.topics_per_connection {
            return None;
        }
        let within = (place * self.publishers + publisher) as usize;
        Some(connection * (self.topics_per_connection * self.publishers) as usize + within)
    }

    /// A number other than the next one. True if the message came for the first time.
    #[cold]
    fn out_of_sequence(&mut self, slot: usize, sequence: u32) -> bool {
        let next = self.next[slot];
        if sequence > next {
            self.gaps.open(slot, next..sequence);
            self.next[slot] = sequence + 1;
            return true;
        }
        let missing = self.gaps.fill(slot, sequence);
        if missing {
            self.totals.reordered += 1;
        } else {
            self.totals.doubled += 1;
        }
        missing
    }

    /// Closes the record: whatever was published and never came is lost. `published[p][t]` is how
    /// many messages publisher `p` sent to topic `t` in the whole run.
    #[must_use]
    pub(crate) fn finish(mut self, published: &[Vec<u32>]) -> Totals {
        let each = (self.topics_per_connection * self.publishers) as usize;
        for (connection, next) in self.next.chunks(each.max(1)).enumerate() {
            let number = u64::from(self.first_connection) + connection as u64;
            let first = number * u64::from(self.topics_per_connection);
            for (within, next) in next.iter().enumerate() {
                let place = first + within as u64 / u64::from(self.publishers);
                let topic = (place % u64::from(self.topics)) as usize;
                let publisher = within % self.publishers as usize;
                let sent = published.get(publisher).and_then(|counts| counts.get(topic));
                let missing = sent.copied().unwrap_or_default().saturating_sub(*next);
                self.totals.lost += u64::from(missing);
            }
        }
        self.totals.lost += self.gaps.missing();
        self.totals
    }
}

/// Sequence numbers that were passed over and have not come yet, for each slot that has any.
#[derive(Debug, Default)]
struct Gaps(HashMap<usize, Vec<Range<u32>>>);

impl Gaps {
    fn open(&mut self, slot: usize, missing: Range<u32>) {
        self.0.entry(slot).or_default().push(missing);
    }

    /// Takes `sequence` out of the gaps; false if it was in none.
    fn fill(&mut self, slot: usize, sequence: u32) -> bool {
        let Some(ranges) = self.0.get_mut(&slot) else { return false };
        let Some(at) = ranges.iter().position(|range| range.contains(&sequence)) else {
            return false;
        };
        let range = ranges.swap_remove(at);
        let parts = [range.start..sequence, sequence + 1..range.end];
        ranges.extend(parts.into_iter().filter(|part| !part.is_empty()));
        true
    }

    fn missing(&self) -> u64 {
        self.0.values().flatten().map(|range| range.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{Shape, Target, Transport};

    fn record(connections: u32, topics: u32, each: u32, publishers: u8) -> Record {
        let plan = Plan {
            target: Target::parse("ws://127.0.0.1:1").unwrap(),
            transport: Transport::Json,
            shape: Shape {
                connections,
                topics: (0..topics).map(|t| t.to_string()).collect(),
                topics_per_connection: each,
            },
            publishers,
            run: 9,
        };
        let mut record = Record::new(&plan, Share { first: 0, count: connections, source: None });
        record.set_measuring(true);
        record
    }

    fn content(publisher: u8, topic: u32, sequence: u32) -> Vec<u8> {
        let mut content = Vec::new();
        Stamp { run: 9, publisher, topic, sequence, intended_ns: 1_000, late_us: 1 }
            .write(&mut content);
        content
    }

    fn take(record: &mut Record, sequences: &[u32]) {
        for &sequence in sequences {
            record.message(0, 0, &content(0, 0, sequence), 10_000);
        }
    }

    #[test]
    fn an_orderly_sequence_has_no_fault() {
        let mut record = record(1, 1, 1, 1);
        take(&mut record, &[0, 1, 2, 3]);
        let totals = record.finish(&[vec![4]]);
        assert_eq!((totals.lost, totals.doubled, totals.reordered, totals.messages), (0, 0, 0, 4));
        assert!((totals.response.percentiles().max - 9.0).abs() < 0.1);
        assert!((totals.service.percentiles().max - 8.0).abs() < 0.1);
    }

    #[test]
    fn each_fault_is_counted_as_what_it_is() {
        for (sequences, lost, doubled, reordered) in [
            (&[0, 2, 3][..], 1, 0, 0),
            (&[0, 1, 1, 2, 3], 0, 1, 0),
            (&[0, 2, 1, 3], 0, 0, 1),
            (&[3, 0, 1, 2], 0, 0, 3),
            (&[0, 1], 2, 0, 0),
            (&[], 4, 0, 0),
            (&[3, 1, 1], 2, 1, 1),
        ] {
            let mut record = record(1, 1, 1, 1);
            take(&mut record, sequences);
            let totals = record.finish(&[vec![4]]);
            let told = (totals.lost, totals.doubled, totals.reordered);
            assert_eq!(told, (lost, doubled, reordered), "{sequences:?}");
        }
    }

    #[test]
    fn sequences_of_connections_topics_and_publishers_are_apart() {
        let mut record = record(2, 3, 2, 2);
        // Connection 0 has topics 0 and 1, connection 1 has topics 2 and 0.
        for (connection, first, topic) in [(0, 0, 0), (0, 0, 1), (1, 2, 2), (1, 2, 0)] {
            for publisher in 0..2 {
                let stamp = record.message(connection, first, &content(publisher, topic, 0), 0);
                assert!(stamp.is_some());
            }
        }
        assert_eq!(record.message(1, 2, &content(0, 1, 0), 0), None, "not subscribed");
        assert_eq!(record.message(0, 0, &content(2, 0, 0), 0), None, "no such publisher");
        let totals = record.finish(&[vec![1, 1, 1], vec![1, 1, 2]]);
        assert_eq!((totals.messages, totals.foreign), (8, 2));
        assert_eq!(totals.lost, 1, "the second message of publisher 1 on topic 2");
    }

    #[test]
    fn messages_of_another_run_are_foreign() {
        let mut record = record(1, 1, 1, 1);
        let mut other = Vec::new();
        Stamp { run: 8, ..Stamp::default() }.write(&mut other);
        assert_eq!(record.message(0, 0, &other, 0), None);
        assert_eq!(record.message(0, 0, b"no stamp", 0), None);
        assert_eq!(record.finish(&[vec![0]]).foreign, 1);
    }

    proptest! {
        /// Whatever comes in whatever order: what is lost, what is new and what is doubled add up.
        #[test]
        fn counts_add_up(sequences in prop::collection::vec(0_u32..40, 0..120)) {
            let mut record = record(1, 1, 1, 1);
            take(&mut record, &sequences);
            let received = record.received();
            let totals = record.finish(&[vec![40]]);
            let distinct: std::collections::HashSet<u32> = sequences.iter().copied().collect();
            prop_assert_eq!(received, distinct.len() as u64);
            prop_assert_eq!(totals.lost, 40 - distinct.len() as u64);
            prop_assert_eq!(totals.doubled as usize, sequences.len() - distinct.len());
        }
    }
}
