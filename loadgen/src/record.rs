//! What the subscribers of one receiver got: sequences checked, latencies counted.
//!
//! Each (connection, topic, publisher) has its own sequence, which must come dense and in order;
//! in mode `latest` it may leave out older messages, but not the last one. The common case, the
//! next number, costs one compare. Owns no socket and no thread.

mod gaps;

use std::collections::HashMap;

use fanfare_protocol::{Codec, Event, Gap, ServerFrame};
use serde::{Deserialize, Serialize};

use crate::latency::Latencies;
use crate::metrics::Batch;
use crate::plan::{Plan, Shape, Share};
use crate::receiver::{Ended, Sink};
use crate::stamp::{SEQUENCE_MAX, Stamp};
use gaps::Gaps;

/// In place of the next number: whatever comes is the next one.
const ANY: u32 = u32::MAX;

/// In place of the next number: nothing is expected any more.
const NONE: u32 = u32::MAX - 1;
const _: () = assert!(SEQUENCE_MAX < NONE);

/// What one receiver has got so far.
#[derive(Debug)]
pub(crate) struct Record {
    run: u8,
    shape: Shape,
    /// How the server tells of gaps, where these excuse what never comes.
    excuses: Option<Codec>,
    is_latest: bool,
    publishers: u32,
    first_connection: u32,
    first_sequence: u32,
    /// The sequence number that comes next, at `(connection, topic, publisher)`, or [`ANY`]
    /// or [`NONE`].
    next: Vec<u32>,
    gaps: Gaps,
    /// How many messages the server said would not come next, at the same places.
    told: HashMap<usize, u32>,
    measuring: bool,
    received: u64,
    totals: Totals,
    /// Latencies for whoever looks on, measuring or not.
    live: Option<Box<Batch>>,
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
    /// Messages of the whole run that mode `latest` left out for newer ones.
    pub passed_over: u64,
    /// Messages of the whole run that never came, as the server had told.
    pub gap_messages: u64,
    /// Messages that came although the server had told that they would not.
    pub false_gap_messages: u64,
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
        self.passed_over += other.passed_over;
        self.gap_messages += other.gap_messages;
        self.false_gap_messages += other.false_gap_messages;
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
        let publishers = u32::from(plan.publishers);
        let each = (plan.shape.topics_per_connection * publishers) as usize;
        Self {
            run: plan.run,
            shape: plan.shape.clone(),
            excuses: plan.transport.codec().filter(|_| plan.gaps_are_excused),
            is_latest: plan.is_latest(),
            publishers,
            first_connection: share.first,
            first_sequence: plan.first_sequence,
            next: vec![plan.first_sequence; share.count as usize * each],
            gaps: Gaps::default(),
            told: HashMap::new(),
            measuring: false,
            received: 0,
            totals: Totals::default(),
            live: Batch::if_live(),
        }
    }

    /// Messages received since the start, without doubled ones, and those that mode `latest` left
    /// out: all that need not be waited for any more.
    #[must_use]
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Starts or stops counting latencies, messages, bytes and reads.
    pub(crate) fn set_measuring(&mut self, measuring: bool) {
        self.measuring = measuring;
    }

    /// Tells whoever looks on what has come.
    pub(crate) fn tell_live(&mut self) {
        if let Some(live) = &mut self.live {
            live.tell();
        }
    }

    /// Notes that a connection begins anew: whatever comes first is in order.
    pub(crate) fn restart(&mut self, connection: usize) {
        self.set_next(connection, ANY);
    }

    /// Notes that a connection has ended and that this excuses what has not come.
    pub(crate) fn abandon(&mut self, connection: usize) {
        self.set_next(connection, NONE);
    }

    /// Notes that a connection has ended when publisher `p` was known to have sent `due[p][t]`
    /// messages to topic `t`: those that have not come are lost, later ones are not.
    pub(crate) fn leave(&mut self, connection: usize, due: &[Vec<u32>]) {
        let each = self.each();
        for slot in connection * each..(connection + 1) * each {
            self.end(slot, self.sent(slot, due));
        }
        self.abandon(connection);
    }

    fn set_next(&mut self, connection: usize, next: u32) {
        let each = self.each();
        let slots = connection * each..(connection + 1) * each;
        self.told.retain(|slot, _| !slots.contains(slot));
        self.next[slots].fill(next);
    }

    /// Where this sequence's next number stands; `None` for a stamp that is not of this run or
    /// not of this connection's topics.
    #[inline]
    fn slot(&self, connection: usize, first_topic: u32, stamp: &Stamp) -> Option<usize> {
        let (publisher, topics) = (u32::from(stamp.publisher), self.shape.topics.len() as u32);
        if stamp.run != self.run || publisher >= self.publishers || stamp.topic >= topics {
            return None;
        }
        let before = if stamp.topic < first_topic { topics } else { 0 };
        let place = stamp.topic + before - first_topic;
        if place >= self.shape.topics_per_connection {
            return None;
        }
        let within = (place * self.publishers + publisher) as usize;
        Some(connection * self.each() + within)
    }

    /// Sequences of one connection.
    #[inline]
    fn each(&self) -> usize {
        (self.shape.topics_per_connection * self.publishers) as usize
    }

    /// A frame without a stamp, which may tell of a gap.
    #[cold]
    fn event(&mut self, connection: usize, first_topic: u32, content: &[u8]) {
        let Some(codec) = self.excuses else { return };
        let Ok(ServerFrame::Event(Event::Gap(gap))) = ServerFrame::decode(codec, content) else {
            return;
        };
        let Gap { topic: name, from, to, .. } = gap;
        let number = self.first_connection + connection as u32;
        let topic = self.shape.topics_of(number).find(|&t| self.shape.topics[t as usize] == name);
        let stamp = Stamp { run: self.run, topic: topic.unwrap_or(ANY), ..Stamp::default() };
        match self.slot(connection, first_topic, &stamp) {
            Some(slot) => {
                let count = u32::try_from(to - from + 1).unwrap_or(ANY);
                let told = self.told.entry(slot).or_default();
                *told = told.saturating_add(count);
            }
            None => self.totals.foreign += 1,
        }
    }

    /// A number other than the next one. True if the message came for the first time.
    #[cold]
    fn out_of_sequence(&mut self, slot: usize, sequence: u32) -> bool {
        let next = self.next[slot];
        if next == ANY {
            self.next[slot] = sequence + 1;
            return true;
        }
        if sequence > next {
            self.skip(slot, next, sequence);
            self.next[slot] = sequence + 1;
            return true;
        }
        if sequence < self.first_sequence {
            // A subscription may begin with the newest message of before it.
            return false;
        }
        let missing = self.gaps.fill(slot, sequence);
        // What mode `latest` has left out is not missing, and yet may not come any more.
        if missing || (self.is_latest && sequence + 1 < next) {
            self.totals.reordered += 1;
        } else {
            self.totals.doubled += 1;
        }
        missing
    }

    /// The numbers from `next` until before `sequence` are left out.
    fn skip(&mut self, slot: usize, next: u32, sequence: u32) {
        if self.is_latest {
            self.totals.passed_over += u64::from(sequence - next);
            self.received += u64::from(sequence - next);
            return;
        }
        let told = self.told.remove(&slot).unwrap_or_default();
        let excused = told.min(sequence - next);
        self.totals.gap_messages += u64::from(excused);
        self.totals.false_gap_messages += u64::from(told - excused);
        if next + excused < sequence {
            self.gaps.open(slot, next + excused..sequence);
        }
    }

    /// Closes the record: whatever was published and never came is lost. `published[p][t]` is how
    /// many messages publisher `p` sent to topic `t` in the whole run.
    #[must_use]
    pub(crate) fn finish(mut self, published: &[Vec<u32>]) -> Totals {
        for slot in 0..self.next.len() {
            self.end(slot, self.sent(slot, published));
        }
        self.totals.lost += self.gaps.missing();
        self.totals
    }

    /// Whether nothing more can be expected if publisher `p` sent `published[p][t]` messages to
    /// topic `t`.
    #[must_use]
    pub(crate) fn is_complete(&self, published: &[Vec<u32>]) -> bool {
        (0..self.next.len()).all(|slot| {
            let (next, sent) = (self.next[slot], self.sent(slot, published));
            if next >= NONE {
                return next == NONE || !self.is_latest || sent <= self.first_sequence;
            }
            let told = self.told.get(&slot).copied().unwrap_or_default();
            next.saturating_add(told) >= sent
        })
    }

    /// How many messages the sequence of a slot has.
    fn sent(&self, slot: usize, published: &[Vec<u32>]) -> u32 {
        let publishers = self.publishers as usize;
        let (connection, within) = (slot / self.each(), slot % self.each());
        let first = self.shape.first_topic(self.first_connection + connection as u32);
        let topic = (first as usize + within / publishers) % self.shape.topics.len();
        let sent = published.get(within % publishers).and_then(|counts| counts.get(topic));
        sent.copied().unwrap_or_default()
    }

    /// Judges what did not come behind the last message of a sequence of `sent` messages.
    fn end(&mut self, slot: usize, sent: u32) {
        match self.next[slot] {
            NONE => {}
            next if self.is_latest => {
                // Of what is missing the newest one alone had to come.
                let is_missing = (next == ANY && sent > self.first_sequence) || next < sent;
                self.totals.lost += u64::from(is_missing);
            }
            ANY => {}
            next => {
                let told = self.told.remove(&slot).unwrap_or_default();
                let missing = sent.saturating_sub(next);
                let excused = told.min(missing);
                self.totals.gap_messages += u64::from(excused);
                self.totals.false_gap_messages += u64::from(told - excused);
                self.totals.lost += u64::from(missing - excused);
            }
        }
    }
}

impl Sink for Record {
    #[inline]
    fn message(
        &mut self,
        connection: usize,
        first_topic: u32,
        content: &[u8],
        now_ns: u64,
    ) -> Option<Stamp> {
        let Some(stamp) = Stamp::find(content) else {
            self.event(connection, first_topic, content);
            return None;
        };
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
        if let Some(live) = &mut self.live {
            live.record(now_ns.saturating_sub(stamp.intended_ns));
        }
        if self.measuring {
            self.totals.messages += 1;
            let response_ns = now_ns.saturating_sub(stamp.intended_ns);
            self.totals.response.record(response_ns);
            let late_ns = u64::from(stamp.late_us) * 1_000;
            self.totals.service.record(response_ns.saturating_sub(late_ns));
        }
        Some(stamp)
    }

    #[inline]
    fn read(&mut self, bytes: usize) {
        if self.measuring {
            self.totals.bytes += bytes as u64;
            self.totals.reads += 1;
        }
    }

    fn closed(&mut self, _connection: usize, end: &Ended) {
        self.totals.closed += 1;
        self.totals.first_close.get_or_insert_with(|| end.to_string());
    }
}

#[cfg(test)]
mod tests;
