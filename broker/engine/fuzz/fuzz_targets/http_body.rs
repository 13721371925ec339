//! Bodies of requests, of known length and chunked. The first three bytes say which, how much is
//! allowed, and how the rest is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&[length, most, cut], stream)) = input.split_first_chunk() else { return };
    let length = (length > 0).then(|| u64::from(length - 1));
    fanfare_fuzz::http::check_body(length, usize::from(most) * 8, usize::from(cut), stream);
});
