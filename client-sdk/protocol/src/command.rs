//! What a client says: commands, and how a frame of them is read and written.
//!
//! A frame holds one command or an array of them. A command whose fields are wrong fails alone;
//! only a frame that cannot be read at all is refused whole.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::codec::{Codec, FrameError};
use crate::codes::ErrorCode;
use crate::limits::{COMMANDS_PER_FRAME_MAX, PAYLOAD_DEPTH_MAX, TOKEN_BYTES_MAX};
use crate::msgpack::{self, Blob, TranscodedJson};
use crate::payload::{Payload, PayloadKind, json_depth};
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
}

/// The fields of `connect`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connect {
    /// Who the client is; at most [`TOKEN_BYTES_MAX`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
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
    /// The names of all commands, for error messages.
    const NAMES: &'static str = "connect, subscribe, unsubscribe, publish";

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
    /// [`COMMANDS_PER_FRAME_MAX`]; then none of it is carried out.
    pub fn decode_frame(codec: Codec, frame: &[u8]) -> Result<Vec<DecodedCommand>, FrameError> {
        match codec {
            Codec::Json => decode_json_frame(frame),
            Codec::MsgPack => decode_msgpack_frame(frame),
        }
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
                map.serialize_entry("data", &msgpack::FromJson(self.payload.bytes()))?;
            }
            (PayloadKind::Text, _) => map.serialize_entry("text", &self.payload.as_text())?,
            (PayloadKind::Binary, true) => {
                map.serialize_entry("base64", &crate::push::base64(self.payload.bytes()))?;
            }
            (PayloadKind::Binary, false) => {
                map.serialize_entry("bin", &msgpack::BlobRef(self.payload.bytes()))?;
            }
        }
        map.end()
    }
}

fn decode_json_frame(frame: &[u8]) -> Result<Vec<DecodedCommand>, FrameError> {
    const EXPECTED: &str = "a JSON command or an array of them";
    let first = frame.iter().find(|byte| !byte.is_ascii_whitespace());
    let commands: Vec<&RawValue> = if first == Some(&b'[') {
        serde_json::from_slice(frame).map_err(|e| FrameError::malformed(EXPECTED, e))?
    } else {
        vec![serde_json::from_slice(frame).map_err(|e| FrameError::malformed(EXPECTED, e))?]
    };
    check_count(commands.len())?;
    commands.into_iter().map(decode_json_command).collect()
}

fn decode_json_command(raw: &RawValue) -> Result<DecodedCommand, FrameError> {
    let envelope: Envelope<'_> =
        serde_json::from_str(raw.get()).map_err(|e| FrameError::malformed("a JSON command", e))?;
    let request = envelope.method.and_then(|(method, args)| match method.as_str() {
        "connect" => json_args(args).and_then(checked_connect),
        "subscribe" => json_args(args).map(Request::Subscribe),
        "unsubscribe" => json_args(args).map(Request::Unsubscribe),
        "publish" => json_args::<JsonPublish<'_>>(args)?.checked().map(Request::Publish),
        other => Err(unknown_command(other)),
    });
    Ok(DecodedCommand { id: envelope.id, request })
}

fn json_args<'a, T: Deserialize<'a>>(args: &'a RawValue) -> Result<T, ErrorReply> {
    serde_json::from_str(args.get()).map_err(bad_request)
}

fn decode_msgpack_frame(frame: &[u8]) -> Result<Vec<DecodedCommand>, FrameError> {
    const EXPECTED: &str = "a MessagePack command or an array of them";
    let malformed = |detail| FrameError::malformed(EXPECTED, detail);
    let (count, mut rest) = match msgpack::array_header(frame) {
        Some((count, rest)) => (count, rest),
        None => (1, frame),
    };
    check_count(count)?;
    let mut commands = Vec::with_capacity(count);
    for _ in 0..count {
        let (command, after) = msgpack::split_value(rest).map_err(malformed)?;
        commands.push(decode_msgpack_command(command)?);
        rest = after;
    }
    if rest.is_empty() { Ok(commands) } else { Err(malformed("bytes follow the last command")) }
}

fn decode_msgpack_command(command: &[u8]) -> Result<DecodedCommand, FrameError> {
    let malformed = |detail| FrameError::malformed("a MessagePack command", detail);
    let (mut id, mut method) = (None, None);
    for entry in msgpack::map_entries(command).map_err(malformed)? {
        let (key, value) = entry.map_err(malformed)?;
        if key == "id" {
            id = Some(rmp_serde::from_slice(value).map_err(|_| malformed(ID_EXPECTED))?);
        } else {
            method = Some(match method {
                None => Ok((key, value)),
                Some(_) => Err(two_methods()),
            });
        }
    }
    let request =
        method.unwrap_or_else(|| Err(no_method())).and_then(|(method, args)| match method {
            "connect" => msgpack_args(args).and_then(checked_connect),
            "subscribe" => msgpack_args(args).map(Request::Subscribe),
            "unsubscribe" => msgpack_args(args).map(Request::Unsubscribe),
            "publish" => msgpack_args::<MsgPackPublish>(args)?.checked().map(Request::Publish),
            other => Err(unknown_command(other)),
        });
    Ok(DecodedCommand { id, request })
}

fn msgpack_args<'a, T: Deserialize<'a>>(args: &'a [u8]) -> Result<T, ErrorReply> {
    msgpack::from_slice(args).map_err(bad_request)
}

const ID_EXPECTED: &str = "`id` must be an integer from 0 to 2^64-1";

fn check_count(count: usize) -> Result<(), FrameError> {
    if count > COMMANDS_PER_FRAME_MAX {
        return Err(FrameError::TooManyCommands(COMMANDS_PER_FRAME_MAX));
    }
    Ok(())
}

fn checked_connect(connect: Connect) -> Result<Request, ErrorReply> {
    match &connect.token {
        Some(token) if token.len() > TOKEN_BYTES_MAX => Err(bad_request(format_args!(
            "`token` has {} bytes; at most {TOKEN_BYTES_MAX} are allowed",
            token.len()
        ))),
        _ => Ok(Request::Connect(connect)),
    }
}

fn bad_request(detail: impl fmt::Display) -> ErrorReply {
    ErrorReply::new(ErrorCode::BadRequest, detail.to_string())
}

fn unknown_command(name: &str) -> ErrorReply {
    let name: String = name.chars().take(40).collect();
    let message = format!("there is no command {name:?}; the commands are {}", Command::NAMES);
    ErrorReply::new(ErrorCode::UnknownCommand, message)
}

fn no_method() -> ErrorReply {
    bad_request(format_args!("the command has no name; use one of {}", Command::NAMES))
}

fn two_methods() -> ErrorReply {
    bad_request("the command has two names; send one command in each object")
}

/// A JSON command with its arguments still unread, so that wrong arguments fail alone.
struct Envelope<'a> {
    id: Option<u64>,
    method: Result<(String, &'a RawValue), ErrorReply>,
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnvelopeVisitor;

        impl<'de> Visitor<'de> for EnvelopeVisitor {
            type Value = Envelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with `id` and one command")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut id, mut method) = (None, None);
                while let Some(key) = map.next_key::<String>()? {
                    if key == "id" {
                        id = Some(map.next_value().map_err(|_| de::Error::custom(ID_EXPECTED))?);
                        continue;
                    }
                    let args = map.next_value()?;
                    method = Some(match method {
                        None => Ok((key, args)),
                        Some(_) => Err(two_methods()),
                    });
                }
                Ok(Envelope { id, method: method.unwrap_or_else(|| Err(no_method())) })
            }
        }

        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonPublish<'a> {
    topic: String,
    #[serde(borrow, default, deserialize_with = "crate::payload_field")]
    data: Option<&'a RawValue>,
    text: Option<String>,
    base64: Option<String>,
}

impl JsonPublish<'_> {
    fn checked(self) -> Result<Publish, ErrorReply> {
        let payload = match (self.data, self.text, self.base64) {
            (Some(data), None, None) => json_payload(data.get().as_bytes().to_vec())?,
            (None, Some(text), None) => Payload::text(text),
            (None, None, Some(encoded)) => {
                Payload::binary(crate::push::from_base64(&encoded).map_err(|e| {
                    bad_request(format_args!("`base64` is not standard base64: {e}"))
                })?)
            }
            _ => return Err(bad_request("give exactly one of `data`, `text` and `base64`")),
        };
        Ok(Publish { topic: self.topic, payload })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MsgPackPublish {
    topic: String,
    #[serde(default, deserialize_with = "crate::payload_field")]
    data: Option<TranscodedJson>,
    text: Option<String>,
    bin: Option<Blob>,
}

impl MsgPackPublish {
    fn checked(self) -> Result<Publish, ErrorReply> {
        let payload = match (self.data, self.text, self.bin) {
            (Some(data), None, None) => json_payload(data.0)?,
            (None, Some(text), None) => Payload::text(text),
            (None, None, Some(blob)) => Payload::binary(blob.0),
            _ => return Err(bad_request("give exactly one of `data`, `text` and `bin`")),
        };
        Ok(Publish { topic: self.topic, payload })
    }
}

/// A payload from JSON that a parser has accepted; only its depth is still open.
fn json_payload(json: Vec<u8>) -> Result<Payload, ErrorReply> {
    if json_depth(&json) > PAYLOAD_DEPTH_MAX {
        return Err(bad_request(format_args!(
            "`data` is nested over {PAYLOAD_DEPTH_MAX} deep; that is the most allowed"
        )));
    }
    Ok(Payload::from_checked(PayloadKind::Json, json.into()))
}
