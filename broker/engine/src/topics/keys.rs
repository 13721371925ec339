//! The keys of a topic's recent publishes, so that one which is sent again is not published again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::fault::{Fault, planted};
use crate::limits::Limits;
use crate::time::Now;

/// What a key costs beside its text: two slots and a shared string's head.
const KEY_OVERHEAD_BYTES: usize = 96;

/// Keys and the offsets of their messages, oldest first.
#[derive(Debug, Default)]
pub(super) struct RecentKeys {
    offsets: HashMap<Arc<str>, u64>,
    by_age: VecDeque<(u64, Arc<str>)>,
    bytes: usize,
}

impl RecentKeys {
    pub(super) fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }

    /// The offset of the message that was published with `key`.
    pub(super) fn find(&self, key: &str) -> Option<u64> {
        self.offsets.get(key).copied()
    }

    /// Remembers a new key and forgets what is over the limits; the change in bytes.
    /// `room_bytes`: what the node's budget still has; without any the key is not remembered.
    pub(super) fn insert(
        &mut self,
        (key, offset): (&str, u64),
        limits: &Limits,
        room_bytes: usize,
        now: Now,
    ) -> isize {
        let before = self.bytes;
        let key: Arc<str> = key.into();
        self.bytes += key.len() + KEY_OVERHEAD_BYTES;
        self.offsets.insert(key.clone(), offset);
        self.by_age.push_back((now.ms(), key));
        let budget = room_bytes.saturating_add(before);
        while self.by_age.len() > limits.publish_keys_max || self.bytes > budget {
            self.forget_oldest();
        }
        self.bytes as isize - before as isize
    }

    /// Forgets keys that are older than the window; the bytes that were freed.
    pub(super) fn expire(&mut self, limits: &Limits, now: Now) -> usize {
        let before = self.bytes;
        let oldest_ms = now.ms().saturating_sub(limits.publish_key_window_ms);
        while self.by_age.front().is_some_and(|(ms, _)| *ms < oldest_ms) {
            self.forget_oldest();
        }
        before - self.bytes
    }

    /// Panics unless the keys have the bytes that are counted; how many they are.
    #[cfg(any(test, feature = "simulator"))]
    pub(super) fn audit(&self) -> usize {
        let bytes: usize = self.by_age.iter().map(|(_, key)| key.len() + KEY_OVERHEAD_BYTES).sum();
        assert_eq!((self.bytes, self.by_age.len()), (bytes, self.offsets.len()), "recent keys");
        bytes
    }

    fn forget_oldest(&mut self) {
        if planted(Fault::ForgetNewestKey) {
            self.by_age.rotate_right(1);
        }
        if let Some((_, key)) = self.by_age.pop_front() {
            self.bytes -= key.len() + KEY_OVERHEAD_BYTES;
            self.offsets.remove(&key);
        }
    }
}
