//! One published message and its frames, each wire form encoded at most once.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fanfare_protocol::{Codec, MessageHead, Payload, PayloadKind, Position, StreamEvent};

use super::topic::Topic;
use crate::event_frame::event_frame;
use crate::sdk_frame::sdk_frame;
use crate::time::Now;
use crate::ws::{FrameBuilder, Opcode};

/// How a subscriber gets its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WireForm {
    /// The bare payload, one frame each: the raw stream.
    Raw,
    /// The SDK protocol in this codec.
    Sdk(Codec),
    /// Server-sent events of one topic: the bare payload as data, the place as id.
    TopicEvents,
    /// Server-sent events of several topics: the SDK protocol's JSON push as data.
    Events,
}

impl WireForm {
    /// All forms; a form's place is its [`Self::index`].
    pub const ALL: [Self; 5] = [
        Self::Raw,
        Self::Sdk(Codec::Json),
        Self::Sdk(Codec::MsgPack),
        Self::TopicEvents,
        Self::Events,
    ];

    /// How many of them, the first ones, go over a WebSocket.
    pub(crate) const WEBSOCKET_COUNT: usize = 3;

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Raw => 0,
            Self::Sdk(Codec::Json) => 1,
            Self::Sdk(Codec::MsgPack) => 2,
            Self::TopicEvents => 3,
            Self::Events => 4,
        }
    }

    /// The transport that it belongs to, as metrics name it.
    #[must_use]
    pub fn transport(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Sdk(_) => "sdk",
            Self::TopicEvents | Self::Events => "sse",
        }
    }

    /// Whether it is server-sent events, on which a client says nothing.
    pub(crate) fn is_events(self) -> bool {
        matches!(self, Self::TopicEvents | Self::Events)
    }
}

/// About what stands around a payload.
const ENVELOPE_BYTES: usize = 64;

/// A message with its place in its topic's sequence, shared by rings, mailboxes and outboxes.
#[derive(Debug)]
pub struct Message {
    topic: Arc<Topic>,
    offset: u64,
    published: Now,
    payload: Payload,
    /// The raw frame; the payload's bytes are a part of it.
    raw: Bytes,
    json: OnceLock<Bytes>,
    msgpack: OnceLock<Bytes>,
    /// Apart, so that a message which nobody gets as an event is no larger for it.
    events: OnceLock<Box<EventFrames>>,
}

#[derive(Debug, Default)]
struct EventFrames {
    of_topic: OnceLock<Bytes>,
    of_several: OnceLock<Bytes>,
}

impl Message {
    pub(crate) fn new(topic: Arc<Topic>, offset: u64, payload: &Payload, published: Now) -> Self {
        let mut frame = FrameBuilder::with_capacity(payload.bytes().len());
        frame.payload().extend_from_slice(payload.bytes());
        let opcode = match payload.kind() {
            PayloadKind::Json | PayloadKind::Text => Opcode::Text,
            PayloadKind::Binary => Opcode::Binary,
        };
        let (raw, payload_at) = frame.finish(opcode);
        let payload = Payload::from_checked(payload.kind(), raw.slice(payload_at..));
        let (json, msgpack, events) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { topic, offset, published, payload, raw, json, msgpack, events }
    }

    /// The topic that it was published on.
    #[must_use]
    pub fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }

    /// Its place in the topic's sequence.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// When it was published.
    #[must_use]
    pub fn published(&self) -> Now {
        self.published
    }

    /// Its content.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    pub(crate) fn payload_len(&self) -> usize {
        self.payload.bytes().len()
    }

    /// The whole frame in this form, encoded by whoever asks first.
    #[must_use]
    pub fn frame(&self, form: WireForm) -> &Bytes {
        match form {
            WireForm::Raw => &self.raw,
            WireForm::Sdk(codec @ Codec::Json) => self.json.get_or_init(|| self.encode(codec)),
            WireForm::Sdk(codec @ Codec::MsgPack) => {
                self.msgpack.get_or_init(|| self.encode(codec))
            }
            WireForm::TopicEvents => {
                self.event_frames().of_topic.get_or_init(|| self.encode_topic_event())
            }
            WireForm::Events => self.event_frames().of_several.get_or_init(|| {
                let event = StreamEvent::Push { head: self.head(), payload: &self.payload };
                event_frame(event, ENVELOPE_BYTES + self.payload_len())
            }),
        }
    }

    fn event_frames(&self) -> &EventFrames {
        self.events.get_or_init(Box::default)
    }

    fn head(&self) -> MessageHead<'_> {
        // On one node offsets are dense, so the message before is always `offset - 1`.
        MessageHead { topic: self.topic.name().as_str(), offset: self.offset, prev: None }
    }

    fn encode(&self, codec: Codec) -> Bytes {
        let capacity = ENVELOPE_BYTES + self.topic.name().as_str().len() + self.payload_len();
        sdk_frame(codec, capacity, |out| self.head().encode(codec, &self.payload, out))
    }

    fn encode_topic_event(&self) -> Bytes {
        let id = Position { epoch: self.topic.epoch().to_string(), offset: self.offset };
        let event = StreamEvent::Message { id: &id, payload: &self.payload };
        event_frame(event, ENVELOPE_BYTES + self.payload_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_protocol::{MessagePush, ServerFrame};

    fn message(payload: &Payload) -> Message {
        Message::new(Topic::lone(1, "stocks.A"), 58, payload, Now::default())
    }

    #[test]
    fn a_short_raw_message_has_two_bytes_of_framing() {
        for payload in [Payload::text("x".repeat(125)), Payload::binary(vec![0; 125])] {
            let message = message(&payload);
            assert_eq!(message.frame(WireForm::Raw).len(), 127);
            assert_eq!(message.payload(), &payload);
        }
    }

    #[test]
    fn each_form_decodes_to_the_same_message_and_is_encoded_once() {
        for payload in [
            Payload::json(r#"{"p":187.2}"#).unwrap(),
            Payload::text("hi"),
            Payload::binary(vec![0, 255]),
        ] {
            let message = message(&payload);
            for form in [WireForm::TopicEvents, WireForm::Events] {
                let frame = message.frame(form);
                assert!(frame.ends_with(b"\n\n"), "{frame:?}");
                assert_eq!(message.frame(form).as_ptr(), frame.as_ptr());
            }
            for codec in Codec::ALL {
                let frame = message.frame(WireForm::Sdk(codec));
                let push = MessagePush {
                    topic: "stocks.A".to_owned(),
                    offset: 58,
                    prev: None,
                    payload: payload.clone(),
                };
                assert_eq!(ServerFrame::decode(codec, &frame[2..]), Ok(ServerFrame::Message(push)));
                assert_eq!(message.frame(WireForm::Sdk(codec)).as_ptr(), frame.as_ptr());
            }
        }
    }
}
