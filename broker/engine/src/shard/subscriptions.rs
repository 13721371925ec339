//! Starting and ending subscriptions of connections, in the shard's lists and in the table.

use fanfare_protocol::{
    CloseCode, Mode, PatternSubscribed, Position, Subscribed, TopicName, TopicPattern,
};

use super::connection::{PatternSubscription, StreamOptions, Subscription, Terms};
use super::snapshot::Snapshot;
use super::tier::Tier;
use super::{Key, Shard, Socket};
use crate::fault::{Fault, planted};
use crate::namespace::{NamespaceOptions, SlowConsumer};
use crate::time::Now;
use crate::topics::{Join, JoinError};

/// What a subscription asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wishes<'a> {
    pub(super) since: Option<&'a Position>,
    pub(super) options: StreamOptions,
    pub(super) listens: bool,
}

impl Wishes<'_> {
    fn terms(&self, namespace: &NamespaceOptions) -> Terms {
        let tier = Tier::within(self.options.max_rate);
        let mode = match self.options.mode {
            Some(mode) => mode,
            None if tier != Tier::FULL => Mode::Latest,
            None => namespace.mode,
        };
        Terms { mode, tier, disconnects: namespace.slow_consumer == SlowConsumer::Disconnect }
    }

    /// Whether the newest message is wanted at once.
    fn wants_newest(&self, terms: Terms, namespace: &NamespaceOptions) -> bool {
        self.options.snapshot.unwrap_or(terms.mode == Mode::Latest || namespace.latest)
    }
}

impl<S: Socket> Shard<S> {
    /// Subscribes a connection by name; what is owed of the past is noted, to be sent behind the
    /// reply.
    pub(super) fn join(
        &mut self,
        key: Key,
        name: &TopicName,
        wishes: Wishes<'_>,
        now: Now,
    ) -> Result<Subscribed, JoinError> {
        self.send_held_of(key, name, now);
        let connection = self.connections.get(key);
        let member = connection.map_or((0, None), |connection| {
            (connection.serial, connection.extras().and_then(|extras| extras.name.clone()))
        });
        let Wishes { since, listens, .. } = wishes;
        let joined = self.topics.join(name, &Join { shard: self.index, since, member, listens })?;
        let options = joined.topic.options.clone();
        let terms = wishes.terms(&options);
        let head = joined.head;
        let recovered = joined.can_recover;
        let snapshot = !recovered && joined.has_newest && wishes.wants_newest(terms, &options);
        let subscribed = Subscribed {
            epoch: joined.topic.epoch().to_string(),
            offset: head,
            recovered,
            snapshot,
            mode: terms.mode,
        };
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok(subscribed);
        };
        let local = self.locals.locate(&joined.topic);
        let topic = &mut self.locals.topics[local as usize];
        // Through a pattern the connection gets the topic already, older mail included.
        let is_new = connection.through(local, &topic.patterns).is_none();
        topic.listeners += u32::from(listens);
        // Who is owed the topic through a pattern is listed when that is done.
        let is_behind = connection.behind().is_some_and(|behind| behind.get(local).is_some());
        let position = (!is_behind).then(|| topic.named.add(terms.tier, connection.form, key));
        let at = connection.subscriptions.partition_point(|s| s.local < local);
        connection.subscriptions.insert(at, Subscription { local, position, terms, listens });
        self.counters.subscriptions.add(1);
        let has_older = topic.holds_any() || (is_new && joined.has_older_mail);
        if has_older && !planted(Fault::ForgetMailAtJoin) {
            let has = if is_new { head } else { topic.newest };
            self.locals.skip_up_to(local, key, has);
        }
        let newest = head.saturating_sub(u64::from(snapshot));
        let owed_after = since.filter(|_| recovered).map_or(newest, |since| since.offset);
        if owed_after < head {
            let is_owed = self.connections[key].behind().and_then(|b| b.get(local));
            self.fall_behind(key, local, owed_after.min(is_owed.unwrap_or(owed_after)), now);
        }
        Ok(subscribed)
    }

    /// Subscribes a connection by pattern. A snapshot, if it is wanted, is to be sent behind the
    /// reply with [`Self::send_snapshot`], before anything else happens to the shard.
    pub(super) fn join_pattern(
        &mut self,
        key: Key,
        pattern: &TopicPattern,
        wishes: Wishes<'_>,
        now: Now,
    ) -> Result<(PatternSubscribed, Option<Snapshot>), JoinError> {
        let options = self.topics.live_limits().namespaces.of(pattern.as_str()).clone();
        let terms = wishes.terms(&options);
        let wants_newest = wishes.wants_newest(terms, &options);
        let searches = wants_newest || terms.tier != Tier::FULL;
        self.admit_pattern(key, pattern, searches, now)?;
        // What has come since the command began.
        self.drain_mailbox(usize::MAX, now);
        let place = match self.locals.find_pattern(pattern) {
            Some(place) => place,
            None => {
                let matching = self.topics.watch(pattern, self.index)?;
                self.locals.add_pattern(pattern, &matching)
            }
        };
        let snapshot = wants_newest.then(|| self.take_snapshot(key, place, now));
        let entry = &mut self.locals.patterns[place as usize];
        let subscribed = PatternSubscribed { topics: entry.topics.len() as u64, mode: terms.mode };
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok((subscribed, None));
        };
        let position = entry.lists.add(terms.tier, connection.form, key);
        let subscription = PatternSubscription { pattern: place, position, terms };
        connection.extras_mut().patterns.push(subscription);
        self.counters.subscriptions.add(1);
        if wants_newest || terms.tier != Tier::FULL {
            self.skip_held(key, place);
        }
        Ok((subscribed, snapshot))
    }

    /// Whether a connection may subscribe to one more pattern, and have that many topics looked
    /// through for it.
    fn admit_pattern(
        &mut self,
        key: Key,
        pattern: &TopicPattern,
        searches: bool,
        now: Now,
    ) -> Result<(), JoinError> {
        let searched = match self.locals.find_pattern(pattern) {
            None => self.topics.topic_count(),
            Some(place) if searches => self.locals.patterns[place as usize].topics.len(),
            Some(_) => 0,
        };
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        let most = self.limits.patterns_per_connection_max;
        if connection.patterns().len() >= most {
            return Err(JoinError::PatternsOfConnection(most));
        }
        let most = self.limits.pattern_topics_per_second_max;
        // The first search of a second is always allowed, or a large node would have no patterns.
        let in_second = connection.extras_mut().searched.add(searched as u32, now) as usize;
        if in_second > most.max(searched) {
            return Err(JoinError::TooMuchSearched(most));
        }
        Ok(())
    }

    /// Starts a raw stream. It has no words for what it cannot recover, so it is closed then.
    pub(super) fn open_raw(
        &mut self,
        key: Key,
        topic: &TopicName,
        wishes: Wishes<'_>,
        head: &[u8],
        now: Now,
    ) {
        let joined = self.join(key, topic, wishes, now);
        if !self.write_head(key, head) {
            return;
        }
        let since = wishes.since;
        match joined {
            Err(error) => self.close(key, CloseCode::TRY_AGAIN_LATER, &error.to_string(), now),
            Ok(joined) if since.is_some() && joined.mode == Mode::All && !joined.recovered => {
                let reason = format!(
                    "the position cannot be recovered; come back without since, now at {}:{}",
                    joined.epoch, joined.offset
                );
                self.close(key, CloseCode::NOT_RECOVERABLE, &reason, now);
            }
            Ok(_) => self.flush_outbox(key, now),
        }
    }

    /// Owes a subscriber of `local` everything after this offset.
    pub(super) fn fall_behind(&mut self, key: Key, local: u32, after: u64, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.fall_behind(local, after, now)
            && let Some(topic) = self.locals.get_mut(local)
        {
            topic.behind += 1;
            self.counters.subscriptions_behind.add(1);
            self.unlist(key, local);
        }
    }

    /// Owes a subscriber of `local` nothing more.
    pub(super) fn forget_behind(&mut self, key: Key, local: u32) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !connection.forget_behind(local) {
            return;
        }
        let Some(topic) = self.locals.get_mut(local) else { return };
        topic.behind -= 1;
        self.counters.subscriptions_behind.sub(1);
        if let Some(at) = connection.subscription(local) {
            let form = connection.form;
            let subscription = &mut connection.subscriptions[at];
            subscription.position = Some(topic.named.add(subscription.terms.tier, form, key));
        }
    }

    /// Takes a connection out of the list of a topic that it subscribes to by name.
    pub(super) fn unlist(&mut self, key: Key, local: u32) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(at) = connection.subscription(local) else { return };
        let form = connection.form;
        let subscription = &mut connection.subscriptions[at];
        let (Some(position), tier) = (subscription.position.take(), subscription.terms.tier) else {
            return;
        };
        let moved = self.locals.topics[local as usize].named.remove(tier, form, position);
        if let Some(moved) = moved.and_then(|moved| self.connections.get_mut(moved))
            && let Some(at) = moved.subscription(local)
            && !planted(Fault::ForgetWhoMoved)
        {
            moved.subscriptions[at].position = Some(position);
        }
    }

    /// Ends one subscription by name of a connection.
    pub(super) fn leave(&mut self, key: Key, at: usize) {
        let Some(connection) = self.connections.get(key) else { return };
        let (serial, local) = (connection.serial, connection.subscriptions[at].local);
        self.unlist(key, local);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Subscription { listens, .. } = connection.subscriptions.remove(at);
        let local_topic = &mut self.locals.topics[local as usize];
        local_topic.listeners -= u32::from(listens);
        let topic = local_topic.topic.clone();
        if connection.through(local, &local_topic.patterns).is_none() {
            self.forget_behind(key, local);
        }
        self.locals.remove_if_unused(local);
        self.topics.leave(&topic, self.index, serial, listens);
        self.counters.subscriptions.sub(1);
    }

    /// Ends one subscription by pattern of a connection.
    pub(super) fn leave_pattern(&mut self, key: Key, at: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let ended = connection.extras_mut().patterns.remove(at);
        let form = connection.form;
        let lists = &mut self.locals.patterns[ended.pattern as usize].lists;
        let moved = lists.remove(ended.terms.tier, form, ended.position);
        let is_last = lists.is_empty();
        let owed: Vec<u32> = connection.behind().into_iter().flat_map(|b| b.topics()).collect();
        if let Some(moved) = moved.and_then(|moved| self.connections.get_mut(moved)) {
            let mut patterns = moved.extras_mut().patterns.iter_mut();
            if let Some(one) = patterns.find(|one| one.pattern == ended.pattern) {
                one.position = ended.position;
            }
        }
        for local in owed {
            let patterns = &self.locals.topics[local as usize].patterns;
            if self.connections[key].through(local, patterns).is_none() {
                self.forget_behind(key, local);
            }
        }
        if is_last {
            let (pattern, unmatched) = self.locals.remove_pattern(ended.pattern);
            self.topics.unwatch(&pattern, self.index, unmatched.iter());
        }
        self.counters.subscriptions.sub(1);
    }

    pub(super) fn leave_all(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        for local in connection.take_behind().iter().flat_map(|behind| behind.topics()) {
            self.locals.topics[local as usize].behind -= 1;
            self.counters.subscriptions_behind.sub(1);
        }
        while let Some(last) = self.last_subscription(key) {
            self.leave(key, last);
        }
        while let Some(last) = self.last_pattern(key) {
            self.leave_pattern(key, last);
        }
    }

    fn last_subscription(&self, key: Key) -> Option<usize> {
        self.connections.get(key)?.subscriptions.len().checked_sub(1)
    }

    fn last_pattern(&self, key: Key) -> Option<usize> {
        self.connections.get(key)?.patterns().len().checked_sub(1)
    }
}
