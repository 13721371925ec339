//! What a shard holds twice, for speed, must say the same twice. For tests and the simulator.

use super::{Key, Shard, Socket};

impl<S: Socket> Shard<S> {
    /// Panics unless gauges, lists and connections agree.
    pub(crate) fn audit(&self) {
        let counters = &self.counters;
        let connections = || self.connections.iter().map(|(_, connection)| connection);
        let sum = |of: fn(&super::Connection<S>) -> usize| -> u64 {
            connections().map(|connection| of(connection) as u64).sum()
        };
        let high_water = self.limits.outbox_high_water_bytes;
        let lagging = connections().filter(|c| c.outbox_bytes() >= high_water).count();
        for (gauge, is, what) in [
            (&counters.connections, self.connections.len() as u64, "connections"),
            (&counters.subscriptions, sum(|c| c.subscriptions.len()), "subscriptions"),
            (&counters.outbox_bytes, sum(super::Connection::outbox_bytes), "bytes in outboxes"),
            (&counters.unfinished_bytes, sum(|c| c.decoder.buffered_bytes()), "unfinished bytes"),
            (&counters.connections_lagging, lagging as u64, "lagging connections"),
        ] {
            assert_eq!(gauge.get(), is, "shard {}: the gauge of {what}", self.index);
        }
        for (key, connection) in &self.connections {
            for subscription in &connection.subscriptions {
                let (local, position) = (subscription.local, subscription.position);
                let found = self.locals.subscriber(local, connection.form, position);
                assert_eq!(found, Some(Key(key as u32)), "its place in the list of its topic");
            }
            for local in connection.behind_topics() {
                assert!(connection.subscription(local).is_some(), "owed, but not subscribed");
            }
        }
        let mut listed = 0;
        for (topic, subscribers) in self.locals.audit() {
            let counted = self.topics.subscribers(topic, self.index);
            assert_eq!(counted as usize, subscribers, "subscribers of {}", topic.name());
            listed += subscribers as u64;
        }
        assert_eq!(listed, counters.subscriptions.get(), "subscribers in all lists");
    }

    /// As [`Self::audit`], when nothing is under way.
    pub(crate) fn audit_at_rest(&self) {
        self.audit();
        assert_eq!((self.mailbox().len(), self.mailbox().bytes()), (0, 0), "no mail");
        assert!(!self.has_pending_writes(), "no marked messages");
        assert!(!self.locals.has_fresh(), "with the mailbox empty all mail is for everyone");
    }

    /// As [`Self::audit_at_rest`], when every connection is gone.
    pub(crate) fn audit_empty(&self) {
        self.audit_at_rest();
        assert_eq!(self.connection_count(), 0, "no connection");
        assert_eq!(self.locals.audit().count(), 0, "no topic with subscribers");
        let counters = &self.counters;
        let closed: u64 = counters.closes().map(|(_, n)| n).sum();
        assert_eq!(closed, counters.connections_opened.get(), "each end is counted once");
    }
}
