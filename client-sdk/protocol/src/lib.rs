//! The wire contract of Fanfare, version 1, as `SPEC.md` beside this crate tells it.
//!
//! Owns what both ends must agree on: topic names, commands, replies, pushes, error and close
//! codes, and their JSON and MessagePack encodings. Holds no socket, no clock and no state.

mod client_frame;
mod codec;
mod codes;
mod command;
mod event;
mod event_stream;
mod history;
mod json;
pub mod limits;
mod message;
mod msgpack;
mod object;
mod pattern;
mod payload;
mod reply;
mod server_frame;
mod topic;
mod transcode;

pub use codec::{Codec, FrameError};
pub use codes::{CloseCode, ErrorCode};
pub use command::{
    Command, Connect, DecodedCommand, History, Mode, Presence, Publish, Request, Subscribe,
    Unsubscribe,
};
pub use event::{Drain, Event, Gap, Member, Ping, PresenceChange, SnapshotEnd};
pub use event_stream::{STREAM_RETRY_MS, StreamEvent};
pub use history::{HistoryMessage, HistoryPage};
pub use message::{MessageHead, MessagePush};
pub use pattern::{Filter, TopicPattern};
pub use payload::{Payload, PayloadKind};
pub use reply::{
    Connected, ErrorReply, PatternSubscribed, Position, PresenceList, Published, Reply, ReplyBody,
    Subscribed, Unsubscribed,
};
pub use server_frame::ServerFrame;
pub use topic::{TopicError, TopicName};
