//! A topic's recent messages: bounded by number, bytes and age, oldest first.

use std::collections::VecDeque;
use std::sync::Arc;

use super::message::Message;
use crate::fault::{Fault, planted};
use crate::namespace::NamespaceOptions;
use crate::time::Now;

/// What a message costs in a ring beside its payload: its record, its frames' overhead, its slot.
const MESSAGE_OVERHEAD_BYTES: usize = 256;

fn cost(message: &Message) -> usize {
    message.payload_len() + MESSAGE_OVERHEAD_BYTES
}

/// Messages without a hole between them, up to the topic's newest.
#[derive(Debug, Default)]
pub(super) struct Ring {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
}

impl Ring {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn newest(&self) -> Option<&Arc<Message>> {
        self.messages.back()
    }

    pub(super) fn oldest(&self) -> Option<&Arc<Message>> {
        self.messages.front()
    }

    /// The offset of the oldest message that is kept.
    pub(super) fn oldest_offset(&self) -> Option<u64> {
        self.oldest().map(|message| message.offset())
    }

    /// What the messages cost.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The messages after `offset`, oldest first.
    pub(super) fn after(&self, offset: u64) -> impl Iterator<Item = &Arc<Message>> {
        // Offsets are sorted but, behind a cluster, need not be dense.
        let skip = self.messages.partition_point(|message| message.offset() <= offset);
        self.messages.range(skip..)
    }

    /// All messages, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.messages.iter().rev()
    }

    /// Keeps `message` and drops what the namespace no longer allows; the change in kept bytes.
    /// `fewest`: so many stay whatever the namespace says. `room_bytes`: what the node's budget
    /// still has.
    pub(super) fn keep(
        &mut self,
        message: Arc<Message>,
        options: &NamespaceOptions,
        fewest: usize,
        room_bytes: usize,
    ) -> isize {
        let before = self.bytes;
        self.bytes += cost(&message);
        self.messages.push_back(message);
        self.trim(options, fewest);
        while self.bytes > room_bytes.saturating_add(before) {
            self.drop_oldest();
        }
        self.bytes as isize - before as isize
    }

    /// Drops what is over the namespace's number and bytes, down to `fewest`; the bytes that were
    /// freed.
    pub(super) fn trim(&mut self, options: &NamespaceOptions, fewest: usize) -> usize {
        let before = self.bytes;
        while self.len() > fewest
            && (self.len() > options.history_messages || self.bytes > options.history_bytes)
        {
            self.drop_oldest();
        }
        before - self.bytes
    }

    /// Drops messages older than the namespace allows, down to `fewest`; the bytes that were freed.
    pub(super) fn expire(&mut self, options: &NamespaceOptions, fewest: usize, now: Now) -> usize {
        let before = self.bytes;
        let oldest_ms = now.ms().saturating_sub(options.history_age_ms);
        while self.len() > fewest
            && self.messages.front().is_some_and(|message| message.published().ms() < oldest_ms)
        {
            self.drop_oldest();
        }
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        }
        before - self.bytes
    }

    /// Panics unless the messages have the bytes that are counted; how many they are.
    #[cfg(any(test, feature = "simulator"))]
    pub(super) fn audit(&self) -> usize {
        let bytes: usize = self.messages.iter().map(|message| cost(message)).sum();
        assert_eq!(self.bytes, bytes, "the bytes of a ring");
        bytes
    }

    fn drop_oldest(&mut self) {
        match self.messages.pop_front() {
            Some(_) if planted(Fault::KeepRingBytes) => {}
            Some(message) => self.bytes -= cost(&message),
            None => self.bytes = 0,
        }
    }
}
