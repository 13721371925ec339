//! What a reader got that stopped for a while, judged against what another one had by then.
//!
//! Pure: it takes two logs and three numbers. Behind `held_until` stands what the broker chose
//! after the reader's socket took bytes again; before it, what was on its way already.

use serde::{Deserialize, Serialize};

use super::tap::Arrival;
use crate::latency::{Latencies, Percentiles};

/// What the reader did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    /// When it read again, in ns of [`crate::stamp::now_ns`].
    pub resumed_ns: u64,
    /// Bytes that it had read by then: where its stream goes on.
    pub read_until: u64,
    /// Where that ends which was on its way then.
    pub held_until: u64,
}

/// What one topic's subscriber got. Messages are named by their place in the topic's sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TopicFate {
    /// The newest message that the other one had when the reader read again.
    pub newest: Option<u32>,
    /// Messages that were on their way.
    pub held: u32,
    /// When the last of those was read.
    held_until_ns: u64,
    /// The newest of those, or of what was read before.
    pub held_newest: Option<u32>,
    /// The first message behind.
    pub first_behind: Option<u32>,
    /// Messages behind that were older than the newest.
    pub older_behind: u32,
    /// From the first read until the newest, or a later one, was there; 0 if it was before.
    pub newest_after_ns: Option<u64>,
    /// Where the frame of that one begins.
    newest_begins: u64,
    /// The last message in the end.
    pub last: Option<u32>,
    /// Messages that came again.
    pub doubled: u32,
    /// Messages that came after a later one.
    pub reordered: u32,
}

impl TopicFate {
    /// Whether the broker owed a newer message than what was on its way.
    fn is_owed(&self) -> bool {
        self.newest > self.held_newest
    }

    fn take(&mut self, arrival: &Arrival, moments: Moments) {
        let sequence = Some(arrival.sequence);
        self.doubled += u32::from(sequence == self.last);
        self.reordered += u32::from(sequence < self.last);
        self.last = self.last.max(sequence);
        if sequence >= self.newest && self.newest_after_ns.is_none() {
            self.newest_after_ns = Some(arrival.at_ns.saturating_sub(moments.resumed_ns));
            self.newest_begins = arrival.begins;
        }
        if arrival.begins < moments.held_until {
            self.held += u32::from(arrival.begins >= moments.read_until);
            self.held_until_ns = arrival.at_ns;
            self.held_newest = self.held_newest.max(sequence);
        } else {
            self.first_behind = self.first_behind.or(sequence);
            self.older_behind += u32::from(sequence < self.newest);
        }
    }
}

/// The fate of each of `topics` topics.
#[must_use]
pub(super) fn judge(
    topics: usize,
    reader: &[Arrival],
    witness: &[Arrival],
    moments: Moments,
) -> Vec<TopicFate> {
    let mut fates = vec![TopicFate::default(); topics];
    for arrival in witness.iter().take_while(|arrival| arrival.at_ns <= moments.resumed_ns) {
        if let Some(fate) = fates.get_mut(arrival.topic as usize) {
            fate.newest = fate.newest.max(Some(arrival.sequence));
        }
    }
    for arrival in reader {
        if let Some(fate) = fates.get_mut(arrival.topic as usize) {
            fate.take(arrival, moments);
        }
    }
    fates
}

/// All topics together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Summary {
    /// Messages that were on their way when the reader read again.
    pub held_messages: u64,
    /// Topics of which the broker owed a newer message than those.
    pub topics_owed: u64,
    /// Of these, how many got the newest message, or a later one, as the first behind them.
    pub newest_first: u64,
    /// Messages behind them that were older than the newest.
    pub older_behind: u64,
    /// From the first read until all that was on its way had been read. The kernel's part: it may
    /// wait for a timer before it sends again.
    pub drained_after_us: f64,
    /// From then until the newest message of every topic was there. The broker's part.
    pub newest_after_drained_us: f64,
    /// From the first read until a topic's newest message was there, over all topics.
    pub newest_after_us: Percentiles,
    /// Bytes behind what was on its way until all of them were there.
    pub bytes_until_newest: u64,
    /// Topics whose newest message of then, or a later one, never came.
    pub newest_missing: u64,
    /// Topics whose last message of all did not come in the end.
    pub last_missing: u64,
    /// Messages that came again.
    pub doubled: u64,
    /// Messages that came after a later one of their topic.
    pub reordered: u64,
}

impl Summary {
    /// Adds up; `published[t]` is how many messages topic `t` has got in all.
    #[must_use]
    pub(super) fn of(fates: &[TopicFate], published: &[u32], moments: Moments) -> Self {
        let (mut summary, mut latencies) = (Self::default(), Latencies::default());
        let drained_ns = fates.iter().map(|fate| fate.held_until_ns).max().unwrap_or_default();
        let drained_after_ns = drained_ns.saturating_sub(moments.resumed_ns);
        let newest_after_ns = fates.iter().filter_map(|fate| fate.newest_after_ns).max();
        let behind_ns = newest_after_ns.unwrap_or_default().saturating_sub(drained_after_ns);
        summary.drained_after_us = drained_after_ns as f64 / 1e3;
        summary.newest_after_drained_us = behind_ns as f64 / 1e3;
        for (fate, &published) in fates.iter().zip(published) {
            summary.held_messages += u64::from(fate.held);
            summary.older_behind += u64::from(fate.older_behind);
            summary.topics_owed += u64::from(fate.is_owed());
            let is_newest_first = fate.is_owed() && fate.first_behind >= fate.newest;
            summary.newest_first += u64::from(is_newest_first);
            match fate.newest_after_ns {
                Some(ns) => latencies.record(ns),
                None => summary.newest_missing += u64::from(fate.newest.is_some()),
            }
            let behind = fate.newest_begins.saturating_sub(moments.held_until);
            summary.bytes_until_newest = summary.bytes_until_newest.max(behind);
            summary.last_missing += u64::from(fate.last != published.checked_sub(1));
            summary.doubled += u64::from(fate.doubled);
            summary.reordered += u64::from(fate.reordered);
        }
        summary.newest_after_us = latencies.percentiles();
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read until byte 100 when it stopped, 50 bytes on their way, resumed at 1,000 ns.
    const MOMENTS: Moments = Moments { resumed_ns: 1_000, read_until: 100, held_until: 150 };

    fn arrivals(entries: &[(u32, u32, u64, u64)]) -> Vec<Arrival> {
        let arrival =
            |&(topic, sequence, at_ns, begins)| Arrival { topic, sequence, at_ns, begins };
        entries.iter().map(arrival).collect()
    }

    fn witness() -> Vec<Arrival> {
        // Topic 0 has 9 as the newest when the reader resumes, topic 1 has 4; both go on.
        arrivals(&[(0, 8, 900, 0), (1, 4, 950, 0), (0, 9, 1_000, 0), (0, 10, 1_001, 0)])
    }

    fn summary(reader: &[(u32, u32, u64, u64)]) -> Summary {
        let fates = judge(2, &arrivals(reader), &witness(), MOMENTS);
        Summary::of(&fates, &[11, 5], MOMENTS)
    }

    #[test]
    fn newest_values_behind_what_was_held_are_as_promised() {
        let told = summary(&[
            (0, 1, 500, 90),
            (0, 2, 1_100, 100),
            (1, 1, 1_100, 149),
            (1, 4, 3_000, 160),
            (0, 9, 4_000, 200),
            (0, 10, 5_000, 250),
        ]);
        assert_eq!((told.held_messages, told.topics_owed, told.newest_first), (2, 2, 2));
        assert_eq!((told.older_behind, told.newest_missing, told.last_missing), (0, 0, 0));
        assert_eq!((told.doubled, told.reordered), (0, 0));
        assert!((told.newest_after_us.max - 3.0).abs() < 0.01, "{told:?}");
        assert_eq!(told.bytes_until_newest, 50);
        assert!((told.drained_after_us - 0.1).abs() < 0.001, "{told:?}");
        assert!((told.newest_after_drained_us - 2.9).abs() < 0.001, "{told:?}");
    }

    #[test]
    fn an_older_message_behind_what_was_held_is_seen() {
        let told = summary(&[(1, 4, 1_100, 150), (0, 5, 1_100, 160), (0, 10, 1_200, 170)]);
        assert_eq!((told.older_behind, told.newest_first), (1, 1));
        assert_eq!((told.newest_missing, told.last_missing), (0, 0));
    }

    #[test]
    fn a_newest_value_that_never_comes_is_seen() {
        let told = summary(&[(0, 8, 1_100, 120)]);
        assert_eq!((told.newest_missing, told.last_missing, told.newest_first), (2, 2, 0));
    }

    #[test]
    fn a_newest_value_that_was_held_is_owed_no_more() {
        let told = summary(&[(0, 9, 1_100, 120), (1, 4, 700, 60), (0, 10, 1_300, 160)]);
        assert_eq!((told.topics_owed, told.newest_missing, told.last_missing), (0, 0, 0));
        assert_eq!((told.held_messages, told.older_behind), (1, 0));
    }

    #[test]
    fn order_is_judged_within_a_topic() {
        let told = summary(&[(0, 9, 1_100, 150), (1, 4, 1_100, 160), (0, 9, 1_200, 170)]);
        assert_eq!((told.doubled, told.reordered, told.last_missing), (1, 0, 1));
        let told = summary(&[(0, 10, 1_100, 150), (1, 4, 1_100, 160), (0, 9, 1_200, 170)]);
        assert_eq!((told.doubled, told.reordered, told.older_behind), (0, 1, 0));
    }
}
