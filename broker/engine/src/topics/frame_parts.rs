//! What the bytes of a frame are: payload, what stands around it, and what marks it off.

use fanfare_protocol::{Codec, PayloadKind};

use super::message::{Message, WireForm};
use crate::ws::{client_header_len, server_header_len};

/// The bytes of frames, by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameParts {
    /// WebSocket headers; field names and line ends of events.
    pub(crate) framing: u64,
    /// What is neither framing nor payload.
    pub(crate) envelope: u64,
    /// Content of messages. JSON that became MessagePack counts as that.
    pub(crate) payload: u64,
}

/// `id: `, `data: ` and three line ends.
const TOPIC_EVENT_FRAMING: usize = 13;
/// `event: binary` and its line end.
const BINARY_FRAMING: usize = 14;
/// `data: ` and two line ends.
const EVENT_FRAMING: usize = 8;

impl FrameParts {
    pub(crate) fn add(&mut self, other: Self) {
        self.framing += other.framing;
        self.envelope += other.envelope;
        self.payload += other.payload;
    }

    /// Of a message in one form.
    pub(crate) fn of(message: &Message, form: WireForm) -> Self {
        let (len, kind) = (message.frame(form).len(), message.payload().kind());
        let framing = match form {
            WireForm::Raw | WireForm::Sdk(_) => server_header_len(len),
            WireForm::TopicEvents if kind == PayloadKind::Binary => {
                TOPIC_EVENT_FRAMING + BINARY_FRAMING
            }
            WireForm::TopicEvents => TOPIC_EVENT_FRAMING,
            WireForm::Events => EVENT_FRAMING,
        };
        let payload = match (form, kind) {
            (WireForm::Sdk(Codec::MsgPack), PayloadKind::Json) => {
                len - framing - msgpack_head_len(message)
            }
            _ => message.payload().bytes().len(),
        };
        Self::new(framing, len.saturating_sub(framing + payload), payload)
    }

    /// Of what a client sent in one WebSocket message of `content_len` bytes, `payload_len` of
    /// which were published. Headers of further fragments are not counted.
    pub(crate) fn of_incoming(content_len: usize, payload_len: usize) -> Self {
        let payload = payload_len.min(content_len);
        Self::new(client_header_len(content_len), content_len - payload, payload)
    }

    /// Of something else than messages that is written to a connection.
    pub(crate) fn of_other(form: WireForm, len: usize) -> Self {
        let framing = match form {
            WireForm::Raw => len,
            WireForm::Sdk(_) => server_header_len(len),
            WireForm::TopicEvents | WireForm::Events => len.min(EVENT_FRAMING),
        };
        Self::new(framing, len - framing, 0)
    }

    fn new(framing: usize, envelope: usize, payload: usize) -> Self {
        let [framing, envelope, payload] = [framing, envelope, payload].map(|n| n as u64);
        Self { framing, envelope, payload }
    }
}

/// What stands before a JSON payload in MessagePack: a map of three, its names, topic and offset.
fn msgpack_head_len(message: &Message) -> usize {
    const MAP_AND_NAMES: usize = 1 + "_topic".len() + "_offset".len() + "_data".len();
    let topic = message.topic().name().as_str().len();
    let topic_header = if topic < 32 { 1 } else { 2 };
    let offset = match message.offset() {
        0..=0x7f => 1,
        0x80..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    };
    MAP_AND_NAMES + topic_header + topic + offset
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Now;
    use crate::topics::Topic;
    use fanfare_protocol::Payload;

    fn parts(form: WireForm, offset: u64, payload: &Payload) -> (u64, u64, u64) {
        let topic = Topic::lone(1, "ticks.AAPL");
        let message = Message::new(topic, offset, payload, Now::default());
        let FrameParts { framing, envelope, payload } = FrameParts::of(&message, form);
        let len = message.frame(form).len() as u64;
        assert_eq!(framing + envelope + payload, len, "each byte is one of them");
        (framing, envelope, payload)
    }

    #[test]
    fn the_parts_of_a_message_are_those_of_the_specification() {
        let json = Payload::json(r#"{"p":187.23}"#).unwrap();
        let (codec_json, codec_msgpack) = (Codec::Json, Codec::MsgPack);
        for (form, expected) in [
            (WireForm::Raw, (2, 0, 12)),
            (WireForm::Sdk(codec_json), (2, 46, 12)),
            (WireForm::Sdk(codec_msgpack), (2, 35, 12)),
            (WireForm::TopicEvents, (13, 15, 12)),
            (WireForm::Events, (8, 46, 12)),
        ] {
            assert_eq!(parts(form, 123_456, &json), expected, "{form:?}");
        }
    }

    #[test]
    fn every_kind_and_offset_adds_up() {
        let payloads = [
            Payload::json("[1,\n2]").unwrap(),
            Payload::text("a\r\nb".repeat(40)),
            Payload::binary(vec![7; 300]),
            Payload::text(""),
        ];
        for payload in &payloads {
            for offset in [1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 1 << 32, u64::MAX] {
                for form in WireForm::ALL {
                    let (_, _, content) = parts(form, offset, payload);
                    let transcoded = form == WireForm::Sdk(Codec::MsgPack)
                        && payload.kind() == PayloadKind::Json;
                    assert!(transcoded || content == payload.bytes().len() as u64, "{form:?}");
                }
            }
        }
    }
}
