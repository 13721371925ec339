//! What holds for every value and for any bytes.

use fanfare_protocol::limits::{
    HISTORY_MESSAGES_MAX, KEY_BYTES_MAX, MAX_RATES, NAME_BYTES_MAX, PRESENCE_MEMBERS_MAX,
    TOKEN_BYTES_MAX,
};
use fanfare_protocol::{
    Codec, Command, Connect, Connected, DecodedCommand, Drain, ErrorCode, ErrorReply, Event,
    Filter, Gap, History, HistoryMessage, HistoryPage, Member, MessagePush, Mode,
    PatternSubscribed, Payload, Ping, Position, Presence, PresenceChange, PresenceList, Publish,
    Published, Reply, ReplyBody, Request, ServerFrame, Subscribe, Subscribed, Unsubscribe,
    Unsubscribed,
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

fn mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(vec![Mode::All, Mode::Latest])
}

/// Only options that go together.
fn subscribe() -> impl Strategy<Value = Subscribe> {
    let rate = prop::option::of(prop::sample::select(MAX_RATES.to_vec()));
    let options = (prop::option::of(mode()), rate, any::<Option<bool>>(), any::<bool>());
    (any::<String>(), prop::option::of(position()), options).prop_map(
        |(topic, since, (mode, max_rate, snapshot, presence))| {
            let is_topic = !Filter::is_pattern(&topic);
            Subscribe {
                since: since.filter(|_| is_topic),
                mode: mode.filter(|_| max_rate.is_none()),
                max_rate,
                snapshot,
                presence: presence && is_topic,
                topic,
            }
        },
    )
}

/// Text of at most `max` bytes.
fn short_text(min: usize, max: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), min..max / 4).prop_map(String::from_iter)
}

fn connect() -> impl Strategy<Value = Connect> {
    let token = prop::option::of(short_text(0, TOKEN_BYTES_MAX));
    let name = prop::option::of(short_text(0, NAME_BYTES_MAX));
    (token, name).prop_map(|(token, name)| Connect { token, name })
}

fn publish() -> impl Strategy<Value = Publish> {
    (any::<String>(), prop::option::of(short_text(1, KEY_BYTES_MAX)), payload())
        .prop_map(|(topic, key, payload)| Publish { topic, key, payload })
}

fn history() -> impl Strategy<Value = History> {
    let limit = prop::option::of(1..=HISTORY_MESSAGES_MAX);
    (any::<String>(), prop::option::of(position()), limit)
        .prop_map(|(topic, after, limit)| History { topic, after, limit })
}

fn presence() -> impl Strategy<Value = Presence> {
    (any::<String>(), prop::option::of(1..=PRESENCE_MEMBERS_MAX))
        .prop_map(|(topic, limit)| Presence { topic, limit })
}

fn gap() -> impl Strategy<Value = Gap> {
    (any::<String>(), any::<String>(), 1u64.., 1u64..).prop_map(|(topic, epoch, a, b)| Gap {
        topic,
        epoch,
        from: a.min(b),
        to: a.max(b),
    })
}

fn member() -> impl Strategy<Value = Member> {
    (any::<String>(), any::<Option<String>>())
        .prop_map(|(connection, name)| Member { connection, name })
}

fn presence_change() -> impl Strategy<Value = PresenceChange> {
    let joined = prop::collection::vec(member(), 0..20);
    let left = prop::collection::vec(any::<String>(), 0..20);
    (any::<String>(), any::<(u64, u64, bool)>(), joined, left).prop_map(
        |(topic, (version, count, truncated), joined, left)| PresenceChange {
            topic,
            version,
            count,
            joined,
            left,
            truncated,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        prop::collection::btree_map(any::<String>(), any::<u64>(), 0..20)
            .prop_map(|heads| Event::Ping(Ping { heads })),
        gap().prop_map(Event::Gap),
        presence_change().prop_map(Event::Presence),
        any::<u64>().prop_map(|window_ms| Event::Drain(Drain { window_ms })),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let request = prop_oneof![
        connect().prop_map(Request::Connect),
        subscribe().prop_map(Request::Subscribe),
        any::<String>().prop_map(|topic| Request::Unsubscribe(Unsubscribe { topic })),
        publish().prop_map(Request::Publish),
        history().prop_map(Request::History),
        presence().prop_map(Request::Presence),
    ];
    (any::<Option<u64>>(), request).prop_map(|(id, request)| Command { id, request })
}

fn history_page() -> impl Strategy<Value = HistoryPage> {
    let message = (any::<u64>(), any::<Option<u64>>(), payload())
        .prop_map(|(offset, prev, payload)| HistoryMessage { offset, prev, payload });
    let messages = prop::collection::vec(message, 0..20);
    (position(), any::<(bool, bool)>(), messages).prop_map(
        |(Position { epoch, offset }, (recovered, more), messages)| HistoryPage {
            epoch,
            offset,
            recovered,
            more,
            messages,
        },
    )
}

fn presence_list() -> impl Strategy<Value = PresenceList> {
    (any::<(u64, u64)>(), prop::collection::vec(member(), 0..20))
        .prop_map(|((count, version), members)| PresenceList { count, version, members })
}

fn reply_body() -> impl Strategy<Value = ReplyBody> {
    prop_oneof![
        (any::<String>(), any::<String>(), any::<u64>(), any::<u64>()).prop_map(
            |(connection, node, ping_interval_ms, message_bytes_max)| {
                let connected = Connected { connection, node, ping_interval_ms, message_bytes_max };
                ReplyBody::Connect(connected)
            }
        ),
        (position(), any::<(bool, bool)>(), mode()).prop_map(
            |(Position { epoch, offset }, (recovered, snapshot), mode)| {
                ReplyBody::Subscribe(Subscribed { epoch, offset, recovered, mode, snapshot })
            }
        ),
        (any::<u64>(), mode()).prop_map(|(topics, mode)| {
            ReplyBody::SubscribePattern(PatternSubscribed { topics, mode })
        }),
        Just(ReplyBody::Unsubscribe(Unsubscribed {})),
        (position(), any::<bool>()).prop_map(|(Position { epoch, offset }, duplicate)| {
            ReplyBody::Publish(Published { epoch, offset, duplicate })
        }),
        history_page().prop_map(ReplyBody::History),
        presence_list().prop_map(ReplyBody::Presence),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let code = prop::sample::select(vec![
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
        ErrorCode::Unknown,
    ]);
    let error = (code, any::<String>(), any::<bool>())
        .prop_map(|(code, message, retry)| ErrorReply { code, message, retry });
    let result = prop_oneof![3 => reply_body().prop_map(Ok), 1 => error.prop_map(Err)];
    (any::<u64>(), result).prop_map(|(id, result)| Reply { id, result })
}

fn message() -> impl Strategy<Value = MessagePush> {
    (any::<String>(), any::<u64>(), any::<Option<u64>>(), payload())
        .prop_map(|(topic, offset, prev, payload)| MessagePush { topic, offset, prev, payload })
}

/// A frame of either side.
fn frame(codec: Codec) -> impl Strategy<Value = Vec<u8>> {
    let encoded = move |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = Vec::new();
        encode(&mut frame);
        frame
    };
    prop_oneof![
        command().prop_map(move |command| encoded(&|out| command.encode(codec, out))),
        message().prop_map(move |message| encoded(&|out| message.encode(codec, out))),
        reply().prop_map(move |reply| encoded(&|out| reply.encode(codec, out))),
        event().prop_map(move |event| encoded(&|out| event.encode(codec, out))),
    ]
}

/// A frame of either side with a few bytes changed and its end cut off.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let frame = prop::sample::select(Codec::ALL.to_vec()).prop_flat_map(frame);
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

proptest! {
    #[test]
    fn commands_survive_both_codecs(commands in prop::collection::vec(command(), 0..6)) {
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
    fn events_survive_both_codecs(event in event()) {
        for codec in Codec::ALL {
            let mut frame = Vec::new();
            event.encode(codec, &mut frame);
            let expected = Ok(ServerFrame::Event(event.clone()));
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
                let Publish { topic, payload, .. } = publish;
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
