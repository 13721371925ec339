//! Server-sent events as the frames of a connection: whole, in one buffer, with nothing around.

use bytes::Bytes;
use fanfare_protocol::StreamEvent;

/// The bytes of an event of about `capacity` bytes.
pub(crate) fn event_frame(event: StreamEvent<'_>, capacity: usize) -> Bytes {
    let mut out = Vec::with_capacity(capacity);
    event.encode(&mut out);
    out.into()
}
