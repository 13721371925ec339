//! What the topic table holds twice, for speed, must say the same twice. For tests and the
//! simulator.

use super::table::{STRIPES, TopicTable};
use super::topic::Topic;
use crate::time::Now;

impl TopicTable {
    /// Panics unless counts and topics agree.
    pub(crate) fn audit(&self) {
        let topics = self.all_topics();
        let bytes: usize = topics.iter().map(|topic| topic.lock().audit()).sum();
        assert_eq!(self.topic_count(), topics.len(), "the count of topics");
        assert_eq!(self.history_bytes(), bytes, "the bytes of all rings");
    }

    /// As [`Self::audit`], when nobody subscribes and everything is too old to be kept.
    pub(crate) fn audit_empty(&self) {
        self.audit();
        assert_eq!((self.topic_count(), self.history_bytes()), (0, 0), "nothing stays");
    }

    /// Subscribers of a topic on one shard.
    pub(crate) fn subscribers(&self, topic: &Topic, shard: usize) -> u32 {
        topic.lock().subscribers[shard]
    }

    /// Sweeps every stripe.
    pub(crate) fn sweep_all(&self, now: Now) {
        (0..STRIPES).for_each(|_| self.sweep(now));
    }
}
