//! The topic table of a node: topics by name in lock stripes, and publishing into mailboxes.
//!
//! Lock order: stripe, then patterns or topic, then changed presence. Mailboxes are pushed to under
//! the topic's lock, so that every shard sees a topic's messages in the order of their offsets.

#![cfg_attr(
    feature = "shuttle",
    allow(clippy::modulo_one, reason = "under the model checker there is one stripe")
)]

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use crossbeam_utils::CachePadded;
use fanfare_protocol::{Mode, Payload, TopicName};

use super::epoch::{Epoch, EpochSource};
use super::interest::{ChangedPresence, JoinError, PatternShards};
use super::patterns::PatternTree;
use super::ring::Ring;
use super::topic::{CatchUp, Topic};
use crate::counters::{NAMESPACES_COUNTED, ShardCounters};
use crate::fault::{Fault, planted};
use crate::limits::{Limits, LimitsError};
use crate::mailbox::{Mail, Mailbox};
use crate::namespace::NamespaceOptions;
use crate::shard::OutboxTotals;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, RwLock};
use crate::time::Now;

/// Lock stripes of the table. Stripes are taken for a look-up only, so a few for each core do;
/// more spread the sweep into shorter steps. The model checker has few steps to spend.
pub(super) const STRIPES: usize = if cfg!(all(test, feature = "shuttle")) { 1 } else { 256 };

type Stripe = RwLock<HashMap<TopicName, Arc<Topic>>>;

/// All topics of a node, shared by its shards.
#[derive(Debug)]
pub struct TopicTable {
    pub(super) stripes: Box<[CachePadded<Stripe>]>,
    /// The patterns that shards subscribe to.
    pub(super) patterns: RwLock<PatternTree<PatternShards>>,
    pub(super) presence: Mutex<ChangedPresence>,
    outbox_totals: OutboxTotals,
    hasher: RandomState,
    mailboxes: Box<[Arc<Mailbox>]>,
    limits: Arc<Limits>,
    /// The limits as they are now, where they may change while the node runs.
    live_limits: RwLock<Arc<Limits>>,
    epochs: EpochSource,
    next_id: AtomicU64,
    topic_count: AtomicUsize,
    pub(super) history_bytes: AtomicUsize,
    sweep_cursor: Mutex<usize>,
    /// Namespaces with options of their own in the order in which their topics came, as many as
    /// are counted each on its own. Only ever grows.
    namespaces: RwLock<Vec<Box<str>>>,
}

/// Where a message was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The life of the topic's sequence.
    pub epoch: Epoch,
    /// The message's place in it.
    pub offset: u64,
    /// Whether this is where it was put earlier, by a publish with the same key.
    pub duplicate: bool,
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The payload is longer than a message may be; the caller's fault.
    #[error("the payload has {0} bytes; at most {1} are allowed")]
    TooBig(usize, usize),
    /// The node has as many topics as it may.
    #[error("the node has {0} topics, the most allowed; this would be a new one")]
    TooManyTopics(usize),
}

impl TopicTable {
    /// An empty table over the shards' mailboxes. `seed` should be random: epochs follow from it.
    #[must_use]
    pub fn new(mailboxes: Vec<Arc<Mailbox>>, limits: Arc<Limits>, seed: u64) -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| CachePadded::new(Stripe::default())).collect(),
            patterns: RwLock::default(),
            presence: Mutex::default(),
            outbox_totals: OutboxTotals::new(mailboxes.len()),
            hasher: RandomState::new(),
            mailboxes: mailboxes.into(),
            live_limits: RwLock::new(limits.clone()),
            limits,
            epochs: EpochSource::new(seed),
            next_id: AtomicU64::new(0),
            topic_count: AtomicUsize::new(0),
            history_bytes: AtomicUsize::new(0),
            sweep_cursor: Mutex::new(0),
            namespaces: RwLock::default(),
        }
    }

    /// The limits that the table was made with. They hold for what is done for each message.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The limits as they are now. They hold for what is done for each new topic, pattern and
    /// command, and in shards for all that is not timed, from their next call of
    /// `handle_timeouts` on.
    #[must_use]
    pub fn live_limits(&self) -> Arc<Limits> {
        self.live_limits.read().clone()
    }

    /// Changes the limits of a running node. Topics keep the options of the namespace that they
    /// came into being with.
    ///
    /// # Errors
    /// [`LimitsError`]; nothing has changed.
    pub fn set_live_limits(&self, limits: Limits) -> Result<(), LimitsError> {
        limits.check()?;
        *self.live_limits.write() = Arc::new(limits);
        Ok(())
    }

    /// The options of a topic: its own, or those that it would come into being with.
    pub(super) fn options_of(&self, name: &TopicName) -> Arc<NamespaceOptions> {
        match self.find(name) {
            Some(topic) => topic.options.clone(),
            None => self.live_limits().namespaces.of(name.as_str()).clone(),
        }
    }

    /// Topics in the table.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topic_count.load(Ordering::Relaxed)
    }

    /// Bytes of all rings.
    #[must_use]
    pub fn history_bytes(&self) -> usize {
        self.history_bytes.load(Ordering::Relaxed)
    }

    /// The namespaces that are counted each on its own, in the order of the counters.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Box<str>> {
        self.namespaces.read().clone()
    }

    /// The place in the counters of the namespace of a new topic.
    fn counted_as(&self, name: &TopicName) -> u8 {
        const OTHERS: u8 = NAMESPACES_COUNTED as u8;
        let Some(namespace) = self.limits.namespaces.name_of(name.as_str()) else { return OTHERS };
        let mut known = self.namespaces.write();
        let place = known.iter().position(|one| **one == *namespace).unwrap_or(known.len());
        if place == known.len() && place < NAMESPACES_COUNTED {
            known.push(namespace.into());
        }
        (place as u8).min(OTHERS)
    }

    /// The shards' mailboxes, in the order of the shards.
    #[must_use]
    pub fn mailboxes(&self) -> &[Arc<Mailbox>] {
        &self.mailboxes
    }

    /// Tells whether the node is short of memory. While it is, the marks of outboxes are halved
    /// as if these were over their budget.
    pub fn set_short_of_memory(&self, is_short: bool) {
        self.outbox_totals.set_short_of_memory(is_short);
    }

    /// What the shards' outboxes hold.
    pub(crate) fn outbox_totals(&self) -> &OutboxTotals {
        &self.outbox_totals
    }

    /// Whether some shard has so much mail that publishers should wait.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.mailboxes.iter().any(|mailbox| {
            mailbox.len() >= self.limits.mailbox_messages_mark
                || mailbox.bytes() >= self.limits.mailbox_bytes_mark
        })
    }

    /// Publishes `payload` on the topic `name`. Counts into `counters`, which must be the calling
    /// thread's own.
    ///
    /// `key`: if a recent message of the topic was published with the same one, nothing is
    /// published and the earlier message's place is told.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was published.
    pub fn publish(
        &self,
        name: &TopicName,
        payload: &Payload,
        key: Option<&str>,
        counters: &ShardCounters,
        now: Now,
    ) -> Result<Published, PublishError> {
        let (len, max) = (payload.bytes().len(), self.limits.message_bytes_max);
        if len > max {
            return Err(PublishError::TooBig(len, max));
        }
        loop {
            let topic = self
                .get_or_create(name)
                .map_err(|_| PublishError::TooManyTopics(self.live_limits().topics_max))?;
            if let Some(published) = self.publish_on(&topic, payload, key, counters, now) {
                return Ok(published);
            }
        }
    }

    /// Publishes on a topic at hand; `None` if it was retired in the meantime.
    pub(crate) fn publish_on(
        &self,
        topic: &Arc<Topic>,
        payload: &Payload,
        key: Option<&str>,
        counters: &ShardCounters,
        now: Now,
    ) -> Option<Published> {
        let mut state = topic.lock();
        if state.retired && !planted(Fault::PublishOnRetired) {
            return None;
        }
        let epoch = topic.epoch();
        let earlier = key.and_then(|key| state.keys.as_ref()?.find(key));
        if let Some(offset) = earlier {
            let offset = if planted(Fault::AnswerWithHead) { state.head() } else { offset };
            return Some(Published { epoch, offset, duplicate: true });
        }
        let message = topic.append(&mut state, payload, now);
        if planted(Fault::PushOutsideLock) {
            drop(state);
            state = topic.lock();
        }
        let subscribers = state.subscriber_count();
        let wanting = self.mailboxes.iter().zip(&state.interest).filter(|(_, n)| n.is_some());
        for (mailbox, _) in wanting {
            mailbox.push(Mail::Message(message.clone()));
        }
        let offset = message.offset();
        let room = self.limits.history_total_bytes_max.saturating_sub(self.history_bytes());
        let mut change = state.keep(message, &topic.options, room);
        if let Some(key) = key {
            let room = room.saturating_add_signed(-change);
            let keys = state.keys.get_or_insert_default();
            change += keys.insert((key, offset), &self.limits, room, now);
        }
        if planted(Fault::CountHistoryLate) {
            drop(state);
            self.history_bytes.fetch_add(change as usize, Ordering::Relaxed);
        } else {
            // Under the lock: who drops this message from the ring must find it counted.
            self.history_bytes.fetch_add(change as usize, Ordering::Relaxed);
            drop(state);
        }
        counters.messages_in.add(1);
        counters.message_in_bytes.add(payload.bytes().len() as u64);
        counters.fanout.record(subscribers);
        let namespace = &counters.namespaces[usize::from(topic.counted)];
        namespace.messages_in.add(1);
        namespace.message_in_bytes.add(payload.bytes().len() as u64);
        namespace.fanout.add(subscribers);
        Some(Published { epoch, offset, duplicate: false })
    }

    /// What a subscriber on shard `shard` that has everything up to `after` gets next, at most
    /// `bytes_max` bytes of payload but one message at least.
    pub(crate) fn catch_up(
        &self,
        topic: &Topic,
        shard: usize,
        mode: Mode,
        after: u64,
        bytes_max: usize,
    ) -> CatchUp {
        let state = topic.lock();
        let has_older_mail = self.has_mail(shard);
        match mode {
            Mode::All => state.all_after(after, bytes_max, has_older_mail),
            Mode::Latest => state.newest_after(after, has_older_mail),
        }
    }

    /// The id of a topic in the table.
    pub(crate) fn id_of(&self, name: &TopicName) -> Option<u64> {
        self.stripe(name).read().get(name).map(|topic| topic.id)
    }

    /// The topic `name`, if it is in the table.
    pub(super) fn find(&self, name: &TopicName) -> Option<Arc<Topic>> {
        self.stripe(name).read().get(name).cloned()
    }

    /// Drops old messages and idle topics in the next few stripes. Called now and then by any
    /// thread; a table is swept once in as many calls as it has stripes.
    pub fn sweep(&self, now: Now) {
        let Some(mut cursor) = self.sweep_cursor.try_lock() else { return };
        let stripe = &self.stripes[*cursor % STRIPES];
        *cursor += 1;
        drop(cursor);
        let topics: Vec<Arc<Topic>> = stripe.read().values().cloned().collect();
        for topic in topics {
            let mut state = topic.lock();
            let freed = state.expire(&topic.options, &self.limits, now);
            let idle = state.is_idle();
            drop(state);
            topic.choices.sweep(now.ms());
            self.history_bytes.fetch_sub(freed, Ordering::Relaxed);
            if idle {
                self.retire_if_idle(topic.name());
            }
        }
    }

    #[cfg(any(test, feature = "simulator"))]
    pub(super) fn all_topics(&self) -> Vec<Arc<Topic>> {
        let stripes = self.stripes.iter().map(|stripe| stripe.read());
        stripes.flat_map(|stripe| stripe.values().cloned().collect::<Vec<_>>()).collect()
    }

    fn stripe(&self, name: &TopicName) -> &Stripe {
        &self.stripes[self.hasher.hash_one(name) as usize % STRIPES]
    }

    pub(super) fn get_or_create(&self, name: &TopicName) -> Result<Arc<Topic>, JoinError> {
        let stripe = self.stripe(name);
        if let Some(topic) = stripe.read().get(name) {
            return Ok(topic.clone());
        }
        let mut topics = stripe.write();
        if let Some(topic) = topics.get(name) {
            return Ok(topic.clone());
        }
        let limits = self.live_limits();
        // Counted before it is made, so that stripes together cannot pass the limit.
        if self.topic_count.fetch_add(1, Ordering::Relaxed) >= limits.topics_max {
            self.topic_count.fetch_sub(1, Ordering::Relaxed);
            return Err(JoinError::TooManyTopics(limits.topics_max));
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let options = limits.namespaces.of(name.as_str()).clone();
        let counted = self.counted_as(name);
        let interest = self.interest_in(name);
        let topic = Topic::new(id, name.clone(), self.epochs.next(), (options, counted), interest);
        let topic = Arc::new(topic);
        topics.insert(name.clone(), topic.clone());
        Ok(topic)
    }

    pub(super) fn retire_if_idle(&self, name: &TopicName) {
        let mut topics = self.stripe(name).write();
        let Some(topic) = topics.get(name).cloned() else { return };
        let mut state = topic.lock();
        if state.is_idle() {
            state.retired = true;
            topic.choices.close();
            topics.remove(name);
            self.topic_count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Messages hold their topics, and rings and choices hold messages, so a table that goes away
/// breaks the ring.
impl Drop for TopicTable {
    fn drop(&mut self) {
        for stripe in &self.stripes {
            stripe.write().drain().for_each(|(_, topic)| {
                topic.lock().ring = Ring::default();
                topic.choices.close();
            });
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
pub(super) mod tests;
