//! Server-sent events: what is written where topics are asked for as `text/event-stream` (HTML
//! Living Standard, section 9.2).
//!
//! Owns the bytes of each event. Which events come when, the engine decides.

use std::fmt::Write;

use serde::Serialize;

use crate::codec::Codec;
use crate::codes::CloseCode;
use crate::command::Mode;
use crate::event::{Event, Gap, SnapshotEnd};
use crate::message::MessageHead;
use crate::payload::{Payload, base64};
use crate::reply::{PatternSubscribed, Position, Subscribed};

/// How long a client waits before it comes back to a stream that has ended, in milliseconds,
/// unless it was told otherwise.
pub const STREAM_RETRY_MS: u64 = 1_000;

/// One event of an event stream.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum StreamEvent<'a> {
    /// The subscription to a topic is live. `id`: the position after which its messages follow,
    /// where the stream is of this topic alone.
    Subscribed {
        /// The topic's name.
        topic: &'a str,
        /// As in the reply of the SDK protocol.
        subscribed: &'a Subscribed,
        /// The place from which a client that comes back goes on.
        id: Option<&'a Position>,
        /// How often the broker gives a sign of life.
        ping_interval_ms: u64,
    },
    /// The subscription to a pattern is live.
    PatternSubscribed {
        /// The pattern.
        pattern: &'a str,
        /// As in the reply of the SDK protocol.
        subscribed: PatternSubscribed,
        /// How often the broker gives a sign of life.
        ping_interval_ms: u64,
    },
    /// A message of the one topic that the stream is of: its bare payload.
    Message {
        /// The message's place.
        id: &'a Position,
        /// Its content.
        payload: &'a Payload,
    },
    /// A message of one of the stream's topics, as the SDK protocol pushes it.
    Push {
        /// The message's topic and place.
        head: MessageHead<'a>,
        /// Its content.
        payload: &'a Payload,
    },
    /// Messages are lost to this stream. `id`: the last of them, where the stream is of this topic
    /// alone.
    Gap {
        /// Which ones.
        gap: &'a Gap,
        /// The place from which a client that comes back goes on.
        id: Option<&'a Position>,
    },
    /// The snapshot of a pattern is complete.
    SnapshotEnd(&'a SnapshotEnd),
    /// How far a stream of several topics has come, in the order in which they were asked for;
    /// `None` for a pattern, which has no place.
    Place(&'a [Option<Position>]),
    /// The broker is alive.
    Heartbeat,
    /// The broker ends the stream.
    Close {
        /// Why, as a close code of the WebSocket protocols.
        code: CloseCode,
        /// Why, for a person.
        reason: &'a str,
        /// How long the client waits before it comes back.
        retry_ms: u64,
    },
}

#[derive(Serialize)]
struct TopicBegins<'a> {
    topic: &'a str,
    epoch: &'a str,
    offset: u64,
    recovered: bool,
    mode: Mode,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    snapshot: bool,
    ping_interval_ms: u64,
}

#[derive(Serialize)]
struct PatternBegins<'a> {
    pattern: &'a str,
    topics: u64,
    mode: Mode,
    ping_interval_ms: u64,
}

#[derive(Serialize)]
struct Ends<'a> {
    code: u16,
    reason: &'a str,
}

impl StreamEvent<'_> {
    /// Appends this event to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Subscribed { topic, subscribed, id, ping_interval_ms } => {
                field("event", b"subscribed", out);
                id_field(id, out);
                let Subscribed { ref epoch, offset, recovered, mode, snapshot } = *subscribed;
                let begins = TopicBegins {
                    topic,
                    epoch,
                    offset,
                    recovered,
                    mode,
                    snapshot,
                    ping_interval_ms,
                };
                data(out, |out| Codec::Json.encode(&begins, out));
            }
            Self::PatternSubscribed { pattern, subscribed, ping_interval_ms } => {
                field("event", b"subscribed", out);
                let PatternSubscribed { topics, mode } = subscribed;
                let begins = PatternBegins { pattern, topics, mode, ping_interval_ms };
                data(out, |out| Codec::Json.encode(&begins, out));
            }
            Self::Message { id, payload } => message(id, payload, out),
            Self::Push { head, payload } => {
                data(out, |out| head.encode(Codec::Json, payload, out));
            }
            Self::Gap { gap, id } => {
                field("event", b"gap", out);
                id_field(id, out);
                data(out, |out| Event::Gap(gap.clone()).encode(Codec::Json, out));
            }
            Self::SnapshotEnd(end) => {
                field("event", b"snapshot", out);
                data(out, |out| Event::Snapshot(end.clone()).encode(Codec::Json, out));
            }
            Self::Place(places) => field("id", place(places).as_bytes(), out),
            Self::Heartbeat => out.extend_from_slice(b":\n"),
            Self::Close { code, reason, retry_ms } => {
                field("event", b"close", out);
                retry(retry_ms, out);
                data(out, |out| Codec::Json.encode(&Ends { code: code.0, reason }, out));
            }
        }
        out.push(b'\n');
    }

    /// Appends the line that tells a client when to come back; it stands before the first event.
    pub fn encode_retry(out: &mut Vec<u8>) {
        retry(STREAM_RETRY_MS, out);
    }
}

fn message(id: &Position, payload: &Payload, out: &mut Vec<u8>) {
    if payload.as_text().is_none() {
        field("event", b"binary", out);
    }
    id_field(Some(id), out);
    match payload.as_text() {
        Some(text) => data(out, |out| out.extend_from_slice(text.as_bytes())),
        None => field("data", base64(payload.bytes()).as_bytes(), out),
    }
}

fn retry(ms: u64, out: &mut Vec<u8>) {
    field("retry", ms.to_string().as_bytes(), out);
}

fn id_field(id: Option<&Position>, out: &mut Vec<u8>) {
    if let Some(Position { epoch, offset }) = id {
        field("id", format!("{epoch}:{offset}").as_bytes(), out);
    }
}

fn place(places: &[Option<Position>]) -> String {
    let mut joined = String::new();
    for (i, place) in places.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        // Writing to a `String` does not fail.
        let _ = match place {
            Some(Position { epoch, offset }) => write!(joined, "{comma}{epoch}:{offset}"),
            None => write!(joined, "{comma}-"),
        };
    }
    joined
}

fn field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Writes what `encode` appends as data: each of its lines in a field of its own, since a line end
/// ends a field (section 9.2.5). Nearly always it is one line, which is written in place.
fn data(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let field_at = out.len();
    out.extend_from_slice(b"data: ");
    let content_at = out.len();
    encode(out);
    out.push(b'\n');
    let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let end = out.len() - 1;
    if !out[content_at..end].iter().any(is_line_end) {
        return;
    }
    let content = out[content_at..end].to_vec();
    out.truncate(field_at);
    let mut rest = &content[..];
    while let Some(at) = rest.iter().position(is_line_end) {
        field("data", &rest[..at], out);
        let ends_with_two = rest[at..].starts_with(b"\r\n");
        rest = &rest[at + 1 + usize::from(ends_with_two)..];
    }
    field("data", rest, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(event: StreamEvent<'_>) -> String {
        let mut out = Vec::new();
        event.encode(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn written(payload: &Payload) -> String {
        let id = Position { epoch: "k3".to_owned(), offset: 58 };
        encoded(StreamEvent::Message { id: &id, payload })
    }

    #[test]
    fn a_payload_is_written_bare_and_a_binary_one_in_base64() {
        let json = Payload::json(r#"{"p":187.2}"#).unwrap();
        assert_eq!(written(&json), "id: k3:58\ndata: {\"p\":187.2}\n\n");
        assert_eq!(written(&Payload::text("")), "id: k3:58\ndata: \n\n");
        let binary = written(&Payload::binary(vec![0, 1, 254, 255]));
        assert_eq!(binary, "event: binary\nid: k3:58\ndata: AAH+/w==\n\n");
    }

    #[test]
    fn each_line_of_a_payload_stands_in_its_own_field() {
        for (text, lines) in [
            ("a\nb", "data: a\ndata: b\n"),
            ("a\r\nb\rc\n", "data: a\ndata: b\ndata: c\ndata: \n"),
            ("\n\n", "data: \ndata: \ndata: \n"),
            ("a\r", "data: a\ndata: \n"),
        ] {
            assert_eq!(written(&Payload::text(text)), format!("id: k3:58\n{lines}\n"));
        }
        let payload = Payload::json("{\"a\":\n1}").unwrap();
        let head = MessageHead { topic: "t", offset: 7, prev: None };
        assert_eq!(
            encoded(StreamEvent::Push { head, payload: &payload }),
            "data: {\"topic\":\"t\",\"offset\":7,\"data\":{\"a\":\ndata: 1}}\n\n"
        );
    }

    #[test]
    fn a_reason_cannot_end_its_event() {
        let reason = "a\n\nevent: b";
        let close = StreamEvent::Close { code: CloseCode::SLOW_CONSUMER, reason, retry_ms: 7 };
        assert_eq!(encoded(close).matches('\n').count(), 4);
    }
}
