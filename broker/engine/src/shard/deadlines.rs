//! Times at which a connection must have done something.
//!
//! All deadlines of one queue lie equally far ahead when they are set, so a plain queue keeps
//! them in order: no wheel, no timer for each connection.

use std::collections::VecDeque;

use super::Key;

/// A connection and the moment at which it is to be looked at.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    due_ms: u64,
    key: Key,
    serial: u32,
}

/// Deadlines that are all set `after_ms` ahead.
#[derive(Debug)]
pub(super) struct DeadlineQueue {
    after_ms: u64,
    queue: VecDeque<Deadline>,
}

impl DeadlineQueue {
    pub(super) fn new(after_ms: u64) -> Self {
        Self { after_ms, queue: VecDeque::new() }
    }

    /// Sets a deadline for the connection that has this key and serial now.
    pub(super) fn push(&mut self, key: Key, serial: u32, now_ms: u64) {
        self.queue.push_back(Deadline { due_ms: now_ms + self.after_ms, key, serial });
    }

    /// The next connection whose deadline has come. It may be gone; the serial tells.
    pub(super) fn pop_due(&mut self, now_ms: u64) -> Option<(Key, u32)> {
        self.pop_due_with_start(now_ms).map(|(key, serial, _)| (key, serial))
    }

    /// As [`Self::pop_due`], with the moment at which the deadline was set: it is looked at late
    /// by some milliseconds, so that moment does not follow from the present one.
    pub(super) fn pop_due_with_start(&mut self, now_ms: u64) -> Option<(Key, u32, u64)> {
        let Deadline { due_ms, key, serial } =
            *self.queue.front().filter(|deadline| deadline.due_ms <= now_ms)?;
        self.queue.pop_front();
        Some((key, serial, due_ms - self.after_ms))
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}
