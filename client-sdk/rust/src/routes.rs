//! All subscriptions of a client, and which of them a message belongs to.

use std::collections::HashMap;
use std::sync::Arc;

use fanfare_protocol::{
    Filter, Gap as GapEvent, MessagePush, Mode, PatternSubscribed, Ping, PresenceChange,
    SnapshotEnd, Subscribe, Subscribed, TopicName, TopicPattern,
};

use crate::audience::{Audience, Wire};
use crate::backlog::Backlog;
use crate::error::Error;
use crate::options::SubscribeOptions;
use crate::pattern_route::{PatternRoute, TopicFacts};
use crate::request::Listener;
use crate::route::Route;

/// The subscriptions by name and by pattern.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    topics: HashMap<TopicName, Route>,
    /// In the order in which they were first asked for, and are asked for again.
    patterns: Vec<(TopicPattern, PatternRoute)>,
}

impl Routes {
    /// Adds a subscription of the application; it begins at once if its filter is live already.
    /// One that wants something else than the running one is refused.
    pub(crate) fn join(
        &mut self,
        filter: &Filter,
        options: SubscribeOptions,
        mut listener: Listener,
    ) {
        let running = self.audience(filter);
        if running.is_some_and(|(audience, mode)| !audience.admits(&options, mode)) {
            return listener.end(Error::SubscribedOtherwise { filter: filter.clone() });
        }
        let (audience, position) = match filter {
            Filter::Topic(topic) => {
                let new = || Route::new(topic.clone(), options);
                let route = self.topics.entry(topic.clone()).or_insert_with(new);
                let position = route.position();
                (&mut route.audience, position)
            }
            Filter::Pattern(pattern) => (&mut self.pattern_or_new(pattern, options).audience, None),
        };
        if audience.is_live() {
            listener.begin(position.as_ref());
        }
        audience.join(listener);
    }

    /// The subscription to `filter` and its mode.
    pub(crate) fn audience(&self, filter: &Filter) -> Option<(&Audience, Mode)> {
        match filter {
            Filter::Topic(topic) => {
                self.topics.get(topic).map(|route| (&route.audience, route.mode()))
            }
            Filter::Pattern(pattern) => {
                self.pattern(pattern).map(|route| (&route.audience, route.mode()))
            }
        }
    }

    pub(crate) fn audience_mut(&mut self, filter: &Filter) -> Option<&mut Audience> {
        match filter {
            Filter::Topic(topic) => self.topics.get_mut(topic).map(|route| &mut route.audience),
            Filter::Pattern(pattern) => self.pattern_mut(pattern).map(|route| &mut route.audience),
        }
    }

    fn pattern_mut(&mut self, pattern: &TopicPattern) -> Option<&mut PatternRoute> {
        self.patterns.iter_mut().find(|(one, _)| one == pattern).map(|(_, route)| route)
    }

    /// Forgets the subscription to `filter`.
    pub(crate) fn remove(&mut self, filter: &Filter) {
        match filter {
            Filter::Topic(topic) => drop(self.topics.remove(topic)),
            Filter::Pattern(pattern) => self.patterns.retain(|(one, _)| one != pattern),
        }
    }

    /// The command that asks for `filter`.
    pub(crate) fn subscribe_command(&self, filter: &Filter) -> Option<Subscribe> {
        match filter {
            Filter::Topic(topic) => self.topics.get(topic).map(Route::subscribe_command),
            Filter::Pattern(pattern) => self.pattern(pattern).map(PatternRoute::subscribe_command),
        }
    }

    /// What is not on the wire and should be. Topics come first: the broker lets them decide over
    /// patterns that match them as well.
    pub(crate) fn wanted(&self) -> Vec<Filter> {
        let topics = self.topics.values().map(|route| &route.audience);
        let patterns = self.patterns.iter().map(|(_, route)| &route.audience);
        let wanted = topics.chain(patterns).filter(|audience| audience.wire == Wire::Wanted);
        wanted.map(|audience| audience.filter.clone()).collect()
    }

    /// The connection is gone, and every subscription must be made again.
    pub(crate) fn want_all(&mut self) {
        self.topics.values_mut().for_each(|route| route.audience.wire = Wire::Wanted);
        self.patterns.iter_mut().for_each(|(_, route)| route.audience.wire = Wire::Wanted);
    }

    /// Ends every subscription of the application.
    pub(crate) fn end(&mut self, error: &Error) {
        self.topics.drain().for_each(|(_, route)| route.audience.end(error));
        self.patterns.drain(..).for_each(|(_, route)| route.audience.end(error));
    }

    /// The broker has begun a subscription by name.
    pub(crate) fn begin(
        &mut self,
        topic: &TopicName,
        subscribed: &Subscribed,
        backlog: &mut Backlog,
    ) {
        let patterns = self.patterns.iter_mut().map(|(_, route)| route);
        patterns.for_each(|route| route.learn_head(topic, subscribed.offset));
        if let Some(route) = self.topics.get_mut(topic) {
            route.begin(subscribed, backlog);
        }
    }

    /// The broker has begun a subscription by pattern.
    pub(crate) fn begin_pattern(
        &mut self,
        pattern: &TopicPattern,
        subscribed: PatternSubscribed,
        backlog: &mut Backlog,
    ) {
        if let Some(route) = self.pattern_mut(pattern) {
            route.begin(subscribed, backlog);
        }
    }

    /// Passes a message on to every subscription that matches.
    pub(crate) fn deliver(&mut self, push: &MessagePush, backlog: &mut Backlog) {
        if let Some(route) = self.topics.get_mut(push.topic.as_str()) {
            route.deliver(push, backlog);
        }
        let Some((topic, decider)) = self.matching_patterns(&push.topic) else { return };
        let named = self.topics.get(&topic).filter(|route| route.audience.is_live());
        let facts = TopicFacts {
            epoch: named.and_then(Route::epoch),
            mode: named.map_or(decider, Route::mode),
        };
        let live = self.patterns.iter_mut().filter(|(_, route)| route.age(&topic).is_some());
        live.for_each(|(_, route)| route.deliver(&topic, push, facts, backlog));
    }

    /// Passes on that messages are missing.
    pub(crate) fn miss(&mut self, gap: &GapEvent, backlog: &mut Backlog) {
        if let Some(route) = self.topics.get_mut(gap.topic.as_str()) {
            route.miss(gap, backlog);
        }
        let Some((topic, _)) = self.matching_patterns(&gap.topic) else { return };
        let live = self.patterns.iter_mut().filter(|(_, route)| route.age(&topic).is_some());
        live.for_each(|(_, route)| route.miss(&topic, gap, backlog));
    }

    /// Passes on that the snapshot of a pattern is complete.
    pub(crate) fn end_snapshot(&mut self, end: &SnapshotEnd, backlog: &mut Backlog) {
        let Ok(pattern) = TopicPattern::new(&end.topic) else { return };
        if let Some(route) = self.pattern_mut(&pattern) {
            route.end_snapshot(end, backlog);
        }
    }

    /// A topic has come into being after it was subscribed to.
    pub(crate) fn bear(&mut self, topic: &str, epoch: &Arc<str>) {
        if let Some(route) = self.topics.get_mut(topic) {
            route.bear(epoch);
        }
    }

    /// Passes on who came to a topic and who left.
    pub(crate) fn tell_presence(&mut self, change: PresenceChange, backlog: &mut Backlog) {
        if let Some(route) = self.topics.get_mut(change.topic.as_str()) {
            route.tell_presence(change, backlog);
        }
    }

    /// The topics of which something is lost on the way, as the broker's heads tell.
    pub(crate) fn short_of(&self, ping: &Ping) -> Vec<TopicName> {
        let heads = ping.heads.iter();
        let routes = heads.filter_map(|(topic, head)| {
            let (topic, route) = self.topics.get_key_value(topic.as_str())?;
            route.is_short_of(*head).then(|| topic.clone())
        });
        routes.collect()
    }

    /// The topic's name and the mode of the oldest live pattern that matches, if one does.
    fn matching_patterns(&self, topic: &str) -> Option<(TopicName, Mode)> {
        if self.patterns.is_empty() {
            return None;
        }
        let known = self.patterns.iter().find_map(|(_, route)| route.known_name(topic)).cloned();
        let topic = known.or_else(|| TopicName::new(topic).ok())?;
        let live = self.patterns.iter().filter_map(|(_, route)| Some((route.age(&topic)?, route)));
        let (_, oldest) = live.min_by_key(|(age, _)| *age)?;
        Some((topic, oldest.mode()))
    }

    fn pattern(&self, pattern: &TopicPattern) -> Option<&PatternRoute> {
        self.patterns.iter().find(|(one, _)| one == pattern).map(|(_, route)| route)
    }

    fn pattern_or_new(
        &mut self,
        pattern: &TopicPattern,
        options: SubscribeOptions,
    ) -> &mut PatternRoute {
        let place = self.patterns.iter().position(|(one, _)| one == pattern);
        let place = place.unwrap_or_else(|| {
            let route = PatternRoute::new(pattern.clone(), options);
            self.patterns.push((pattern.clone(), route));
            self.patterns.len() - 1
        });
        &mut self.patterns[place].1
    }
}
