//! Event streams, byte for byte: golden vectors, the examples of `SPEC.md`, and their measure.

use fanfare_protocol::{
    CloseCode, Gap, MessageHead, Mode, PatternSubscribed, Payload, Position, SnapshotEnd,
    StreamEvent, Subscribed,
};
use serde::{Deserialize, Serialize};

use crate::vectors::path;

const SPEC: &str = include_str!("../../SPEC.md");

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct VectorFile {
    description: String,
    vectors: Vec<Vector>,
}

/// One event: its text, and what a client makes of it. An event without `data` is not dispatched,
/// but may set the last event's id.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Vector {
    name: String,
    description: String,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

impl Vector {
    /// Reads the event as the HTML Living Standard does (section 9.2.6), by other code than the
    /// one that wrote it.
    fn parse(name: &str, description: &str, text: String) -> Self {
        let (name, description) = (name.to_owned(), description.to_owned());
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let (event, id, retry, data) = (None, None, None, None);
        let mut vector = Self { name, description, text, event, id, retry, data };
        for line in lines {
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "event" => vector.event = Some(value),
                "id" => vector.id = Some(value),
                "retry" => vector.retry = value.parse().ok(),
                "data" => {
                    let before = vector.data.take().map(|data| data + "\n").unwrap_or_default();
                    vector.data = Some(before + &value);
                }
                _ => assert_eq!(field, "", "{line}"),
            }
        }
        vector
    }
}

fn position(offset: u64) -> Position {
    Position { epoch: "k3f9q2xw".to_owned(), offset }
}

fn subscribed() -> Subscribed {
    let epoch = "k3f9q2xw".to_owned();
    Subscribed { epoch, offset: 123_456, recovered: false, mode: Mode::All, snapshot: false }
}

fn gap() -> Gap {
    let (topic, epoch) = ("ticks.AAPL".to_owned(), "k3f9q2xw".to_owned());
    Gap { topic, epoch, from: 123_459, to: 123_470 }
}

/// Calls `take` with every event that stands in the vectors.
fn each_event(mut take: impl FnMut(&str, &str, StreamEvent<'_>)) {
    let (id, next) = (position(123_456), position(123_457));
    let topic = "ticks.AAPL";
    let recovered = Subscribed { recovered: true, mode: Mode::Latest, ..subscribed() };
    let ping_interval_ms = 25_000;
    let with_newest = Subscribed { snapshot: true, ..subscribed() };
    take(
        "subscribed",
        "The stream of one topic begins behind its newest message.",
        StreamEvent::Subscribed {
            topic,
            subscribed: &subscribed(),
            id: Some(&id),
            ping_interval_ms,
        },
    );
    take(
        "subscribed_recovered",
        "A stream goes on; what follows the id comes first.",
        StreamEvent::Subscribed {
            topic,
            subscribed: &recovered,
            id: Some(&position(123_440)),
            ping_interval_ms,
        },
    );
    take(
        "subscribed_of_several",
        "One of several topics; its newest message follows.",
        StreamEvent::Subscribed { topic, subscribed: &with_newest, id: None, ping_interval_ms },
    );
    let of_pattern = PatternSubscribed { topics: 12, mode: Mode::All };
    take(
        "subscribed_pattern",
        "A pattern.",
        StreamEvent::PatternSubscribed {
            pattern: "news.*",
            subscribed: of_pattern,
            ping_interval_ms,
        },
    );
    for (name, description, payload) in [
        ("message", "A JSON payload.", Payload::json(r#"{"p":187.23}"#).expect("JSON")),
        ("message_lines", "JSON in two lines.", Payload::json("{\"p\":\n1}").expect("JSON")),
        ("message_text", "Text with each kind of line end.", Payload::text("a\nb\r\nc\rd\n")),
        ("message_empty", "No text at all.", Payload::text("")),
        ("message_space", "Text that begins with a space and a colon.", Payload::text(" :x")),
        ("message_binary", "Bytes.", Payload::binary(vec![0, 1, 254, 255])),
    ] {
        take(name, description, StreamEvent::Message { id: &next, payload: &payload });
        let head = MessageHead { topic, offset: 123_457, prev: None };
        let of_several = format!("{name}_of_several");
        take(&of_several, description, StreamEvent::Push { head, payload: &payload });
    }
    take(
        "gap",
        "Messages are lost to the stream of one topic.",
        StreamEvent::Gap { gap: &gap(), id: Some(&position(123_470)) },
    );
    take(
        "gap_of_several",
        "Messages of one of several topics are lost.",
        StreamEvent::Gap { gap: &gap(), id: None },
    );
    let end = SnapshotEnd { topic: "news.*".to_owned(), messages: 12, later: 0 };
    take(
        "snapshot",
        "The newest messages of a pattern's topics have come.",
        StreamEvent::SnapshotEnd(&end),
    );
    take(
        "place",
        "How far a stream of a topic, a pattern and a topic has come.",
        StreamEvent::Place(&[Some(next.clone()), None, Some(position(7))]),
    );
    take("heartbeat", "The broker is alive.", StreamEvent::Heartbeat);
    let reason = "the broker restarts; come back";
    take(
        "close",
        "The stream ends.",
        StreamEvent::Close { code: CloseCode::SERVICE_RESTART, reason, retry_ms: 4_200 },
    );
}

fn written() -> Vec<Vector> {
    let mut vectors = Vec::new();
    each_event(|name, description, event| {
        let mut out = Vec::new();
        event.encode(&mut out);
        let text = String::from_utf8(out).expect("event streams are UTF-8");
        vectors.push(Vector::parse(name, description, text));
    });
    vectors
}

fn text(name: &str) -> String {
    let vectors = written();
    let named = vectors.into_iter().find(|vector| vector.name == name);
    named.unwrap_or_else(|| panic!("no vector {name}")).text
}

#[test]
fn events_are_written_exactly_so() {
    let description = "Events of a stream: their text, and what a client makes of each.";
    let written = VectorFile { description: description.to_owned(), vectors: written() };
    let file = path("event_stream.json");
    if std::env::var_os("FANFARE_UPDATE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(&written).expect("JSON") + "\n";
        std::fs::write(&file, text).expect("the vectors can be written");
    }
    let text = std::fs::read_to_string(file).expect("the vectors can be read");
    assert_eq!(serde_json::from_str::<VectorFile>(&text).expect("JSON"), written);
}

#[test]
fn what_a_client_reads_is_what_was_published() {
    let vectors = written();
    let data = |name: &str| {
        let vector = vectors.iter().find(|vector| vector.name == name);
        vector.and_then(|vector| vector.data.as_deref()).unwrap_or_else(|| panic!("{name}"))
    };
    assert_eq!(data("message"), r#"{"p":187.23}"#);
    assert_eq!(data("message_lines"), "{\"p\":\n1}");
    assert_eq!(data("message_text"), "a\nb\nc\nd\n", "other line ends become line feeds");
    assert_eq!((data("message_empty"), data("message_space")), ("", " :x"));
    assert_eq!(data("message_binary"), "AAH+/w==");
    let push: serde_json::Value =
        serde_json::from_str(data("message_text_of_several")).expect("JSON");
    assert_eq!(push["text"], "a\nb\r\nc\rd\n", "as it was published");
}

#[test]
fn the_examples_of_the_specification_are_written_exactly_so() {
    let examples = |label: &str| {
        let opening = format!("```{label}\n");
        let (_, rest) = SPEC.split_once(&opening).unwrap_or_else(|| panic!("no {label}"));
        rest.split_once("```").expect("an end").0
    };
    let mut retry = Vec::new();
    StreamEvent::encode_retry(&mut retry);
    let retry = String::from_utf8(retry).expect("text");
    let all =
        |names: &[&str]| retry.clone() + &names.iter().map(|name| text(name)).collect::<String>();
    let of_topic = ["subscribed", "message", "message_binary", "gap", "heartbeat", "close"];
    assert_eq!(examples("events topic"), all(&of_topic));
    let of_several =
        ["subscribed_of_several", "subscribed_pattern", "place", "message_of_several", "heartbeat"];
    assert_eq!(examples("events topics"), all(&of_several));
}

#[test]
fn the_envelope_of_an_event_stays_within_its_measure() {
    let payload = r#"{"p":187.23}"#.len();
    let (one, several) = (text("message").len(), text("message_of_several").len());
    for (around, row) in [(one - payload, "one topic"), (several - payload, "several topics")] {
        let row = format!("| events of {row} | {around} |");
        assert!(SPEC.contains(&row), "there is no row {row}");
    }
}
