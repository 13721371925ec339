//! What a connection still has to be sent: whole frames in order, shared and never copied.
//!
//! Counts its bytes exactly and knows when its first frame is already partly on the wire, which
//! must then be finished whatever happens.

use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::fault::{Fault, planted};

/// The newest frames of topics; `None` once one has taken its place.
pub(crate) type Renewals = HashMap<u32, Option<Bytes>>;

/// Frames that wait for one connection's socket.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<Waiting>,
    bytes: usize,
    first_is_begun: bool,
}

#[derive(Debug)]
struct Waiting {
    bytes: Bytes,
    since_ms: u64,
    /// The topic of a message that a newer one of that topic may replace.
    replaceable: Option<u32>,
}

impl Outbox {
    /// Appends a frame.
    pub fn push(&mut self, frame: Bytes, now_ms: u64) {
        self.push_message(frame, None, now_ms);
    }

    /// Appends a message. `replaceable`: its topic, if [`Self::renew`] may replace it.
    pub fn push_message(&mut self, frame: Bytes, replaceable: Option<u32>, now_ms: u64) {
        if !frame.is_empty() {
            self.bytes += frame.len();
            self.frames.push_back(Waiting { bytes: frame, since_ms: now_ms, replaceable });
        }
    }

    /// The topics of replaceable messages of which nothing is written.
    pub(crate) fn replaceable_topics(&self) -> impl Iterator<Item = u32> {
        let unbegun = self.frames.iter().skip(usize::from(self.first_is_begun));
        unbegun.filter_map(|frame| frame.replaceable)
    }

    /// Puts a topic's newest frame in the place of the first replaceable message that is not
    /// begun, and takes back the others; how many there were.
    pub(crate) fn renew(&mut self, newest: &mut Renewals) -> u64 {
        let mut is_begun = self.first_is_begun;
        let mut replaced = 0;
        self.frames.retain_mut(|frame| {
            let can_go = !std::mem::take(&mut is_begun);
            let topic = frame.replaceable.filter(|_| can_go);
            let Some(renewal) = topic.and_then(|topic| newest.get_mut(&topic)) else { return true };
            replaced += 1;
            let stays = renewal.is_some();
            frame.bytes = renewal.take().unwrap_or_default();
            stays
        });
        self.bytes = self.frames.iter().map(|frame| frame.bytes.len()).sum();
        replaced
    }

    /// Appends what is left of a frame whose first bytes are written; only to an empty outbox.
    pub fn push_rest(&mut self, frame: &Bytes, written: usize, now_ms: u64) {
        debug_assert!(self.frames.is_empty(), "only the first frame can be begun");
        self.push(frame.slice(written..), now_ms);
        self.first_is_begun = written > 0 && !self.frames.is_empty();
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Since when the oldest byte waits.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<u64> {
        self.frames.front().map(|frame| frame.since_ms)
    }

    /// The first frames that wait, as many as `slices` holds, for one vectored write.
    pub fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(&frame.bytes);
            filled += 1;
        }
        filled
    }

    /// Forgets the first `written` bytes, which the network has taken.
    pub fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        while let Some(first) = self.frames.front_mut() {
            if written < first.bytes.len() {
                let short = written > 0 && planted(Fault::MiscountPartialWrite);
                first.bytes.advance(written - usize::from(short));
                self.first_is_begun |= written > 0;
                return;
            }
            written -= first.bytes.len();
            self.frames.pop_front();
            self.first_is_begun = false;
        }
    }

    /// Forgets every frame that is not begun, so that a last word can follow soon.
    pub fn drop_unbegun(&mut self) {
        let keep = usize::from(self.first_is_begun && !planted(Fault::CutBegunFrame));
        self.frames.truncate(keep);
        self.bytes = self.frames.iter().map(|frame| frame.bytes.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content(outbox: &Outbox) -> Vec<u8> {
        outbox.frames.iter().flat_map(|frame| frame.bytes.to_vec()).collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(Vec<u8>),
        Advance(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(Step::Push),
            (0usize..100).prop_map(Step::Advance),
        ]
    }

    proptest! {
        #[test]
        fn counts_and_order_are_those_of_a_plain_queue_of_bytes(
            steps in proptest::collection::vec(step(), 0..60),
        ) {
            let (mut outbox, mut model) = (Outbox::default(), Vec::new());
            for step in steps {
                match step {
                    Step::Push(frame) => {
                        model.extend_from_slice(&frame);
                        outbox.push(frame.into(), 0);
                    }
                    Step::Advance(n) => {
                        let n = n.min(model.len());
                        model.drain(..n);
                        outbox.advance(n);
                    }
                }
                prop_assert_eq!(outbox.bytes(), model.len());
                prop_assert_eq!(outbox.is_empty(), model.is_empty());
                prop_assert_eq!(content(&outbox), model.clone());
            }
        }
    }

    #[test]
    fn a_begun_frame_is_finished_even_when_the_rest_is_dropped() {
        let mut outbox = Outbox::default();
        outbox.push_rest(&Bytes::from_static(b"abcdef"), 2, 0);
        outbox.push(Bytes::from_static(b"next"), 5);
        outbox.drop_unbegun();
        assert_eq!((content(&outbox), outbox.bytes()), (b"cdef".to_vec(), 4));
        outbox.advance(4);
        outbox.push(Bytes::from_static(b"whole"), 6);
        outbox.drop_unbegun();
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn a_newer_message_takes_the_place_of_those_that_are_not_begun() {
        let mut outbox = Outbox::default();
        let frames =
            [("aa", Some(1)), ("bb", None), ("cc", Some(1)), ("dd", Some(2)), ("ee", Some(1))];
        for (frame, topic) in frames {
            outbox.push_message(Bytes::from_static(frame.as_bytes()), topic, 0);
        }
        outbox.advance(1);
        assert!(outbox.replaceable_topics().eq([1, 2, 1]));
        let mut newest = HashMap::from([(1, Some(Bytes::from_static(b"new")))]);
        assert_eq!(outbox.renew(&mut newest), 2);
        assert_eq!((content(&outbox), outbox.bytes()), (b"abbnewdd".to_vec(), 8));
        outbox.advance(2);
        let mut newest = HashMap::from([(1, Some(Bytes::from_static(b"newest")))]);
        assert_eq!(outbox.renew(&mut newest), 1, "what is begun is another frame");
        assert_eq!(content(&outbox), b"bnewestdd");
    }

    #[test]
    fn a_vectored_write_sees_the_frames_in_order() {
        let mut outbox = Outbox::default();
        for frame in ["a", "bc", "d"] {
            outbox.push(Bytes::from_static(frame.as_bytes()), 0);
        }
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(outbox.fill(&mut slices), 2);
        assert_eq!((&*slices[0], &*slices[1]), (&b"a"[..], &b"bc"[..]));
    }
}
