//! One topic: its sequence, its ring of recent messages, and how many subscribers each shard has.

use std::collections::VecDeque;
use std::sync::Arc;

use fanfare_protocol::{Payload, TopicName};
use smallvec::SmallVec;

use super::epoch::Epoch;
use super::message::Message;
use crate::limits::Limits;
use crate::sync::{Mutex, MutexGuard};
use crate::time::Now;

/// A topic. All that changes is behind one lock, held for a moment by each publish, subscribe and
/// unsubscribe; it is what gives the topic one order everywhere.
#[derive(Debug)]
pub struct Topic {
    pub(crate) id: u64,
    name: TopicName,
    epoch: Epoch,
    state: Mutex<TopicState>,
}

#[derive(Debug)]
pub(super) struct TopicState {
    /// The offset of the newest message; 0 before the first.
    head: u64,
    ring: VecDeque<Arc<Message>>,
    ring_bytes: usize,
    /// Subscribers by shard.
    pub(super) subscribers: SmallVec<[u32; 4]>,
    /// Out of the table: whoever still holds it must look the name up again.
    pub(super) retired: bool,
}

/// What a new subscriber learns under the topic's lock.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) topic: Arc<Topic>,
    /// The topic's newest offset; everything after it comes through the mailbox.
    pub(crate) head: u64,
    /// Whether messages up to `head` may still wait in the shard's mailbox.
    pub(crate) has_older_mail: bool,
    /// Whether everything after the position that was asked for is still kept.
    pub(crate) can_recover: bool,
}

/// What a subscriber that is behind gets from the ring.
#[derive(Debug)]
pub(crate) struct CatchUp {
    /// First and last offset that it can no longer get.
    pub(crate) missed: Option<(u64, u64)>,
    pub(crate) messages: Vec<Arc<Message>>,
    /// Where it stands once it has these.
    pub(crate) up_to: u64,
    /// Whether that is the topic's newest message, so that everything else comes live.
    pub(crate) is_complete: bool,
    /// Whether messages up to `up_to` may still wait in the shard's mailbox.
    pub(crate) has_older_mail: bool,
}

/// A topic's newest messages at one moment.
#[derive(Clone, Debug)]
pub struct TopicSnapshot {
    /// The life of the sequence.
    pub epoch: Epoch,
    /// The offset of the newest message.
    pub head: u64,
    /// The newest messages that are kept, oldest first.
    pub messages: Vec<Arc<Message>>,
}

/// What a message costs in a ring beside its payload: its record, its frames' overhead, its slot.
const MESSAGE_OVERHEAD_BYTES: usize = 256;

fn cost(message: &Message) -> usize {
    message.payload_len() + MESSAGE_OVERHEAD_BYTES
}

impl Topic {
    pub(super) fn new(id: u64, name: TopicName, epoch: Epoch, shards: usize) -> Self {
        let state = TopicState {
            head: 0,
            ring: VecDeque::new(),
            ring_bytes: 0,
            subscribers: SmallVec::from_elem(0, shards),
            retired: false,
        };
        Self { id, name, epoch, state: Mutex::new(state) }
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &TopicName {
        &self.name
    }

    /// The life of its sequence.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, TopicState> {
        self.state.lock()
    }

    /// Gives `payload` the next place in the sequence.
    pub(super) fn append(
        &self,
        state: &mut TopicState,
        payload: &Payload,
        now: Now,
    ) -> Arc<Message> {
        state.head += 1;
        Arc::new(Message::new((self.id, self.name.clone()), state.head, payload, now))
    }

    pub(super) fn snapshot(&self, limit: usize) -> TopicSnapshot {
        let state = self.lock();
        let skip = state.ring.len().saturating_sub(limit);
        let messages = state.ring.iter().skip(skip).cloned().collect();
        TopicSnapshot { epoch: self.epoch, head: state.head, messages }
    }
}

impl TopicState {
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// Whether the ring holds everything after `offset`.
    pub(super) fn holds_all_after(&self, offset: u64) -> bool {
        offset == self.head || (offset < self.head && self.oldest() <= offset + 1)
    }

    /// The offset of the oldest message that is kept; one past the head if none is.
    fn oldest(&self) -> u64 {
        self.ring.front().map_or(self.head + 1, |message| message.offset())
    }

    /// What follows `after`: messages of at most `bytes_max` together, but one at least.
    pub(super) fn all_after(&self, after: u64, bytes_max: usize, has_older_mail: bool) -> CatchUp {
        let oldest = self.oldest();
        let missed = (after + 1 < oldest).then(|| (after + 1, oldest - 1));
        // On one node offsets are dense, so a place in the ring follows from the offset.
        let skip = (after + 1).saturating_sub(oldest) as usize;
        let mut bytes = 0;
        let fitting = self.ring.iter().skip(skip).take_while(|message| {
            let fits = bytes < bytes_max;
            bytes += message.payload_len();
            fits
        });
        let messages: Vec<Arc<Message>> = fitting.cloned().collect();
        let up_to = match messages.last() {
            Some(newest) => newest.offset(),
            None => self.head.max(after),
        };
        let is_complete = up_to >= self.head;
        CatchUp { missed, messages, up_to, is_complete, has_older_mail }
    }

    /// The newest message, if it comes after `after` and is kept.
    pub(super) fn newest_after(&self, after: u64, has_older_mail: bool) -> CatchUp {
        let newest = self.ring.back().filter(|message| message.offset() > after);
        CatchUp {
            missed: None,
            messages: newest.cloned().into_iter().collect(),
            // What was not kept may still come through the mailbox.
            up_to: newest.map_or(after, |message| message.offset()),
            is_complete: true,
            has_older_mail,
        }
    }

    pub(super) fn subscriber_count(&self) -> u64 {
        self.subscribers.iter().map(|&count| u64::from(count)).sum()
    }

    /// Keeps `message` and drops what the limits no longer allow; the change in kept bytes.
    /// `room`: what the node's budget still has.
    pub(super) fn keep(&mut self, message: Arc<Message>, limits: &Limits, room: usize) -> isize {
        let before = self.ring_bytes as isize;
        self.ring_bytes += cost(&message);
        self.ring.push_back(message);
        let budget = limits.history_bytes_max.min(room.saturating_add(before as usize));
        while self.ring.len() > limits.history_messages_max || self.ring_bytes > budget {
            self.drop_oldest();
        }
        self.ring_bytes as isize - before
    }

    /// Drops messages older than the limit; the bytes that were freed.
    pub(super) fn expire(&mut self, limits: &Limits, now: Now) -> usize {
        let before = self.ring_bytes;
        let oldest_ms = now.ms().saturating_sub(limits.history_age_ms);
        while self.ring.front().is_some_and(|message| message.published().ms() < oldest_ms) {
            self.drop_oldest();
        }
        if self.ring.is_empty() {
            self.ring = VecDeque::new();
        }
        before - self.ring_bytes
    }

    pub(super) fn is_idle(&self) -> bool {
        self.ring.is_empty() && self.subscribers.iter().all(|&count| count == 0)
    }

    /// Panics unless the ring agrees with its counts; the bytes that it holds.
    #[cfg(any(test, feature = "simulator"))]
    pub(super) fn audit(&self) -> usize {
        let bytes: usize = self.ring.iter().map(|message| cost(message)).sum();
        assert_eq!(self.ring_bytes, bytes, "the bytes of a ring");
        assert!(!self.retired, "a topic in the table is in use");
        bytes
    }

    fn drop_oldest(&mut self) {
        match self.ring.pop_front() {
            Some(message) => self.ring_bytes -= cost(&message),
            None => self.ring_bytes = 0,
        }
    }
}
