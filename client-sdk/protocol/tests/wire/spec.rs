//! `SPEC.md` says what the code does.

use fanfare_protocol::{CloseCode, Codec, Command, ErrorCode, ServerFrame, limits};

const SPEC: &str = include_str!("../../SPEC.md");

/// The lines of the code blocks that are marked with `label`.
fn examples(label: &str) -> Vec<&'static str> {
    let opening = format!("```{label}\n");
    let blocks = SPEC.split(opening.as_str()).skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).collect()
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

#[test]
fn every_command_in_it_is_written_exactly_so() {
    let examples = examples("json client");
    assert!(examples.len() >= 21, "{examples:?}");
    for example in examples {
        let decoded = Command::decode_frame(Codec::Json, example.as_bytes()).unwrap();
        let commands: Vec<_> = decoded
            .into_iter()
            .map(|command| Command { id: command.id, request: command.request.unwrap() })
            .collect();
        let mut written = Vec::new();
        match &commands[..] {
            [command] => command.encode(Codec::Json, &mut written),
            commands => Command::encode_batch(commands, Codec::Json, &mut written),
        }
        assert_eq!(String::from_utf8(written).unwrap(), example);
    }
}

#[test]
fn every_reply_and_push_in_it_is_written_exactly_so() {
    let examples = examples("json broker");
    assert!(examples.len() >= 21, "{examples:?}");
    for example in examples {
        let mut written = Vec::new();
        match ServerFrame::decode(Codec::Json, example.as_bytes()).unwrap() {
            ServerFrame::Reply(reply) => reply.encode(Codec::Json, &mut written),
            ServerFrame::Message(message) => message.encode(Codec::Json, &mut written),
            ServerFrame::Event(event) => event.encode(Codec::Json, &mut written),
        }
        assert_eq!(String::from_utf8(written).unwrap(), example);
    }
}

#[test]
fn its_table_of_close_codes_is_the_one_of_the_code() {
    for (code, label) in CloseCode::ALL {
        let row = format!("| {code} | `{label}` | {} |", yes_or_no(code.reconnects()));
        assert!(SPEC.contains(&row), "there is no row {row}");
    }
    let numbered = |line: &&str| line.starts_with("| 1") || line.starts_with("| 3");
    let rows = SPEC.lines().filter(numbered).filter(|line| line.contains("| `")).count();
    assert_eq!(rows, CloseCode::ALL.len());
}

#[test]
fn its_table_of_error_codes_is_the_one_of_the_code() {
    for code in [
        ErrorCode::BadRequest,
        ErrorCode::UnknownCommand,
        ErrorCode::BadTopic,
        ErrorCode::AlreadyConnected,
        ErrorCode::AlreadySubscribed,
        ErrorCode::NotSubscribed,
        ErrorCode::NotEnabled,
        ErrorCode::UnknownTopic,
        ErrorCode::LimitExceeded,
        ErrorCode::Unavailable,
    ] {
        let name = serde_json::to_value(code).unwrap();
        let row = format!("| `{}` | {} |", name.as_str().unwrap(), yes_or_no(code.retry()));
        assert!(SPEC.contains(&row), "there is no row {row}");
    }
}

#[test]
fn its_limits_are_those_of_the_code() {
    assert_eq!(limits::COMMANDS_PER_FRAME_MAX, 1_024);
    for row in [
        "| commands in one frame | 1,024 |".to_owned(),
        format!(
            "| topic name | {} bytes, {} levels |",
            limits::TOPIC_BYTES_MAX,
            limits::TOPIC_LEVELS_MAX
        ),
        "| token | 4,096 bytes |".to_owned(),
        format!("| nesting of `data` | {} |", limits::PAYLOAD_DEPTH_MAX),
        format!("| name of a client | {} bytes |", limits::NAME_BYTES_MAX),
        format!("| key of a publish | 1 to {} bytes |", limits::KEY_BYTES_MAX),
        format!(
            "| rates of a subscription | {} messages a second |",
            limits::MAX_RATES.map(|rate| rate.to_string()).join(", ")
        ),
        format!(
            "| messages in a page of history | 1 to 1,000; {} by default |",
            limits::HISTORY_MESSAGES_DEFAULT
        ),
        format!(
            "| members in a list of presence | 1 to 1,000; {} by default |",
            limits::PRESENCE_MEMBERS_DEFAULT
        ),
        format!("| changes named in a presence event | {} |", limits::PRESENCE_CHANGES_MAX),
    ] {
        assert!(SPEC.contains(&row), "there is no row {row}");
    }
    assert_eq!(limits::TOKEN_BYTES_MAX, 4_096);
    assert_eq!(limits::HISTORY_MESSAGES_MAX, 1_000);
    assert_eq!(limits::PRESENCE_MEMBERS_MAX, 1_000);
}

#[test]
fn its_subprotocols_are_those_of_the_code() {
    for codec in Codec::ALL {
        assert!(SPEC.contains(&format!("| `{}` |", codec.subprotocol())));
    }
}
