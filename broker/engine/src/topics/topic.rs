//! One topic: its sequence, what is kept of it, and which shards want its messages.

use std::sync::Arc;

use fanfare_protocol::{Payload, TopicName};
use smallvec::SmallVec;

use super::choices::Choices;
use super::epoch::Epoch;
use super::keys::RecentKeys;
use super::message::Message;
use super::presence::Presence;
use super::ring::Ring;
use crate::fault::{Fault, planted};
use crate::limits::Limits;
use crate::namespace::NamespaceOptions;
use crate::sync::{Mutex, MutexGuard};
use crate::time::Now;

/// A topic. All that changes is behind one lock, held for a moment by each publish, subscribe and
/// unsubscribe; it is what gives the topic one order everywhere.
#[derive(Debug)]
pub struct Topic {
    pub(crate) id: u64,
    name: TopicName,
    epoch: Epoch,
    pub(crate) options: Arc<NamespaceOptions>,
    /// Its namespace's place in the counters.
    pub(super) counted: u8,
    /// What shards have chosen for their subscribers with a rate.
    pub(crate) choices: Choices,
    state: Mutex<TopicState>,
}

#[derive(Debug)]
pub(super) struct TopicState {
    /// The offset of the newest message; 0 before the first.
    head: u64,
    pub(super) ring: Ring,
    /// Which shards want the topic's messages.
    pub(super) interest: SmallVec<[ShardInterest; 2]>,
    /// `None` while no recent message has a key, which is nearly always.
    pub(super) keys: Option<Box<RecentKeys>>,
    /// `None` where the namespace has no presence, or nobody was ever there. Kept while the topic
    /// lives, so that its versions count on.
    pub(super) presence: Option<Box<Presence>>,
    /// Until when the topic stays for requests that waited for its messages and are about to come
    /// back, in milliseconds; 0 if there are none.
    pub(super) lingers_until_ms: u64,
    /// Out of the table: whoever still holds it must look the name up again.
    pub(super) retired: bool,
}

/// Why a shard wants a topic's messages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ShardInterest {
    /// Subscriptions to the topic by name.
    pub(super) by_name: u32,
    /// Whether a pattern that the shard subscribes to matches. Unlike subscribers by name it does
    /// not hold the topic in the table.
    pub(super) by_pattern: bool,
    /// Requests that wait for the topic's next message. They hold it in the table.
    pub(super) waiting: u32,
}

impl ShardInterest {
    pub(super) fn is_some(self) -> bool {
        self.by_name > 0 || self.by_pattern || self.waiting > 0
    }
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

impl CatchUp {
    /// Leaves only the first `len` messages, at least one.
    pub(crate) fn cut(&mut self, len: usize) {
        if len < self.messages.len() {
            self.messages.truncate(len);
            self.is_complete = false;
            self.up_to = self.messages.last().map_or(self.up_to, |last| last.offset());
        }
    }
}

impl Topic {
    pub(super) fn new(
        id: u64,
        name: TopicName,
        epoch: Epoch,
        (options, counted): (Arc<NamespaceOptions>, u8),
        interest: SmallVec<[ShardInterest; 2]>,
    ) -> Self {
        let state = TopicState {
            head: 0,
            ring: Ring::default(),
            interest,
            keys: None,
            presence: None,
            lingers_until_ms: 0,
            retired: false,
        };
        let (choices, state) = (Choices::default(), Mutex::new(state));
        Self { id, name, epoch, options, counted, choices, state }
    }

    /// A topic outside of any table.
    #[cfg(test)]
    pub(crate) fn lone(id: u64, name: &str) -> Arc<Self> {
        let name = TopicName::new(name).unwrap();
        let epoch = super::epoch::EpochSource::new(id).next();
        Arc::new(Self::new(id, name, epoch, (Arc::default(), 0), SmallVec::new()))
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

    /// Whether it is out of the table.
    pub(crate) fn is_retired(&self) -> bool {
        self.lock().retired
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, TopicState> {
        self.state.lock()
    }

    /// Gives `payload` the next place in the sequence. The message holds its topic and the ring
    /// holds the message; a topic leaves the table only with an empty ring, so none is leaked.
    pub(super) fn append(
        self: &Arc<Self>,
        state: &mut TopicState,
        payload: &Payload,
        now: Now,
    ) -> Arc<Message> {
        state.head += 1;
        Arc::new(Message::new(self.clone(), state.head, payload, now))
    }
}

impl TopicState {
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// Whether the ring holds everything after `offset`.
    pub(super) fn holds_all_after(&self, offset: u64) -> bool {
        let is_kept = self.oldest() <= offset + 1 || planted(Fault::ClaimRecovery);
        offset == self.head || (offset < self.head && is_kept)
    }

    /// The offset of the oldest message that is kept; one past the head if none is.
    fn oldest(&self) -> u64 {
        self.ring.oldest_offset().unwrap_or(self.head + 1)
    }

    /// What follows `after`: messages of at most `bytes_max` together, but one at least.
    pub(super) fn all_after(&self, after: u64, bytes_max: usize, has_older_mail: bool) -> CatchUp {
        let oldest = self.oldest();
        let missed = (after + 1 < oldest).then(|| (after + 1, oldest - 1));
        let mut bytes = 0;
        let after = after + u64::from(planted(Fault::CatchUpOneLate));
        let fitting = self.ring.after(after).take_while(|message| {
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
        let newest = match planted(Fault::OldestForLatest) {
            false => self.ring.newest().filter(|message| message.offset() > after),
            true => self.ring.after(after).next(),
        };
        CatchUp {
            missed: None,
            messages: newest.cloned().into_iter().collect(),
            // What was not kept may still come through the mailbox.
            up_to: newest.map_or(after, |message| message.offset()),
            is_complete: true,
            has_older_mail,
        }
    }

    /// Subscriptions by name on the whole node.
    pub(super) fn subscriber_count(&self) -> u64 {
        self.interest.iter().map(|shard| u64::from(shard.by_name)).sum()
    }

    /// Keeps a message; the change in kept bytes. `room_bytes`: what the node's budget still has.
    pub(super) fn keep(
        &mut self,
        message: Arc<Message>,
        options: &NamespaceOptions,
        room_bytes: usize,
    ) -> isize {
        let fewest = self.fewest_kept(options);
        self.ring.keep(message, options, fewest, room_bytes)
    }

    /// Drops what was kept for the last subscriber alone; the bytes that were freed.
    pub(super) fn trim(&mut self, options: &NamespaceOptions) -> usize {
        self.ring.trim(options, self.fewest_kept(options))
    }

    /// Messages that are kept over the namespace's number and bytes: the newest, where the
    /// namespace keeps it, and while someone subscribes, who may be slow and owed it, or waits for
    /// it.
    fn fewest_kept(&self, options: &NamespaceOptions) -> usize {
        let is_wanted = self.interest.iter().any(|shard| shard.is_some());
        usize::from(options.latest || is_wanted || self.lingers_until_ms > 0)
    }

    /// Drops what has grown too old; the bytes that were freed.
    pub(super) fn expire(
        &mut self,
        options: &NamespaceOptions,
        limits: &Limits,
        now: Now,
    ) -> usize {
        // A pattern does not hold a topic in the table for good.
        let fewest = usize::from(options.latest || self.subscriber_count() > 0);
        let mut freed = self.ring.expire(options, fewest, now);
        if self.lingers_until_ms > 0 && self.lingers_until_ms <= now.ms() {
            self.lingers_until_ms = 0;
            freed += self.trim(options);
        }
        if let Some(keys) = self.keys.as_deref_mut() {
            freed += keys.expire(limits, now);
            self.keys.take_if(|keys| keys.is_empty());
        }
        freed
    }

    /// Whether nothing would be lost if the topic were forgotten.
    pub(super) fn is_idle(&self) -> bool {
        self.ring.is_empty()
            && self.keys.is_none()
            && self.lingers_until_ms == 0
            && self.interest.iter().all(|shard| shard.by_name == 0 && shard.waiting == 0)
    }
}
