//! What a publisher sends and when: the order of messages, their due times and their payloads.
//!
//! A payload is a JSON object whose first member is the stamp, so that every transport carries
//! it; a feed gives what stands behind the stamp.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::stamp::{STAMP_BYTES, Stamp};

/// A sequence of messages, each due some time after the start.
pub(crate) trait Feed: Send {
    /// When the next message is due, in ns after the start; `None` at the end.
    fn due_ns(&self) -> Option<u64>;

    /// The next message's topic, and what its payload has behind the stamp. Moves on.
    fn take(&mut self) -> (u32, &[u8]);
}

/// The start of every payload; the stamp follows.
const HEAD: &[u8] = br#"{"s":""#;

/// Appends a payload: the head, the stamp and a feed's tail.
pub(crate) fn write_payload(stamp: &Stamp, tail: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(HEAD);
    stamp.write(out);
    out.extend_from_slice(tail);
}

/// Smallest payload of [`padding`], in bytes.
pub(crate) const PAYLOAD_BYTES_MIN: usize =
    HEAD.len() + STAMP_BYTES + PAD_HEAD.len() + PAD_END.len();

const PAD_HEAD: &str = r#"","pad":""#;
const PAD_END: &str = r#""}"#;

/// The tail of a payload of exactly `payload_bytes` bytes, or of [`PAYLOAD_BYTES_MIN`] if that is
/// more.
#[must_use]
pub(crate) fn padding(payload_bytes: usize) -> Vec<u8> {
    let pad = payload_bytes.saturating_sub(PAYLOAD_BYTES_MIN);
    format!("{PAD_HEAD}{}{PAD_END}", "x".repeat(pad)).into_bytes()
}

/// One publisher's part of a constant rate, spread evenly over time and topics.
///
/// Message number `k` of all publishers is due at `k / rate` seconds, or with its burst, goes to
/// topic `k % topics` and is sent by publisher `k % publishers`.
#[derive(Clone, Debug)]
pub(crate) struct Steady {
    /// Messages per second of all publishers together.
    pub rate: f64,
    /// Messages that are due at the same time.
    pub burst: u64,
    /// Number of topics.
    pub topics: u32,
    /// Messages of all publishers together.
    pub messages: u64,
    /// Number of the next message; begins with the publisher's index.
    pub next: u64,
    /// Number of publishers.
    pub publishers: u64,
    /// See [`padding`].
    pub tail: Vec<u8>,
}

impl Steady {
    /// So many messages of one publisher, each with a payload of so many bytes.
    #[must_use]
    pub(crate) fn of_one(rate: f64, messages: u64, topics: u32, payload_bytes: usize) -> Self {
        let tail = padding(payload_bytes);
        Self { rate, burst: 1, topics, messages, next: 0, publishers: 1, tail }
    }
}

impl Feed for Steady {
    fn due_ns(&self) -> Option<u64> {
        let first_of_burst = self.next / self.burst * self.burst;
        let due_ns = (first_of_burst as f64 / self.rate * 1e9) as u64;
        (self.next < self.messages).then_some(due_ns)
    }

    fn take(&mut self) -> (u32, &[u8]) {
        let topic = (self.next % u64::from(self.topics)) as u32;
        self.next += self.publishers;
        (topic, &self.tail)
    }
}

/// A feed that ends when something else does.
#[derive(Debug)]
pub(crate) struct UntilOver<'a> {
    /// What is published until then.
    pub feed: Steady,
    /// Whether that is over.
    pub is_over: &'a AtomicBool,
}

impl Feed for UntilOver<'_> {
    fn due_ns(&self) -> Option<u64> {
        self.feed.due_ns().filter(|_| !self.is_over.load(Ordering::Acquire))
    }

    fn take(&mut self) -> (u32, &[u8]) {
        self.feed.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(burst: u64, publishers: u64, publisher: u64) -> Steady {
        let tail = padding(128);
        Steady { rate: 1_000.0, burst, topics: 3, messages: 8, next: publisher, publishers, tail }
    }

    fn drain(mut feed: Steady) -> Vec<(u64, u32)> {
        let mut taken = Vec::new();
        while let Some(due_ns) = feed.due_ns() {
            taken.push((due_ns / 1_000_000, feed.take().0));
        }
        taken
    }

    #[test]
    fn payloads_are_json_of_exactly_the_size_asked_for() {
        for size in [PAYLOAD_BYTES_MIN, 64, 128, 4_096] {
            let mut payload = Vec::new();
            write_payload(&Stamp::default(), &padding(size), &mut payload);
            assert_eq!(payload.len(), size);
            let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            assert!(value["s"].as_str().unwrap().starts_with('~'));
        }
        const { assert!(PAYLOAD_BYTES_MIN <= 64) };
    }

    #[test]
    fn a_steady_feed_is_even_in_time_and_over_topics() {
        let expected = [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1), (5, 2), (6, 0), (7, 1)];
        assert_eq!(drain(steady(1, 1, 0)), expected);
    }

    #[test]
    fn bursts_are_due_together() {
        let due: Vec<u64> = drain(steady(4, 1, 0)).into_iter().map(|(due, _)| due).collect();
        assert_eq!(due, [0, 0, 0, 0, 4, 4, 4, 4]);
    }

    #[test]
    fn publishers_share_the_messages_without_overlap() {
        let mut both = drain(steady(1, 2, 0));
        both.extend(drain(steady(1, 2, 1)));
        both.sort_unstable();
        assert_eq!(both, drain(steady(1, 1, 0)));
    }
}
