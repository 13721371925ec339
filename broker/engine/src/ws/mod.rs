//! RFC 6455 on the server's side: frames in, frames out. Holds no connection and no policy.

mod decoder;
mod encode;
mod header;
mod mask;

pub use decoder::{CloseFrame, DecodeError, DecodeLimits, Decoder, Incoming};
pub use encode::{FrameBuilder, close_frame, ping_frame, pong_frame};
pub(crate) use encode::{client_header_len, server_header_len};
pub use header::{Header, HeaderError, Opcode};
pub use mask::unmask;
