//! Bodies of requests, of known length or chunked (RFC 9112 section 7.1), as they come in.

use super::head::BodyLength;

/// Most bytes of a chunked body that are not content: sizes, extensions, trailers. Thousands of
/// chunks fit; an endless extension does not.
const FRAMING_BYTES_MAX: u64 = 64 * 1_024;

/// Why a body cannot be read to its end. The client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the chunks of the body are broken")]
    Chunk,
    #[error("the body has over {FRAMING_BYTES_MAX} bytes around its chunks")]
    Framing,
    #[error("the body is longer than {0} bytes, the most allowed")]
    TooLong(usize),
}

/// Takes a body out of what is read.
#[derive(Debug)]
pub(super) struct BodyDecoder {
    state: State,
    most: usize,
    pub(super) body: Vec<u8>,
    /// Bytes that were read beside the content.
    pub(super) framing_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of content are still to come.
    Content(u64),
    /// The size of a chunk so far, and whether it has a digit.
    Size(u64, bool),
    /// The rest of the line with the size.
    Extension(u64),
    /// The line feed behind it.
    SizeEnd(u64),
    /// So many bytes of a chunk are still to come.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    ChunkEndFeed,
    /// A line behind the last chunk, and whether anything stands in it.
    Trailer(bool),
    TrailerFeed(bool),
    Done,
}

impl BodyDecoder {
    /// For a body of at most `most` bytes.
    ///
    /// # Errors
    /// [`BodyError::TooLong`] if it says itself that it is longer.
    pub(super) fn new(length: BodyLength, most: usize) -> Result<Self, BodyError> {
        let state = match length {
            BodyLength::Known(bytes) if bytes > most as u64 => {
                return Err(BodyError::TooLong(most));
            }
            BodyLength::Known(0) => State::Done,
            BodyLength::Known(bytes) => State::Content(bytes),
            BodyLength::Chunked => State::Size(0, false),
        };
        Ok(Self { state, most, body: Vec::new(), framing_bytes: 0 })
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes what belongs to the body from the start of `input`; how many bytes that were.
    pub(super) fn decode(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        let mut position = 0;
        while position < input.len() && self.state != State::Done {
            position += match self.state {
                State::Content(left) => self.take(&input[position..], left, State::Content)?,
                State::Chunk(left) => self.take(&input[position..], left, State::Chunk)?,
                state => {
                    self.framing_bytes += 1;
                    if self.framing_bytes > FRAMING_BYTES_MAX {
                        return Err(BodyError::Framing);
                    }
                    self.state = step(state, input[position])?;
                    self.check_chunk()?;
                    1
                }
            };
        }
        Ok(position)
    }

    /// A chunk that cannot fit is refused before it comes.
    fn check_chunk(&self) -> Result<(), BodyError> {
        match self.state {
            State::Chunk(bytes) if bytes > (self.most - self.body.len()) as u64 => {
                Err(BodyError::TooLong(self.most))
            }
            _ => Ok(()),
        }
    }

    fn take(
        &mut self,
        input: &[u8],
        left: u64,
        state: fn(u64) -> State,
    ) -> Result<usize, BodyError> {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        if self.body.len() + len > self.most {
            return Err(BodyError::TooLong(self.most));
        }
        self.body.extend_from_slice(&input[..len]);
        let left = left - len as u64;
        self.state = match (left, state(0)) {
            (0, State::Content(_)) => State::Done,
            (0, _) => State::ChunkEnd,
            _ => state(left),
        };
        Ok(len)
    }
}

/// What one byte of framing leads to.
fn step(state: State, byte: u8) -> Result<State, BodyError> {
    let next = match (state, byte) {
        (State::Size(size, _), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
            let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
            let size = size.checked_mul(16).and_then(|size| size.checked_add(digit));
            State::Size(size.ok_or(BodyError::Chunk)?, true)
        }
        (State::Size(size, true), b';' | b' ' | b'\t') => State::Extension(size),
        (State::Size(size, true), b'\r') => State::SizeEnd(size),
        (State::Extension(size), b'\r') => State::SizeEnd(size),
        (State::Extension(size), byte) if byte != b'\n' => State::Extension(size),
        (State::SizeEnd(0), b'\n') => State::Trailer(false),
        (State::SizeEnd(size), b'\n') => State::Chunk(size),
        (State::ChunkEnd, b'\r') => State::ChunkEndFeed,
        (State::ChunkEndFeed, b'\n') => State::Size(0, false),
        (State::Trailer(has_text), b'\r') => State::TrailerFeed(has_text),
        (State::Trailer(_), byte) if byte != b'\n' => State::Trailer(true),
        (State::TrailerFeed(true), b'\n') => State::Trailer(false),
        (State::TrailerFeed(false), b'\n') => State::Done,
        _ => return Err(BodyError::Chunk),
    };
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(
        length: BodyLength,
        most: usize,
        pieces: &[&[u8]],
    ) -> Result<(Vec<u8>, usize), BodyError> {
        let mut decoder = BodyDecoder::new(length, most)?;
        let mut rest = 0;
        for piece in pieces {
            rest += piece.len() - decoder.decode(piece)?;
        }
        assert!(decoder.is_done());
        Ok((decoder.body, rest))
    }

    #[test]
    fn a_body_ends_where_it_says_however_it_is_cut() {
        let chunked =
            b"5;name=\"x\"\r\nhello\r\n1 \r\n,\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nNEXT";
        for cut in 0..chunked.len() {
            let pieces: [&[u8]; 2] = [&chunked[..cut], &chunked[cut..]];
            let decoded = decode(BodyLength::Chunked, 100, &pieces);
            assert_eq!(decoded, Ok((b"hello,0123456789".to_vec(), 4)), "{cut}");
            let known = decode(BodyLength::Known(10), 100, &pieces);
            assert_eq!(known, Ok((chunked[..10].to_vec(), chunked.len() - 10)), "{cut}");
        }
        assert_eq!(decode(BodyLength::Known(0), 0, &[b"GET"]), Ok((Vec::new(), 3)));
    }

    #[test]
    fn broken_chunks_are_refused() {
        for broken in [
            "zz\r\n",
            "\r\n",
            ";x\r\n",
            "5\n",
            "5\rx",
            "1\r\nab",
            "1\r\na\n",
            "-1\r\n",
            "0x5\r\n",
            "11111111111111111\r\n",
            "5;x\n",
            "0\r\n\n",
        ] {
            let mut decoder = BodyDecoder::new(BodyLength::Chunked, 100).unwrap();
            assert_eq!(decoder.decode(broken.as_bytes()), Err(BodyError::Chunk), "{broken:?}");
        }
    }

    #[test]
    fn content_and_what_stands_around_it_are_bounded() {
        assert_eq!(decode(BodyLength::Known(11), 10, &[]), Err(BodyError::TooLong(10)));
        let long = decode(BodyLength::Chunked, 10, &[b"6\r\n012345\r\n", b"6\r\n012345\r\n"]);
        assert_eq!(long, Err(BodyError::TooLong(10)));
        let endless = [&b"5;"[..], &[b'x'; 70_000]].concat();
        assert_eq!(decode(BodyLength::Chunked, 10, &[&endless]), Err(BodyError::Framing));
    }
}
