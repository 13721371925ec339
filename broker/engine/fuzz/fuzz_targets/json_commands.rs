//! A client's frame on a connection of the Json codec.
#![no_main]

use fanfare_fuzz::check_client_frame;
use fanfare_protocol::Codec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| check_client_frame(Codec::Json, frame));
