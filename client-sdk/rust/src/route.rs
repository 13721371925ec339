//! One topic of a client: its subscription on the wire and the application's subscriptions that
//! share it.

use std::sync::Arc;

use fanfare_protocol::{ErrorReply, MessagePush, Position, Subscribed, TopicName};

use crate::backlog::Backlog;
use crate::error::Error;
use crate::request::Listener;
use crate::subscription::Message;

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
    epoch: Arc<str>,
    offset: u64,
    listeners: Vec<Listener>,
}

impl Route {
    pub(crate) fn new(topic: TopicName) -> Self {
        let epoch = Arc::from("");
        Self { wire: Wire::Wanted, topic, epoch, offset: 0, listeners: Vec::new() }
    }

    /// Adds a subscription of the application, which begins at once if the topic is live.
    pub(crate) fn join(&mut self, mut listener: Listener) {
        if self.wire == Wire::Live {
            listener.begin(&self.position());
        }
        self.listeners.push(listener);
    }

    /// Removes a subscription of the application; true if it was the last.
    pub(crate) fn leave(&mut self, number: u64) -> bool {
        self.listeners.retain(|listener| listener.number != number);
        self.listeners.is_empty()
    }

    /// The broker has begun the subscription.
    pub(crate) fn begin(&mut self, subscribed: &Subscribed) {
        self.wire = Wire::Live;
        self.epoch = Arc::from(subscribed.epoch.as_str());
        self.offset = subscribed.offset;
        let position = self.position();
        self.listeners.iter_mut().for_each(|listener| listener.begin(&position));
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

    /// Passes a message on to every subscription of the application.
    pub(crate) fn deliver(&mut self, push: MessagePush, backlog: &mut Backlog) {
        if self.wire != Wire::Live {
            return;
        }
        self.offset = push.offset;
        let message = Message {
            topic: self.topic.clone(),
            epoch: self.epoch.clone(),
            offset: push.offset,
            prev: push.prev,
            payload: push.payload,
        };
        if let Some((last, others)) = self.listeners.split_last() {
            others.iter().for_each(|other| backlog.deliver(&other.messages, message.clone()));
            backlog.deliver(&last.messages, message);
        }
    }

    /// Ends every subscription of the application.
    pub(crate) fn end(self, error: &Error) {
        self.listeners.into_iter().for_each(|listener| listener.end(error.clone()));
    }

    fn position(&self) -> Position {
        Position { epoch: self.epoch.to_string(), offset: self.offset }
    }
}
