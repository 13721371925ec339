//! What the topic table holds twice, for speed, must say the same twice. For tests and the
//! simulator.

use std::sync::Arc;

use fanfare_protocol::TopicName;

use super::epoch::Epoch;
use super::message::Message;
use super::table::{STRIPES, TopicTable};
use super::topic::{Topic, TopicState};
use crate::time::Now;

/// All that a topic keeps at one moment.
pub(crate) struct RingContent {
    pub(crate) epoch: Epoch,
    pub(crate) head: u64,
    /// Oldest first.
    pub(crate) messages: Vec<Arc<Message>>,
}

impl TopicTable {
    /// Panics unless counts and topics agree.
    pub(crate) fn audit(&self) {
        let topics = self.all_topics();
        let bytes: usize = topics.iter().map(|topic| topic.lock().audit()).sum();
        assert_eq!(self.topic_count(), topics.len(), "the count of topics");
        assert_eq!(self.history_bytes(), bytes, "the bytes of all rings");
        for topic in topics {
            let (wanted, has) = (self.interest_in(topic.name()), topic.lock().interest.clone());
            let is_told = wanted.iter().zip(&has).all(|(w, h)| h.by_pattern || !w.by_pattern);
            assert!(is_told, "a shard with a pattern for {} would not hear of it", topic.name());
        }
    }

    /// As [`Self::audit`], when nobody subscribes and everything is too old to be kept.
    pub(crate) fn audit_empty(&self) {
        self.audit();
        let stay = |topic: &Arc<Topic>| topic.options.latest && topic.lock().head() > 0;
        let topics = self.all_topics();
        let odd: Vec<_> = topics.iter().filter(|topic| !stay(topic)).collect();
        assert!(odd.is_empty(), "nobody needs {odd:?}");
    }

    /// Subscriptions by name to a topic on one shard.
    pub(crate) fn subscriptions_by_name(&self, topic: &Topic, shard: usize) -> u32 {
        topic.lock().interest[shard].by_name
    }

    /// What a topic keeps; `None` if there is no such topic.
    pub(crate) fn ring(&self, name: &TopicName) -> Option<RingContent> {
        let topic = self.find(name)?;
        let state = topic.lock();
        let messages = state.ring.after(0).cloned().collect();
        Some(RingContent { epoch: topic.epoch(), head: state.head(), messages })
    }

    /// How often changes of who is on a topic were told; `None` if there is no such topic.
    pub(crate) fn presence_version(&self, name: &TopicName) -> Option<u64> {
        let topic = self.find(name)?;
        let state = topic.lock();
        Some(state.presence.as_ref().map_or(0, |presence| presence.version()))
    }

    /// Sweeps every stripe.
    pub(crate) fn sweep_all(&self, now: Now) {
        (0..STRIPES).for_each(|_| self.sweep(now));
    }
}

impl TopicState {
    /// Panics unless what is kept agrees with its counts; its bytes.
    fn audit(&self) -> usize {
        assert!(!self.retired, "a topic in the table is in use");
        self.ring.audit() + self.keys.as_ref().map_or(0, |keys| keys.audit())
    }
}
