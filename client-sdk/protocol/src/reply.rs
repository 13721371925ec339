//! What the broker answers to commands.

use serde::{Deserialize, Serialize};

use crate::codec::Codec;
use crate::codes::ErrorCode;
use crate::command::Mode;
use crate::event::Member;
use crate::history::HistoryPage;
use crate::object::Object;

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
    /// The subscription to a topic is live.
    Subscribe(Subscribed),
    /// The subscription to a pattern is live.
    SubscribePattern(PatternSubscribed),
    /// The subscription has ended; no message of it follows.
    Unsubscribe(Unsubscribed),
    /// The message stands at this position of its topic.
    Publish(Published),
    /// Messages that the topic keeps.
    History(HistoryPage),
    /// Who is on the topic.
    Presence(PresenceList),
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

/// The answer to `subscribe` with a topic's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Subscribed {
    /// The life of the topic's sequence.
    pub epoch: String,
    /// The offset of the topic's newest message, 0 if there is none. Unless `recovered` or
    /// `snapshot`, the subscription begins behind it.
    pub offset: u64,
    /// Whether everything after the position that was asked for is delivered: what was missed
    /// follows this reply, before newer messages. Never if no position was asked for.
    pub recovered: bool,
    /// The mode that the subscription has.
    #[serde(skip_serializing_if = "Mode::is_all")]
    pub mode: Mode,
    /// Whether the message `offset` itself follows this reply, before newer ones.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub snapshot: bool,
}

/// The answer to `subscribe` with a pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PatternSubscribed {
    /// How many topics match now.
    pub topics: u64,
    /// The mode that the subscription has.
    #[serde(skip_serializing_if = "Mode::is_all")]
    pub mode: Mode,
}

/// The answer to `publish`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The life of the topic's sequence.
    pub epoch: String,
    /// The message's place within that life.
    pub offset: u64,
    /// A message with the same key was published before; this is where that one stands, and this
    /// one was not published again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

impl Published {
    /// Where the message stands, as a position from which a subscription or a page of history
    /// can go on.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch.clone(), offset: self.offset }
    }
}

/// The answer to `presence`: who is on a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceList {
    /// How many connections are on the topic.
    pub count: u64,
    /// The presence event up to which this is true; later events tell what changed since.
    pub version: u64,
    /// Some of them: as many as were asked for, all if `count` is not larger.
    pub members: Vec<Member>,
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
        let mut reply = Object::begin(codec, 2, out);
        reply.field("id", &self.id);
        match &self.result {
            Ok(ReplyBody::Connect(connected)) => reply.field("connect", connected),
            Ok(ReplyBody::Subscribe(subscribed)) => reply.field("subscribe", subscribed),
            Ok(ReplyBody::SubscribePattern(subscribed)) => reply.field("subscribe", subscribed),
            Ok(ReplyBody::Unsubscribe(unsubscribed)) => reply.field("unsubscribe", unsubscribed),
            Ok(ReplyBody::Publish(published)) => reply.field("publish", published),
            Ok(ReplyBody::History(page)) => page.encode(codec, reply.name("history")),
            Ok(ReplyBody::Presence(list)) => reply.field("presence", list),
            Err(error) => reply.field("error", error),
        }
        reply.end();
    }
}
