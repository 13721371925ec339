//! Requests of this thread that wait for a message, and how their tasks are woken.

use std::cell::RefCell;
use std::collections::HashMap;

use fanfare_engine::{Now, Shard, WaitError, WaiterKey};
use fanfare_protocol::{Position, TopicName};
use tokio::sync::oneshot;

use super::LocalShard;
use super::socket::DataSocket;
use crate::clock;

/// The tasks that wait, by what they wait for.
#[derive(Debug, Default)]
pub(super) struct Waking(RefCell<HashMap<WaiterKey, oneshot::Sender<()>>>);

impl Waking {
    /// Wakes those whose wait is over.
    pub(super) fn wake(&self, shard: &mut Shard<DataSocket>) {
        while let Some(key) = shard.next_woken() {
            self.0.borrow_mut().remove(&key);
        }
    }

    /// Wakes all.
    pub(super) fn wake_all(&self) {
        self.0.borrow_mut().clear();
    }
}

/// A task that waits; it leaves nothing behind, whether it is woken or dropped.
struct Waiting<'a> {
    local: &'a LocalShard,
    key: WaiterKey,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.local.waking.0.borrow_mut().remove(&self.key);
        self.local.shard.borrow_mut().stop_waiting(self.key, clock::now());
    }
}

impl LocalShard {
    /// As [`Shard::wait`]; to be followed by [`Self::woken`] at once.
    pub(crate) fn wait(
        &self,
        topics: &mut [(TopicName, Option<Position>)],
        now: Now,
    ) -> Result<Option<WaiterKey>, WaitError> {
        self.shard.borrow_mut().wait(topics, now)
    }

    /// Returns when the wait is over or the broker stops.
    pub(crate) fn woken(&self, key: WaiterKey) -> impl Future<Output = ()> {
        let (sender, woken) = oneshot::channel();
        self.waking.0.borrow_mut().insert(key, sender);
        let waiting = Waiting { local: self, key };
        async move {
            // Dropping the sender is what wakes.
            let _ = woken.await;
            drop(waiting);
        }
    }
}
