//! The topics that connections of one shard subscribe to, and the lists of these connections.
//!
//! Belongs to the shard's thread: no lock and no shared count. A list holds bare keys, grouped by
//! wire form, so that a fan-out takes each frame once and then walks plain numbers.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use super::Key;
use crate::topics::{Message, Topic, WireForm};

/// All topics with subscribers on this shard.
#[derive(Debug, Default)]
pub(super) struct LocalTopics {
    topics: Slab<LocalTopic>,
    by_id: HashMap<u64, u32>,
    /// Topics whose `fresh` is not empty.
    with_fresh: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct LocalTopic {
    pub(super) topic: Arc<Topic>,
    /// Subscribers by [`WireForm::index`].
    lists: [Vec<Key>; WireForm::ALL.len()],
    /// Subscribers that joined or caught up while the mailbox held mail, with the topic's newest
    /// offset then: messages up to it are not for them. Nearly always empty.
    fresh: Vec<(Key, u64)>,
}

impl LocalTopics {
    /// The place of `topic` in this shard, made if it is new.
    pub(super) fn locate(&mut self, topic: &Arc<Topic>) -> u32 {
        *self.by_id.entry(topic.id).or_insert_with(|| {
            let lists = Default::default();
            self.topics.insert(LocalTopic { topic: topic.clone(), lists, fresh: Vec::new() }) as u32
        })
    }

    /// The place of a topic that some connection here subscribes to.
    pub(super) fn find(&self, topic_id: u64) -> Option<u32> {
        self.by_id.get(&topic_id).copied()
    }

    pub(super) fn get(&self, local: u32) -> Option<&LocalTopic> {
        self.topics.get(local as usize)
    }

    /// Adds a subscriber; its position. `after`: the mailbox may hold messages up to this offset,
    /// which are not for it.
    pub(super) fn add(&mut self, local: u32, form: WireForm, key: Key, after: Option<u64>) -> u32 {
        if let Some(head) = after {
            self.skip_up_to(local, key, head);
        }
        let list = &mut self.topics[local as usize].lists[form.index()];
        list.push(key);
        list.len() as u32 - 1
    }

    /// Keeps messages up to `offset`, which may still wait in the mailbox, from a subscriber.
    pub(super) fn skip_up_to(&mut self, local: u32, key: Key, offset: u64) {
        self.topics[local as usize].fresh.push((key, offset));
        self.with_fresh.push(local);
    }

    /// To be called when the mailbox is empty: whatever comes from now on is for everyone.
    pub(super) fn forget_fresh(&mut self) {
        for local in self.with_fresh.drain(..) {
            if let Some(topic) = self.topics.get_mut(local as usize) {
                topic.fresh = Vec::new();
            }
        }
    }

    /// Removes the subscriber at `position`. Returns the topic, and which connection has moved to
    /// that position, if one has.
    pub(super) fn remove(
        &mut self,
        local: u32,
        form: WireForm,
        position: u32,
    ) -> (Arc<Topic>, Option<Key>) {
        let local_topic = &mut self.topics[local as usize];
        let list = &mut local_topic.lists[form.index()];
        let removed = list.swap_remove(position as usize);
        let moved = list.get(position as usize).copied();
        local_topic.fresh.retain(|(key, _)| *key != removed);
        let topic = local_topic.topic.clone();
        if local_topic.lists.iter().all(Vec::is_empty) {
            self.topics.remove(local as usize);
            self.by_id.remove(&topic.id);
        }
        (topic, moved)
    }

    /// The subscriber at this place in the lists.
    #[cfg(any(test, feature = "simulator"))]
    pub(super) fn subscriber(&self, local: u32, form: WireForm, position: u32) -> Option<Key> {
        self.get(local)?.lists[form.index()].get(position as usize).copied()
    }

    /// Panics unless lists agree; each topic with the number of its subscribers.
    #[cfg(any(test, feature = "simulator"))]
    pub(super) fn audit(&self) -> impl Iterator<Item = (&Topic, usize)> {
        assert_eq!(self.topics.len(), self.by_id.len(), "topics by id");
        self.topics.iter().map(|(local, topic)| {
            assert_eq!(self.find(topic.topic.id), Some(local as u32), "a topic by its id");
            let subscribers: Vec<Key> = topic.lists.concat();
            let is_listed = topic.fresh.iter().all(|(key, _)| subscribers.contains(key));
            assert!(is_listed, "only a subscriber has mail that is not for it");
            assert!(!subscribers.is_empty(), "a topic without subscribers is forgotten");
            (&*topic.topic, subscribers.len())
        })
    }

    /// Whether some mail may not be for everyone.
    #[cfg(any(test, feature = "simulator"))]
    pub(super) fn has_fresh(&self) -> bool {
        !self.with_fresh.is_empty() || self.topics.iter().any(|(_, topic)| !topic.fresh.is_empty())
    }

    /// Who on this shard is to get `message`; `None` if nobody is.
    pub(super) fn audience(&mut self, message: &Message) -> Option<Audience<'_>> {
        let local = self.find(message.topic_id)?;
        let topic = &mut self.topics[local as usize];
        // The mailbox holds a topic's messages in order: once one is past a head, all are.
        topic.fresh.retain(|(_, head)| message.offset() <= *head);
        Some(Audience { local, lists: &topic.lists, fresh: &topic.fresh })
    }
}

/// The subscribers of one message on one shard.
#[derive(Debug)]
pub(super) struct Audience<'a> {
    /// The topic's place in the shard.
    pub(super) local: u32,
    lists: &'a [Vec<Key>; WireForm::ALL.len()],
    fresh: &'a [(Key, u64)],
}

impl<'a> Audience<'a> {
    /// Each form that has subscribers, with their keys; not all of them need be included.
    pub(super) fn lists(&self) -> impl Iterator<Item = (WireForm, &'a [Key])> {
        let lists = WireForm::ALL.into_iter().zip(self.lists);
        lists.filter(|(_, list)| !list.is_empty()).map(|(form, list)| (form, list.as_slice()))
    }

    /// Whether this subscriber had joined before the message came.
    pub(super) fn includes(&self, key: Key) -> bool {
        self.fresh.is_empty() || self.fresh.iter().all(|(fresh, _)| *fresh != key)
    }
}
