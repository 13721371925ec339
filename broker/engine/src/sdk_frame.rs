//! One item of the SDK protocol as one whole WebSocket frame.

use bytes::Bytes;
use fanfare_protocol::Codec;

use crate::ws::{FrameBuilder, Opcode};

/// The frame whose content `encode` appends, of the kind that `codec` uses.
pub(crate) fn sdk_frame(codec: Codec, capacity: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut frame = FrameBuilder::with_capacity(capacity);
    encode(frame.payload());
    let opcode = match codec {
        Codec::Json => Opcode::Text,
        Codec::MsgPack => Opcode::Binary,
    };
    frame.finish(opcode).0
}
