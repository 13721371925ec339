//! What a client says: commands, and how they are written. How a frame of them is read is in
//! `client_frame`.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::client_frame;
use crate::codec::{Codec, FrameError};
use crate::msgpack::BlobRef;
use crate::payload::{Payload, PayloadKind};
use crate::push::base64;
use crate::reply::ErrorReply;
use crate::transcode::FromJson;

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
}

/// The fields of `connect`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connect {
    /// Who the client is; at most
    /// [`TOKEN_BYTES_MAX`](crate::limits::TOKEN_BYTES_MAX) bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Leaves out the token, which is a secret.
impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| format_args!("…"));
        f.debug_struct("Connect").field("token", &token).finish()
    }
}

/// The fields of `subscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// The topic's name, not yet checked.
    pub topic: String,
}

/// The fields of `unsubscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unsubscribe {
    /// The topic's name, not yet checked.
    pub topic: String,
}

/// The fields of `publish`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The topic's name, not yet checked.
    pub topic: String,
    /// `data`, `text`, or `base64` (JSON) or `bin` (MessagePack).
    pub payload: Payload,
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
        }
        map.end()
    }
}

impl Serialize for Publish {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let human_readable = serializer.is_human_readable();
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("topic", &self.topic)?;
        match (self.payload.kind(), human_readable) {
            (PayloadKind::Json, true) => {
                let raw: &RawValue =
                    self.payload.parse_json().map_err(serde::ser::Error::custom)?;
                map.serialize_entry("data", raw)?;
            }
            (PayloadKind::Json, false) => {
                map.serialize_entry("data", &FromJson(self.payload.bytes()))?;
            }
            (PayloadKind::Text, _) => map.serialize_entry("text", &self.payload.as_text())?,
            (PayloadKind::Binary, true) => {
                map.serialize_entry("base64", &base64(self.payload.bytes()))?;
            }
            (PayloadKind::Binary, false) => {
                map.serialize_entry("bin", &BlobRef(self.payload.bytes()))?;
            }
        }
        map.end()
    }
}
