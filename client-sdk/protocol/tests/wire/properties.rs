//! What holds for every value and for any bytes.

use fanfare_protocol::{
    Codec, Command, Connect, Connected, DecodedCommand, ErrorCode, ErrorReply, Event, Gap,
    MessagePush, Mode, Payload, Position, Publish, Reply, ReplyBody, Request, ServerFrame,
    Subscribe, Subscribed, Unsubscribe, Unsubscribed,
};
use proptest::prelude::*;
use serde_json::{Map, Number, Value};

fn value() -> impl Strategy<Value = Value> {
    let number = any::<f64>().prop_filter_map("finite", Number::from_f64).prop_map(Value::Number);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        number,
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..20)
                .prop_map(|entries| Value::Object(Map::from_iter(entries))),
        ]
    })
}

/// JSON payloads are in the form that serde writes, so that a passage through MessagePack gives
/// back the same bytes.
fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        value().prop_map(|value| Payload::json(value.to_string()).expect("JSON")),
        any::<String>().prop_map(Payload::text),
        prop::collection::vec(any::<u8>(), 0..400).prop_map(Payload::binary),
    ]
}

fn position() -> impl Strategy<Value = Position> {
    (any::<String>(), any::<u64>()).prop_map(|(epoch, offset)| Position { epoch, offset })
}

fn subscribe() -> impl Strategy<Value = Subscribe> {
    let mode = prop::sample::select(vec![Mode::All, Mode::Latest]);
    (any::<String>(), prop::option::of(position()), prop::option::of(mode))
        .prop_map(|(topic, since, mode)| Subscribe { topic, since, mode })
}

fn gap() -> impl Strategy<Value = Gap> {
    (any::<String>(), any::<String>(), 1u64.., 1u64..).prop_map(|(topic, epoch, a, b)| Gap {
        topic,
        epoch,
        from: a.min(b),
        to: a.max(b),
    })
}

fn command() -> impl Strategy<Value = Command> {
    let request = prop_oneof![
        any::<Option<String>>().prop_map(|token| Request::Connect(Connect { token })),
        subscribe().prop_map(Request::Subscribe),
        any::<String>().prop_map(|topic| Request::Unsubscribe(Unsubscribe { topic })),
        (any::<String>(), payload())
            .prop_map(|(topic, payload)| Request::Publish(Publish { topic, payload })),
    ];
    (any::<Option<u64>>(), request).prop_map(|(id, request)| Command { id, request })
}

fn reply() -> impl Strategy<Value = Reply> {
    let body = prop_oneof![
        (any::<String>(), any::<String>(), any::<u64>(), any::<u64>()).prop_map(
            |(connection, node, ping_interval_ms, message_bytes_max)| {
                let connected = Connected { connection, node, ping_interval_ms, message_bytes_max };
                ReplyBody::Connect(connected)
            }
        ),
        (any::<String>(), any::<u64>(), any::<bool>()).prop_map(|(epoch, offset, recovered)| {
            ReplyBody::Subscribe(Subscribed { epoch, offset, recovered })
        }),
        Just(ReplyBody::Unsubscribe(Unsubscribed {})),
        position().prop_map(ReplyBody::Publish),
    ];
    let code = prop::sample::select(vec![
        ErrorCode::BadRequest,
        ErrorCode::UnknownCommand,
        ErrorCode::BadTopic,
        ErrorCode::AlreadyConnected,
        ErrorCode::AlreadySubscribed,
        ErrorCode::NotSubscribed,
        ErrorCode::LimitExceeded,
        ErrorCode::Unavailable,
        ErrorCode::Unknown,
    ]);
    let error = (code, any::<String>(), any::<bool>())
        .prop_map(|(code, message, retry)| ErrorReply { code, message, retry });
    let result = prop_oneof![3 => body.prop_map(Ok), 1 => error.prop_map(Err)];
    (any::<u64>(), result).prop_map(|(id, result)| Reply { id, result })
}

fn message() -> impl Strategy<Value = MessagePush> {
    (any::<String>(), any::<u64>(), any::<Option<u64>>(), payload())
        .prop_map(|(topic, offset, prev, payload)| MessagePush { topic, offset, prev, payload })
}

/// A frame of either side with a few bytes changed and its end cut off.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let codec = prop::sample::select(Codec::ALL.to_vec());
    let frame = (codec, command(), message(), any::<bool>()).prop_map(
        |(codec, command, message, is_command)| {
            let mut frame = Vec::new();
            if is_command {
                command.encode(codec, &mut frame);
            } else {
                message.encode(codec, &mut frame);
            }
            frame
        },
    );
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (frame, changes, any::<prop::sample::Index>()).prop_map(|(mut frame, changes, cut)| {
        for (at, byte) in changes {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        frame.truncate(frame.len() - cut.index(frame.len()) / 4);
        frame
    })
}

fn is_token_too_long(command: &Command) -> bool {
    let limit = fanfare_protocol::limits::TOKEN_BYTES_MAX;
    let Request::Connect(connect) = &command.request else { return false };
    connect.token.as_ref().is_some_and(|token| token.len() > limit)
}

proptest! {
    #[test]
    fn commands_survive_both_codecs(commands in prop::collection::vec(command(), 0..6)) {
        prop_assume!(!commands.iter().any(is_token_too_long));
        for codec in Codec::ALL {
            let mut batch = Vec::new();
            Command::encode_batch(&commands, codec, &mut batch);
            let expected: Vec<_> = commands
                .iter()
                .map(|c| DecodedCommand { id: c.id, request: Ok(c.request.clone()) })
                .collect();
            prop_assert_eq!(Command::decode_frame(codec, &batch), Ok(expected.clone()));
            for (command, expected) in commands.iter().zip(expected) {
                let mut frame = Vec::new();
                command.encode(codec, &mut frame);
                prop_assert_eq!(Command::decode_frame(codec, &frame), Ok(vec![expected]));
            }
        }
    }

    #[test]
    fn replies_survive_both_codecs(reply in reply()) {
        for codec in Codec::ALL {
            let mut frame = Vec::new();
            reply.encode(codec, &mut frame);
            let expected = Ok(ServerFrame::Reply(reply.clone()));
            prop_assert_eq!(ServerFrame::decode(codec, &frame), expected);
        }
    }

    #[test]
    fn messages_survive_both_codecs(message in message()) {
        for codec in Codec::ALL {
            let mut frame = Vec::new();
            message.encode(codec, &mut frame);
            let expected = Ok(ServerFrame::Message(message.clone()));
            prop_assert_eq!(ServerFrame::decode(codec, &frame), expected);
        }
    }

    #[test]
    fn gaps_survive_both_codecs(gap in gap()) {
        for codec in Codec::ALL {
            let mut frame = Vec::new();
            Event::Gap(gap.clone()).encode(codec, &mut frame);
            let expected = Ok(ServerFrame::Event(Event::Gap(gap.clone())));
            prop_assert_eq!(ServerFrame::decode(codec, &frame), expected);
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        for codec in Codec::ALL {
            let _ = Command::decode_frame(codec, &bytes);
            let _ = ServerFrame::decode(codec, &bytes);
        }
    }

    #[test]
    fn whatever_a_decoder_accepts_can_be_sent_on(bytes in damaged()) {
        for codec in Codec::ALL {
            let _ = ServerFrame::decode(codec, &bytes);
            let Ok(commands) = Command::decode_frame(codec, &bytes) else { continue };
            for command in commands {
                let Ok(Request::Publish(publish)) = command.request else { continue };
                let Publish { topic, payload } = publish;
                let push = MessagePush { topic, offset: 1, prev: None, payload };
                for codec in Codec::ALL {
                    let mut frame = Vec::new();
                    push.encode(codec, &mut frame);
                    prop_assert!(ServerFrame::decode(codec, &frame).is_ok(), "{:?}", push);
                }
            }
        }
    }

    #[test]
    fn text_is_json_only_if_both_codecs_can_carry_it(text in "[\\[\\]{}:,\"\\\\a0-9.eE+u-]{0,40}") {
        let Some(payload) = Payload::json(text) else { return Ok(()) };
        let sent: Value = payload.parse_json().expect("it was accepted");
        for codec in Codec::ALL {
            let mut frame = Vec::new();
            crate::values::message(1, None, payload.clone()).encode(codec, &mut frame);
            let Ok(ServerFrame::Message(got)) = ServerFrame::decode(codec, &frame) else {
                return Err(TestCaseError::fail("it does not come back"));
            };
            prop_assert_eq!(got.payload.parse_json::<Value>().expect("JSON"), sent.clone());
        }
    }
}
