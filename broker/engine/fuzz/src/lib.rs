//! What several fuzz targets demand of the same input.

use fanfare_protocol::{
    Codec, Command, DecodedCommand, MessagePush, Payload, PayloadKind, Request, ServerFrame,
};

/// Reads `frame` as a client's; whatever is accepted must survive being written and read again,
/// and what is published must reach the subscribers of either codec whole.
pub fn check_client_frame(codec: Codec, frame: &[u8]) {
    let Ok(decoded) = Command::decode_frame(codec, frame) else { return };
    for DecodedCommand { id, request } in decoded {
        let Ok(request) = request else { continue };
        if let Request::Publish(publish) = &request {
            check_payload(&publish.payload);
        }
        let command = Command { id, request };
        let mut encoded = Vec::new();
        command.encode(codec, &mut encoded);
        let again = Command::decode_frame(codec, &encoded).expect("an encoded command decodes");
        assert_eq!(again, [DecodedCommand { id, request: Ok(command.request) }]);
    }
}

/// A payload that was accepted must be deliverable in both codecs.
pub fn check_payload(payload: &Payload) {
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
            Ok(ServerFrame::Message(got)) if payload.kind() == PayloadKind::Json => {
                // MessagePack says the same with other bytes.
                assert_eq!(got.payload.kind(), PayloadKind::Json);
            }
            Ok(ServerFrame::Message(got)) => assert_eq!(got, push),
            other => panic!("a message came out as {other:?}"),
        }
    }
}
