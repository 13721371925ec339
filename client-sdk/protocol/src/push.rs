//! What the broker sends unasked: messages and events.
//!
//! A message is encoded once and shared by every subscriber, so nothing of one subscriber is in
//! it. It is written by hand here, not through serde, because the payload is embedded verbatim.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::codec::Codec;
use crate::payload::{Payload, PayloadKind};
use crate::transcode::FromJson;

/// A message as a subscriber gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessagePush {
    /// The topic's name.
    pub topic: String,
    /// Its place in the topic's sequence.
    pub offset: u64,
    /// The place of the message before it, where that is not `offset - 1`.
    pub prev: Option<u64>,
    /// The content.
    pub payload: Payload,
}

/// What stands before the payload of a message.
#[derive(Clone, Copy, Debug)]
pub struct MessageHead<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// Its place in the topic's sequence.
    pub offset: u64,
    /// The place of the message before it, where that is not `offset - 1`.
    pub prev: Option<u64>,
}

/// Something other than a message that a client must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The broker is alive. Browsers cannot see WebSocket pings, so this one is a message.
    Ping,
    /// Messages of a subscription were not delivered and cannot be any more.
    Gap(Gap),
    /// An event that this version of the protocol does not know.
    Unknown,
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

impl Event {
    /// Appends this event, as one frame's content, to `out`.
    pub fn encode(&self, codec: Codec, out: &mut Vec<u8>) {
        codec.encode(self, out);
    }
}

impl MessagePush {
    /// Appends this message, as one frame's content, to `out`.
    pub fn encode(&self, codec: Codec, out: &mut Vec<u8>) {
        let head = MessageHead { topic: &self.topic, offset: self.offset, prev: self.prev };
        head.encode(codec, &self.payload, out);
    }
}

impl MessageHead<'_> {
    /// Appends the message with this head and `payload`, as one frame's content, to `out`.
    pub fn encode(&self, codec: Codec, payload: &Payload, out: &mut Vec<u8>) {
        match codec {
            Codec::Json => self.encode_json(payload, out),
            Codec::MsgPack => self.encode_msgpack(payload, out),
        }
    }

    fn encode_json(&self, payload: &Payload, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"topic\":");
        Codec::Json.encode(&self.topic, out);
        out.extend_from_slice(b",\"offset\":");
        Codec::Json.encode(&self.offset, out);
        if let Some(prev) = self.prev {
            out.extend_from_slice(b",\"prev\":");
            Codec::Json.encode(&prev, out);
        }
        match payload.kind() {
            PayloadKind::Json => {
                out.extend_from_slice(b",\"data\":");
                out.extend_from_slice(payload.bytes());
            }
            PayloadKind::Text => {
                out.extend_from_slice(b",\"text\":");
                Codec::Json.encode(&payload.as_text(), out);
            }
            PayloadKind::Binary => {
                out.extend_from_slice(b",\"base64\":\"");
                out.extend_from_slice(base64(payload.bytes()).as_bytes());
                out.push(b'"');
            }
        }
        out.push(b'}');
    }

    fn encode_msgpack(&self, payload: &Payload, out: &mut Vec<u8>) {
        // A map of up to 15 entries begins with one byte.
        out.push(0x83 + u8::from(self.prev.is_some()));
        let codec = Codec::MsgPack;
        codec.encode(&"topic", out);
        codec.encode(&self.topic, out);
        codec.encode(&"offset", out);
        codec.encode(&self.offset, out);
        if let Some(prev) = self.prev {
            codec.encode(&"prev", out);
            codec.encode(&prev, out);
        }
        match payload.kind() {
            PayloadKind::Json => {
                codec.encode(&"data", out);
                codec.encode(&FromJson(payload.bytes()), out);
            }
            PayloadKind::Text => {
                codec.encode(&"text", out);
                codec.encode(&payload.as_text(), out);
            }
            PayloadKind::Binary => {
                codec.encode(&"bin", out);
                codec.encode(&crate::msgpack::BlobRef(payload.bytes()), out);
            }
        }
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn from_base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    STANDARD.decode(text)
}
