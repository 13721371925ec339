//! Both codecs write and read exactly the golden vectors.
//!
//! After a deliberate change of the wire, `FANFARE_UPDATE_VECTORS=1 cargo test` writes the files
//! anew; the difference then belongs into the change's review.

use std::path::PathBuf;

use fanfare_protocol::{Codec, Command, DecodedCommand, ServerFrame};
use serde::{Deserialize, Serialize};

use crate::values::{self, Named};

/// One file of `vectors/`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct VectorFile {
    description: String,
    vectors: Vec<Vector>,
}

/// One value with its exact encodings: JSON as text, MessagePack in hex.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Vector {
    name: String,
    description: String,
    json: String,
    msgpack: String,
}

impl Vector {
    fn content(&self, codec: Codec) -> Vec<u8> {
        match codec {
            Codec::Json => self.json.clone().into_bytes(),
            Codec::MsgPack => from_hex(&self.msgpack),
        }
    }
}

pub(crate) fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file)
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn from_hex(hex: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).expect("a hex digit") as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Compares a file with what the codecs write, then hands each vector out for reading.
fn check<T>(
    file: &str,
    description: &str,
    values: &[Named<T>],
    encode: impl Fn(&T, Codec, &mut Vec<u8>),
    decode: impl Fn(&T, Codec, &[u8]),
) {
    let encoded = |value: &T, codec| {
        let mut bytes = Vec::new();
        encode(value, codec, &mut bytes);
        bytes
    };
    let vectors = values.iter().map(|Named { name, description, value }| Vector {
        name: (*name).to_owned(),
        description: (*description).to_owned(),
        json: String::from_utf8(encoded(value, Codec::Json)).expect("JSON is UTF-8"),
        msgpack: to_hex(&encoded(value, Codec::MsgPack)),
    });
    let written = VectorFile { description: description.to_owned(), vectors: vectors.collect() };
    if std::env::var_os("FANFARE_UPDATE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(&written).expect("JSON") + "\n";
        std::fs::write(path(file), text).expect("the vectors can be written");
    }
    let text = std::fs::read_to_string(path(file)).expect("the vectors can be read");
    let golden: VectorFile = serde_json::from_str(&text).expect("the vectors are JSON");
    assert_eq!(written, golden);
    for (Named { value, .. }, vector) in values.iter().zip(&golden.vectors) {
        for codec in Codec::ALL {
            decode(value, codec, &vector.content(codec));
        }
    }
}

#[test]
fn commands_are_written_and_read_exactly_so() {
    check(
        "commands.json",
        "Frames that a client sends: one command, or an array of commands.",
        &values::commands(),
        |commands, codec, out| match &commands[..] {
            [command] => command.encode(codec, out),
            commands => Command::encode_batch(commands, codec, out),
        },
        |commands, codec, content| {
            let expected: Vec<_> = commands
                .iter()
                .map(|Command { id, request }| DecodedCommand {
                    id: *id,
                    request: Ok(request.clone()),
                })
                .collect();
            assert_eq!(Command::decode_frame(codec, content), Ok(expected));
        },
    );
}

#[test]
fn replies_are_written_and_read_exactly_so() {
    check(
        "replies.json",
        "Frames with which the broker answers a command that has an id.",
        &values::replies(),
        |reply, codec, out| reply.encode(codec, out),
        |reply, codec, content| {
            let decoded = ServerFrame::decode(codec, content);
            assert_eq!(decoded, Ok(ServerFrame::Reply(reply.clone())));
        },
    );
}

#[test]
fn pushes_are_written_and_read_exactly_so() {
    check(
        "pushes.json",
        "Frames that the broker sends unasked: messages and events.",
        &values::pushes(),
        |push, codec, out| match push {
            ServerFrame::Message(message) => message.encode(codec, out),
            ServerFrame::Event(event) => event.encode(codec, out),
            ServerFrame::Reply(reply) => reply.encode(codec, out),
        },
        |push, codec, content| assert_eq!(ServerFrame::decode(codec, content).as_ref(), Ok(push)),
    );
}

#[test]
fn the_envelope_of_a_message_stays_within_its_measure() {
    let payload = "{\"p\":187.23}";
    let message = values::message(123_456, None, values::json(payload));
    let envelope = |codec, payload_len: usize| {
        let mut bytes = Vec::new();
        message.encode(codec, &mut bytes);
        bytes.len() - payload_len
    };
    assert_eq!(envelope(Codec::Json, payload.len()), 46);
    // The payload itself: a map of one, the key "p" and a double.
    assert_eq!(envelope(Codec::MsgPack, 1 + 2 + 9), 35);
}
