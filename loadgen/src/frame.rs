//! WebSocket frames on the wire (RFC 6455 section 5): reading headers, writing masked frames.
//!
//! Owns the layout of one frame. Knows nothing of connections, and copies nothing when it reads:
//! a frame is a range of the caller's buffer.

use std::ops::Range;

use fanfare_protocol::CloseCode;

/// A frame that continues a message (RFC 6455 section 5.2).
pub(crate) const CONTINUATION: u8 = 0x0;
/// A text frame.
pub(crate) const TEXT: u8 = 0x1;
/// A binary frame.
pub(crate) const BINARY: u8 = 0x2;
/// A close frame.
pub(crate) const CLOSE: u8 = 0x8;
/// A ping.
pub(crate) const PING: u8 = 0x9;
/// A pong.
pub(crate) const PONG: u8 = 0xa;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// Longest content that this program takes; no load that it makes comes near it.
const CONTENT_BYTES_MAX: u64 = 64 << 20;

/// What a peer did wrong. Always the peer's fault; the connection is of no use afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameFault {
    /// A reserved bit is set, though no extension was agreed.
    #[error("a frame with reserved bits set; no extension was agreed")]
    ReservedBits,
    /// A message in several frames. Ours are always whole, and the sender under test keeps them so.
    #[error("a fragmented message; this program expects each message in one frame")]
    Fragmented,
    /// A server's frame is masked, or a client's is not.
    #[error("a frame with the wrong masking for its direction")]
    WrongMasking,
    /// The content is longer than this program takes.
    #[error("a frame of {0} bytes; at most {CONTENT_BYTES_MAX} are taken")]
    TooLong(u64),
}

/// Which peer's frames are read: a server's are bare, a client's are masked (RFC 6455 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// Frames without a mask.
    Server,
    /// Frames with a mask.
    Client,
}

/// One frame within a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// One of the opcodes of this module, or one that RFC 6455 leaves open.
    pub opcode: u8,
    /// Where the content stands in the buffer, still masked if a client sent it.
    pub content: Range<usize>,
    /// The key that the content is masked with; zeros if it is not.
    pub mask: [u8; 4],
}

/// Reads the frame at the start of `bytes`; `None` until it is there whole.
///
/// # Errors
/// [`FrameFault`] if the sender broke RFC 6455 or does what this program does not take.
#[inline]
pub(crate) fn read(bytes: &[u8], sender: Sender) -> Result<Option<Frame>, FrameFault> {
    let &[first, second, ..] = bytes else { return Ok(None) };
    if first & RESERVED != 0 {
        return Err(FrameFault::ReservedBits);
    }
    if first & FIN == 0 || first & 0x0f == CONTINUATION {
        return Err(FrameFault::Fragmented);
    }
    if (second & MASKED != 0) != (sender == Sender::Client) {
        return Err(FrameFault::WrongMasking);
    }
    let Some((content_bytes, head_bytes)) = read_length(bytes, second & 0x7f) else {
        return Ok(None);
    };
    if content_bytes > CONTENT_BYTES_MAX {
        return Err(FrameFault::TooLong(content_bytes));
    }
    let (mask, start) = match sender {
        Sender::Server => ([0; 4], head_bytes),
        Sender::Client => match bytes.get(head_bytes..).and_then(|rest| rest.first_chunk()) {
            Some(mask) => (*mask, head_bytes + 4),
            None => return Ok(None),
        },
    };
    let end = start + content_bytes as usize;
    let frame = Frame { opcode: first & 0x0f, content: start..end, mask };
    Ok((bytes.len() >= end).then_some(frame))
}

/// The content's length and the length of the header before mask and content.
#[inline]
fn read_length(bytes: &[u8], short: u8) -> Option<(u64, usize)> {
    match short {
        126 => {
            let long = bytes.get(2..)?.first_chunk::<2>()?;
            Some((u64::from(u16::from_be_bytes(*long)), 4))
        }
        127 => {
            let long = bytes.get(2..)?.first_chunk::<8>()?;
            Some((u64::from_be_bytes(*long), 10))
        }
        short => Some((u64::from(short), 2)),
    }
}

/// Appends a client's frame: header, a fresh mask, and the content masked with it.
pub(crate) fn write_masked(out: &mut Vec<u8>, opcode: u8, content: &[u8]) {
    let mask: [u8; 4] = fastrand::u32(..).to_ne_bytes();
    write_head(out, opcode, content.len(), MASKED);
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(content);
    apply_mask(&mut out[start..], mask);
}

/// Appends a server's frame: header and content, without a mask.
pub(crate) fn write_bare(out: &mut Vec<u8>, opcode: u8, content: &[u8]) {
    write_head(out, opcode, content.len(), 0);
    out.extend_from_slice(content);
}

fn write_head(out: &mut Vec<u8>, opcode: u8, content_bytes: usize, masked: u8) {
    out.push(FIN | opcode);
    if content_bytes < 126 {
        out.push(masked | content_bytes as u8);
    } else if let Ok(short) = u16::try_from(content_bytes) {
        out.push(masked | 126);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(masked | 127);
        out.extend_from_slice(&(content_bytes as u64).to_be_bytes());
    }
}

/// Masks or unmasks `content` in place (RFC 6455 section 5.3).
pub(crate) fn apply_mask(content: &mut [u8], mask: [u8; 4]) {
    let word = u64::from(u32::from_ne_bytes(mask)) * 0x1_0000_0001;
    let (chunks, rest) = content.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// The code of a close frame's content, if it has one.
#[must_use]
pub(crate) fn close_code(content: &[u8]) -> Option<CloseCode> {
    content.first_chunk::<2>().map(|code| CloseCode(u16::from_be_bytes(*code)))
}

/// The code and reason of a close frame's content, for a person.
#[must_use]
pub(crate) fn close_text(content: &[u8]) -> String {
    match content.split_first_chunk::<2>() {
        Some((code, reason)) => {
            let code = u16::from_be_bytes(*code);
            format!("{code} {}", String::from_utf8_lossy(reason)).trim_end().to_owned()
        }
        None => "no code".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unmasked(bytes: &[u8], frame: &Frame) -> Vec<u8> {
        let mut content = bytes[frame.content.clone()].to_vec();
        apply_mask(&mut content, frame.mask);
        content
    }

    #[test]
    fn frames_of_every_header_length_are_read_as_written() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
            let content: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let mut masked = vec![7];
            write_masked(&mut masked, BINARY, &content);
            let frame = read(&masked[1..], Sender::Client).unwrap().unwrap();
            assert_eq!(unmasked(&masked[1..], &frame), content);
            assert_eq!(frame.content.end, masked.len() - 1);

            let mut bare = Vec::new();
            write_bare(&mut bare, TEXT, &content);
            let frame = read(&bare, Sender::Server).unwrap().unwrap();
            assert_eq!((frame.opcode, &bare[frame.content]), (TEXT, &content[..]));
        }
    }

    #[test]
    fn a_frame_is_read_only_when_whole() {
        let mut bytes = Vec::new();
        write_masked(&mut bytes, TEXT, &[b'x'; 300]);
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length], Sender::Client), Ok(None));
        }
        assert!(read(&bytes, Sender::Client).unwrap().is_some());
    }

    #[test]
    fn faults_of_the_peer_have_their_own_errors() {
        let server = |bytes: &[u8]| read(bytes, Sender::Server);
        assert_eq!(server(&[0xc1, 0]), Err(FrameFault::ReservedBits));
        assert_eq!(server(&[0x01, 0]), Err(FrameFault::Fragmented));
        assert_eq!(server(&[0x80, 0]), Err(FrameFault::Fragmented));
        assert_eq!(server(&[0x81, 0x80]), Err(FrameFault::WrongMasking));
        assert_eq!(read(&[0x81, 0], Sender::Client), Err(FrameFault::WrongMasking));
        let long = [0x82, 127, 1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(server(&long), Err(FrameFault::TooLong(1 << 56)));
    }

    #[test]
    fn a_close_frame_is_told_in_words() {
        assert_eq!(close_text(&[0x03, 0xe8, b'b', b'y', b'e']), "1000 bye");
        assert_eq!(close_text(&[0x0b, 0xb8]), "3000");
        assert_eq!(close_text(&[]), "no code");
        assert_eq!(close_code(&[0x03, 0xf4, b'x']), Some(CloseCode::SERVICE_RESTART));
        assert_eq!(close_code(&[3]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = read(&bytes, Sender::Server);
            let _ = read(&bytes, Sender::Client);
        }

        #[test]
        fn masking_twice_changes_nothing(content: Vec<u8>, mask: [u8; 4]) {
            let mut twice = content.clone();
            apply_mask(&mut twice, mask);
            apply_mask(&mut twice, mask);
            prop_assert_eq!(twice, content);
        }
    }
}
