//! Bad input gets the answer that `vectors/errors.json` names, and takes nothing else with it.

use fanfare_protocol::{Codec, Command, FrameError, ServerFrame};
use serde::Deserialize;

use crate::vectors::{from_hex, path};

#[derive(Deserialize)]
struct ErrorFile {
    vectors: Vec<ErrorVector>,
}

#[derive(Deserialize)]
struct ErrorVector {
    name: String,
    from: Sender,
    /// The content of a text frame.
    json: Option<String>,
    /// The content of a binary frame, in hex.
    msgpack: Option<String>,
    outcome: Outcome,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sender {
    Client,
    Broker,
}

/// What the frame as a whole gets, or each of its commands.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Malformed,
    TooManyCommands,
    Commands(Vec<CommandOutcome>),
}

#[derive(Debug, PartialEq, Deserialize)]
struct CommandOutcome {
    id: Option<u64>,
    /// The error's code as on the wire; `null` if the command is good.
    error: Option<String>,
}

fn outcome_of(error: &FrameError) -> Outcome {
    match error {
        FrameError::Malformed { .. } => Outcome::Malformed,
        FrameError::TooManyCommands(_) => Outcome::TooManyCommands,
        other => panic!("{other:?} has no name in the vectors"),
    }
}

fn read_by_the_broker(codec: Codec, frame: &[u8]) -> Outcome {
    let commands = match Command::decode_frame(codec, frame) {
        Ok(commands) => commands,
        Err(error) => return outcome_of(&error),
    };
    let outcomes = commands.into_iter().map(|command| {
        let code = command.request.err().map(|error| {
            assert_eq!(error.retry, error.code.retry());
            assert!(!error.message.is_empty());
            serde_json::to_value(error.code).expect("a code is JSON")
        });
        let error = code.and_then(|code| code.as_str().map(str::to_owned));
        CommandOutcome { id: command.id, error }
    });
    Outcome::Commands(outcomes.collect())
}

fn read_by_a_client(codec: Codec, frame: &[u8]) -> Outcome {
    match ServerFrame::decode(codec, frame) {
        Ok(frame) => panic!("a client takes it as {frame:?}"),
        Err(error) => outcome_of(&error),
    }
}

#[test]
fn each_bad_frame_gets_the_outcome_that_is_given() {
    let text = std::fs::read_to_string(path("errors.json")).unwrap();
    let file: ErrorFile = serde_json::from_str(&text).unwrap();
    let mut checked = 0;
    for ErrorVector { name, from, json, msgpack, outcome } in file.vectors {
        let json = json.map(|text| (Codec::Json, text.into_bytes()));
        let msgpack = msgpack.map(|hex| (Codec::MsgPack, from_hex(&hex)));
        for (codec, frame) in json.into_iter().chain(msgpack) {
            let got = match from {
                Sender::Client => read_by_the_broker(codec, &frame),
                Sender::Broker => read_by_a_client(codec, &frame),
            };
            assert_eq!(got, outcome, "{name} in {codec:?}");
            checked += 1;
        }
    }
    assert!(checked >= 220, "only {checked} frames were checked");
}
