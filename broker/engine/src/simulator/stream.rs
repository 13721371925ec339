//! Event streams as their clients see them: read by the HTML Living Standard (section 9.2), not by
//! the code that wrote them, and judged like every other connection.

use std::collections::VecDeque;

use fanfare_protocol::{
    CloseCode, Codec, Mode, Payload, PayloadKind, Position, Reply, ServerFrame,
};

use super::asked::{Asked, Sent};
use super::record::Record;
use super::session::Session;
use super::wire::{BINARY, Frame, TEXT};
use crate::topics::WireForm;

/// Cuts the bytes that a client reads into events.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    bytes: VecDeque<u8>,
    is_closed: bool,
    has_begun: bool,
}

/// One event as it came.
#[derive(Debug, Default)]
pub(super) struct Event {
    bytes: Vec<u8>,
    name: Option<String>,
    id: Option<String>,
    retry: Option<u64>,
    data: Option<String>,
    is_comment: bool,
}

impl EventReader {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        assert!(!self.is_closed || bytes.is_empty(), "bytes follow the close event");
        self.bytes.extend(bytes);
    }

    /// The next whole event.
    pub(super) fn next(&mut self) -> Option<Event> {
        let bytes = self.bytes.make_contiguous();
        let end = bytes.windows(2).position(|two| two == b"\n\n")? + 2;
        let event = Event::parse(self.bytes.drain(..end).collect());
        assert!(self.has_begun || event.retry.is_some(), "the first one says when to come back");
        self.has_begun = true;
        self.is_closed = event.name.as_deref() == Some("close");
        Some(event)
    }
}

impl Event {
    fn parse(bytes: Vec<u8>) -> Self {
        let text = String::from_utf8(bytes).unwrap_or_else(|error| panic!("no UTF-8: {error}"));
        let mut event = Self::default();
        for line in text.trim_end_matches('\n').split('\n') {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            let place = match field {
                "" => {
                    event.is_comment = true;
                    continue;
                }
                "event" => &mut event.name,
                "id" => &mut event.id,
                "data" => &mut event.data,
                "retry" => {
                    event.retry = value.parse().ok();
                    continue;
                }
                other => panic!("no field of an event: {other:?} in {text:?}"),
            };
            assert!(place.is_none(), "messages here have one line: {text:?}");
            *place = Some(value);
        }
        event.bytes = text.into_bytes();
        event
    }

    fn data(&self) -> &str {
        self.data.as_deref().unwrap_or_else(|| panic!("no data: {self:?}"))
    }

    /// What the SDK protocol makes of some text.
    fn decode(&self, json: &str) -> ServerFrame {
        let decoded = ServerFrame::decode(Codec::Json, json.as_bytes());
        decoded.unwrap_or_else(|error| panic!("{error}: {json} in {self:?}"))
    }
}

impl Session {
    /// Notes what an event stream was opened for, in order.
    pub(super) fn begin_stream(&mut self, sources: Vec<Asked>, record: &Record) {
        for asked in sources {
            self.want(&asked);
            self.sources.push(asked.clone());
            let sent = Sent { asked, now: record.now, heads: record.heads() };
            self.asked.push_back((0, sent));
        }
    }

    pub(super) fn hear_events(&mut self, bytes: &[u8], record: &mut Record) {
        self.events.push(bytes);
        while let Some(event) = self.events.next() {
            match event.name.as_deref() {
                Some("subscribed") => self.hear_subscribed(&event, record),
                Some("gap") => self.hear_gap(&event, record),
                Some("snapshot") => {
                    let frame = Frame::of_event(TEXT, event.data().as_bytes().to_vec(), 0);
                    self.hear_sdk(Codec::Json, frame, record);
                }
                Some("close") => {
                    let code =
                        event.data().strip_prefix("{\"code\":").and_then(|rest| rest.get(..4));
                    let code = code.and_then(|code| code.parse().ok());
                    let code = code.unwrap_or_else(|| panic!("no code: {event:?}"));
                    assert!(event.retry.is_some(), "when to come back: {event:?}");
                    self.closed = Some((CloseCode(code), event.data().to_owned()));
                    record.summary.count("event streams ended by the broker");
                }
                None | Some("binary") if event.data.is_some() => self.hear_event(event, record),
                None if event.id.is_some() => self.hear_place(&event, record),
                None if event.is_comment => record.summary.count("heartbeats"),
                None if event.retry.is_some() => {}
                _ => panic!("unexpected: {event:?}"),
            }
        }
    }

    fn hear_subscribed(&mut self, event: &Event, record: &mut Record) {
        let reply = format!("{{\"id\":0,\"subscribe\":{}}}", event.data());
        let ServerFrame::Reply(Reply { id, result }) = event.decode(&reply) else {
            panic!("no subscription: {event:?}")
        };
        self.hear_reply(Reply { id, result }, record);
        if self.form() == WireForm::TopicEvents {
            self.check_place(0, event.id.as_deref().unwrap_or("none"), record);
        }
    }

    fn hear_gap(&mut self, event: &Event, record: &mut Record) {
        let frame = Frame::of_event(TEXT, event.data().as_bytes().to_vec(), 0);
        self.hear_sdk(Codec::Json, frame, record);
        if self.form() == WireForm::TopicEvents {
            self.check_place(0, event.id.as_deref().unwrap_or("none"), record);
        }
    }

    fn hear_event(&mut self, event: Event, record: &mut Record) {
        if self.form() == WireForm::Events {
            let at = event.bytes.len() - event.data().len() - 2;
            return self.hear_sdk(Codec::Json, Frame::of_event(TEXT, event.bytes, at), record);
        }
        let is_binary = event.name.is_some();
        let payload = match is_binary {
            false => {
                let kind = Payload::kind_of_text(event.data());
                Payload::from_checked(kind, event.data().to_owned().into())
            }
            true => {
                let push = format!(r#"{{"topic":"t","offset":1,"base64":"{}"}}"#, event.data());
                match event.decode(&push) {
                    ServerFrame::Message(message) => message.payload,
                    other => panic!("{other:?}"),
                }
            }
        };
        assert_eq!(is_binary, payload.kind() == PayloadKind::Binary);
        let place = record.place(&payload).clone();
        assert_eq!(event.id, Some(format!("{}:{}", place.epoch, place.offset)));
        let opcode = if is_binary { BINARY } else { TEXT };
        self.hear_message(place, Frame::of_event(opcode, event.bytes, 0), &payload, record);
    }

    /// The place of a stream of several topics.
    fn hear_place(&self, event: &Event, record: &mut Record) {
        let told: Vec<&str> = event.id.as_deref().unwrap_or_default().split(',').collect();
        assert_eq!(told.len(), self.sources.len(), "one for each source: {event:?}");
        for (at, place) in told.into_iter().enumerate() {
            match self.sources[at] {
                Asked::SubscribePattern { .. } => assert_eq!(place, "-"),
                _ => self.check_place(at, place, record),
            }
        }
        record.summary.count("places told");
    }

    /// Demands that the client has what the place of a source says that it has.
    fn check_place(&self, at: usize, place: &str, record: &Record) {
        let Asked::Subscribe { topic, .. } = self.sources[at] else { panic!("no topic") };
        let (epoch, offset) = place.split_once(':').unwrap_or_else(|| panic!("a place: {place}"));
        let offset = offset.parse().unwrap_or_else(|error| panic!("{error}: {place}"));
        let told = Position { epoch: epoch.to_owned(), offset };
        let track = self.ways.of_name(topic);
        let has = track.is_some_and(|track| track.epoch == told.epoch && track.has(offset));
        // Where nothing can be kept, newest values are lost to slow readers.
        let is_lost = || {
            let is_latest = track.is_some_and(|track| track.terms.mode == Mode::Latest);
            is_latest && !record.rings_have_room()
        };
        assert!(
            has || is_lost(),
            "it stands at {place} of {}: {track:?}",
            record.topic_name(topic)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_where_they_end() {
        let mut reader = EventReader::default();
        reader.push(b"retry: 7\nevent: x\nid: 1\nda");
        assert!(reader.next().is_none());
        reader.push(b"ta: a: b\n\n:\n\nid: 2\n\n");
        let first = reader.next().unwrap();
        assert_eq!((first.name.as_deref(), first.retry), (Some("x"), Some(7)));
        assert_eq!((first.id.as_deref(), first.data()), (Some("1"), "a: b"));
        assert!(reader.next().unwrap().is_comment);
        let last = reader.next().unwrap();
        assert_eq!((last.id.as_deref(), last.data), (Some("2"), None));
    }
}
