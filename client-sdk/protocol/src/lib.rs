//! The wire contract of Fanfare, version 1, as `SPEC.md` beside this crate tells it.
//!
//! Owns what both ends must agree on: topic names, commands, replies, pushes, error and close
//! codes, and their JSON and MessagePack encodings. Holds no socket, no clock and no state.

mod codec;
mod codes;
mod command;
pub mod limits;
mod msgpack;
mod payload;
mod push;
mod reply;
mod server_frame;
mod topic;

pub use codec::{Codec, FrameError};
pub use codes::{CloseCode, ErrorCode};
pub use command::{Command, Connect, DecodedCommand, Publish, Request, Subscribe, Unsubscribe};
pub use payload::{Payload, PayloadKind};
pub use push::{Event, MessageHead, MessagePush};
pub use reply::{Connected, ErrorReply, Position, Reply, ReplyBody, Subscribed, Unsubscribed};
pub use server_frame::ServerFrame;
pub use topic::{TopicError, TopicName};

/// Reads a field whose `null` is a value of its own, unlike one that is missing.
fn payload_field<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}
