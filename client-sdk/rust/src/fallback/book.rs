//! Which subscription is carried by which request of a link, and how far each has come. Where
//! several requests carry the same topic it says whose messages count, so that each comes once.

use std::collections::HashMap;

use fanfare_protocol::{
    Filter, Gap, MessagePush, Mode, Position, ReplyBody, Subscribe, TopicName, TopicPattern,
};
use tokio::task::AbortHandle;

use super::groups::Asked;

/// Topics of patterns whose offsets are remembered, as long as several requests may carry them.
const TOPICS_MAX: usize = 1 << 16;

/// The subscriptions of a link.
#[derive(Debug, Default)]
pub(super) struct Book {
    topics: HashMap<String, Entry>,
    /// In the order in which they were asked for.
    patterns: Vec<(TopicPattern, Entry)>,
    carriers: HashMap<u64, Carrier>,
    /// The carrier and offset of the last message of topics that patterns match.
    last: HashMap<String, (u64, u64)>,
}

/// One subscription.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The command that asked for it.
    pub(super) id: u64,
    pub(super) subscribe: Subscribe,
    /// The request that carries it.
    carrier: u64,
    /// The request that will carry it, once it has come as far as the present one.
    next_carrier: Option<u64>,
    pub(super) has_begun: bool,
}

/// What it means that a request says a subscription is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// The command with this id is carried out.
    Now(u64),
    /// It was live before, and goes on where it was.
    Before,
    /// It was live before, and something is missing in between.
    Broken,
}

/// A request that carries topics by name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running<'a> {
    pub(super) number: u64,
    /// What was asked for one of its topics; the others are alike.
    pub(super) subscribe: &'a Subscribe,
    pub(super) topics: usize,
}

/// A request that carries subscriptions.
#[derive(Debug)]
struct Carrier {
    /// Those that were asked for, also where they have ended since.
    filters: Vec<String>,
    task: AbortHandle,
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Book {
    /// Notes that the request `number`, which `task` makes, carries these, and shall take over the
    /// topics `joined` from the requests that carry them now.
    pub(super) fn carry(
        &mut self,
        number: u64,
        task: AbortHandle,
        entries: Vec<Asked>,
        joined: &[Asked],
    ) {
        let filters = entries.iter().chain(joined).map(|(filter, _)| filter.to_string()).collect();
        for (topic, _) in joined {
            if let Some(entry) = self.topics.get_mut(topic.as_str()) {
                entry.next_carrier = Some(number);
            }
        }
        for (filter, entry) in entries {
            let entry = Entry { carrier: number, next_carrier: None, ..entry };
            self.remove(&filter.to_string());
            match filter {
                Filter::Topic(topic) => drop(self.topics.insert(topic.to_string(), entry)),
                Filter::Pattern(pattern) => self.patterns.push((pattern, entry)),
            }
        }
        self.carriers.insert(number, Carrier { filters, task });
    }

    /// Ends a request and gives back what it carried.
    pub(super) fn take_carrier(&mut self, number: u64) -> Vec<Asked> {
        let entries = self.topics.values_mut();
        let joining = entries.filter(|entry| entry.next_carrier == Some(number));
        joining.for_each(|entry| entry.next_carrier = None);
        let Some(carrier) = self.carriers.remove(&number) else { return Vec::new() };
        let carried = carrier.filters.iter().filter_map(|filter| {
            let filter = Filter::new(filter).ok()?;
            let entry = self.entry(&filter).filter(|entry| entry.carrier == number)?.clone();
            Some((filter, entry))
        });
        let carried: Vec<_> = carried.collect();
        carried.iter().for_each(|(filter, _)| drop(self.forget(&filter.to_string())));
        carried
    }

    /// The requests that carry topics by name.
    pub(super) fn carriers(&self) -> impl Iterator<Item = Running<'_>> {
        self.carriers.iter().filter_map(|(&number, carrier)| {
            let carried = carrier.filters.iter().filter_map(|filter| self.topics.get(filter));
            let mut carried = carried.filter(|entry| entry.carrier == number);
            let subscribe = &carried.next()?.subscribe;
            Some(Running { number, subscribe, topics: 1 + carried.count() })
        })
    }

    /// The topics that these requests carry and could hand over.
    pub(super) fn topics_of(&self, carriers: &[u64]) -> Vec<Asked> {
        let can_move = |entry: &&Entry| {
            carriers.contains(&entry.carrier) && entry.has_begun && entry.next_carrier.is_none()
        };
        let topics = self.topics.values().filter(can_move);
        let topics = topics
            .filter_map(|entry| Some((Filter::new(&entry.subscribe.topic).ok()?, entry.clone())));
        topics.collect()
    }

    /// Ends a subscription; its request ends with the last one that it carries.
    pub(super) fn remove(&mut self, filter: &str) -> Option<Entry> {
        let entry = self.forget(filter)?;
        self.drop_if_idle(entry.carrier);
        if let Some(next) = entry.next_carrier {
            self.drop_if_idle(next);
        }
        Some(entry)
    }

    /// Ends everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether every subscription has begun.
    pub(super) fn has_begun(&self) -> bool {
        let mut patterns = self.patterns.iter().map(|(_, entry)| entry);
        self.topics.values().all(|entry| entry.has_begun) && patterns.all(|entry| entry.has_begun)
    }

    pub(super) fn knows(&self, carrier: u64) -> bool {
        self.carriers.contains_key(&carrier)
    }

    /// A request says that a subscription is live. `None` if it is carried by another.
    pub(super) fn begin(&mut self, carrier: u64, filter: &str, body: &ReplyBody) -> Option<Begun> {
        let entry = self.entry_mut(filter)?;
        if entry.next_carrier == Some(carrier) {
            entry.next_carrier = None;
            let idle = match entry.goes_on(body) {
                true => std::mem::replace(&mut entry.carrier, carrier),
                false => carrier,
            };
            self.drop_if_idle(idle);
            return Some(Begun::Before);
        }
        if entry.carrier != carrier {
            return None;
        }
        if std::mem::replace(&mut entry.has_begun, true) {
            return Some(if entry.goes_on(body) { Begun::Before } else { Begun::Broken });
        }
        if let ReplyBody::Subscribe(subscribed) = body
            && !(subscribed.recovered && entry.subscribe.since.is_some())
        {
            let offset = subscribed.offset.saturating_sub(u64::from(subscribed.snapshot));
            let epoch = subscribed.epoch.clone();
            entry.subscribe.since = Some(Position { epoch, offset });
        }
        Some(Begun::Now(entry.id))
    }

    /// Whether some of the subscriptions that a request carries have not begun.
    pub(super) fn is_beginning(&self, carrier: u64) -> bool {
        let patterns = self.patterns.iter().map(|(_, entry)| entry);
        let mut carried =
            self.topics.values().chain(patterns).filter(|entry| entry.carrier == carrier);
        carried.any(|entry| !entry.has_begun)
    }

    /// Whether a message counts that a request has brought. A subscription by name decides over
    /// patterns, and an earlier pattern over a later one, as on a WebSocket.
    pub(super) fn accepts(&mut self, carrier: u64, message: &MessagePush) -> bool {
        let topic = message.topic.as_str();
        if let Some(entry) = self.topics.get_mut(topic).filter(|entry| entry.has_begun) {
            if entry.carrier != carrier {
                return false;
            }
            if let Some(since) = &mut entry.subscribe.since {
                since.offset = since.offset.max(message.offset);
            }
        } else if !self.knows(carrier) || self.decider(topic).is_some_and(|one| one != carrier) {
            return false;
        }
        self.patterns.is_empty() || self.carriers.len() < 2 || self.is_new(carrier, message)
    }

    /// A gap moves its topic on.
    pub(super) fn miss(&mut self, carrier: u64, gap: &Gap) -> bool {
        let Some(entry) = self.topics.get_mut(&gap.topic).filter(|entry| entry.has_begun) else {
            return self.knows(carrier)
                && self.decider(&gap.topic).is_none_or(|decider| decider == carrier);
        };
        if entry.carrier == carrier {
            let (epoch, offset) = (gap.epoch.clone(), gap.to);
            entry.subscribe.since = Some(Position { epoch, offset });
        }
        entry.carrier == carrier
    }

    /// A topic has come into being.
    pub(super) fn bear(&mut self, carrier: u64, topic: &str, epoch: &str) -> bool {
        match self.topics.get_mut(topic).filter(|entry| entry.carrier == carrier) {
            Some(entry) => {
                let epoch = epoch.to_owned();
                entry.subscribe.since = Some(Position { epoch, offset: 0 });
                true
            }
            None => false,
        }
    }

    /// The request whose pattern decides over a topic that nobody names.
    fn decider(&self, topic: &str) -> Option<u64> {
        if self.carriers.len() < 2 || self.patterns.is_empty() {
            return None;
        }
        let topic = TopicName::new(topic).ok()?;
        let live = self.patterns.iter().filter(|(_, entry)| entry.has_begun);
        let mut matching = live.filter(|(pattern, _)| pattern.matches(&topic));
        matching.next().map(|(_, entry)| entry.carrier)
    }

    /// Whether a message has not come already through another request that decided before.
    fn is_new(&mut self, carrier: u64, message: &MessagePush) -> bool {
        match self.last.get_mut(&message.topic) {
            Some((last, offset)) if *last != carrier && message.offset <= *offset => false,
            Some(last) => {
                *last = (carrier, message.offset);
                true
            }
            None => {
                if self.last.len() >= TOPICS_MAX {
                    self.last.clear();
                }
                self.last.insert(message.topic.clone(), (carrier, message.offset));
                true
            }
        }
    }

    fn entry(&self, filter: &Filter) -> Option<&Entry> {
        match filter {
            Filter::Topic(topic) => self.topics.get(topic.as_str()),
            Filter::Pattern(pattern) => {
                let mut patterns = self.patterns.iter();
                patterns.find(|(one, _)| one == pattern).map(|(_, entry)| entry)
            }
        }
    }

    fn entry_mut(&mut self, filter: &str) -> Option<&mut Entry> {
        let mut patterns = self.patterns.iter_mut();
        match patterns.find(|(pattern, _)| pattern.as_str() == filter) {
            Some((_, entry)) => Some(entry),
            None => self.topics.get_mut(filter),
        }
    }

    fn forget(&mut self, filter: &str) -> Option<Entry> {
        match self.patterns.iter().position(|(pattern, _)| pattern.as_str() == filter) {
            Some(place) => Some(self.patterns.remove(place).1),
            None => self.topics.remove(filter),
        }
    }

    /// Ends a request that carries nothing any more.
    fn drop_if_idle(&mut self, carrier: u64) {
        let patterns = self.patterns.iter().map(|(_, entry)| entry);
        let mut entries = self.topics.values().chain(patterns);
        let uses = |entry: &Entry| entry.carrier == carrier || entry.next_carrier == Some(carrier);
        if !entries.any(uses) {
            self.carriers.remove(&carrier);
        }
    }
}

impl Entry {
    pub(super) fn new(id: u64, subscribe: Subscribe) -> Self {
        Self { id, subscribe, carrier: 0, next_carrier: None, has_begun: false }
    }

    /// Whether nothing is missing between where it is and where another request begins.
    fn goes_on(&self, body: &ReplyBody) -> bool {
        let ReplyBody::Subscribe(subscribed) = body else { return false };
        let since = self.subscribe.since.as_ref();
        let is_same_life = since.is_some_and(|since| since.epoch == subscribed.epoch);
        let is_at_head = since.is_some_and(|since| since.offset == subscribed.offset);
        subscribed.recovered || is_same_life && (is_at_head || subscribed.mode == Mode::Latest)
    }

    /// The mode, as far as the client knows it.
    pub(super) fn mode(&self) -> Mode {
        likely_mode(&self.subscribe)
    }
}

/// The mode of a subscription if the namespace has none of its own.
pub(super) fn likely_mode(subscribe: &Subscribe) -> Mode {
    let implied = if subscribe.max_rate.is_some() { Mode::Latest } else { Mode::All };
    subscribe.mode.unwrap_or(implied)
}
