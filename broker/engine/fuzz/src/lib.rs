//! What several fuzz targets demand of the same input.

pub mod http;

use fanfare_protocol::{Codec, Command, MessagePush, Payload, PayloadKind, Request, ServerFrame};

/// Reads `frame` as a client's; whatever is accepted must survive being written and read again,
/// and what is published must reach the subscribers of either codec.
pub fn check_client_frame(codec: Codec, frame: &[u8]) {
    let Ok(decoded) = Command::decode_frame(codec, frame) else {
        return;
    };
    for command in decoded {
        let (id, Ok(request)) = (command.id, command.request) else {
            continue;
        };
        let mut encoded = Vec::new();
        Command { id, request: request.clone() }.encode(codec, &mut encoded);
        let again = Command::decode_frame(codec, &encoded).expect("an encoded command decodes");
        let [again] = again.try_into().expect("one command stays one");
        assert_eq!(again.id, id);
        match (request, again.request.expect("an accepted request stays acceptable")) {
            (Request::Publish(publish), Request::Publish(again)) => {
                assert_eq!((&again.topic, &again.key), (&publish.topic, &publish.key));
                check_same_payload(&again.payload, &publish.payload);
                check_payload(&publish.payload);
            }
            (request, again) => assert_eq!(again, request),
        }
    }
}

/// A payload that a broker accepts must be deliverable in both codecs.
pub fn check_payload(payload: &Payload) {
    if payload.kind() == PayloadKind::Json && Payload::json(payload.bytes().clone()).is_none() {
        return;
    }
    for codec in Codec::ALL {
        let push = MessagePush {
            topic: "topic".to_owned(),
            offset: u64::MAX,
            prev: Some(1),
            payload: payload.clone(),
        };
        let mut encoded = Vec::new();
        push.encode(codec, &mut encoded);
        match ServerFrame::decode(codec, &encoded) {
            Ok(ServerFrame::Message(got)) => {
                assert_eq!((&*got.topic, got.offset, got.prev), ("topic", u64::MAX, Some(1)));
                check_same_payload(&got.payload, payload);
            }
            other => panic!("a message came out as {other:?}"),
        }
    }
}

/// JSON that went through MessagePack says the same, if with other bytes.
fn check_same_payload(got: &Payload, sent: &Payload) {
    assert_eq!(got.kind(), sent.kind());
    if sent.kind() == PayloadKind::Json {
        let value = |payload: &Payload| payload.parse_json::<serde_json::Value>().expect("JSON");
        assert_eq!(value(got), value(sent));
    } else {
        assert_eq!(got, sent);
    }
}
