//! What a client says: commands, and how they are written. How a frame of them is read is in
//! `client_frame`.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::client_frame;
use crate::codec::{Codec, FrameError};
use crate::msgpack::BlobRef;
use crate::payload::{Payload, PayloadKind};
use crate::push::base64;
use crate::reply::{ErrorReply, Position};
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
    /// The last message that the client has, so that what came after it is delivered too.
    #[serde(
        default,
        deserialize_with = "position_of_a_command",
        skip_serializing_if = "Option::is_none"
    )]
    pub since: Option<Position>,
    /// What is delivered when the connection does not keep up; [`Mode::All`] if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

impl Subscribe {
    /// From now on, in mode [`Mode::All`].
    #[must_use]
    pub fn new(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), since: None, mode: None }
    }
}

/// What a subscription gets when its connection does not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Every message in order, or the exact gap.
    #[default]
    All,
    /// The newest message, once the connection takes bytes again; older ones are passed over.
    Latest,
}

impl Mode {
    /// The name of each mode on the wire.
    pub const NAMES: &'static [&'static str] = &["all", "latest"];

    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Latest => "latest",
        }
    }

    /// The mode of a name on the wire.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::All, Self::Latest].into_iter().find(|mode| mode.name() == name)
    }
}

/// Takes the name alone; serde would take a number or a map for it as well.
impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| de::Error::unknown_variant(&name, Self::NAMES))
    }
}

/// Reads a [`Position`] as strictly as everything in a command; in a reply unknown fields are
/// passed over.
fn position_of_a_command<'de, D>(deserializer: D) -> Result<Option<Position>, D::Error>
where
    D: Deserializer<'de>,
{
    Ok(Option::<StrictPosition>::deserialize(deserializer)?.map(|strict| strict.0))
}

struct StrictPosition(Position);

impl<'de> Deserialize<'de> for StrictPosition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PositionVisitor;

        impl<'de> Visitor<'de> for PositionVisitor {
            type Value = StrictPosition;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with `epoch` and `offset`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StrictPosition, A::Error> {
                let (mut epoch, mut offset) = (None, None);
                while let Some(key) = map.next_key::<String>()? {
                    let twice = match key.as_str() {
                        "epoch" => epoch.replace(map.next_value()?).is_some(),
                        "offset" => offset.replace(map.next_value()?).is_some(),
                        _ => return Err(de::Error::unknown_field(&key, &["epoch", "offset"])),
                    };
                    if twice {
                        return Err(de::Error::custom(format_args!("`{key}` stands twice")));
                    }
                }
                let epoch = epoch.ok_or_else(|| de::Error::missing_field("epoch"))?;
                let offset = offset.ok_or_else(|| de::Error::missing_field("offset"))?;
                Ok(StrictPosition(Position { epoch, offset }))
            }
        }

        deserializer.deserialize_map(PositionVisitor)
    }
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
