//! Everything that a call of this crate may fail with, and whose fault it is.

use std::time::Duration;

use fanfare_protocol::{CloseCode, ErrorReply, Filter, TopicError};

/// Why a call failed. Each variant says who is at fault and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller's fault: the text is no address of a broker.
    #[error("{url:?} is no broker's address: {detail}; write it like ws://127.0.0.1:8080")]
    BadUrl {
        /// The text.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The caller's fault: the text is no topic name, or no pattern. Nothing was sent.
    #[error(transparent)]
    BadTopic(#[from] TopicError),
    /// The caller's fault: the value is no payload. Nothing was sent.
    #[error("the value is no payload: {detail}")]
    BadPayload {
        /// What is wrong with it.
        detail: String,
    },
    /// The caller's fault: an option is out of its range, or options do not go together. Nothing
    /// was sent.
    #[error("{detail}")]
    BadOption {
        /// What is wrong, and what is allowed.
        detail: String,
    },
    /// The caller's fault: the encoded command is longer than the broker takes. Nothing was sent.
    #[error("the command has {bytes} bytes; the broker takes at most {bytes_max}")]
    TooLarge {
        /// Length of the encoded command in bytes.
        bytes: usize,
        /// The broker's `message_bytes_max`.
        bytes_max: u64,
    },
    /// The caller's fault: this client is subscribed to the topic or pattern already, and a
    /// further subscription shares that one. It takes the same options and names no position.
    /// Nothing was sent.
    #[error(
        "this client is subscribed to {filter} already with other options; subscribe with the \
         same ones and without a position, or with another client"
    )]
    SubscribedOtherwise {
        /// The topic or pattern.
        filter: Filter,
    },
    /// The client has more to send than its high-water mark allows, and the network does not take
    /// it, or not in time: the publisher is faster than the connection, or there is none. Nothing
    /// was sent.
    #[error("{buffered} bytes wait to be sent, the high-water mark is {high_water}; publish less")]
    BufferFull {
        /// The client's buffered amount in bytes.
        buffered: u64,
        /// The high-water mark in bytes.
        high_water: u64,
    },
    /// Nothing that speaks TCP answered at the address, or not within the connect timeout.
    #[error("no broker can be reached at {address}: {detail}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the operating system said.
        detail: String,
    },
    /// A web server answered, but refused the WebSocket upgrade, or the request that stands for it
    /// where the client may use another transport only.
    #[error("{address} refused the connection with HTTP status {status}{}", after_colon(.detail))]
    UpgradeRefused {
        /// Host and port.
        address: String,
        /// The HTTP status, such as 403 or 404.
        status: u16,
        /// What the response's body said; empty if nothing.
        detail: String,
        /// How long the broker asks to be left alone (`Retry-After` of a 429 or 503), at most a
        /// minute. A client that is reconnecting waits so long and some time more by itself.
        retry_after: Option<Duration>,
    },
    /// The HTTP proxy does not open a tunnel to the broker (RFC 9110 section 9.3.6); with status
    /// 407 it wants other credentials.
    #[error("the proxy {proxy} refused a tunnel to the broker with HTTP status {status}")]
    ProxyRefused {
        /// The proxy's host and port.
        proxy: String,
        /// The HTTP status, such as 403 or 407.
        status: u16,
    },
    /// Something answered that is no Fanfare broker of this protocol version.
    #[error("{address} does not speak the Fanfare protocol: {detail}")]
    NotABroker {
        /// Host and port.
        address: String,
        /// What it did instead.
        detail: String,
    },
    /// The broker refused a command; [`ErrorReply::retry`] says whether it may succeed later.
    #[error("the broker refused the command: {0}")]
    Refused(ErrorReply),
    /// The broker closed the connection. While a client lives it sees this only for codes after
    /// which a client must not come back (see [`CloseCode::reconnects`]).
    #[error("the broker closed the connection with code {code}{}", after_colon(.reason))]
    ClosedByBroker {
        /// The close code.
        code: CloseCode,
        /// The broker's reason; may be empty.
        reason: String,
    },
    /// The connection was lost after the command had been written and before its reply came:
    /// whether the broker carried it out is unknown.
    #[error("the connection was lost before the reply; the outcome is unknown")]
    ConnectionLost,
    /// No reply came within the command timeout. The command may be carried out or not.
    #[error("no reply came within {after:?}; the outcome is unknown")]
    TimedOut {
        /// The command timeout.
        after: Duration,
    },
    /// The client was closed by its own program.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// Whether the broker may have carried out the command although the call failed. Publishing
    /// the message again could then deliver it twice.
    ///
    /// ```
    /// use fanfare_client::Error;
    ///
    /// assert!(Error::ConnectionLost.outcome_is_unknown());
    /// assert!(!Error::TooLarge { bytes: 70_000, bytes_max: 65_536 }.outcome_is_unknown());
    /// ```
    #[must_use]
    pub fn outcome_is_unknown(&self) -> bool {
        matches!(self, Self::ConnectionLost | Self::TimedOut { .. })
    }

    /// How long the broker asks to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::UpgradeRefused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether coming back to the broker with the same session would fail in the same way.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::ClosedByBroker { code, .. } => !code.reconnects(),
            Self::Refused(reply) => !reply.retry,
            _ => false,
        }
    }
}

fn after_colon(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_has_no_empty_part() {
        let closed = |reason: &str| Error::ClosedByBroker {
            code: CloseCode::BAD_COMMAND,
            reason: reason.to_owned(),
        };
        assert_eq!(closed("").to_string(), "the broker closed the connection with code 3500");
        assert_eq!(closed("no").to_string(), "the broker closed the connection with code 3500: no");
    }
}
