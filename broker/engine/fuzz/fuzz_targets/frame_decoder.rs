//! The WebSocket frame decoder: the same stream must give the same messages and the same fault
//! however it is cut, and keep no more than its limit.
#![no_main]

use fanfare_engine::ws::{DecodeError, DecodeLimits, Decoder};
use libfuzzer_sys::fuzz_target;

const LIMITS: DecodeLimits = DecodeLimits { message_bytes_max: 512, empty_fragments_max: 3 };

fuzz_target!(|input: &[u8]| {
    let Some((&size, stream)) = input.split_first() else { return };
    let whole = decode(stream.chunks(stream.len().max(1)));
    let cut = decode(stream.chunks(usize::from(size).max(1)));
    assert_eq!(whole, cut);
});

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Option<DecodeError>) {
    let mut decoder = Decoder::default();
    let mut out = Vec::new();
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut position = 0;
        loop {
            match decoder.next(&mut bytes, &mut position, &LIMITS) {
                Ok(Some(incoming)) => out.push(format!("{incoming:?}")),
                Ok(None) => break,
                Err(error) => return (out, Some(error)),
            }
        }
        assert_eq!(position, bytes.len());
        assert!(decoder.buffered_bytes() < 4_096);
    }
    (out, None)
}
