//! Requests that wait for something newer on their topics: long polling.
//!
//! Owns who waits for what on this shard, not the answers: whoever asked makes them. A message
//! reaches waiters as it reaches subscribers, through the mailbox, because being counted in and
//! looking at the topic's newest offset are one step under the topic's lock. So nothing can come
//! in between without waking.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use fanfare_protocol::{Position, TopicName};
use slab::Slab;
use smallvec::SmallVec;

use super::{Shard, Socket};
use crate::time::Now;
use crate::topics::{Awaited, JoinError, Topic};

/// A waiting request. Never means another one, however long ago it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaiterKey {
    index: u32,
    serial: u32,
}

#[cfg(test)]
impl WaiterKey {
    pub(super) fn serial(self) -> u32 {
        self.serial
    }
}

/// Why a request cannot wait. Waiting a while and asking again may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The shard has as many waiting requests as it may.
    #[error("the broker holds {0} waiting requests here, the most allowed")]
    TooMany(usize),
    /// The node has as many topics as it may.
    #[error("{0}")]
    Topics(String),
}

impl From<JoinError> for WaitError {
    fn from(error: JoinError) -> Self {
        Self::Topics(error.to_string())
    }
}

/// The waiting requests of a shard.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiters: Slab<Waiter>,
    topics: HashMap<u64, Waited>,
    /// Those whose wait is over, until they are fetched.
    woken: VecDeque<WaiterKey>,
    /// Topics of all waiters together.
    places: usize,
    next_serial: u32,
}

#[derive(Debug)]
struct Waiter {
    serial: u32,
    places: SmallVec<[Place; 1]>,
}

/// Where a waiter stands in the list of a topic.
#[derive(Debug)]
struct Place {
    topic_id: u64,
    at: u32,
}

/// A topic that requests wait for.
#[derive(Debug)]
struct Waited {
    topic: Arc<Topic>,
    list: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    waiter: u32,
    /// Which of the waiter's places this is.
    place: u32,
    /// Mail up to this offset is old.
    after: u64,
}

impl Waiters {
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    fn add(&mut self, topics: Vec<Awaited>) -> WaiterKey {
        self.next_serial = self.next_serial.wrapping_add(1);
        let serial = self.next_serial;
        let index = self.waiters.vacant_key() as u32;
        let mut places = SmallVec::new();
        for (place, Awaited { topic, head, .. }) in topics.into_iter().enumerate() {
            let topic_id = topic.id;
            let waited =
                self.topics.entry(topic_id).or_insert_with(|| Waited { topic, list: Vec::new() });
            places.push(Place { topic_id, at: waited.list.len() as u32 });
            waited.list.push(Entry { waiter: index, place: place as u32, after: head });
        }
        self.places += places.len();
        self.waiters.insert(Waiter { serial, places });
        WaiterKey { index, serial }
    }

    /// Takes a waiter out; the topics that it waited for.
    fn remove(&mut self, key: WaiterKey) -> SmallVec<[Arc<Topic>; 1]> {
        let is_here = |waiter: &Waiter| waiter.serial == key.serial;
        if !self.waiters.get(key.index as usize).is_some_and(is_here) {
            return SmallVec::new();
        }
        let waiter = self.waiters.remove(key.index as usize);
        self.places -= waiter.places.len();
        waiter.places.iter().filter_map(|place| self.unlist(place)).collect()
    }

    fn unlist(&mut self, place: &Place) -> Option<Arc<Topic>> {
        let waited = self.topics.get_mut(&place.topic_id)?;
        waited.list.swap_remove(place.at as usize);
        let topic = waited.topic.clone();
        if let Some(moved) = waited.list.get(place.at as usize) {
            self.waiters[moved.waiter as usize].places[moved.place as usize].at = place.at;
        } else if waited.list.is_empty() {
            self.topics.remove(&place.topic_id);
        }
        Some(topic)
    }

    /// Those who wait for a message of this topic with this offset.
    fn waiting_for(&self, topic: &Topic, offset: u64) -> Vec<WaiterKey> {
        let Some(waited) = self.topics.get(&topic.id) else { return Vec::new() };
        let entries = waited.list.iter().filter(|entry| entry.after < offset);
        let key = |index: u32| {
            let serial = self.waiters[index as usize].serial;
            WaiterKey { index, serial }
        };
        entries.map(|entry| key(entry.waiter)).collect()
    }
}

impl<S: Socket> Shard<S> {
    /// Waits until there is something to tell about one of `topics` beyond their positions, where
    /// none is given beyond the newest message; the positions are then filled in. `None`: there
    /// is something to tell now, also because a position is not of the topic's present life.
    ///
    /// The wait ends when [`Self::next_woken`] returns its key, or by [`Self::stop_waiting`].
    ///
    /// # Errors
    /// [`WaitError`]; nothing waits then.
    pub fn wait(
        &mut self,
        topics: &mut [(TopicName, Option<Position>)],
        now: Now,
    ) -> Result<Option<WaiterKey>, WaitError> {
        let most = self.limits.waiting_requests_max;
        if self.waiters.places + topics.len() > most {
            return Err(WaitError::TooMany(most));
        }
        let mut awaited = Vec::with_capacity(topics.len());
        let mut refusal = None;
        for (name, after) in topics.iter_mut() {
            match self.topics.start_waiting(name, self.index, after.as_ref()) {
                Ok(one) => {
                    let epoch = one.topic.epoch().to_string();
                    after.get_or_insert(Position { epoch, offset: one.head });
                    // Shared, so that the names of who waits take no room of their own.
                    *name = one.topic.name().clone();
                    awaited.push(one);
                }
                Err(error) => refusal = Some(error),
            }
        }
        if refusal.is_none() && awaited.iter().all(|one| !one.is_moved) {
            let key = self.waiters.add(awaited);
            self.counters.waiting_requests.set(self.waiters.len() as u64);
            return Ok(Some(key));
        }
        for one in awaited {
            self.topics.stop_waiting(&one.topic, self.index, now);
        }
        refusal.map_or(Ok(None), |error| Err(error.into()))
    }

    /// Ends a wait before it is over, if it is not.
    pub fn stop_waiting(&mut self, key: WaiterKey, now: Now) {
        for topic in self.waiters.remove(key) {
            self.topics.stop_waiting(&topic, self.index, now);
        }
        self.counters.waiting_requests.set(self.waiters.len() as u64);
    }

    /// A request whose wait is over.
    pub fn next_woken(&mut self) -> Option<WaiterKey> {
        self.waiters.woken.pop_front()
    }

    /// Whether [`Self::next_woken`] has something.
    #[must_use]
    pub fn has_woken(&self) -> bool {
        !self.waiters.woken.is_empty()
    }

    /// Requests that wait now.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.waiters.len()
    }

    /// Ends the waits for a message of this topic with this offset.
    pub(super) fn wake_waiters(&mut self, topic: &Topic, offset: u64, now: Now) {
        for key in self.waiters.waiting_for(topic, offset) {
            self.stop_waiting(key, now);
            self.waiters.woken.push_back(key);
        }
    }
}
