//! The ways in which a client gets a topic's messages, all from the same URL.

use std::time::Duration;

use fanfare_protocol::Codec;
use serde::{Deserialize, Serialize};

/// One way to follow a topic.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    /// GET at an interval, a new connection for each
    PollFresh,
    /// The same with If-None-Match
    PollFreshEtag,
    /// GET at an interval on a connection that is kept
    PollKept,
    /// The same with If-None-Match
    PollKeptEtag,
    /// GET that is held until there is something newer
    LongPoll,
    /// Server-sent events
    Sse,
    /// WebSocket, bare payloads
    Raw,
    /// WebSocket, SDK protocol in JSON
    SdkJson,
    /// WebSocket, SDK protocol in MessagePack
    SdkMsgpack,
}

/// When a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rhythm {
    /// Once each interval.
    Interval,
    /// As soon as it has an answer, which the server holds back.
    Held,
    /// Once, at the start.
    Once,
}

impl Way {
    /// All of them, in the order of the reports.
    pub(crate) const ALL: [Self; 9] = [
        Self::PollFresh,
        Self::PollFreshEtag,
        Self::PollKept,
        Self::PollKeptEtag,
        Self::LongPoll,
        Self::Sse,
        Self::Raw,
        Self::SdkJson,
        Self::SdkMsgpack,
    ];

    /// Its name for people.
    #[must_use]
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::PollFresh => "polling, new connections",
            Self::PollFreshEtag => "polling, new connections, If-None-Match",
            Self::PollKept => "polling, keep-alive",
            Self::PollKeptEtag => "polling, keep-alive, If-None-Match",
            Self::LongPoll => "long polling",
            Self::Sse => "server-sent events",
            Self::Raw => "WebSocket, raw",
            Self::SdkJson => "WebSocket, SDK JSON",
            Self::SdkMsgpack => "WebSocket, SDK MessagePack",
        }
    }

    /// Its name in results and on the command line.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PollFresh => "poll-fresh",
            Self::PollFreshEtag => "poll-fresh-etag",
            Self::PollKept => "poll-kept",
            Self::PollKeptEtag => "poll-kept-etag",
            Self::LongPoll => "long-poll",
            Self::Sse => "sse",
            Self::Raw => "raw",
            Self::SdkJson => "sdk-json",
            Self::SdkMsgpack => "sdk-msgpack",
        }
    }

    /// What the broker's metrics call it.
    #[must_use]
    pub(crate) fn transport(self) -> &'static str {
        match self {
            Self::PollFresh | Self::PollFreshEtag | Self::PollKept | Self::PollKeptEtag => "poll",
            Self::LongPoll => "long_poll",
            Self::Sse => "sse",
            Self::Raw => "raw",
            Self::SdkJson | Self::SdkMsgpack => "sdk",
        }
    }

    /// When its clients ask.
    #[must_use]
    pub(crate) fn rhythm(self) -> Rhythm {
        match self {
            Self::PollFresh | Self::PollFreshEtag | Self::PollKept | Self::PollKeptEtag => {
                Rhythm::Interval
            }
            Self::LongPoll => Rhythm::Held,
            Self::Sse | Self::Raw | Self::SdkJson | Self::SdkMsgpack => Rhythm::Once,
        }
    }

    /// Whether each question has a connection of its own.
    #[must_use]
    pub(crate) fn is_fresh(self) -> bool {
        matches!(self, Self::PollFresh | Self::PollFreshEtag)
    }

    /// Whether questions name what the client has, so that the answer may be 304.
    #[must_use]
    pub(crate) fn has_etag(self) -> bool {
        matches!(self, Self::PollFreshEtag | Self::PollKeptEtag)
    }

    /// Whether it is a WebSocket.
    #[must_use]
    pub(crate) fn is_socket(self) -> bool {
        matches!(self, Self::Raw | Self::SdkJson | Self::SdkMsgpack)
    }

    /// The codec of the SDK protocol, if it speaks that.
    #[must_use]
    pub(crate) fn codec(self) -> Option<Codec> {
        match self {
            Self::SdkJson => Some(Codec::Json),
            Self::SdkMsgpack => Some(Codec::MsgPack),
            _ => None,
        }
    }
}

/// How long a long poll asks to be held.
pub(crate) const WAIT: Duration = Duration::from_secs(25);

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn a_way_has_one_name_everywhere() {
        for way in Way::ALL {
            assert_eq!(serde_json::to_value(way).unwrap(), way.name());
            let value = way.to_possible_value().unwrap();
            assert_eq!(value.get_name(), way.name());
        }
        assert_eq!(Way::value_variants(), Way::ALL);
    }
}
