//! The wire contract of Fanfare, version 1, as `SPEC.md` beside this crate tells it.
//!
//! Owns what both ends must agree on: topic names, commands, replies, pushes, error and close
//! codes, and their JSON and MessagePack encodings. Holds no socket, no clock and no state.

mod client_frame;
mod codec;
mod codes;
mod command;
mod json;
pub mod limits;
mod msgpack;
mod payload;
mod push;
mod reply;
mod server_frame;
mod topic;
mod transcode;

pub use codec::{Codec, FrameError};
pub use codes::{CloseCode, ErrorCode};
pub use command::{
    Command, Connect, DecodedCommand, Mode, Publish, Request, Subscribe, Unsubscribe,
};
pub use payload::{Payload, PayloadKind};
pub use push::{Event, Gap, MessageHead, MessagePush};
pub use reply::{Connected, ErrorReply, Position, Reply, ReplyBody, Subscribed, Unsubscribed};
pub use server_frame::ServerFrame;
pub use topic::{TopicError, TopicName};
