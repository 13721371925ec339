//! A topic that a connection gets goes on through another of its subscriptions: which of what a
//! tier holds back is sent, and which is not sent twice. That subscriptions begin and end is
//! `subscriptions`' part.

use std::collections::BTreeSet;

use fanfare_protocol::TopicName;

use super::connection::Through;
use super::tier::Tier;
use super::{Key, Shard, Socket};
use crate::time::Now;
use crate::topics::FrameParts;

impl<S: Socket> Shard<S> {
    /// Sends what a connection's pattern holds back of a topic, while the pattern still decides.
    pub(super) fn send_held_of(&mut self, key: Key, name: &TopicName, now: Now) {
        let connection = self.connections.get(key);
        if connection.is_none_or(|connection| connection.patterns().is_empty()) {
            return;
        }
        if let Some(local) = self.topics.id_of(name).and_then(|id| self.locals.find(id)) {
            self.send_held(key, local, now);
        }
    }

    /// Sends what is held back of a topic from a connection, before another of its subscriptions
    /// decides. Not left to the ring, which may have lost it by then.
    fn send_held(&mut self, key: Key, local: u32, now: Now) {
        let Some(topic) = self.locals.get(local).filter(|topic| topic.holds_any()) else { return };
        let connection = &self.connections[key];
        let Some((_, terms)) = connection.through(local, &topic.patterns) else { return };
        let is_behind = connection.behind().is_some_and(|behind| behind.get(local).is_some());
        let Some(held) = topic.held_from(key, terms.tier).filter(|_| !is_behind) else { return };
        // What waits for a connection stays bounded, however often it changes its mind.
        if connection.outbox_bytes() >= self.marks.high_bytes {
            let after = held.offset() - 1;
            return self.fall_behind(key, local, after, now);
        }
        let form = connection.form;
        let (frame, parts) = (held.frame(form).clone(), FrameParts::of(held, form));
        self.counters.of(form).count_messages(1, parts);
        self.queue_own(key, frame, now);
    }

    /// Keeps what tiers hold back from before a pattern was subscribed to from its subscriber.
    pub(super) fn skip_held(&mut self, key: Key, place: u32) {
        let connection = &self.connections[key];
        let held = self.locals.patterns[place as usize].topics.iter().filter_map(|local| {
            let topic = &self.locals.topics[*local as usize];
            let through = connection.through(*local, &topic.patterns);
            let is_new = through.is_some_and(|(through, _)| through == Through::Pattern(place));
            (is_new && topic.holds_any()).then_some((*local, topic.newest))
        });
        for (local, newest) in held.collect::<Vec<_>>() {
            self.locals.skip_up_to(local, key, newest);
        }
    }

    /// Sends all that tiers hold back from a connection, which is about to end.
    pub(super) fn send_all_held(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get(key) else { return };
        let named = connection.subscriptions.iter().filter(|one| one.terms.tier != Tier::FULL);
        let limited = connection.patterns().iter().filter(|one| one.terms.tier != Tier::FULL);
        let matching = limited.flat_map(|one| &self.locals.patterns[one.pattern as usize].topics);
        let locals: BTreeSet<u32> = named.map(|one| one.local).chain(matching.copied()).collect();
        for local in locals {
            self.send_held(key, local, now);
        }
    }

    /// Ends a subscription by name that another one of the connection may outlive.
    pub(super) fn end_subscription(&mut self, key: Key, at: usize, now: Now) {
        let connection = &self.connections[key];
        let local = connection.subscriptions[at].local;
        if connection.oldest_of(&self.locals.topics[local as usize].patterns).is_some() {
            self.send_held(key, local, now);
        }
        self.leave(key, at);
        self.take_over(key, local);
    }

    /// Ends a subscription by pattern that another one of the connection may outlive.
    pub(super) fn end_pattern(&mut self, key: Key, at: usize, now: Now) {
        let connection = &self.connections[key];
        let ended = connection.patterns()[at].pattern;
        let is_handed_over = |local: &u32| {
            let topic = &self.locals.topics[*local as usize];
            let through = connection.through(*local, &topic.patterns);
            let next = || connection.patterns().iter().filter(|one| one.pattern != ended);
            topic.holds_any()
                && through.is_some_and(|(through, _)| through == Through::Pattern(ended))
                && next().any(|one| topic.patterns.contains(&one.pattern))
        };
        let topics = self.locals.patterns[ended as usize].topics.iter().copied();
        let held: Vec<u32> = topics.filter(is_handed_over).collect();
        for &local in &held {
            self.send_held(key, local, now);
        }
        self.leave_pattern(key, at);
        for local in held {
            self.take_over(key, local);
        }
    }

    /// Another subscription goes on with a topic of which the connection has, or is owed, all that
    /// the one before was to give it: what this one's tier holds back is not sent again.
    fn take_over(&mut self, key: Key, local: u32) {
        let Some(topic) = self.locals.get(local).filter(|topic| topic.holds_any()) else { return };
        let connection = &self.connections[key];
        let is_behind = connection.behind().is_some_and(|behind| behind.get(local).is_some());
        if !is_behind && connection.through(local, &topic.patterns).is_some() {
            let newest = topic.newest;
            self.locals.skip_up_to(local, key, newest);
        }
    }
}
