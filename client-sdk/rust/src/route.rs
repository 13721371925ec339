//! One topic of a client: its subscription on the wire, how far it has come, and the application's
//! subscriptions that share it. Decides what is new, what was seen before and what is missing.

use std::sync::Arc;

use fanfare_protocol::{
    ErrorReply, Gap as GapEvent, MessagePush, Mode, Position, Subscribe, Subscribed, TopicName,
};

use crate::backlog::Backlog;
use crate::error::Error;
use crate::request::Listener;
use crate::subscription::SubscribeOptions;
use crate::update::{Gap, Message, Missed, Update};

/// Where a topic's subscription stands on the present connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Not asked for yet.
    Wanted,
    /// Asked for in the command with this id. Messages that still come belong to an earlier
    /// subscription and are passed over.
    Asked(u64),
    /// Live.
    Live,
}

/// A topic that at least one subscription of the application listens to.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) wire: Wire,
    topic: TopicName,
    mode: Mode,
    /// How far it has come: everything up to here was handed on, told as a gap or not asked for.
    /// `None` only before the first subscription without `since` is live.
    last: Option<Place>,
    listeners: Vec<Listener>,
}

/// As [`Position`], but cheap to share with every message.
#[derive(Clone, Debug)]
struct Place {
    epoch: Arc<str>,
    offset: u64,
}

impl Place {
    fn position(&self) -> Position {
        Position { epoch: self.epoch.to_string(), offset: self.offset }
    }
}

impl From<&Position> for Place {
    fn from(position: &Position) -> Self {
        Self { epoch: Arc::from(position.epoch.as_str()), offset: position.offset }
    }
}

impl Route {
    pub(crate) fn new(topic: TopicName, options: &SubscribeOptions) -> Self {
        let last = options.since.as_ref().map(Place::from);
        Self { wire: Wire::Wanted, topic, mode: options.mode, last, listeners: Vec::new() }
    }

    /// Whether a further subscription with these options can share this one.
    pub(crate) fn admits(&self, options: &SubscribeOptions) -> bool {
        options.since.is_none() && options.mode == self.mode
    }

    /// In what mode it runs.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Adds a subscription of the application, which begins at once if the topic is live.
    pub(crate) fn join(&mut self, mut listener: Listener) {
        if let (Wire::Live, Some(last)) = (self.wire, &self.last) {
            listener.begin(&last.position());
        }
        self.listeners.push(listener);
    }

    /// Removes a subscription of the application; true if it was the last.
    pub(crate) fn leave(&mut self, number: u64) -> bool {
        self.listeners.retain(|listener| listener.number != number);
        self.listeners.is_empty()
    }

    /// The command that asks for everything after what there is already.
    pub(crate) fn subscribe_command(&self) -> Subscribe {
        let since = self.last.as_ref().map(Place::position);
        SubscribeOptions { mode: self.mode, since }.command(&self.topic)
    }

    /// The broker has begun the subscription. What could not be recovered becomes a gap.
    pub(crate) fn begin(&mut self, subscribed: &Subscribed, backlog: &mut Backlog) {
        self.wire = Wire::Live;
        let epoch = Arc::from(subscribed.epoch.as_str());
        let start = match self.mode {
            Mode::All => Place { epoch, offset: subscribed.offset },
            // The newest message itself follows.
            Mode::Latest => Place { epoch, offset: subscribed.offset.saturating_sub(1) },
        };
        let last = self.last.get_or_insert_with(|| start.clone());
        let position = last.position();
        let missed = missed_at_begin(self.mode, last, subscribed);
        self.listeners.iter_mut().for_each(|listener| listener.begin(&position));
        if let Some(missed) = missed {
            self.pass_over(missed, start, backlog);
        }
    }

    /// The broker has refused the subscription. Those who wait for its begin hear it. Those who
    /// had it on an earlier connection keep waiting if it may succeed later, and end if not.
    /// True if nobody is left.
    pub(crate) fn refuse(&mut self, error: &ErrorReply) -> bool {
        self.wire = Wire::Wanted;
        let keeps_waiting = |listener: &Listener| error.retry && listener.begun.is_none();
        let (kept, refused): (Vec<_>, Vec<_>) = self.listeners.drain(..).partition(keeps_waiting);
        self.listeners = kept;
        refused.into_iter().for_each(|listener| listener.end(Error::Refused(error.clone())));
        self.listeners.is_empty()
    }

    /// Passes a message on to every subscription of the application, unless it has been already. In
    /// mode `all` what is missing before it becomes a gap; in mode `latest` offsets may skip.
    pub(crate) fn deliver(&mut self, push: MessagePush, backlog: &mut Backlog) {
        let Some(last) = self.live_at().filter(|last| last.offset < push.offset) else {
            return;
        };
        let before = push.offset - 1;
        let previous = push.prev.map_or(before, |prev| prev.min(before));
        let here = Place { epoch: last.epoch.clone(), offset: push.offset };
        if self.mode == Mode::All && previous > last.offset {
            let missed = Missed::Offsets { from: last.offset + 1, to: previous };
            self.pass_over(missed, Place { offset: previous, ..here.clone() }, backlog);
        }
        let message = Message {
            topic: self.topic.clone(),
            epoch: here.epoch.clone(),
            offset: push.offset,
            prev: push.prev,
            payload: push.payload,
        };
        self.last = Some(here);
        self.hand_on(Update::Message(message), backlog);
    }

    /// The broker has told that messages are missing.
    pub(crate) fn miss(&mut self, gap: &GapEvent, backlog: &mut Backlog) {
        let Some(last) = self.live_at() else {
            return;
        };
        let missed = if *last.epoch != *gap.epoch {
            Missed::Unknown
        } else if gap.to > last.offset {
            Missed::Offsets { from: last.offset + 1, to: gap.to }
        } else {
            return;
        };
        let behind = Place { epoch: Arc::from(gap.epoch.as_str()), offset: gap.to };
        self.pass_over(missed, behind, backlog);
    }

    /// Ends every subscription of the application.
    pub(crate) fn end(self, error: &Error) {
        self.listeners.into_iter().for_each(|listener| listener.end(error.clone()));
    }

    fn live_at(&self) -> Option<&Place> {
        self.last.as_ref().filter(|_| self.wire == Wire::Live)
    }

    fn pass_over(&mut self, missed: Missed, behind: Place, backlog: &mut Backlog) {
        let (topic, resumes_after) = (self.topic.clone(), behind.position());
        self.last = Some(behind);
        self.hand_on(Update::Gap(Gap { topic, missed, resumes_after }), backlog);
    }

    fn hand_on(&self, update: Update, backlog: &mut Backlog) {
        if let Some((last, others)) = self.listeners.split_last() {
            others.iter().for_each(|other| backlog.deliver(&other.updates, update.clone()));
            backlog.deliver(&last.updates, update);
        }
    }
}

/// What is lost between `last` and the begin of the subscription that the broker confirms.
fn missed_at_begin(mode: Mode, last: &Place, subscribed: &Subscribed) -> Option<Missed> {
    if *last.epoch != *subscribed.epoch || last.offset > subscribed.offset {
        return Some(Missed::Unknown);
    }
    let complete = subscribed.recovered || mode == Mode::Latest || last.offset == subscribed.offset;
    (!complete).then(|| Missed::Offsets { from: last.offset + 1, to: subscribed.offset })
}
