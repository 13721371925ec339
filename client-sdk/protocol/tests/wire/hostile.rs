//! Attacks on the decoders: input made to cost memory, stack or time.

use std::time::{Duration, Instant};

use fanfare_protocol::limits::{
    COMMANDS_PER_FRAME_MAX, ERROR_DETAIL_CHARS_MAX, PAYLOAD_DEPTH_MAX, TOKEN_BYTES_MAX,
};
use fanfare_protocol::{
    Codec, Command, ErrorCode, ErrorReply, Event, FrameError, Payload, ReplyBody, ServerFrame,
};

/// As deep as the default message limit lets a frame be.
const DEEP: usize = 60_000;

/// Far more than any of these takes, in a debug build on a busy machine too.
const AT_ONCE: Duration = Duration::from_secs(5);

fn refusals(codec: Codec, frame: &[u8]) -> Vec<Option<ErrorReply>> {
    let commands = Command::decode_frame(codec, frame).expect("a readable frame");
    commands.into_iter().map(|command| command.request.err()).collect()
}

fn code(codec: Codec, frame: &[u8]) -> ErrorCode {
    match &refusals(codec, frame)[..] {
        [Some(error)] => error.code,
        other => panic!("{other:?}"),
    }
}

/// Whether the frame is refused as a whole or each of its commands is.
fn is_refused(codec: Codec, frame: &[u8]) -> bool {
    Command::decode_frame(codec, frame)
        .map_or(true, |commands| commands.iter().all(|command| command.request.is_err()))
}

fn json_arrays(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

fn json_objects(depth: usize) -> String {
    "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth)
}

fn msgpack_arrays(depth: usize) -> Vec<u8> {
    [vec![0x91; depth], vec![0xc0]].concat()
}

fn msgpack_maps(depth: usize) -> Vec<u8> {
    [[0x81, 0xa1, b'a'].repeat(depth), vec![0xc0]].concat()
}

/// `{"id":1,NAME:{…,FIELD:value}}`, the fields before the last one given encoded.
fn msgpack_command(name: &str, fields: &[(&str, &[u8])]) -> Vec<u8> {
    let text = |text: &str| [&[0xa0 + text.len() as u8], text.as_bytes()].concat();
    let mut frame = [&[0x82][..], &text("id"), &[1], &text(name)].concat();
    frame.push(0x80 + fields.len() as u8);
    for (field, value) in fields {
        frame.extend(text(field));
        frame.extend_from_slice(value);
    }
    frame
}

#[test]
fn deep_nesting_in_json_is_refused_wherever_it_stands() {
    let began = Instant::now();
    for deep in [json_arrays(DEEP), json_objects(DEEP / 6)] {
        let publish = format!(r#"{{"id":1,"publish":{{"topic":"a","data":{deep}}}}}"#);
        assert_eq!(code(Codec::Json, publish.as_bytes()), ErrorCode::BadRequest);
        for fields in [
            r#"subscribe":{"topic""#,
            r#"subscribe":{"topic":"a","since""#,
            r#"subscribe":{"topic":"a","mode""#,
            r#"subscribe":{"topic":"a","max_rate""#,
            r#"subscribe":{"topic":"a","snapshot""#,
            r#"publish":{"topic":"a","data":1,"key""#,
            r#"history":{"topic":"a","after""#,
            r#"history":{"topic":"a","limit""#,
            r#"presence":{"topic":"a","limit""#,
        ] {
            let field = format!(r#"{{"id":1,"{fields}:{deep}}}}}"#);
            assert_eq!(code(Codec::Json, field.as_bytes()), ErrorCode::BadRequest);
        }
        let fields = format!(r#"{{"id":1,"connect":{deep}}}"#);
        assert_eq!(code(Codec::Json, fields.as_bytes()), ErrorCode::BadRequest);
        let unknown = format!(r#"{{"id":1,"dance":{deep}}}"#);
        assert_eq!(code(Codec::Json, unknown.as_bytes()), ErrorCode::UnknownCommand);
        for frame in [deep.clone(), format!(r#"{{"id":{deep},"connect":{{}}}}"#)] {
            assert!(is_refused(Codec::Json, frame.as_bytes()));
        }
        assert_eq!(Payload::json(deep.clone()), None);
        let gap = format!(r#"{{"event":"gap","topic":"a","epoch":"e","from":1,"to":{deep}}}"#);
        let heads = format!(r#"{{"event":"ping","heads":{deep}}}"#);
        let page = format!(r#"{{"id":1,"history":{{"messages":{deep}}}}}"#);
        for frame in [deep.clone(), format!(r#"{{"id":1,"connect":{deep}}}"#), gap, heads, page] {
            assert!(ServerFrame::decode(Codec::Json, frame.as_bytes()).is_err());
        }
    }
    for unclosed in ["[".repeat(DEEP), "{\"a\":".repeat(DEEP / 5), "[{\"a\":".repeat(DEEP / 6)] {
        assert!(Command::decode_frame(Codec::Json, unclosed.as_bytes()).is_err());
        assert!(ServerFrame::decode(Codec::Json, unclosed.as_bytes()).is_err());
    }
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

#[test]
fn deep_nesting_in_messagepack_is_refused_wherever_it_stands() {
    let began = Instant::now();
    for deep in [msgpack_arrays(DEEP), msgpack_maps(DEEP / 3)] {
        for (name, field) in [
            ("publish", "data"),
            ("subscribe", "topic"),
            ("subscribe", "since"),
            ("subscribe", "mode"),
            ("subscribe", "max_rate"),
            ("subscribe", "snapshot"),
            ("history", "after"),
            ("history", "limit"),
            ("presence", "limit"),
            ("connect", "token"),
            ("connect", "name"),
        ] {
            let topic = [0xa1, b'a'];
            let mut fields = vec![(field, &deep[..])];
            if name != "connect" && field != "topic" {
                fields.insert(0, ("topic", &topic));
            }
            let frame = msgpack_command(name, &fields);
            assert_eq!(code(Codec::MsgPack, &frame), ErrorCode::BadRequest, "{name}");
        }
        let unknown = msgpack_command("dance", &[("a", &deep)]);
        assert_eq!(code(Codec::MsgPack, &unknown), ErrorCode::UnknownCommand);
        let id = [&[0x81, 0xa2, b'i', b'd'], &deep[..]].concat();
        let key = [&[0x81], &deep[..], &[0x01]].concat();
        let passed_over = [&[0x81, 0xa1, b'x'], &deep[..]].concat();
        for frame in [&deep, &id, &key] {
            assert!(is_refused(Codec::MsgPack, frame));
        }
        for frame in [&deep, &id, &key, &passed_over] {
            assert!(ServerFrame::decode(Codec::MsgPack, frame).is_err());
        }
    }
    for unclosed in [vec![0x91; DEEP], [0x81, 0xa1, b'a'].repeat(DEEP / 3), vec![0x81; DEEP]] {
        assert!(Command::decode_frame(Codec::MsgPack, &unclosed).is_err());
        assert!(ServerFrame::decode(Codec::MsgPack, &unclosed).is_err());
    }
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

#[test]
fn a_payload_at_the_depth_limit_passes_through_both_codecs() {
    let deepest = Payload::json(json_objects(PAYLOAD_DEPTH_MAX)).unwrap();
    let push = crate::values::message(1, Some(0), deepest.clone());
    let page = crate::values::page_of(deepest);
    for codec in Codec::ALL {
        let mut frame = Vec::new();
        push.encode(codec, &mut frame);
        assert_eq!(
            ServerFrame::decode(codec, &frame),
            Ok(ServerFrame::Message(push.clone())),
            "{codec:?}"
        );
        let mut frame = Vec::new();
        page.encode(codec, &mut frame);
        let decoded = ServerFrame::decode(codec, &frame);
        assert_eq!(decoded, Ok(ServerFrame::Reply(page.clone())), "{codec:?}");
    }
}

#[test]
fn json_in_a_page_of_history_stands_there_as_it_was_published() {
    let text = r#"{ "p" : 1.50,"e":"\u00e9" }"#;
    let page = crate::values::page_of(Payload::json(text).unwrap());
    let mut frame = Vec::new();
    page.encode(Codec::Json, &mut frame);
    assert!(String::from_utf8(frame).unwrap().contains(text));
}

#[test]
fn a_page_of_history_longer_than_a_short_array_comes_back_whole() {
    for count in [15, 16, 1_000, 70_000] {
        let mut page = crate::values::page_of(Payload::text("x"));
        let Ok(ReplyBody::History(body)) = &mut page.result else { panic!("{page:?}") };
        let message = body.messages[0].clone();
        body.messages = vec![message; count];
        for codec in Codec::ALL {
            let mut frame = Vec::new();
            page.encode(codec, &mut frame);
            let decoded = ServerFrame::decode(codec, &frame);
            assert_eq!(decoded, Ok(ServerFrame::Reply(page.clone())), "{count} in {codec:?}");
        }
    }
}

#[test]
fn a_frame_holds_the_most_commands_and_not_one_more() {
    let frame = |count: usize, codec| match codec {
        Codec::Json => format!("[{}]", vec![r#"{"connect":{}}"#; count].join(",")).into_bytes(),
        Codec::MsgPack => {
            let count_bytes = u16::try_from(count).unwrap().to_be_bytes();
            let command = [0x81, 0xa7, b'c', b'o', b'n', b'n', b'e', b'c', b't', 0x80];
            [&[0xdc][..], &count_bytes, &command.repeat(count)].concat()
        }
    };
    for codec in Codec::ALL {
        let most = refusals(codec, &frame(COMMANDS_PER_FRAME_MAX, codec));
        assert_eq!(most, vec![None; COMMANDS_PER_FRAME_MAX]);
        let over = Command::decode_frame(codec, &frame(COMMANDS_PER_FRAME_MAX + 1, codec));
        assert_eq!(over, Err(FrameError::TooManyCommands(COMMANDS_PER_FRAME_MAX)));
    }
    // An array that is too long and broken besides is broken.
    let broken = [&frame(COMMANDS_PER_FRAME_MAX + 1, Codec::Json)[..], b"]"].concat();
    let refused = Command::decode_frame(Codec::Json, &broken);
    assert!(matches!(refused, Err(FrameError::Malformed { .. })));
}

#[test]
fn a_token_has_a_limit() {
    let frame = |bytes: usize| format!(r#"{{"connect":{{"token":"{}"}}}}"#, "t".repeat(bytes));
    assert_eq!(refusals(Codec::Json, frame(TOKEN_BYTES_MAX).as_bytes()), [None]);
    assert_eq!(code(Codec::Json, frame(TOKEN_BYTES_MAX + 1).as_bytes()), ErrorCode::BadRequest);
}

#[test]
fn no_error_repeats_more_than_a_little_of_its_input() {
    const ENVELOPE: usize = 120;
    let long = "é\u{7}\"".repeat(9_000);
    let text = serde_json::to_string(&long).unwrap();
    let length_max = ERROR_DETAIL_CHARS_MAX + ENVELOPE;
    for frame in [
        format!(r#"{{"id":1,{text}:{{}}}}"#),
        format!(r#"{{"id":1,"subscribe":{{{text}:1}}}}"#),
        format!(r#"{{"id":1,"subscribe":{text}}}"#),
        format!(r#"{{"id":1,"subscribe":{{"topic":"a","mode":{text}}}}}"#),
        format!(r#"{{"id":1,"subscribe":{{"topic":"a","since":{{{text}:1}}}}}}"#),
        format!(r#"{{"id":1,"publish":{{"topic":"a","base64":{text}}}}}"#),
        format!(r#"{{"id":1,"publish":{{"topic":"a","data":1,{text}:1}}}}"#),
        format!(r#"{{"id":1,"subscribe":{{"topic":"a","max_rate":{text}}}}}"#),
        format!(r#"{{"id":1,"publish":{{"topic":"a","data":1,"key":{text}}}}}"#),
        format!(r#"{{"id":1,"history":{{"topic":"a","limit":{text}}}}}"#),
        format!(r#"{{"id":1,"presence":{{"topic":"a",{text}:1}}}}"#),
        format!(r#"{{"id":1,"connect":{{"name":{text}}}}}"#),
    ] {
        for refusal in refusals(Codec::Json, frame.as_bytes()) {
            let message = refusal.unwrap().message;
            assert!(message.chars().count() <= length_max, "{message}");
        }
    }
    for frame in [text.clone(), format!("[{text}]"), format!(r#"{{"id":{text}}}"#)] {
        let error = Command::decode_frame(Codec::Json, frame.as_bytes()).unwrap_err();
        assert!(error.to_string().chars().count() <= length_max, "{error}");
        let error = ServerFrame::decode(Codec::Json, frame.as_bytes()).unwrap_err();
        assert!(error.to_string().chars().count() <= length_max, "{error}");
    }
}

#[test]
fn what_is_not_allowed_is_answered_with_what_is() {
    for (command, parts) in [
        (r#""subscribe":{"topic":"a","mode":"newest"}"#, &["`newest`", "`all`", "`latest`"][..]),
        (r#""subscribe":{"topic":"a","max_rate":3}"#, &["`3`", "1, 2, 5, 10 messages per second"]),
        (r#""subscribe":{"topic":"a","max_rate":"x"}"#, &["\"x\"", "1, 2, 5, 10"]),
        (r#""subscribe":{"topic":"a","max_rate":-1}"#, &["`-1`", "1, 2, 5, 10"]),
        (r#""subscribe":{"topic":"a","max_rate":1,"mode":"all"}"#, &["`max_rate`", "`latest`"]),
        (
            r#""subscribe":{"topic":"a.*","since":{"epoch":"e","offset":1}}"#,
            &["a pattern has no position", "`since`"],
        ),
        (r#""subscribe":{"topic":"a.>","presence":true}"#, &["a pattern", "`presence`"]),
        (r#""publish":{"topic":"a","data":1,"key":""}"#, &["0 bytes", "1 to 128"]),
        (r#""history":{"topic":"a","limit":1001}"#, &["`1001`", "1 to 1000 messages"]),
        (r#""history":{"topic":"a","since":1}"#, &["`since`", "`after`"]),
        (r#""presence":{"topic":"a","limit":0}"#, &["`0`", "1 to 1000 members"]),
        (r#""connect":{"colour":1}"#, &["`colour`", "`token`", "`name`"]),
        (r#""dance":{}"#, &["dance", "history, presence"]),
    ] {
        let frame = format!(r#"{{"id":1,{command}}}"#);
        let message = refusals(Codec::Json, frame.as_bytes()).remove(0).unwrap().message;
        for part in parts {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }
}

#[test]
fn an_event_of_a_newer_broker_may_use_the_names_of_a_gap_for_something_else() {
    let frame = br#"{"event":"moved","from":"n1","to":{"node":"n2"},"epoch":7}"#;
    let decoded = ServerFrame::decode(Codec::Json, frame);
    assert_eq!(decoded, Ok(ServerFrame::Event(Event::Unknown)));
}

#[test]
fn a_gap_of_a_newer_broker_may_say_more() {
    let frame = br#"{"event":"gap","topic":"a","epoch":"e","from":1,"to":2,"why":{"a":[1]}}"#;
    let decoded = ServerFrame::decode(Codec::Json, frame);
    assert!(matches!(decoded, Ok(ServerFrame::Event(Event::Gap(_)))), "{decoded:?}");
}

#[test]
fn a_token_never_shows_in_debug_output() {
    let frame = br#"{"id":1,"connect":{"token":"secret"}}"#;
    let commands = Command::decode_frame(Codec::Json, frame).unwrap();
    let shown = format!("{commands:?}");
    assert!(shown.contains("Connect") && !shown.contains("secret"), "{shown}");
}
