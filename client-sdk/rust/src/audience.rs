//! The application's subscriptions that share one subscription on the wire.

use fanfare_protocol::{ErrorReply, Filter, Mode, Position};

use crate::backlog::Backlog;
use crate::error::Error;
use crate::options::SubscribeOptions;
use crate::request::Listener;
use crate::update::Update;

/// Where a subscription stands on the present connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Not asked for yet.
    Wanted,
    /// Asked for in the command with this id. Messages that still come belong to an earlier
    /// subscription and are passed over.
    Asked(u64),
    /// Live, as the answer to the command with this id.
    Live(u64),
}

/// Those who listen to one filter, at least one of them.
#[derive(Debug)]
pub(crate) struct Audience {
    pub(crate) wire: Wire,
    pub(crate) filter: Filter,
    /// What the first of them asked for; the others joined it.
    pub(crate) options: SubscribeOptions,
    listeners: Vec<Listener>,
}

impl Audience {
    pub(crate) fn new(filter: Filter, options: SubscribeOptions) -> Self {
        Self { wire: Wire::Wanted, filter, options, listeners: Vec::new() }
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.wire, Wire::Live(_))
    }

    /// Whether a further subscription with these options can share this one, which runs in `mode`.
    pub(crate) fn admits(&self, options: &SubscribeOptions, mode: Mode) -> bool {
        let Self { options: running, .. } = self;
        (options.mode == running.mode || options.likely_mode() == mode)
            && options.since.is_none()
            && options.max_rate == running.max_rate
            && options.snapshot == running.snapshot
            && options.presence == running.presence
    }

    /// Adds a subscription of the application.
    pub(crate) fn join(&mut self, listener: Listener) {
        self.listeners.push(listener);
    }

    /// Removes a subscription of the application; true if it was the last.
    pub(crate) fn leave(&mut self, number: u64) -> bool {
        self.listeners.retain(|listener| listener.number != number);
        self.listeners.is_empty()
    }

    /// Tells those who wait for it that the subscription is live.
    pub(crate) fn begin(&mut self, position: Option<&Position>) {
        self.listeners.iter_mut().for_each(|listener| listener.begin(position));
    }

    /// The broker has refused the subscription. Those who wait for its begin hear it. Those who
    /// had it before keep waiting if it may succeed later, and end if not. True if nobody is left.
    pub(crate) fn refuse(&mut self, error: &ErrorReply) -> bool {
        self.wire = Wire::Wanted;
        let keeps_waiting = |listener: &Listener| error.retry && listener.begun.is_none();
        let (kept, refused): (Vec<_>, Vec<_>) = self.listeners.drain(..).partition(keeps_waiting);
        self.listeners = kept;
        refused.into_iter().for_each(|listener| listener.end(Error::Refused(error.clone())));
        self.listeners.is_empty()
    }

    /// Hands an update to everyone.
    pub(crate) fn hand_on(&self, update: Update, backlog: &mut Backlog) {
        if let Some((last, others)) = self.listeners.split_last() {
            others.iter().for_each(|other| backlog.deliver(&other.updates, update.clone()));
            backlog.deliver(&last.updates, update);
        }
    }

    /// Hands an update to those whose subscription has begun.
    pub(crate) fn hand_to_begun(&self, update: &Update, backlog: &mut Backlog) {
        let begun = self.listeners.iter().filter(|listener| listener.begun.is_none());
        begun.for_each(|listener| backlog.deliver(&listener.updates, update.clone()));
    }

    /// Ends every subscription of the application.
    pub(crate) fn end(self, error: &Error) {
        self.listeners.into_iter().for_each(|listener| listener.end(error.clone()));
    }
}
