//! Frame headers (RFC 6455 section 5.2): reading those of clients, strictly, and writing our own.

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further part of a fragmented message.
    Continuation,
    /// UTF-8 text, or its first part.
    Text,
    /// Bytes, or their first part.
    Binary,
    /// The end of the connection.
    Close,
    /// A question whether the peer is there.
    Ping,
    /// The answer to it.
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Result<Self, HeaderError> {
        Ok(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            other => return Err(HeaderError::ReservedOpcode(other)),
        })
    }

    pub(crate) fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    /// Whether frames of this kind may stand between the fragments of a message.
    #[must_use]
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The header of a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether the message ends with this frame.
    pub fin: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// The key that the payload is masked with.
    pub mask: [u8; 4],
    /// Bytes of payload that follow.
    pub payload_len: u64,
}

/// How a client's header breaks RFC 6455. Always the client's fault; closes with 1002.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// A reserved bit is set though no extension was negotiated (section 5.2).
    #[error("a reserved bit is set; no extension was negotiated")]
    ReservedBits,
    /// The opcode is one that RFC 6455 reserves.
    #[error("opcode {0:#x} is reserved; use 0, 1, 2, 8, 9 or 10")]
    ReservedOpcode(u8),
    /// A client must mask every frame (section 5.1).
    #[error("the frame is not masked; a client must mask every frame")]
    Unmasked,
    /// Control frames must not be fragmented (section 5.5).
    #[error("a control frame is fragmented; it must be whole")]
    FragmentedControl,
    /// Control frames carry at most 125 bytes (section 5.5).
    #[error("a control frame is longer than 125 bytes")]
    LongControl,
    /// The length does not use the fewest bytes that hold it (section 5.2).
    #[error("the payload length is not in its shortest form")]
    LengthNotMinimal,
    /// The length has its highest bit set (section 5.2).
    #[error("the payload length is over 2^63-1")]
    LengthOverflow,
}

/// Longest header of a client's frame: 2 bytes, 8 of length, 4 of mask.
pub(crate) const CLIENT_HEADER_BYTES_MAX: usize = 14;

impl Header {
    /// Reads a header from the start of `bytes`: the header and its length, or `None` if more
    /// bytes are needed. Faults are found as soon as their byte is there.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeaderError> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(HeaderError::ReservedBits);
        }
        let opcode = Opcode::from_bits(first & 0x0f)?;
        let fin = first & 0x80 != 0;
        if opcode.is_control() && !fin {
            return Err(HeaderError::FragmentedControl);
        }
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(HeaderError::Unmasked);
        }
        let short = second & 0x7f;
        if opcode.is_control() && short > 125 {
            return Err(HeaderError::LongControl);
        }
        let Some((payload_len, mask_at)) = read_length(short, &bytes[2..])? else {
            return Ok(None);
        };
        let mask_at = mask_at + 2;
        let Some(mask) = bytes.get(mask_at..).and_then(<[u8]>::first_chunk::<4>) else {
            return Ok(None);
        };
        Ok(Some((Self { fin, opcode, mask: *mask, payload_len }, mask_at + 4)))
    }
}

/// The payload length and how many bytes after the second one hold it.
fn read_length(short: u8, rest: &[u8]) -> Result<Option<(u64, usize)>, HeaderError> {
    match short {
        126 => {
            let Some(digits) = rest.first_chunk::<2>() else { return Ok(None) };
            let length = u64::from(u16::from_be_bytes(*digits));
            if length < 126 { Err(HeaderError::LengthNotMinimal) } else { Ok(Some((length, 2))) }
        }
        127 => {
            let Some(digits) = rest.first_chunk::<8>() else { return Ok(None) };
            let length = u64::from_be_bytes(*digits);
            match length {
                0..=0xffff => Err(HeaderError::LengthNotMinimal),
                _ if length >> 63 != 0 => Err(HeaderError::LengthOverflow),
                _ => Ok(Some((length, 8))),
            }
        }
        short => Ok(Some((u64::from(short), 0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    fn header(start: &[u8]) -> Vec<u8> {
        [start, &MASK].concat()
    }

    #[test]
    fn all_three_forms_of_length_are_read() {
        for (start, len) in [
            (&[0x81, 0x80 | 125][..], 125),
            (&[0x81, 0xfe, 0, 126], 126),
            (&[0x81, 0xfe, 0xff, 0xff], 65_535),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0], 65_536),
        ] {
            let bytes = header(start);
            let expected = Header { fin: true, opcode: Opcode::Text, mask: MASK, payload_len: len };
            assert_eq!(Header::read(&bytes), Ok(Some((expected, bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(Header::read(&bytes[..cut]), Ok(None), "cut at {cut}");
            }
        }
    }

    #[test]
    fn every_breach_has_its_error_at_its_byte() {
        for (bytes, error) in [
            (&[0xc1][..], HeaderError::ReservedBits),
            (&[0x83], HeaderError::ReservedOpcode(3)),
            (&[0x8f], HeaderError::ReservedOpcode(15)),
            (&[0x09], HeaderError::FragmentedControl),
            (&[0x81, 0x05], HeaderError::Unmasked),
            (&[0x89, 0xfe], HeaderError::LongControl),
            (&[0x81, 0xfe, 0, 125], HeaderError::LengthNotMinimal),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], HeaderError::LengthNotMinimal),
            (&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], HeaderError::LengthOverflow),
        ] {
            assert_eq!(Header::read(bytes), Err(error), "{bytes:02x?}");
        }
    }
}
