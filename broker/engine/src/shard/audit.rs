//! What a shard holds twice, for speed, must say the same twice. For tests and the simulator.

use super::connection::{Connection, PatternSubscription, Phase, Subscription};
use super::subscribers::LocalTopic;
use super::tier::{ListPlace, Lists, Tier};
use super::{Key, Shard, Socket};
use crate::topics::WireForm;

impl<S: Socket> Shard<S> {
    /// Panics unless gauges, lists and connections agree.
    pub(crate) fn audit(&self) {
        self.audit_gauges();
        for (key, connection) in self.connections.iter() {
            self.audit_connection(key, connection);
        }
        self.locals.audit();
        let (mut by_name, mut behind) = (0, 0);
        for (local, topic) in &self.locals.topics {
            by_name += u64::from(self.topics.subscriptions_by_name(&topic.topic, self.index));
            behind += u64::from(topic.behind);
            self.audit_topic(local as u32, topic);
        }
        let patterns: usize =
            self.connections().map(|connection| connection.patterns().len()).sum();
        let counters = &self.counters;
        assert_eq!(by_name + patterns as u64, counters.subscriptions.get(), "subscriptions");
        assert_eq!(behind, counters.subscriptions_behind.get(), "subscriptions behind");
    }

    /// Whether a connection is being closed.
    pub(crate) fn is_closing(&self, key: Key) -> bool {
        self.connections.get(key).is_some_and(|c| c.phase == Phase::Closing)
    }

    /// How often the marks are halved.
    pub(crate) fn halvings(&self) -> u32 {
        self.marks.pressure()
    }

    fn connections(&self) -> impl Iterator<Item = &Connection<S>> {
        self.connections.iter().map(|(_, connection)| connection)
    }

    fn audit_gauges(&self) {
        let counters = &self.counters;
        let sum = |of: fn(&Connection<S>) -> usize| -> u64 {
            self.connections().map(|connection| of(connection) as u64).sum()
        };
        for (gauge, is, what) in [
            (&counters.connections, self.connections.len() as u64, "connections"),
            (&counters.outbox_bytes, sum(Connection::outbox_bytes), "bytes in outboxes"),
            (&counters.unfinished_bytes, sum(|c| c.decoder.buffered_bytes()), "unfinished bytes"),
            (&counters.connections_lagging, sum(|c| c.is_lagging.into()), "lagging connections"),
        ] {
            assert_eq!(gauge.get(), is, "shard {}: the gauge of {what}", self.index);
        }
    }

    fn audit_connection(&self, key: Key, connection: &Connection<S>) {
        let form = connection.form;
        let owed = |local: u32| connection.behind().and_then(|behind| behind.get(local));
        for Subscription { local, position, terms, .. } in &connection.subscriptions {
            let Some(topic) = self.locals.get(*local) else { panic!("no topic at {local}") };
            let found = position.map(|position| at(&topic.named, terms.tier, form, position));
            let expected = owed(*local).is_none().then_some(Some(key));
            assert_eq!(found, expected, "listed in its place, unless it is behind");
        }
        for PatternSubscription { pattern, position, terms } in connection.patterns() {
            let lists = &self.locals.patterns[*pattern as usize].lists;
            assert_eq!(at(lists, terms.tier, form, *position), Some(key), "listed in its place");
        }
        for local in connection.behind().into_iter().flat_map(|behind| behind.topics()) {
            let topic = self.locals.get(local);
            let through = topic.and_then(|topic| connection.through(local, &topic.patterns));
            assert!(through.is_some(), "owed, but not subscribed");
        }
    }

    fn audit_topic(&self, local: u32, topic: &LocalTopic) {
        let by_name = self.connections().filter(|c| c.subscription(local).is_some()).count();
        let counted = self.topics.subscriptions_by_name(&topic.topic, self.index);
        assert_eq!(counted as usize, by_name, "subscriptions to {}", topic.topic.name());
        let is_behind = |c: &&Connection<S>| c.behind().is_some_and(|b| b.get(local).is_some());
        assert_eq!(topic.behind as usize, self.connections().filter(is_behind).count(), "behind");
        let listens = |c: &&Connection<S>| {
            c.subscription(local).is_some_and(|at| c.subscriptions[at].listens)
        };
        let listeners = self.connections().filter(listens).count();
        assert_eq!(topic.listeners as usize, listeners, "listeners of {}", topic.topic.name());
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
        assert!(self.locals.topics.is_empty(), "no topic with subscribers");
        assert!(self.locals.patterns.is_empty(), "no pattern with subscribers");
        let counters = &self.counters;
        let closed: u64 = counters.closes().map(|(_, n)| n).sum();
        assert_eq!(closed, counters.connections_opened.get(), "each end is counted once");
    }
}

/// The subscriber at this place in the lists.
fn at(lists: &Lists, tier: Tier, form: WireForm, position: ListPlace) -> Option<Key> {
    let (_, keys) = lists.of(tier).find(|(listed, _)| *listed == form)?;
    keys.get(position.index()).copied()
}
