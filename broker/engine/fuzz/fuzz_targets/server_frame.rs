//! A broker's frame as a client reads it; the first byte chooses the codec.
#![no_main]

use fanfare_fuzz::check_payload;
use fanfare_protocol::{Codec, ServerFrame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((choice, frame)) = input.split_first() else { return };
    let codec = Codec::ALL[usize::from(choice % 2)];
    match ServerFrame::decode(codec, frame) {
        Ok(ServerFrame::Message(push)) => check_payload(&push.payload),
        Ok(ServerFrame::Reply(reply)) => {
            let mut encoded = Vec::new();
            reply.encode(codec, &mut encoded);
            let again = ServerFrame::decode(codec, &encoded).expect("an encoded reply decodes");
            assert_eq!(again, ServerFrame::Reply(reply));
        }
        Ok(ServerFrame::Event(event)) => {
            let mut encoded = Vec::new();
            event.encode(codec, &mut encoded);
            let again = ServerFrame::decode(codec, &encoded).expect("an encoded event decodes");
            assert_eq!(again, ServerFrame::Event(event));
        }
        Err(_) => {}
    }
});
