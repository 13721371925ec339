//! What handles and subscriptions say to the driver task.
//!
//! Requests wait in a queue while there is no connection; what bounds it is the buffered amount.
//! Controls never wait, so that dropping and closing work at any time.

use std::sync::{Arc, OnceLock};

use fanfare_protocol::{Filter, HistoryPage, Position, PresenceList, Published};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::buffered::Charge;
use crate::error::Error;
use crate::options::SubscribeOptions;
use crate::update::Update;

/// Where the outcome of a request goes. Closed once the caller has given up.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A frame on its way to the network.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) frame: Frame,
    /// Its bytes, if it comes from the application. What the client says of its own accord to
    /// keep its session does not count as buffered.
    pub(crate) charge: Option<Charge>,
}

/// Something to do on the connection.
#[derive(Debug)]
pub(crate) enum Request {
    /// Begin a subscription.
    Subscribe { filter: Filter, options: SubscribeOptions, listener: Listener },
    /// Send a command that is already encoded.
    Command { outgoing: Outgoing, awaited: Option<Awaited> },
}

/// A command whose reply somebody waits for.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) id: u64,
    pub(crate) outcome: Outcome,
    pub(crate) repeats: Repeats,
}

/// Who waits for what.
#[derive(Debug)]
pub(crate) enum Outcome {
    Publish(Reply<Published>),
    History(Reply<HistoryPage>),
    Presence(Reply<PresenceList>),
}

/// Whether a command may be sent again, after a connection was lost before its reply came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Repeats {
    /// It could be carried out twice.
    Never,
    /// The broker recognises it until then.
    Until(Instant),
    /// It only asks.
    Always,
}

impl Request {
    /// Whether the caller has given up waiting, so that there is nothing to do any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            Self::Subscribe { listener, .. } => listener.is_abandoned(),
            Self::Command { awaited, .. } => {
                awaited.as_ref().is_some_and(|awaited| awaited.outcome.is_abandoned())
            }
        }
    }

    /// Answers that the request was not carried out.
    pub(crate) fn fail(self, error: Error) {
        match self {
            Self::Subscribe { listener, .. } => listener.end(error),
            Self::Command { awaited: Some(awaited), .. } => awaited.outcome.fail(error),
            Self::Command { awaited: None, .. } => {}
        }
    }
}

impl Outcome {
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            Self::Publish(reply) => reply.is_closed(),
            Self::History(reply) => reply.is_closed(),
            Self::Presence(reply) => reply.is_closed(),
        }
    }

    pub(crate) fn fail(self, error: Error) {
        match self {
            Self::Publish(reply) => drop(reply.send(Err(error))),
            Self::History(reply) => drop(reply.send(Err(error))),
            Self::Presence(reply) => drop(reply.send(Err(error))),
        }
    }
}

impl Repeats {
    /// Whether the command may be sent once more now.
    pub(crate) fn allows_another(self) -> bool {
        match self {
            Self::Never => false,
            Self::Until(end) => Instant::now() < end,
            Self::Always => true,
        }
    }
}

/// Something that must happen whether there is a connection or not.
#[derive(Debug)]
pub(crate) enum Control {
    /// A subscription has ended; its number says which of the filter's.
    Leave { filter: Filter, number: u64, done: Option<oneshot::Sender<()>> },
    /// Close the client. The sender is dropped when that is done.
    Close(oneshot::Sender<()>),
}

/// The driver's end of one subscription.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Tells the client's subscriptions apart.
    pub(crate) number: u64,
    /// Holds the updates that the application has not read yet.
    pub(crate) updates: mpsc::Sender<Update>,
    /// Waits for the begin of the subscription; `None` once it has begun.
    pub(crate) begun: Option<Reply<Option<Position>>>,
    /// Why the updates end. Set before `updates` is dropped.
    pub(crate) ended: Arc<OnceLock<Error>>,
}

impl Listener {
    /// Tells the application that its subscription is live, and where a topic's one stands.
    pub(crate) fn begin(&mut self, position: Option<&Position>) {
        if let Some(reply) = self.begun.take() {
            reply.send(Ok(position.cloned())).ok();
        }
    }

    /// Ends the subscription; updates that wait for the application stay readable.
    pub(crate) fn end(self, error: Error) {
        self.ended.set(error.clone()).ok();
        if let Some(reply) = self.begun {
            reply.send(Err(error)).ok();
        }
    }

    fn is_abandoned(&self) -> bool {
        self.begun.as_ref().is_some_and(oneshot::Sender::is_closed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_the_broker_may_have_forgotten_is_not_repeated() {
        let minute = Duration::from_secs(60);
        let within_a_minute = Repeats::Until(Instant::now() + minute);
        tokio::time::advance(minute - Duration::from_millis(1)).await;
        assert!(within_a_minute.allows_another() && Repeats::Always.allows_another());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!within_a_minute.allows_another() && Repeats::Always.allows_another());
        assert!(!Repeats::Never.allows_another());
    }
}
