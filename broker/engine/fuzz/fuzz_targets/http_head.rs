//! Heads of requests, with the headers and parameters that the data port reads.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fanfare_fuzz::http::check_head(input));
