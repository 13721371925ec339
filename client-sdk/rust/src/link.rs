//! What a session runs on, whatever the transport: commands go in, what the broker says comes
//! out.

use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{CloseCode, ServerFrame};

use crate::connection::Connection;
use crate::error::Error;
use crate::fallback::HttpLink;
use crate::request::Outgoing;

/// An open session's end of its transport.
#[derive(Debug)]
pub(crate) enum Link {
    WebSocket(Box<Connection>),
    Http(Box<HttpLink>),
}

/// What happened on the link.
#[derive(Debug)]
pub(crate) enum Progress {
    /// A frame of the protocol came.
    Received(ServerFrame),
    /// A topic that did not exist when it was subscribed to has come into being, in this life.
    /// Only long polling learns it so late.
    Born { topic: String, epoch: Arc<str> },
    /// Something without meaning for the session came: the broker is alive.
    Heard,
    /// All frames that were sent have been taken.
    Flushed,
    /// The link is over.
    Lost(Loss),
}

/// Why a link is over.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    /// The broker's close code, if it sent one.
    pub(crate) code: Option<CloseCode>,
    /// For a person.
    pub(crate) reason: String,
    /// When the broker wants this client back, if it has said so to it alone.
    pub(crate) retry_in: Option<Duration>,
}

impl Loss {
    pub(crate) fn without_code(reason: impl Into<String>) -> Self {
        Self { code: None, reason: reason.into(), retry_in: None }
    }

    pub(crate) fn with_code(code: CloseCode, reason: impl Into<String>) -> Self {
        Self { code: Some(code), reason: reason.into(), retry_in: None }
    }
}

impl From<Error> for Loss {
    fn from(error: Error) -> Self {
        match error {
            Error::ClosedByBroker { code, reason } => Self::with_code(code, reason),
            other => Self::without_code(other.to_string()),
        }
    }
}

impl Link {
    /// Takes a frame; [`progress`](Self::progress) brings it on its way. A failure shows there.
    pub(crate) fn send(&mut self, outgoing: Outgoing) {
        match self {
            Self::WebSocket(connection) => connection.send(outgoing),
            Self::Http(link) => link.send(outgoing),
        }
    }

    /// Ends the session once everything is sent; no frame may be sent after it.
    pub(crate) fn send_close(&mut self, code: CloseCode) {
        match self {
            Self::WebSocket(connection) => connection.send_close(code),
            Self::Http(link) => link.send_close(),
        }
    }

    /// Whether more may be sent.
    pub(crate) fn is_flushed(&self) -> bool {
        match self {
            Self::WebSocket(connection) => connection.is_flushed(),
            Self::Http(link) => link.is_flushed(),
        }
    }

    /// Sends what was given and, if `read`, takes messages until something has happened. Cancel
    /// safe.
    pub(crate) async fn progress(&mut self, read: bool) -> Progress {
        match self {
            Self::WebSocket(connection) => connection.progress(read).await,
            Self::Http(link) => link.progress(read).await,
        }
    }
}
