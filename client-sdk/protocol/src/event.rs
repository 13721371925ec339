//! What the broker tells unasked, other than messages.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codec::Codec;

/// Something other than a message that a client must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The broker is alive. Browsers cannot see WebSocket pings, so this one is a message.
    Ping(Ping),
    /// Messages of a subscription were not delivered and cannot be any more.
    Gap(Gap),
    /// The snapshot of a pattern is complete.
    Snapshot(SnapshotEnd),
    /// Clients came to a topic or left it.
    Presence(PresenceChange),
    /// The broker will soon close the connection with 1012.
    Drain(Drain),
    /// An event that this version of the protocol does not know.
    Unknown,
}

/// The broker is alive, and this is how far it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// For topics that this connection is subscribed to by name: everything up to this offset was
    /// sent on this connection before this ping, or passed over as mode and rate say. Topics that
    /// have not moved since the ping before are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub heads: BTreeMap<String, u64>,
}

/// The messages `from..=to` of a topic were not delivered to this subscription: the connection did
/// not take them in time and the topic's history has moved on. It stands in their place in the
/// order of messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The topic's name.
    pub topic: String,
    /// The life of the topic's sequence.
    pub epoch: String,
    /// The offset of the first missing message, from 1.
    pub from: u64,
    /// The offset of the last missing message, at least `from`.
    pub to: u64,
}

/// The newest message of each topic that matches a pattern has come. All of them were the newest at
/// one moment, and what this connection gets of these topics from here on is newer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotEnd {
    /// The pattern.
    pub topic: String,
    /// How many came, between the reply to `subscribe` and this event.
    pub messages: u64,
    /// Topics whose newest message is still to come, because the connection did not take all at
    /// once or the broker had too much to do. They are not of that moment but as new as they come.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub later: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Who is on a topic has changed. Changes are gathered: at most one such event a second and topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceChange {
    /// The topic's name.
    pub topic: String,
    /// Counts the topic's presence events; a hole means that one was missed.
    pub version: u64,
    /// How many connections are on the topic after these changes.
    pub count: u64,
    /// Who came.
    #[serde(default)]
    pub joined: Vec<Member>,
    /// The connections that left.
    #[serde(default)]
    pub left: Vec<String>,
    /// There were more changes than
    /// [`PRESENCE_CHANGES_MAX`](crate::limits::PRESENCE_CHANGES_MAX); `joined` and `left` hold
    /// the first ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// One connection on a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// The broker's name for the connection.
    pub connection: String,
    /// What the client calls itself, which nobody has checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The broker is about to close all its connections; clients spread their return over a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Come back after a random time of up to this long after the close.
    pub window_ms: u64,
}

impl Event {
    /// Appends this event, as one frame's content, to `out`.
    pub fn encode(&self, codec: Codec, out: &mut Vec<u8>) {
        codec.encode(self, out);
    }
}
