//! What the broker answers to commands.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::codec::Codec;
use crate::codes::ErrorCode;

/// The answer to the command with this id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The command's id.
    pub id: u64,
    /// What came of it.
    pub result: Result<ReplyBody, ErrorReply>,
}

/// The answer to a command that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplyBody {
    /// The session is open.
    Connect(Connected),
    /// The subscription is live.
    Subscribe(Subscribed),
    /// The subscription has ended; no message of it follows.
    Unsubscribe(Unsubscribed),
    /// The message stands at this position of its topic.
    Publish(Position),
}

/// The answer to `connect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// The broker's name for this connection.
    pub connection: String,
    /// The broker process.
    pub node: String,
    /// How often the broker pings; silence for clearly longer means a dead connection.
    pub ping_interval_ms: u64,
    /// The longest message that the broker takes, in bytes.
    pub message_bytes_max: u64,
}

/// The answer to `subscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    /// The life of the topic's sequence.
    pub epoch: String,
    /// The offset of the topic's newest message, 0 if there is none. Unless `recovered`, the
    /// subscription begins behind it.
    pub offset: u64,
    /// Whether everything after the position that was asked for is delivered: what was missed
    /// follows this reply, before newer messages. Never if no position was asked for.
    pub recovered: bool,
}

/// The answer to `unsubscribe`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsubscribed {}

/// A place in a topic's sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The life of the topic's sequence.
    pub epoch: String,
    /// The place within that life; the first message has 1.
    pub offset: u64,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ErrorReply {
    /// What went wrong, for a program.
    pub code: ErrorCode,
    /// What went wrong and what is allowed, for a person.
    pub message: String,
    /// Whether the same command may succeed later.
    pub retry: bool,
}

impl ErrorReply {
    /// An error reply whose `retry` follows from the code.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry: code.retry() }
    }
}

impl Reply {
    /// Appends this reply, as one frame's content, to `out`.
    pub fn encode(&self, codec: Codec, out: &mut Vec<u8>) {
        codec.encode(self, out);
    }
}

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("id", &self.id)?;
        match &self.result {
            Ok(ReplyBody::Connect(connected)) => map.serialize_entry("connect", connected)?,
            Ok(ReplyBody::Subscribe(subscribed)) => map.serialize_entry("subscribe", subscribed)?,
            Ok(ReplyBody::Unsubscribe(done)) => map.serialize_entry("unsubscribe", done)?,
            Ok(ReplyBody::Publish(position)) => map.serialize_entry("publish", position)?,
            Err(error) => map.serialize_entry("error", error)?,
        }
        map.end()
    }
}
