//! The two encodings of the SDK protocol and their names in the handshake.

use std::fmt;

use serde::Serialize;

use crate::limits::ERROR_DETAIL_CHARS_MAX;

/// How commands, replies and pushes are written on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Text frames of JSON; the default when a client offers no subprotocol.
    Json,
    /// Binary frames of MessagePack with the same field names.
    MsgPack,
}

impl Codec {
    /// Both codecs, in the order in which they are named to a client.
    pub const ALL: [Self; 2] = [Self::Json, Self::MsgPack];

    /// The name in `Sec-WebSocket-Protocol`.
    #[must_use]
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "fanfare.v1.json",
            Self::MsgPack => "fanfare.v1.msgpack",
        }
    }

    /// The codec of a subprotocol's name.
    #[must_use]
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.subprotocol() == name)
    }

    /// Encodes `value` at the end of `out`.
    ///
    /// The protocol's own types always encode: they hold no map with keys that are not text, and
    /// writing to memory does not fail.
    pub(crate) fn encode(self, value: &impl Serialize, out: &mut Vec<u8>) {
        let encoded = match self {
            Self::Json => serde_json::to_writer(out, value).map_err(|e| e.to_string()),
            Self::MsgPack => rmp_serde::encode::write_named(out, value).map_err(|e| e.to_string()),
        };
        debug_assert!(encoded.is_ok(), "a protocol type failed to encode: {encoded:?}");
    }
}

/// Why a whole frame could not be read. The sender's fault; nothing in the frame was carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame is not valid in the connection's codec.
    #[error("the frame is not {expected}: {detail}")]
    Malformed {
        /// What was expected, for a person.
        expected: &'static str,
        /// What the parser said, with the position.
        detail: String,
    },
    /// The frame holds more commands than one frame may.
    #[error("the frame holds over {0} commands; send them in several frames")]
    TooManyCommands(usize),
}

impl FrameError {
    pub(crate) fn malformed(expected: &'static str, detail: impl fmt::Display) -> Self {
        Self::Malformed { expected, detail: shortened(detail) }
    }
}

/// What a parser said, without the tail of what it repeats from its input: nobody shall be able to
/// have the broker send long texts of his choice.
pub(crate) fn shortened(detail: impl fmt::Display) -> String {
    let detail = detail.to_string();
    match detail.char_indices().nth(ERROR_DETAIL_CHARS_MAX) {
        None => detail,
        Some((end, _)) => format!("{}…", &detail[..end]),
    }
}
