//! What handles and subscriptions say to the driver task.
//!
//! Requests wait in a bounded queue while there is no connection. Controls never wait, so that
//! dropping and closing work at any time.

use std::sync::{Arc, OnceLock};

use fanfare_protocol::{Position, TopicName};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::error::Error;
use crate::subscription::SubscribeOptions;
use crate::update::Update;

/// Where the outcome of a request goes. Closed once the caller has given up.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// Something to do on the connection.
#[derive(Debug)]
pub(crate) enum Request {
    /// Begin a subscription.
    Subscribe { topic: TopicName, options: SubscribeOptions, listener: Listener },
    /// Send a `publish` command that is already encoded.
    Publish { frame: Frame, confirm: Option<(u64, Reply<Position>)> },
}

impl Request {
    /// Whether the caller has given up waiting, so that there is nothing to do any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            Self::Subscribe { listener, .. } => listener.is_abandoned(),
            Self::Publish { confirm, .. } => {
                confirm.as_ref().is_some_and(|(_, reply)| reply.is_closed())
            }
        }
    }

    /// Answers that the request was not carried out.
    pub(crate) fn fail(self, error: Error) {
        match self {
            Self::Subscribe { listener, .. } => listener.end(error),
            Self::Publish { confirm: Some((_, reply)), .. } => drop(reply.send(Err(error))),
            Self::Publish { confirm: None, .. } => {}
        }
    }
}

/// Something that must happen whether there is a connection or not.
#[derive(Debug)]
pub(crate) enum Control {
    /// A subscription has ended; its number says which of the topic's.
    Leave { topic: TopicName, number: u64, done: Option<oneshot::Sender<()>> },
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
    pub(crate) begun: Option<Reply<Position>>,
    /// Why the updates end. Set before `updates` is dropped.
    pub(crate) ended: Arc<OnceLock<Error>>,
}

impl Listener {
    /// Tells the application that its subscription is live.
    pub(crate) fn begin(&mut self, position: &Position) {
        if let Some(reply) = self.begun.take() {
            reply.send(Ok(position.clone())).ok();
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
