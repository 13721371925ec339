//! The async Rust client of the Fanfare pub/sub broker.
#![warn(missing_docs)]

mod address;
mod alarm;
mod backlog;
mod backoff;
mod builder;
mod client;
mod connection;
mod driver;
mod error;
mod event;
mod request;
mod route;
mod session;
mod subscription;

pub use builder::ClientBuilder;
pub use client::Client;
pub use error::Error;
pub use event::{Event, Events};
pub use fanfare_protocol::{
    CloseCode, Codec, ErrorCode, ErrorReply, Payload, PayloadKind, Position, TopicError, TopicName,
};
pub use subscription::{Message, Subscription};
