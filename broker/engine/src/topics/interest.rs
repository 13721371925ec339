//! Which shards want which topics' messages: subscribing and unsubscribing, as the table sees it.
//!
//! Knows shards, not connections, apart from who is present.

use std::sync::Arc;

use fanfare_protocol::{Position, TopicName, TopicPattern};
use smallvec::SmallVec;

use super::message::Message;
use super::presence::{MemberId, MemberName, Presence, PresenceSnapshot};
use super::table::TopicTable;
use super::topic::{ShardInterest, Topic};
use crate::fault::{Fault, planted};
use crate::mailbox::Mail;
use crate::sync::atomic::Ordering;
use crate::time::Now;

/// Shards that subscribe to a pattern.
pub(super) type PatternShards = SmallVec<[u16; 4]>;

/// One subscription by name, as the table needs to know it.
#[derive(Debug, Default)]
pub(crate) struct Join<'a> {
    pub(crate) shard: usize,
    /// Whether everything after this position is still kept is decided in the same moment.
    pub(crate) since: Option<&'a Position>,
    /// The connection's number in its shard, and what it calls itself.
    pub(crate) member: (u32, MemberName),
    /// Whether it wants to be told who comes and goes.
    pub(crate) listens: bool,
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
    /// Whether the newest message is kept.
    pub(crate) has_newest: bool,
}

/// Why a subscription could not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JoinError {
    /// The node has as many topics as it may.
    #[error("the node has {0} topics, the most allowed; this would be a new one")]
    TooManyTopics(usize),
    /// The node has as many patterns as it may.
    #[error("the node has {0} patterns, the most allowed; this would be a new one")]
    TooManyPatterns(usize),
    /// The connection has as many patterns as it may.
    #[error("this connection subscribes to {0} patterns, the most allowed")]
    PatternsOfConnection(usize),
    /// Too many topics would have been looked through at once.
    #[error(
        "subscribing to patterns had {0} topics looked through in one second, the most allowed for \
         a connection; try again in a second"
    )]
    TooMuchSearched(usize),
    /// The namespace has no presence.
    #[error("this namespace has no presence; the operator can turn it on")]
    NoPresence,
}

impl TopicTable {
    /// Counts one more subscriber of `name`, and tells the offset after which it will get every
    /// message through its shard's mailbox.
    pub(crate) fn join(&self, name: &TopicName, join: &Join<'_>) -> Result<Joined, JoinError> {
        if join.listens && !self.options_of(name).presence {
            return Err(JoinError::NoPresence);
        }
        loop {
            let topic = self.get_or_create(name)?;
            let mut state = topic.lock();
            if state.retired && !planted(Fault::JoinRetired) {
                continue;
            }
            let head = state.head();
            if planted(Fault::ReadHeadBeforeJoin) {
                drop(state);
                state = topic.lock();
            }
            state.interest[join.shard].by_name += 1;
            if topic.options.presence {
                let presence = state
                    .presence
                    .get_or_insert_with(|| Box::new(Presence::new(self.mailboxes().len())));
                presence.listeners[join.shard] += u32::from(join.listens);
                let (serial, name) = join.member.clone();
                if presence.join(MemberId { shard: join.shard as u32, serial }, name) {
                    self.note_presence(&topic);
                }
            }
            let can_recover = join.since.is_some_and(|since| {
                topic.epoch().to_string() == since.epoch && state.holds_all_after(since.offset)
            });
            let has_older_mail = self.has_mail(join.shard);
            let has_newest = !state.ring.is_empty();
            drop(state);
            return Ok(Joined { topic, head, has_older_mail, can_recover, has_newest });
        }
    }

    /// Counts one subscriber less; `listened` as when it joined.
    pub(crate) fn leave(&self, topic: &Arc<Topic>, shard: usize, serial: u32, listened: bool) {
        let mut state = topic.lock();
        state.interest[shard].by_name -= 1;
        if let Some(presence) = state.presence.as_deref_mut() {
            presence.listeners[shard] -= u32::from(listened);
            if presence.leave(MemberId { shard: shard as u32, serial }) {
                self.note_presence(topic);
            }
        }
        let freed = state.trim(&topic.options);
        self.history_bytes.fetch_sub(freed, Ordering::Relaxed);
        let idle = state.is_idle();
        drop(state);
        if idle {
            self.retire_if_idle(topic.name());
        }
    }

    /// Sends the messages of every topic that matches `pattern`, now or later, to a shard that
    /// had not asked for this pattern. Returns the topics that match now.
    pub(crate) fn watch(
        &self,
        pattern: &TopicPattern,
        shard: usize,
    ) -> Result<Vec<Arc<Topic>>, JoinError> {
        let mut patterns = self.patterns.write();
        let most = self.live_limits().patterns_max;
        if patterns.len() >= most && patterns.get(pattern).is_none() {
            return Err(JoinError::TooManyPatterns(most));
        }
        patterns.entry(pattern).push(shard as u16);
        drop(patterns);
        // A topic that is made from here on asks the patterns itself; older ones are found here.
        let mut matching = Vec::new();
        for stripe in &self.stripes {
            let topics = stripe.read();
            matching.extend(topics.values().filter(|t| pattern.matches(t.name())).cloned());
        }
        if cfg!(any(test, feature = "simulator")) {
            // In an order that is the same each time, so that a simulated world can be repeated.
            matching.sort_unstable_by_key(|topic| topic.id);
        }
        matching.retain(|topic| {
            let mut state = topic.lock();
            state.interest[shard].by_pattern = true;
            !state.retired
        });
        Ok(matching)
    }

    /// Ends what [`Self::watch`] began. `unwanted`: the topics that no other pattern of the shard
    /// matches.
    pub(crate) fn unwatch<'a>(
        &self,
        pattern: &TopicPattern,
        shard: usize,
        unwanted: impl Iterator<Item = &'a Arc<Topic>>,
    ) {
        let mut patterns = self.patterns.write();
        let shards = patterns.entry(pattern);
        shards.retain(|one| usize::from(*one) != shard);
        if shards.is_empty() {
            patterns.remove(pattern);
        }
        drop(patterns);
        unwanted.for_each(|topic| self.forget_pattern_interest(topic, shard));
    }

    /// No pattern of the shard matches this topic any more.
    pub(crate) fn forget_pattern_interest(&self, topic: &Topic, shard: usize) {
        topic.lock().interest[shard].by_pattern = false;
    }

    /// The topic's newest message, if it is kept.
    pub(crate) fn newest(topic: &Topic) -> Option<Arc<Message>> {
        topic.lock().ring.newest().cloned()
    }

    /// Who is on a topic: at most `limit` of them. `None` if there is no such topic.
    pub(crate) fn presence(
        &self,
        name: &TopicName,
        limit: usize,
    ) -> Result<PresenceSnapshot, JoinError> {
        if !self.options_of(name).presence {
            return Err(JoinError::NoPresence);
        }
        let topic = self.find(name);
        let snapshot = topic.and_then(|topic| {
            topic.lock().presence.as_mut().map(|presence| presence.snapshot(limit))
        });
        Ok(snapshot.unwrap_or(PresenceSnapshot { count: 0, version: 0, members: Vec::new() }))
    }

    /// Tells subscribers who came and went, at most once in an interval. Called now and then by
    /// any thread.
    pub fn tell_presence(&self, now: Now) {
        let changed = {
            let Some(mut pending) = self.presence.try_lock() else { return };
            if now.ms() < pending.due_ms || pending.topics.is_empty() {
                return;
            }
            pending.due_ms = now.ms() + super::presence::TELL_INTERVAL_MS;
            std::mem::take(&mut pending.topics)
        };
        for topic in changed {
            let mut state = topic.lock();
            let Some(presence) = state.presence.as_deref_mut() else { continue };
            let Some(update) = presence.tell(&topic) else { continue };
            let update = Arc::new(update);
            let listeners = self.mailboxes().iter().zip(&presence.listeners);
            for (mailbox, _) in listeners.filter(|(_, count)| **count > 0) {
                mailbox.push(Mail::Presence(update.clone()));
            }
        }
    }

    /// The interest with which a new topic begins.
    pub(super) fn interest_in(&self, name: &TopicName) -> SmallVec<[ShardInterest; 2]> {
        let shards = self.mailboxes().len();
        let mut interest: SmallVec<[ShardInterest; 2]> =
            SmallVec::from_elem(ShardInterest::default(), shards);
        self.patterns.read().for_each_match(name.as_str(), |shards| {
            for shard in shards {
                interest[usize::from(*shard)].by_pattern = true;
            }
        });
        interest
    }

    /// Under a topic's lock nobody pushes its messages, so an empty mailbox holds none.
    pub(super) fn has_mail(&self, shard: usize) -> bool {
        !self.mailboxes()[shard].is_empty()
    }

    fn note_presence(&self, topic: &Arc<Topic>) {
        self.presence.lock().topics.push(topic.clone());
    }
}

/// Topics whose presence has changed since it was last told.
#[derive(Debug, Default)]
pub(super) struct ChangedPresence {
    topics: Vec<Arc<Topic>>,
    due_ms: u64,
}
