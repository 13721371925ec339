//! Turns the bytes of one client into messages and control frames (RFC 6455 sections 5 to 8).
//!
//! A frame that lies whole in the read buffer is unmasked and handed out in place. Only what is
//! unfinished is kept, so a decoder at rest owns no memory. Checks come as early as the bytes
//! allow: UTF-8 as it arrives, sizes from the header.

use std::ops::Range;

use fanfare_protocol::CloseCode;

use super::header::{CLIENT_HEADER_BYTES_MAX, Header, HeaderError, Opcode};
use super::mask::unmask;

/// What a decoder accepts.
#[derive(Clone, Copy, Debug)]
pub struct DecodeLimits {
    /// Longest message, all fragments together, in bytes.
    pub message_bytes_max: usize,
    /// Most fragments without content in one message; they cost work and carry nothing.
    pub empty_fragments_max: u32,
}

/// Something that a client has sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A ping and its content.
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// The peer closes.
    Close(Option<CloseFrame<'a>>),
}

/// The content of a close frame.
#[derive(Debug, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// Why the peer closes.
    pub code: CloseCode,
    /// The same in words.
    pub reason: &'a str,
}

/// How a client broke the protocol. Always the client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The frame's header is wrong.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// A continuation frame came without a message to continue.
    #[error("a continuation frame came, but no message was begun")]
    UnexpectedContinuation,
    /// A message began inside another one.
    #[error("a new message began before the last fragment of the one before")]
    ExpectedContinuation,
    /// The message is longer than this many bytes.
    #[error("the message is longer than {0} bytes, the most allowed")]
    MessageTooBig(usize),
    /// The message has more empty fragments than this.
    #[error("the message has over {0} empty fragments")]
    EmptyFragments(u32),
    /// A text message or a close reason is not UTF-8.
    #[error("the text is not UTF-8")]
    InvalidUtf8,
    /// A close frame has one byte of content.
    #[error("the close frame has one byte; it needs none, or a code of two")]
    ShortClose,
    /// A close frame has a code that must not travel.
    #[error("close code {0} must not be sent")]
    BadCloseCode(CloseCode),
}

impl DecodeError {
    /// The code to close with (RFC 6455 section 7.4.1).
    #[must_use]
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::MessageTooBig(_) => CloseCode::MESSAGE_TOO_BIG,
            Self::EmptyFragments(_) => CloseCode::POLICY_VIOLATION,
            Self::InvalidUtf8 => CloseCode::INVALID_PAYLOAD,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

/// The state of one client's stream of frames.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

/// What is kept of frames and messages that are not whole yet.
#[derive(Debug, Default)]
struct Partial {
    /// Header bytes of a frame whose header is not whole.
    header: [u8; CLIENT_HEADER_BYTES_MAX],
    header_len: usize,
    /// The frame whose payload is arriving, and how much of it has.
    frame: Option<(Header, usize)>,
    /// The content so far of a control frame.
    control: Vec<u8>,
    message: Option<PartialMessage>,
    /// What was handed out by the last step and is to be forgotten by the next.
    finished: Finished,
    since_ms: Option<u64>,
}

#[derive(Debug)]
struct PartialMessage {
    is_text: bool,
    content: Vec<u8>,
    /// How much of the content is known to be UTF-8; the rest is the start of one character.
    utf8_len: usize,
    empty_fragments: u32,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Finished {
    #[default]
    Nothing,
    Control,
    Message,
}

/// Where the next thing to hand out lies.
enum Step {
    NeedMore,
    InPlace(Opcode, Range<usize>),
    Control(Opcode),
    Message,
}

impl Decoder {
    /// Takes the next message or control frame out of `bytes`, from `position` on, and moves
    /// `position` past what was used. `None`: all of `bytes` is used and more is needed.
    ///
    /// # Errors
    /// [`DecodeError`]; the stream cannot be read on.
    pub fn next<'a>(
        &'a mut self,
        bytes: &'a mut [u8],
        position: &mut usize,
        limits: &DecodeLimits,
    ) -> Result<Option<Incoming<'a>>, DecodeError> {
        self.forget_finished();
        match self.step(bytes, position, limits)? {
            Step::NeedMore => Ok(None),
            Step::InPlace(opcode, range) => incoming(opcode, &bytes[range]).map(Some),
            Step::Control(opcode) => {
                let partial = self.partial.as_deref();
                incoming(opcode, partial.map_or(&[], |p| &p.control)).map(Some)
            }
            Step::Message => {
                let message = self.partial.as_deref().and_then(|p| p.message.as_ref());
                let (is_text, content) =
                    message.map_or((false, &[][..]), |m| (m.is_text, &m.content));
                let opcode = if is_text { Opcode::Text } else { Opcode::Binary };
                incoming(opcode, content).map(Some)
            }
        }
    }

    /// Bytes kept of an unfinished frame or message.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.partial.as_deref().map_or(0, |p| {
            size_of::<Partial>()
                + p.control.capacity()
                + p.message.as_ref().map_or(0, |m| m.content.capacity())
        })
    }

    /// Whether a frame or message is begun and not finished.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.partial.is_some()
    }

    /// Notes that what is unfinished was begun by `now_ms`; whether this is its first note.
    pub fn mark_unfinished(&mut self, now_ms: u64) -> bool {
        let Some(partial) = self.partial.as_deref_mut() else { return false };
        let is_first = partial.since_ms.is_none();
        partial.since_ms.get_or_insert(now_ms);
        is_first
    }

    /// When the unfinished message was first noted, and how many bytes of it have come.
    #[must_use]
    pub fn unfinished_since(&self) -> Option<(u64, usize)> {
        let partial = self.partial.as_deref()?;
        let received = partial.message.as_ref().map_or(0, |m| m.content.len());
        Some((partial.since_ms?, received))
    }

    /// Drops what the last call handed out, and the whole state when nothing is left of it.
    pub fn forget_finished(&mut self) {
        let Some(partial) = self.partial.as_deref_mut() else { return };
        match std::mem::take(&mut partial.finished) {
            Finished::Nothing => {}
            Finished::Control => partial.control.clear(),
            Finished::Message => {
                partial.message = None;
                partial.since_ms = None;
            }
        }
        if partial.message.is_none() && partial.frame.is_none() && partial.header_len == 0 {
            self.partial = None;
        }
    }

    fn step(
        &mut self,
        bytes: &mut [u8],
        position: &mut usize,
        limits: &DecodeLimits,
    ) -> Result<Step, DecodeError> {
        loop {
            if *position == bytes.len() && !self.has_empty_payload() {
                return Ok(Step::NeedMore);
            }
            if self.partial.is_none()
                && let Some((opcode, range)) = whole_frame(bytes, *position, limits)?
            {
                *position = range.end;
                return Ok(Step::InPlace(opcode, range));
            }
            let partial = self.partial.get_or_insert_default();
            if partial.frame.is_none() {
                partial.take_header(bytes, position, limits)?;
            }
            if let Some(step) = partial.take_payload(bytes, position)? {
                return Ok(step);
            }
        }
    }

    /// A frame without payload is whole as soon as its header is.
    fn has_empty_payload(&self) -> bool {
        let frame = self.partial.as_deref().and_then(|p| p.frame);
        frame.is_some_and(|(header, _)| header.payload_len == 0)
    }
}

/// The content of a message that is one frame and lies whole in `bytes`, unmasked in place.
fn whole_frame(
    bytes: &mut [u8],
    position: usize,
    limits: &DecodeLimits,
) -> Result<Option<(Opcode, Range<usize>)>, DecodeError> {
    let Some((header, header_len)) = Header::read(&bytes[position..])? else { return Ok(None) };
    if !header.fin || header.opcode == Opcode::Continuation {
        return Ok(None);
    }
    let payload_len = checked_len(&header, 0, limits)?;
    let start = position + header_len;
    let range = start..start + payload_len;
    let Some(payload) = bytes.get_mut(range.clone()) else { return Ok(None) };
    unmask(payload, header.mask, 0);
    Ok(Some((header.opcode, range)))
}

fn checked_len(
    header: &Header,
    before: usize,
    limits: &DecodeLimits,
) -> Result<usize, DecodeError> {
    let room = limits.message_bytes_max.saturating_sub(before);
    match usize::try_from(header.payload_len) {
        Ok(len) if len <= room || header.opcode.is_control() => Ok(len),
        _ => Err(DecodeError::MessageTooBig(limits.message_bytes_max)),
    }
}

impl Partial {
    /// Takes header bytes; sets `frame` once the header is whole.
    fn take_header(
        &mut self,
        bytes: &[u8],
        position: &mut usize,
        limits: &DecodeLimits,
    ) -> Result<(), DecodeError> {
        let kept = self.header_len;
        let rest = &bytes[*position..];
        let taken = rest.len().min(CLIENT_HEADER_BYTES_MAX - kept);
        self.header[kept..kept + taken].copy_from_slice(&rest[..taken]);
        let Some((header, header_len)) = Header::read(&self.header[..kept + taken])? else {
            self.header_len = kept + taken;
            *position += taken;
            return Ok(());
        };
        self.header_len = 0;
        *position += header_len - kept;
        self.begin_frame(header, limits)
    }

    fn begin_frame(&mut self, header: Header, limits: &DecodeLimits) -> Result<(), DecodeError> {
        if !header.opcode.is_control() {
            match (&self.message, header.opcode) {
                (None, Opcode::Continuation) => return Err(DecodeError::UnexpectedContinuation),
                (Some(_), Opcode::Text | Opcode::Binary) => {
                    return Err(DecodeError::ExpectedContinuation);
                }
                _ => {}
            }
            let message = self.message.get_or_insert_with(|| PartialMessage {
                is_text: header.opcode == Opcode::Text,
                content: Vec::new(),
                utf8_len: 0,
                empty_fragments: 0,
            });
            if header.payload_len == 0 {
                message.empty_fragments += 1;
                if message.empty_fragments > limits.empty_fragments_max {
                    return Err(DecodeError::EmptyFragments(limits.empty_fragments_max));
                }
            }
            checked_len(&header, message.content.len(), limits)?;
        }
        self.frame = Some((header, 0));
        Ok(())
    }

    /// Takes payload bytes of the current frame; a step if they end a message or control frame.
    fn take_payload(
        &mut self,
        bytes: &mut [u8],
        position: &mut usize,
    ) -> Result<Option<Step>, DecodeError> {
        let Some((header, received)) = self.frame else { return Ok(None) };
        let rest = &mut bytes[*position..];
        let missing = usize::try_from(header.payload_len).unwrap_or(usize::MAX) - received;
        let taken = rest.len().min(missing);
        let payload = &mut rest[..taken];
        unmask(payload, header.mask, received);
        *position += taken;
        if header.opcode.is_control() {
            self.control.extend_from_slice(payload);
        } else if let Some(message) = &mut self.message {
            message.content.extend_from_slice(payload);
            message.check_utf8()?;
        }
        if taken < missing {
            self.frame = Some((header, received + taken));
            return Ok(None);
        }
        self.frame = None;
        self.end_frame(&header)
    }

    fn end_frame(&mut self, header: &Header) -> Result<Option<Step>, DecodeError> {
        if header.opcode.is_control() {
            self.finished = Finished::Control;
            return Ok(Some(Step::Control(header.opcode)));
        }
        if !header.fin {
            return Ok(None);
        }
        if let Some(message) = &self.message
            && message.is_text
            && message.utf8_len < message.content.len()
        {
            return Err(DecodeError::InvalidUtf8);
        }
        self.finished = Finished::Message;
        Ok(Some(Step::Message))
    }
}

impl PartialMessage {
    /// Checks what has come since the last call; the start of a character may wait for its end.
    fn check_utf8(&mut self) -> Result<(), DecodeError> {
        if !self.is_text {
            return Ok(());
        }
        match std::str::from_utf8(&self.content[self.utf8_len..]) {
            Ok(text) => self.utf8_len += text.len(),
            Err(e) if e.error_len().is_none() => self.utf8_len += e.valid_up_to(),
            Err(_) => return Err(DecodeError::InvalidUtf8),
        }
        Ok(())
    }
}

fn incoming(opcode: Opcode, content: &[u8]) -> Result<Incoming<'_>, DecodeError> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| DecodeError::InvalidUtf8);
    Ok(match opcode {
        Opcode::Text => Incoming::Text(text(content)?),
        Opcode::Binary | Opcode::Continuation => Incoming::Binary(content),
        Opcode::Ping => Incoming::Ping(content),
        Opcode::Pong => Incoming::Pong,
        Opcode::Close => Incoming::Close(match content {
            [] => None,
            [_] => return Err(DecodeError::ShortClose),
            [high, low, reason @ ..] => {
                let code = CloseCode(u16::from_be_bytes([*high, *low]));
                if !code.is_valid_on_wire() {
                    return Err(DecodeError::BadCloseCode(code));
                }
                Some(CloseFrame { code, reason: text(reason)? })
            }
        }),
    })
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
