//! A subscription to a pattern of topics: how far it has come in each topic that it has seen.

use std::collections::HashMap;
use std::sync::Arc;

use fanfare_protocol::{
    Gap as GapEvent, MessagePush, Mode, PatternSubscribed, Position, SnapshotEnd, Subscribe,
    TopicName, TopicPattern,
};

use crate::audience::{Audience, Wire};
use crate::backlog::Backlog;
use crate::options::SubscribeOptions;
use crate::update::{Gap, Message, Missed, Snapshot, Update};

/// Topics whose offsets are remembered. Where topics come and go without end, forgetting all of
/// them now and then costs nothing but the check between two messages of each.
const TOPICS_MAX: usize = 1 << 16;

/// A pattern that at least one subscription of the application names.
#[derive(Debug)]
pub(crate) struct PatternRoute {
    pub(crate) audience: Audience,
    pattern: TopicPattern,
    /// As the broker says, once it has.
    mode: Mode,
    /// The offset of the last message of each topic on this connection.
    seen: HashMap<TopicName, u64>,
}

/// What else the client knows of the topic of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicFacts<'a> {
    /// The life of its sequence, if the client is subscribed to it by name: the broker keeps such
    /// a topic, so that its offsets only rise, and may send again what the subscription by name
    /// has missed.
    pub(crate) epoch: Option<&'a Arc<str>>,
    /// The mode of the subscription that decides what of the topic is sent.
    pub(crate) mode: Mode,
}

impl PatternRoute {
    pub(crate) fn new(pattern: TopicPattern, options: SubscribeOptions) -> Self {
        let mode = options.likely_mode();
        let audience = Audience::new(pattern.clone().into(), options);
        Self { audience, pattern, mode, seen: HashMap::new() }
    }

    /// In what mode it runs.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// When it became live, to be compared with others: an earlier pattern decides over a later
    /// one. `None` if it is not live or does not match.
    pub(crate) fn age(&self, topic: &TopicName) -> Option<u64> {
        match self.audience.wire {
            Wire::Live(id) if self.pattern.matches(topic) => Some(id),
            _ => None,
        }
    }

    /// The command that asks for it, the same each time: what a pattern missed is not recovered.
    pub(crate) fn subscribe_command(&self) -> Subscribe {
        let SubscribeOptions { mode, max_rate, snapshot, .. } = self.audience.options;
        Subscribe { mode, max_rate, snapshot, ..Subscribe::new(self.pattern.as_str()) }
    }

    /// The broker has begun the subscription. Those who had it before may have missed something.
    pub(crate) fn begin(&mut self, subscribed: PatternSubscribed, backlog: &mut Backlog) {
        self.mode = subscribed.mode;
        self.seen.clear();
        if self.mode == Mode::All {
            let filter = self.pattern.clone().into();
            let gap = Gap { filter, missed: Missed::Unknown, resumes_after: None };
            self.audience.hand_to_begun(&Update::Gap(gap), backlog);
        }
        self.audience.begin(None);
    }

    /// Passes a message of a topic that matches on. Where its place shows that something is
    /// missing before it, that becomes a gap.
    pub(crate) fn deliver(
        &mut self,
        topic: &TopicName,
        push: &MessagePush,
        facts: TopicFacts<'_>,
        backlog: &mut Backlog,
    ) {
        if let Some(&last) = self.seen.get(topic) {
            let before = push.offset.saturating_sub(1);
            let previous = push.prev.map_or(before, |prev| prev.min(before));
            if push.offset <= last && facts.epoch.is_some() {
                return;
            } else if push.offset <= last {
                self.tell_gap(topic, Missed::Unknown, None, backlog);
            } else if (self.mode, facts.mode) == (Mode::All, Mode::All) && previous > last {
                let missed = Missed::Offsets { from: last + 1, to: previous };
                self.tell_gap(topic, missed, None, backlog);
            }
        }
        self.see(topic, push.offset);
        let message = Message {
            topic: topic.clone(),
            epoch: facts.epoch.cloned(),
            offset: push.offset,
            prev: push.prev,
            payload: push.payload.clone(),
        };
        self.audience.hand_on(Update::Message(message), backlog);
    }

    /// The broker has told that messages of a topic that matches are missing.
    pub(crate) fn miss(&mut self, topic: &TopicName, gap: &GapEvent, backlog: &mut Backlog) {
        let last = self.seen.get(topic).copied().unwrap_or(0);
        if gap.to <= last {
            return;
        }
        let missed = Missed::Offsets { from: gap.from.max(last + 1), to: gap.to };
        let resumes_after = Position { epoch: gap.epoch.clone(), offset: gap.to };
        self.see(topic, gap.to);
        self.tell_gap(topic, missed, Some(resumes_after), backlog);
    }

    /// The broker has sent the newest message of every topic.
    pub(crate) fn end_snapshot(&self, end: &SnapshotEnd, backlog: &mut Backlog) {
        let SnapshotEnd { messages, later, .. } = *end;
        let snapshot = Snapshot { pattern: self.pattern.clone(), messages, later };
        self.audience.hand_on(Update::Snapshot(snapshot), backlog);
    }

    /// A topic's newest message is this one: what was seen beyond it was of another life.
    pub(crate) fn learn_head(&mut self, topic: &TopicName, head: u64) {
        if self.seen.get(topic).is_some_and(|last| *last > head) {
            self.seen.remove(topic);
        }
    }

    /// The name under which a topic is remembered, so that it need not be made again.
    pub(crate) fn known_name(&self, topic: &str) -> Option<&TopicName> {
        self.seen.get_key_value(topic).map(|(name, _)| name)
    }

    fn see(&mut self, topic: &TopicName, offset: u64) {
        if let Some(last) = self.seen.get_mut(topic) {
            *last = offset;
            return;
        }
        if self.seen.len() >= TOPICS_MAX {
            self.seen.clear();
        }
        self.seen.insert(topic.clone(), offset);
    }

    fn tell_gap(
        &self,
        topic: &TopicName,
        missed: Missed,
        resumes_after: Option<Position>,
        backlog: &mut Backlog,
    ) {
        let gap = Gap { filter: topic.clone().into(), missed, resumes_after };
        self.audience.hand_on(Update::Gap(gap), backlog);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_without_end_are_not_remembered_without_end() {
        let pattern = TopicPattern::new(">").unwrap();
        let mut route = PatternRoute::new(pattern, SubscribeOptions::new());
        for n in 0..3 * TOPICS_MAX {
            route.see(&TopicName::new(&n.to_string()).unwrap(), 1);
            assert!(route.seen.len() <= TOPICS_MAX);
        }
    }
}
