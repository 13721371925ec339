//! Frames of the server: whole, unmasked, in one contiguous buffer with the header in front.

use bytes::Bytes;
use fanfare_protocol::CloseCode;
use fanfare_protocol::limits::CLOSE_REASON_BYTES_MAX;

use super::header::Opcode;

/// Longest header of a server's frame: 2 bytes and 8 of length.
const HEADER_BYTES_MAX: usize = 10;

/// A frame in the making. Leaves room for the longest header in front of the payload, so that the
/// payload is written once, in place, before its length is known.
#[derive(Debug)]
pub struct FrameBuilder {
    buffer: Vec<u8>,
}

impl FrameBuilder {
    /// A frame whose payload will have about `payload_bytes`.
    #[must_use]
    pub fn with_capacity(payload_bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(HEADER_BYTES_MAX + payload_bytes);
        buffer.extend_from_slice(&[0; HEADER_BYTES_MAX]);
        Self { buffer }
    }

    /// Where to append the payload. Only append.
    pub fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Closes the frame: its bytes, and where in them the payload begins.
    #[must_use]
    pub fn finish(mut self, opcode: Opcode) -> (Bytes, usize) {
        let payload_len = self.buffer.len() - HEADER_BYTES_MAX;
        let (header, header_len) = header(opcode, payload_len);
        let start = HEADER_BYTES_MAX - header_len;
        self.buffer[start..HEADER_BYTES_MAX].copy_from_slice(&header[..header_len]);
        (Bytes::from(self.buffer).slice(start..), header_len)
    }
}

fn header(opcode: Opcode, payload_len: usize) -> ([u8; HEADER_BYTES_MAX], usize) {
    let mut header = [0; HEADER_BYTES_MAX];
    header[0] = 0x80 | opcode.bits();
    match payload_len {
        0..=125 => {
            header[1] = payload_len as u8;
            (header, 2)
        }
        126..=0xffff => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
            (header, 4)
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(payload_len as u64).to_be_bytes());
            (header, 10)
        }
    }
}

/// The length of the header of a server's frame that has `frame_len` bytes altogether.
pub(crate) fn server_header_len(frame_len: usize) -> usize {
    match frame_len {
        0..=127 => 2,
        128..=0x1_0003 => 4,
        _ => HEADER_BYTES_MAX,
    }
}

/// The length of the header of a client's frame with so much content.
pub(crate) fn client_header_len(content_len: usize) -> usize {
    const MASK_BYTES: usize = 4;
    let (_, header_len) = header(Opcode::Binary, content_len);
    header_len + MASK_BYTES
}

fn control(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut frame = FrameBuilder::with_capacity(payload.len());
    frame.payload().extend_from_slice(payload);
    frame.finish(opcode).0
}

/// A ping frame without content.
#[must_use]
pub fn ping_frame() -> Bytes {
    Bytes::from_static(&[0x89, 0])
}

/// The pong that answers a ping with this content (RFC 6455 section 5.5.3).
#[must_use]
pub fn pong_frame(content: &[u8]) -> Bytes {
    control(Opcode::Pong, content)
}

/// A close frame. A reason over [`CLOSE_REASON_BYTES_MAX`] is cut between characters; `None` is a
/// close frame without a code.
#[must_use]
pub fn close_frame(code: Option<CloseCode>, reason: &str) -> Bytes {
    let Some(code) = code else { return control(Opcode::Close, &[]) };
    let mut payload = code.0.to_be_bytes().to_vec();
    let end = reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX);
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    control(Opcode::Close, &payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_as_short_as_it_can_be() {
        for (len, start) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 0xff, 0xff]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut frame = FrameBuilder::with_capacity(0);
            frame.payload().resize(HEADER_BYTES_MAX + len, b'x');
            let (bytes, payload_at) = frame.finish(Opcode::Binary);
            assert_eq!(&bytes[..payload_at], start);
            assert_eq!(bytes.len(), start.len() + len);
            assert_eq!(server_header_len(bytes.len()), start.len());
            assert!(bytes[payload_at..].iter().all(|&b| b == b'x'));
        }
    }

    #[test]
    fn a_long_close_reason_is_cut_between_characters() {
        let frame = close_frame(Some(CloseCode::POLICY_VIOLATION), &"é".repeat(100));
        assert_eq!(&frame[..4], &[0x88, 124, 0x03, 0xf0]);
        assert_eq!(std::str::from_utf8(&frame[4..]), Ok("é".repeat(61).as_str()));
    }
}
