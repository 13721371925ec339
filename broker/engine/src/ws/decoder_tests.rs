//! The decoder against every way of cutting a stream, and against each breach of the RFC.

use proptest::prelude::*;

use super::*;

const LIMITS: DecodeLimits = DecodeLimits { message_bytes_max: 1_000, empty_fragments_max: 4 };

#[derive(Clone, Debug, PartialEq, Eq)]
enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<(u16, String)>),
}

impl From<Incoming<'_>> for Owned {
    fn from(incoming: Incoming<'_>) -> Self {
        match incoming {
            Incoming::Text(text) => Self::Text(text.to_owned()),
            Incoming::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Incoming::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Incoming::Pong => Self::Pong,
            Incoming::Close(close) => Self::Close(close.map(|c| (c.code.0, c.reason.to_owned()))),
        }
    }
}

/// A masked client frame, written from the RFC and not with the code under test.
fn frame(fin: bool, opcode: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![(u8::from(fin) << 7) | opcode];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
    bytes
}

fn text(payload: &[u8]) -> Vec<u8> {
    frame(true, 1, payload, [7, 8, 9, 10])
}

/// Everything that comes out when the stream arrives in these pieces.
fn decode(pieces: &[&[u8]]) -> (Vec<Owned>, Result<(), DecodeError>) {
    let mut decoder = Decoder::default();
    let mut out = Vec::new();
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut position = 0;
        loop {
            match decoder.next(&mut bytes, &mut position, &LIMITS) {
                Ok(Some(incoming)) => out.push(incoming.into()),
                Ok(None) => break,
                Err(error) => return (out, Err(error)),
            }
        }
        assert_eq!(position, bytes.len(), "everything read must be used");
    }
    (out, Ok(()))
}

fn error_of(stream: &[u8]) -> DecodeError {
    let whole = decode(&[stream]).1.expect_err("the stream is wrong");
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(decode(&bytes).1, Err(whole), "the same fault whichever way it is cut");
    whole
}

#[test]
fn control_frames_may_stand_between_fragments() {
    let stream = [
        frame(false, 1, b"Hel", [1, 2, 3, 4]),
        frame(true, 9, b"are you there", [5, 6, 7, 8]),
        frame(true, 10, b"", [5, 6, 7, 8]),
        frame(false, 0, b"", [0, 0, 0, 0]),
        frame(true, 0, b"lo", [9, 1, 9, 1]),
        text(b"next"),
    ]
    .concat();
    let expected = vec![
        Owned::Ping(b"are you there".to_vec()),
        Owned::Pong,
        Owned::Text("Hello".to_owned()),
        Owned::Text("next".to_owned()),
    ];
    assert_eq!(decode(&[&stream]), (expected.clone(), Ok(())));
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(decode(&bytes), (expected, Ok(())));
}

#[test]
fn a_decoder_at_rest_owns_nothing() {
    let mut decoder = Decoder::default();
    let mut stream = frame(false, 2, &[1; 500], [1, 2, 3, 4]);
    assert!(decoder.next(&mut stream, &mut 0, &LIMITS).unwrap().is_none());
    assert!(decoder.is_unfinished() && decoder.buffered_bytes() >= 500);
    assert!(decoder.mark_unfinished(5) && !decoder.mark_unfinished(9));
    assert_eq!(decoder.unfinished_since(), Some((5, 500)));
    let mut end = frame(true, 0, &[2], [1, 2, 3, 4]);
    assert!(decoder.next(&mut end, &mut 0, &LIMITS).unwrap().is_some());
    decoder.forget_finished();
    assert!(!decoder.is_unfinished());
    assert_eq!(decoder.buffered_bytes(), 0);
}

#[test]
fn a_wrong_order_of_fragments_is_refused() {
    assert_eq!(error_of(&frame(true, 0, b"x", [0; 4])), DecodeError::UnexpectedContinuation);
    let twice = [frame(false, 1, b"a", [0; 4]), frame(true, 1, b"b", [0; 4])].concat();
    assert_eq!(error_of(&twice), DecodeError::ExpectedContinuation);
    let after = [frame(false, 1, b"a", [0; 4]), frame(true, 0, b"b", [0; 4])].concat();
    let stream = [after, frame(true, 0, b"c", [0; 4])].concat();
    assert_eq!(error_of(&stream), DecodeError::UnexpectedContinuation);
}

#[test]
fn a_message_over_the_limit_is_refused_from_its_header() {
    assert!(decode(&[&frame(true, 2, &[0; 1_000], [0; 4])]).1.is_ok());
    let header_only = &frame(true, 2, &[0; 1_001], [0; 4])[..8];
    assert_eq!(error_of(header_only), DecodeError::MessageTooBig(1_000));
    let parts = [frame(false, 2, &[0; 600], [0; 4]), frame(true, 0, &[0; 401], [0; 4])].concat();
    assert_eq!(error_of(&parts), DecodeError::MessageTooBig(1_000));
    assert_eq!(DecodeError::MessageTooBig(1).close_code(), CloseCode::MESSAGE_TOO_BIG);
}

#[test]
fn a_flood_of_empty_fragments_is_refused() {
    let mut stream = frame(false, 1, b"", [0; 4]);
    for _ in 0..4 {
        stream.extend(frame(false, 0, b"", [0; 4]));
    }
    assert_eq!(error_of(&stream), DecodeError::EmptyFragments(4));
}

#[test]
fn text_that_is_not_utf8_is_refused_before_the_frame_ends() {
    assert_eq!(error_of(&text(b"a\xffb")), DecodeError::InvalidUtf8);
    // A surrogate, an overlong form, and a character cut off at the end of the message.
    assert_eq!(error_of(&text(b"\xed\xa0\x80")), DecodeError::InvalidUtf8);
    assert_eq!(error_of(&text(b"\xc0\xaf")), DecodeError::InvalidUtf8);
    assert_eq!(error_of(&text(b"ok \xe2\x82")), DecodeError::InvalidUtf8);
    let begun = &text(b"\xce\xba\xf4\x90\x80\x80 much more that never comes")[..12];
    assert_eq!(decode(&[begun]).1, Err(DecodeError::InvalidUtf8));
}

#[test]
fn a_character_may_be_split_over_fragments() {
    let euro = "€".as_bytes();
    let stream =
        [frame(false, 1, &euro[..1], [1, 2, 3, 4]), frame(true, 0, &euro[1..], [4, 3, 2, 1])]
            .concat();
    assert_eq!(decode(&[&stream]), (vec![Owned::Text("€".to_owned())], Ok(())));
}

#[test]
fn close_frames_are_checked() {
    let close = |payload: &[u8]| frame(true, 8, payload, [3, 1, 4, 1]);
    assert_eq!(decode(&[&close(b"")]).0, vec![Owned::Close(None)]);
    let bye = Owned::Close(Some((1000, "bye".to_owned())));
    assert_eq!(decode(&[&close(b"\x03\xe8bye")]).0, vec![bye]);
    assert_eq!(error_of(&close(b"\x03")), DecodeError::ShortClose);
    assert_eq!(error_of(&close(b"\x03\xed")), DecodeError::BadCloseCode(CloseCode(1005)));
    assert_eq!(error_of(&close(b"\x03\xe8\xff")), DecodeError::InvalidUtf8);
}

#[derive(Clone, Debug)]
struct Sent {
    message: Owned,
    frames: Vec<u8>,
}

fn message() -> impl Strategy<Value = Sent> {
    let cuts = proptest::collection::vec(0usize..300, 0..4);
    let data = prop_oneof![
        ".{0,80}".prop_map(Owned::Text),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Owned::Binary),
    ];
    let fragmented = (data, cuts, any::<[u8; 4]>()).prop_map(|(message, mut cuts, mask)| {
        let (opcode, content) = match &message {
            Owned::Text(text) => (1, text.as_bytes().to_vec()),
            Owned::Binary(bytes) => (2, bytes.clone()),
            _ => unreachable!("only data messages are made here"),
        };
        cuts.sort_unstable();
        let mut frames = Vec::new();
        let mut start = 0;
        for cut in cuts.iter().map(|c| (*c).min(content.len())) {
            let opcode = if frames.is_empty() { opcode } else { 0 };
            frames.extend(frame(false, opcode, &content[start..cut], mask));
            start = cut;
        }
        let opcode = if frames.is_empty() { opcode } else { 0 };
        frames.extend(frame(true, opcode, &content[start..], mask));
        Sent { message, frames }
    });
    let ping = proptest::collection::vec(any::<u8>(), 0..126).prop_map(|content| Sent {
        frames: frame(true, 9, &content, [1, 1, 2, 2]),
        message: Owned::Ping(content),
    });
    prop_oneof![4 => fragmented, 1 => ping]
}

proptest! {
    #[test]
    fn what_was_sent_comes_out_however_the_stream_is_cut(
        sent in proptest::collection::vec(message(), 1..6),
        sizes in proptest::collection::vec(1usize..200, 1..20),
    ) {
        let stream: Vec<u8> = sent.iter().flat_map(|s| s.frames.clone()).collect();
        let mut pieces = Vec::new();
        let (mut rest, mut sizes) = (&stream[..], sizes.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            pieces.push(piece);
            rest = after;
        }
        let expected: Vec<Owned> = sent.into_iter().map(|s| s.message).collect();
        prop_assert_eq!(decode(&pieces), (expected, Ok(())));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_grow_past_the_limit(
        stream in proptest::collection::vec(any::<u8>(), 0..400),
        size in 1usize..50,
    ) {
        let mut decoder = Decoder::default();
        for piece in stream.chunks(size) {
            let mut bytes = piece.to_vec();
            let mut position = 0;
            while let Ok(Some(_)) = decoder.next(&mut bytes, &mut position, &LIMITS) {}
            prop_assert!(decoder.buffered_bytes() < 4_096);
        }
    }
}
