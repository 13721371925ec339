//! What a client says: commands, and how they are written. How a frame of them is read is in
//! `client_frame`.

mod publish;
mod query;
mod strict;
mod subscribe;

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

pub use self::publish::Publish;
pub use self::query::{History, Presence};
pub use self::subscribe::{Mode, Subscribe, Unsubscribe};

use crate::client_frame;
use crate::codec::{Codec, FrameError};
use crate::codes::ErrorCode;
use crate::limits::{NAME_BYTES_MAX, TOKEN_BYTES_MAX};
use crate::reply::ErrorReply;

/// One command and the id under which its reply is wanted; without an id no reply comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Chosen by the client, echoed in the reply.
    pub id: Option<u64>,
    /// What is asked.
    pub request: Request,
}

/// What a command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// Opens the session; the first command of every connection.
    Connect(Connect),
    /// Starts a subscription.
    Subscribe(Subscribe),
    /// Ends a subscription.
    Unsubscribe(Unsubscribe),
    /// Publishes one message.
    Publish(Publish),
    /// Asks for messages that a topic keeps.
    History(History),
    /// Asks who is on a topic.
    Presence(Presence),
}

/// The fields of `connect`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connect {
    /// Who the client is; at most [`TOKEN_BYTES_MAX`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What presence calls this client, at most [`NAME_BYTES_MAX`] bytes. Nobody checks whether
    /// it is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Connect {
    /// Checks the lengths of the fields.
    ///
    /// # Errors
    /// `bad_request`, telling what is allowed.
    pub fn check(&self) -> Result<(), ErrorReply> {
        for (field, value, limit) in
            [("token", &self.token, TOKEN_BYTES_MAX), ("name", &self.name, NAME_BYTES_MAX)]
        {
            match value {
                Some(text) if text.len() > limit => {
                    return Err(bad_request(format_args!(
                        "`{field}` has {} bytes; at most {limit} are allowed",
                        text.len()
                    )));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Leaves out the token, which is a secret.
impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| format_args!("…"));
        f.debug_struct("Connect").field("token", &token).field("name", &self.name).finish()
    }
}

/// A command as it was read: its request, or why it cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedCommand {
    /// The id for the reply.
    pub id: Option<u64>,
    /// The request, or the error that answers it.
    pub request: Result<Request, ErrorReply>,
}

impl Command {
    /// Appends this command, as one frame's content, to `out`.
    pub fn encode(&self, codec: Codec, out: &mut Vec<u8>) {
        codec.encode(self, out);
    }

    /// Appends an array of commands, as one frame's content, to `out`.
    pub fn encode_batch(commands: &[Self], codec: Codec, out: &mut Vec<u8>) {
        codec.encode(&commands, out);
    }

    /// Reads the content of one client frame.
    ///
    /// # Errors
    /// [`FrameError`] if the frame is not one command or an array of at most
    /// [`COMMANDS_PER_FRAME_MAX`](crate::limits::COMMANDS_PER_FRAME_MAX); then none of it is
    /// carried out.
    pub fn decode_frame(codec: Codec, frame: &[u8]) -> Result<Vec<DecodedCommand>, FrameError> {
        client_frame::decode(codec, frame)
    }
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1 + usize::from(self.id.is_some())))?;
        if let Some(id) = self.id {
            map.serialize_entry("id", &id)?;
        }
        match &self.request {
            Request::Connect(connect) => map.serialize_entry("connect", connect)?,
            Request::Subscribe(subscribe) => map.serialize_entry("subscribe", subscribe)?,
            Request::Unsubscribe(unsubscribe) => map.serialize_entry("unsubscribe", unsubscribe)?,
            Request::Publish(publish) => map.serialize_entry("publish", publish)?,
            Request::History(history) => map.serialize_entry("history", history)?,
            Request::Presence(presence) => map.serialize_entry("presence", presence)?,
        }
        map.end()
    }
}

/// The error for fields that are wrong.
pub(crate) fn bad_request(detail: impl fmt::Display) -> ErrorReply {
    ErrorReply::new(ErrorCode::BadRequest, crate::codec::shortened(detail))
}
