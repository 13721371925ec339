//! The topics and patterns that connections of one shard subscribe to, and who subscribes.
//!
//! Belongs to the shard's thread: no lock and no shared count. A topic knows the patterns that
//! match it, so that a fan-out walks the topic's own list and theirs and looks at nothing else.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use fanfare_protocol::TopicPattern;
use slab::Slab;
use smallvec::SmallVec;

use super::Key;
use super::tier::{Lists, Tier, TierStates};
use crate::topics::{Message, PatternTree, Topic};

/// All topics and patterns with subscribers on this shard.
#[derive(Debug, Default)]
pub(super) struct LocalTopics {
    pub(super) topics: Slab<LocalTopic>,
    by_id: HashMap<u64, u32>,
    pub(super) patterns: Slab<LocalPattern>,
    tree: PatternTree<u32>,
    /// Topics whose `fresh` is not empty.
    with_fresh: Vec<u32>,
    /// Where the search for retired topics goes on.
    sweep_cursor: usize,
}

#[derive(Debug)]
pub(super) struct LocalTopic {
    pub(super) topic: Arc<Topic>,
    /// Subscribers by name that are not behind.
    pub(super) named: Lists,
    /// The patterns that match; each has subscribers.
    pub(super) patterns: SmallVec<[u32; 2]>,
    /// Subscribers that joined or caught up while older messages were still on their way, with
    /// the offset up to which messages are not for them. Nearly always empty.
    fresh: HashMap<Key, u64>,
    /// `None` until someone has a rate.
    pub(super) tiers: Option<Box<TierStates>>,
    /// The newest offset that was given to subscribers, and when.
    pub(super) newest: u64,
    pub(super) changed_ms: u64,
    /// Connections that are behind on this topic.
    pub(super) behind: u32,
    /// Subscribers by name that want to be told who comes and goes.
    pub(super) listeners: u32,
}

/// A pattern with subscribers on this shard.
#[derive(Debug)]
pub(super) struct LocalPattern {
    pub(super) pattern: TopicPattern,
    pub(super) lists: Lists,
    /// The topics that it matches.
    pub(super) topics: BTreeSet<u32>,
}

impl LocalTopics {
    /// The place of `topic` in this shard, made if it is new.
    pub(super) fn locate(&mut self, topic: &Arc<Topic>) -> u32 {
        if let Some(local) = self.find(topic.id) {
            return local;
        }
        let mut patterns = SmallVec::new();
        self.tree.for_each_match(topic.name().as_str(), |pattern| patterns.push(*pattern));
        let local = self.topics.insert(LocalTopic::new(topic.clone(), patterns)) as u32;
        for pattern in &self.topics[local as usize].patterns {
            self.patterns[*pattern as usize].topics.insert(local);
        }
        self.by_id.insert(topic.id, local);
        local
    }

    /// As [`Self::locate`], but only if a pattern matches.
    pub(super) fn locate_matching(&mut self, topic: &Arc<Topic>) -> Option<u32> {
        let mut matches = false;
        self.tree.for_each_match(topic.name().as_str(), |_| matches = true);
        matches.then(|| self.locate(topic))
    }

    /// The place of a topic that some connection here subscribes to.
    pub(super) fn find(&self, topic_id: u64) -> Option<u32> {
        self.by_id.get(&topic_id).copied()
    }

    pub(super) fn get(&self, local: u32) -> Option<&LocalTopic> {
        self.topics.get(local as usize)
    }

    pub(super) fn get_mut(&mut self, local: u32) -> Option<&mut LocalTopic> {
        self.topics.get_mut(local as usize)
    }

    /// The place of a pattern that some connection here subscribes to.
    pub(super) fn find_pattern(&self, pattern: &TopicPattern) -> Option<u32> {
        self.tree.get(pattern).copied()
    }

    /// Adds a pattern, with the topics that match it now.
    pub(super) fn add_pattern(&mut self, pattern: &TopicPattern, topics: &[Arc<Topic>]) -> u32 {
        let known: Vec<u32> = topics.iter().map(|topic| self.locate(topic)).collect();
        let lists = Lists::default();
        let entry = LocalPattern { pattern: pattern.clone(), lists, topics: BTreeSet::new() };
        let place = self.patterns.insert(entry) as u32;
        *self.tree.entry(pattern) = place;
        for local in known {
            self.topics[local as usize].patterns.push(place);
            self.patterns[place as usize].topics.insert(local);
        }
        place
    }

    /// Removes a pattern without subscribers. Returns the topics that no other pattern matches.
    pub(super) fn remove_pattern(&mut self, place: u32) -> (TopicPattern, Vec<Arc<Topic>>) {
        let removed = self.patterns.remove(place as usize);
        self.tree.remove(&removed.pattern);
        let mut unmatched = Vec::new();
        for local in removed.topics {
            let topic = &mut self.topics[local as usize];
            topic.patterns.retain(|pattern| *pattern != place);
            if topic.patterns.is_empty() {
                unmatched.push(topic.topic.clone());
            }
            self.remove_if_unused(local);
        }
        (removed.pattern, unmatched)
    }

    /// Forgets a topic that nobody here subscribes to any more, by name or pattern.
    pub(super) fn remove_if_unused(&mut self, local: u32) {
        let is_unused = |topic: &LocalTopic| !topic.has_named() && topic.patterns.is_empty();
        if self.get(local).is_some_and(is_unused) {
            self.remove(local);
        }
    }

    fn remove(&mut self, local: u32) {
        let removed = self.topics.remove(local as usize);
        self.by_id.remove(&removed.topic.id);
        for pattern in removed.patterns {
            self.patterns[pattern as usize].topics.remove(&local);
        }
    }

    /// Forgets topics that have left the table and are known here by patterns alone. Looks at
    /// `count` of them.
    pub(super) fn sweep(&mut self, count: usize) {
        let end = self.topics.capacity();
        if self.patterns.is_empty() || end == 0 {
            return;
        }
        for _ in 0..count.min(end) {
            self.sweep_cursor = (self.sweep_cursor + 1) % end;
            let Some(topic) = self.topics.get(self.sweep_cursor) else { continue };
            // What a tier holds back of it is still to be sent.
            if !topic.has_named() && topic.topic.is_retired() && !topic.holds_any() {
                self.remove(self.sweep_cursor as u32);
            }
        }
    }

    /// Keeps messages up to `offset`, which may still be on their way, from a subscriber.
    pub(super) fn skip_up_to(&mut self, local: u32, key: Key, offset: u64) {
        let fresh = &mut self.topics[local as usize].fresh;
        if fresh.is_empty() {
            self.with_fresh.push(local);
        }
        let known = fresh.entry(key).or_default();
        *known = offset.max(*known);
    }

    /// Panics unless topics and patterns know each other.
    #[cfg(any(test, feature = "simulator"))]
    pub(super) fn audit(&self) {
        assert_eq!(self.topics.len(), self.by_id.len(), "topics by id");
        for (local, topic) in &self.topics {
            assert_eq!(self.find(topic.topic.id), Some(local as u32), "a topic by its id");
            assert!(topic.has_named() || !topic.patterns.is_empty(), "a topic that nobody wants");
            let knows =
                |place: &u32| self.patterns[*place as usize].topics.contains(&(local as u32));
            assert!(topic.patterns.iter().all(knows), "a pattern knows what it matches");
        }
        for (place, pattern) in &self.patterns {
            assert!(!pattern.lists.is_empty(), "a pattern that nobody wants");
            assert_eq!(self.find_pattern(&pattern.pattern), Some(place as u32));
            let knows =
                |local: &u32| self.topics[*local as usize].patterns.contains(&(place as u32));
            assert!(pattern.topics.iter().all(knows), "a topic knows its patterns");
        }
    }

    /// Whether some mail may not be for everyone.
    #[cfg(any(test, feature = "simulator"))]
    pub(super) fn has_fresh(&self) -> bool {
        self.topics.iter().any(|(_, topic)| !topic.fresh.is_empty())
    }

    /// To be called when the mailbox is empty: whatever comes from now on is for everyone, unless
    /// a tier still holds something back.
    pub(super) fn forget_fresh(&mut self) {
        let topics = &mut self.topics;
        self.with_fresh.retain(|local| {
            let Some(topic) = topics.get_mut(*local as usize) else { return false };
            if topic.holds_any() {
                return true;
            }
            topic.fresh = HashMap::new();
            false
        });
    }
}

impl LocalTopic {
    fn new(topic: Arc<Topic>, patterns: SmallVec<[u32; 2]>) -> Self {
        Self {
            topic,
            named: Lists::default(),
            patterns,
            fresh: HashMap::new(),
            tiers: None,
            newest: 0,
            changed_ms: 0,
            behind: 0,
            listeners: 0,
        }
    }

    /// Whether messages up to `offset` may still come later than from the ring.
    pub(super) fn holds_any(&self) -> bool {
        self.tiers.as_deref().is_some_and(TierStates::hold_any)
    }

    /// The offset up to which a subscriber in this tier, who is not behind, has what it is to get.
    pub(super) fn served(&self, key: Key, tier: Tier) -> u64 {
        let unsent_after = self.tiers.as_deref().and_then(|tiers| tiers.unsent_after(tier));
        let joined_at = self.fresh.get(&key).copied().unwrap_or(0);
        unsent_after.unwrap_or(self.newest).max(joined_at)
    }

    /// The message that this tier holds back from a subscriber.
    pub(super) fn held_from(&self, key: Key, tier: Tier) -> Option<&Arc<Message>> {
        let (held, _) = self.tiers.as_deref()?.held(tier)?;
        Some(held).filter(|held| self.includes(key, held.offset()))
    }

    /// Whether the message at `offset` is for this subscriber.
    pub(super) fn includes(&self, key: Key, offset: u64) -> bool {
        self.fresh.is_empty() || self.fresh.get(&key).is_none_or(|up_to| offset > *up_to)
    }

    /// Whether someone subscribes by name, or is behind on the topic and so in no list.
    pub(super) fn has_named(&self) -> bool {
        self.behind > 0 || !self.named.is_empty()
    }

    /// Whether one connection may be found through several lists.
    pub(super) fn overlaps(&self) -> bool {
        self.patterns.len() + usize::from(self.has_named()) > 1
    }
}
