//! How the broker reads one frame of a client.
//!
//! A frame holds one command or an array of them. A command whose fields are wrong fails alone;
//! only a frame that cannot be read at all is refused whole.

use std::fmt;

use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::codec::{Codec, FrameError};
use crate::codes::ErrorCode;
use crate::command::{Connect, DecodedCommand, Publish, Request, Subscribe, bad_request};
use crate::json;
use crate::limits::COMMANDS_PER_FRAME_MAX;
use crate::msgpack::{self, Blob};
use crate::payload::{Payload, PayloadKind, from_base64, nullable_field};
use crate::reply::ErrorReply;
use crate::transcode::TranscodedJson;

/// The names of all commands, for error messages.
const COMMANDS: &str = "connect, subscribe, unsubscribe, publish, history, presence";

const ID_EXPECTED: &str = "`id` must be an integer from 0 to 2^64-1";
const ID_TWICE: &str = "`id` stands twice";

/// Reads the content of one client frame.
pub(crate) fn decode(codec: Codec, frame: &[u8]) -> Result<Vec<DecodedCommand>, FrameError> {
    match codec {
        Codec::Json => decode_json(frame),
        Codec::MsgPack => decode_msgpack(frame),
    }
}

fn decode_json(frame: &[u8]) -> Result<Vec<DecodedCommand>, FrameError> {
    const EXPECTED: &str = "a JSON command or an array of them";
    let malformed = |error| FrameError::malformed(EXPECTED, error);
    let batch = if frame.trim_ascii_start().first() == Some(&b'[') {
        serde_json::from_slice(frame).map_err(malformed)?
    } else {
        Batch { commands: vec![serde_json::from_slice(frame).map_err(malformed)?], excess: false }
    };
    if batch.excess {
        return Err(FrameError::TooManyCommands(COMMANDS_PER_FRAME_MAX));
    }
    batch.commands.into_iter().map(decode_json_command).collect()
}

fn decode_json_command(command: &RawValue) -> Result<DecodedCommand, FrameError> {
    let envelope: Envelope<'_> = serde_json::from_str(command.get())
        .map_err(|e| FrameError::malformed("a JSON command", e))?;
    let request = envelope.method.and_then(|(method, args)| match method.as_str() {
        "connect" => json_args(args).and_then(checked_connect),
        "subscribe" => json_args(args).and_then(checked_subscribe),
        "unsubscribe" => json_args(args).map(Request::Unsubscribe),
        "publish" => json_args::<JsonPublish<'_>>(args)?.checked().map(Request::Publish),
        "history" => json_args(args).map(Request::History),
        "presence" => json_args(args).map(Request::Presence),
        other => Err(unknown_command(other)),
    });
    Ok(DecodedCommand { id: envelope.id, request })
}

fn json_args<'a, T: Deserialize<'a>>(args: &'a RawValue) -> Result<T, ErrorReply> {
    // serde would take an array of the fields as well.
    if !args.get().starts_with('{') {
        return Err(bad_request("the command's fields must be an object"));
    }
    serde_json::from_str(args.get()).map_err(bad_request)
}

fn decode_msgpack(frame: &[u8]) -> Result<Vec<DecodedCommand>, FrameError> {
    const EXPECTED: &str = "a MessagePack command or an array of them";
    let malformed = |detail| FrameError::malformed(EXPECTED, detail);
    let (count, mut rest) = msgpack::array_header(frame).unwrap_or((1, frame));
    if count > COMMANDS_PER_FRAME_MAX {
        return Err(FrameError::TooManyCommands(COMMANDS_PER_FRAME_MAX));
    }
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
            let value = rmp_serde::from_slice(value).map_err(|_| malformed(ID_EXPECTED))?;
            if id.replace(value).is_some() {
                return Err(malformed(ID_TWICE));
            }
        } else {
            method = Some(one_method(method, (key, value)));
        }
    }
    let request = method.unwrap_or_else(no_method).and_then(|(method, args)| match method {
        "connect" => msgpack_args(args).and_then(checked_connect),
        "subscribe" => msgpack_args(args).and_then(checked_subscribe),
        "unsubscribe" => msgpack_args(args).map(Request::Unsubscribe),
        "publish" => msgpack_args::<MsgPackPublish>(args)?.checked().map(Request::Publish),
        "history" => msgpack_args(args).map(Request::History),
        "presence" => msgpack_args(args).map(Request::Presence),
        other => Err(unknown_command(other)),
    });
    Ok(DecodedCommand { id, request })
}

fn msgpack_args<'a, T: Deserialize<'a>>(args: &'a [u8]) -> Result<T, ErrorReply> {
    // serde would take an array of the fields and numbers for their names as well.
    for entry in msgpack::map_entries(args).map_err(bad_request)? {
        entry.map_err(bad_request)?;
    }
    msgpack::from_slice(args).map_err(bad_request)
}

fn checked_connect(connect: Connect) -> Result<Request, ErrorReply> {
    connect.check()?;
    Ok(Request::Connect(connect))
}

fn checked_subscribe(subscribe: Subscribe) -> Result<Request, ErrorReply> {
    subscribe.check()?;
    Ok(Request::Subscribe(subscribe))
}

fn checked_publish(publish: Publish) -> Result<Publish, ErrorReply> {
    publish.check()?;
    Ok(publish)
}

fn unknown_command(name: &str) -> ErrorReply {
    let name: String = name.chars().take(40).collect();
    let message = format!("there is no command {name:?}; the commands are {COMMANDS}");
    ErrorReply::new(ErrorCode::UnknownCommand, message)
}

fn no_method<T>() -> Result<T, ErrorReply> {
    Err(bad_request(format_args!("the command has no name; use one of {COMMANDS}")))
}

/// The command's name and fields, if there were none before.
fn one_method<T>(before: Option<Result<T, ErrorReply>>, method: T) -> Result<T, ErrorReply> {
    match before {
        None => Ok(method),
        Some(_) => Err(bad_request("the command has two names; send one command in each object")),
    }
}

/// The commands of a JSON array, each still unread. Those over the limit are not kept.
struct Batch<'a> {
    commands: Vec<&'a RawValue>,
    excess: bool,
}

impl<'de> Deserialize<'de> for Batch<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BatchVisitor;

        impl<'de> Visitor<'de> for BatchVisitor {
            type Value = Batch<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of commands")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut commands = Vec::new();
                while commands.len() < COMMANDS_PER_FRAME_MAX {
                    match seq.next_element()? {
                        Some(command) => commands.push(command),
                        None => return Ok(Batch { commands, excess: false }),
                    }
                }
                let excess = seq.next_element::<IgnoredAny>()?.is_some();
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Batch { commands, excess })
            }
        }

        deserializer.deserialize_seq(BatchVisitor)
    }
}

/// A JSON command with its fields still unread, so that wrong fields fail alone.
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
                        let value = map.next_value().map_err(|_| de::Error::custom(ID_EXPECTED))?;
                        if id.replace(value).is_some() {
                            return Err(de::Error::custom(ID_TWICE));
                        }
                    } else {
                        method = Some(one_method(method, (key, map.next_value()?)));
                    }
                }
                Ok(Envelope { id, method: method.unwrap_or_else(no_method) })
            }
        }

        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonPublish<'a> {
    topic: String,
    key: Option<String>,
    #[serde(borrow, default, deserialize_with = "nullable_field")]
    data: Option<&'a RawValue>,
    text: Option<String>,
    base64: Option<String>,
}

/// Reads the fields of one `publish` that stand for themselves.
pub(crate) fn decode_publish(text: &[u8]) -> Result<Publish, ErrorReply> {
    let fields: &RawValue = serde_json::from_slice(text).map_err(bad_request)?;
    json_args::<JsonPublish<'_>>(fields)?.checked()
}

impl JsonPublish<'_> {
    fn checked(self) -> Result<Publish, ErrorReply> {
        let payload = match (self.data, self.text, self.base64) {
            (Some(data), None, None) => json_payload(data)?,
            (None, Some(text), None) => Payload::text(text),
            (None, None, Some(encoded)) => {
                Payload::binary(from_base64(&encoded).map_err(|e| {
                    bad_request(format_args!("`base64` is not standard base64: {e}"))
                })?)
            }
            _ => return Err(bad_request("give exactly one of `data`, `text` and `base64`")),
        };
        checked_publish(Publish { topic: self.topic, key: self.key, payload })
    }
}

fn json_payload(data: &RawValue) -> Result<Payload, ErrorReply> {
    let json = data.get().as_bytes();
    json::check(json).map_err(|e| bad_request(format_args!("`data` is refused: {e}")))?;
    Ok(Payload::from_checked(PayloadKind::Json, json.to_vec().into()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MsgPackPublish {
    topic: String,
    key: Option<String>,
    #[serde(default, deserialize_with = "nullable_field")]
    data: Option<TranscodedJson>,
    text: Option<String>,
    bin: Option<Blob>,
}

impl MsgPackPublish {
    fn checked(self) -> Result<Publish, ErrorReply> {
        let payload = match (self.data, self.text, self.bin) {
            (Some(data), None, None) => Payload::from_checked(PayloadKind::Json, data.0.into()),
            (None, Some(text), None) => Payload::text(text),
            (None, None, Some(blob)) => Payload::binary(blob.0),
            _ => return Err(bad_request("give exactly one of `data`, `text` and `bin`")),
        };
        checked_publish(Publish { topic: self.topic, key: self.key, payload })
    }
}
