//! Which shards have requests that wait for a topic's next message.

use std::sync::Arc;

use fanfare_protocol::{Position, TopicName};

use super::interest::JoinError;
use super::table::TopicTable;
use super::topic::Topic;
use crate::fault::{Fault, planted};
use crate::time::Now;

/// How long a topic stays for those who waited for it and have had their answer: so long the
/// position that they were told is good for the next request. One that comes later is told that
/// its position is gone.
pub(crate) const LINGER_MS: u64 = 30_000;

/// What a request that is to wait learns under the topic's lock.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) topic: Arc<Topic>,
    /// The topic's newest offset; everything after it comes through the mailbox.
    pub(crate) head: u64,
    /// Whether the position that was asked for is another one.
    pub(crate) is_moved: bool,
}

impl TopicTable {
    /// Counts one more request that waits for what follows `after`, or else the newest message.
    /// [`Self::stop_waiting`] ends it.
    pub(crate) fn start_waiting(
        &self,
        name: &TopicName,
        shard: usize,
        after: Option<&Position>,
    ) -> Result<Awaited, JoinError> {
        loop {
            let topic = self.get_or_create(name)?;
            let mut state = topic.lock();
            if state.retired {
                continue;
            }
            let head = state.head();
            if planted(Fault::LookBeforeWait) {
                drop(state);
                state = topic.lock();
            }
            state.interest[shard].waiting += 1;
            drop(state);
            let is_moved = after.is_some_and(|after| {
                after.offset != head || topic.epoch().to_string() != after.epoch
            });
            return Ok(Awaited { topic, head, is_moved });
        }
    }

    /// Counts one such request less. The topic, and its newest message, stay for a while.
    pub(crate) fn stop_waiting(&self, topic: &Topic, shard: usize, now: Now) {
        let mut state = topic.lock();
        state.interest[shard].waiting -= 1;
        state.lingers_until_ms = now.ms() + LINGER_MS;
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{name, publish, table};
    use super::*;

    #[test]
    fn a_topic_outlives_its_waiters_for_a_while() {
        let table = table(1, |_| {});
        let waited = table.start_waiting(&name("a"), 0, None).unwrap();
        assert_eq!((waited.head, waited.is_moved), (0, false));
        table.sweep_all(Now::from_ms(1_000_000));
        assert_eq!(table.topic_count(), 1, "held by who waits");
        table.stop_waiting(&waited.topic, 0, Now::from_ms(1_000_000));
        table.sweep_all(Now::from_ms(1_000_000 + LINGER_MS - 1));
        let told = Position { epoch: waited.topic.epoch().to_string(), offset: 0 };
        let again = table.start_waiting(&name("a"), 0, Some(&told)).unwrap();
        assert!(!again.is_moved, "the position is still good");
        table.stop_waiting(&again.topic, 0, Now::from_ms(1_000_000 + LINGER_MS));
        table.sweep_all(Now::from_ms(1_000_000 + 2 * LINGER_MS));
        assert_eq!(table.topic_count(), 0);
        let late = table.start_waiting(&name("a"), 0, Some(&told)).unwrap();
        assert!(late.is_moved, "another life of the topic");
    }

    #[test]
    fn what_comes_between_two_waits_is_kept_without_any_history() {
        let table = table(1, |l| l.namespaces.default_mut().history_messages = 0);
        let waited = table.start_waiting(&name("a"), 0, None).unwrap();
        publish(&table, "a", "1", 0);
        table.stop_waiting(&waited.topic, 0, Now::default());
        publish(&table, "a", "2", 0);
        let after = Position { epoch: waited.topic.epoch().to_string(), offset: 1 };
        let page = table.history(&name("a"), Some(&after), 10).unwrap();
        assert!(page.recovered && page.messages.len() == 1);
        table.sweep_all(Now::from_ms(LINGER_MS));
        assert_eq!((table.topic_count(), table.history_bytes()), (0, 0));
    }
}
