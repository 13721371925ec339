//! The network between a client and its shard: bytes under way, buffers of bounded size, and the
//! frames in them. Reads and writes frames by RFC 6455 itself, not with the engine's codec.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;

use super::random::Random;
use crate::shard::Socket;

/// Both directions of one connection.
#[derive(Debug)]
pub(crate) struct Pipe {
    random: Random,
    /// Sent by the client and not there yet.
    in_flight: VecDeque<u8>,
    /// What the broker can read.
    arrived: VecDeque<u8>,
    client_end: ClientEnd,
    /// Written by the broker and not read by the client.
    to_client: VecDeque<u8>,
    /// Bytes that `to_client` holds at most.
    pub(crate) capacity: usize,
    /// Whether a write was refused since the socket last took something: only then does the
    /// system announce that it is writable.
    is_refused: bool,
    /// Whether the broker has something to read that it has not been told of.
    pub(crate) is_readable: bool,
    is_shut: bool,
    /// Commands and pings that the client has sent since the broker last read.
    pub(crate) replies_due: usize,
    /// One in so many writes is cut short or interrupted without need; 0 for none.
    pub(crate) unrest: u64,
}

/// How the client's side of a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientEnd {
    Open,
    /// Nothing more comes from it.
    Finished,
    /// Its system refuses what is written to it.
    Reset,
}

/// One end's handle of a [`Pipe`]; the broker's socket, and the client's view of it.
#[derive(Clone, Debug)]
pub(crate) struct Wire(Rc<RefCell<Pipe>>);

impl Wire {
    /// A connection whose way to the client holds `capacity` bytes.
    pub(crate) fn new(capacity: usize, random: Random) -> Self {
        Self(Rc::new(RefCell::new(Pipe {
            random,
            in_flight: VecDeque::new(),
            arrived: VecDeque::new(),
            client_end: ClientEnd::Open,
            to_client: VecDeque::new(),
            capacity,
            is_refused: false,
            is_readable: false,
            is_shut: false,
            replies_due: 0,
            unrest: 0,
        })))
    }

    /// Whether both are ends of one connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn pipe(&self) -> std::cell::RefMut<'_, Pipe> {
        self.0.borrow_mut()
    }
}

impl Pipe {
    /// Sends a frame from the client, masked with a key of its own.
    pub(crate) fn send(&mut self, opcode: u8, payload: &[u8]) {
        let mask = (self.random.next() as u32).to_be_bytes();
        self.in_flight.push_back(0x80 | opcode);
        match payload.len() {
            len @ 0..=125 => self.in_flight.push_back(0x80 | len as u8),
            len @ 126..=0xffff => {
                self.in_flight.push_back(0x80 | 126);
                self.in_flight.extend((len as u16).to_be_bytes());
            }
            len => {
                self.in_flight.push_back(0x80 | 127);
                self.in_flight.extend((len as u64).to_be_bytes());
            }
        }
        self.in_flight.extend(mask);
        self.in_flight
            .extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    }

    /// Lets up to `bytes` of what the client has sent arrive.
    pub(crate) fn arrive(&mut self, bytes: usize) {
        let n = bytes.min(self.in_flight.len());
        self.arrived.extend(self.in_flight.drain(..n));
        self.is_readable |= n > 0;
    }

    /// Whether something that the client has sent is still under way, or not read.
    pub(crate) fn has_in_flight(&self) -> bool {
        !self.in_flight.is_empty() || self.is_readable
    }

    /// The client says that nothing more comes.
    pub(crate) fn finish(&mut self) {
        self.arrive(usize::MAX);
        self.client_end = ClientEnd::Finished;
        self.is_readable = true;
    }

    /// The client's system cuts the connection.
    pub(crate) fn reset(&mut self) {
        self.client_end = ClientEnd::Reset;
        self.is_readable = true;
    }

    pub(crate) fn is_open(&self) -> bool {
        self.client_end == ClientEnd::Open
    }

    /// Takes up to `bytes` of what has come to the client.
    pub(crate) fn take(&mut self, bytes: usize) -> Vec<u8> {
        let n = bytes.min(self.to_client.len());
        self.to_client.drain(..n).collect()
    }

    /// Bytes that the client has not read.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.to_client.len()
    }

    /// Whether the system would tell the broker now that it may write again.
    pub(crate) fn is_writable_again(&self) -> bool {
        self.is_refused && self.room() > 0
    }

    /// The system tells the broker, once.
    pub(crate) fn announce_writable(&mut self) {
        self.is_refused = false;
    }

    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.to_client.len())
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        assert!(!self.is_shut, "nothing may be written behind the end");
        if self.client_end == ClientEnd::Reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let mut most = self.room();
        if self.unrest > 0 && self.random.one_in(self.unrest) {
            // A system with room for everything has no reason to take less.
            if self.capacity == usize::MAX || self.random.one_in(2) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            most = most.min(self.random.between(1, 20) as usize);
        }
        if most == 0 {
            self.is_refused = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.is_refused = false;
        let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
        let before = self.to_client.len();
        self.to_client.extend(bytes.take(most));
        Ok(self.to_client.len() - before)
    }
}

impl io::Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.pipe();
        if pipe.client_end == ClientEnd::Reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let n = pipe.arrived.len().min(buffer.len());
        if n == 0 && pipe.client_end == ClientEnd::Finished {
            return Ok(0);
        }
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer.iter_mut().zip(pipe.arrived.drain(..n)).for_each(|(to, from)| *to = from);
        Ok(n)
    }
}

impl io::Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pipe().write(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.pipe().write(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Wire {
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.pipe().is_shut = true;
        Ok(())
    }
}

/// A frame as it came, header included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) bytes: Vec<u8>,
    payload_at: usize,
}

impl Frame {
    /// An event of a stream: its bytes, and where in them its content begins.
    pub(crate) fn of_event(opcode: u8, bytes: Vec<u8>, payload_at: usize) -> Self {
        Self { opcode, bytes, payload_at }
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[self.payload_at..]
    }

    /// The code of a close frame; 1005 for one without.
    pub(crate) fn close_code(&self) -> Option<u16> {
        let code = self.payload().first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
        (self.opcode == CLOSE).then_some(code)
    }
}

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Cuts the bytes that a client reads into frames, and demands of each what the RFC demands of a
/// server and the broker promises: whole messages, no mask, no reserved bit, the shortest length.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    bytes: VecDeque<u8>,
    is_closed: bool,
}

impl FrameReader {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        assert!(!self.is_closed || bytes.is_empty(), "bytes follow the close frame");
        self.bytes.extend(bytes);
    }

    /// The next whole frame.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let bytes = self.bytes.make_contiguous();
        let [first, second] = *bytes.first_chunk()?;
        let opcode = first & 0x0f;
        assert_eq!(first & 0xf0, 0x80, "a whole message without reserved bits: {first:#04x}");
        assert!(matches!(opcode, TEXT | BINARY | CLOSE | PING | PONG), "opcode {opcode}");
        let (len, payload_at) = match second {
            short @ 0..=125 => (usize::from(short), 2),
            126 => (usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
            127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize, 10),
            masked => panic!("a server's frame is masked: {masked:#04x}"),
        };
        let shortest = [(0, 2), (126, 4), (0x1_0000, 10)];
        let (least, _) = shortest[shortest.partition_point(|(_, at)| *at < payload_at)];
        assert!(len >= least, "a length of {len} in a header of {payload_at} bytes");
        assert!(opcode < CLOSE || payload_at == 2, "a control frame of {len} bytes");
        if bytes.len() < payload_at + len {
            return None;
        }
        self.is_closed = opcode == CLOSE;
        let bytes = self.bytes.drain(..payload_at + len).collect();
        Some(Frame { opcode, bytes, payload_at })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_full_buffer_refuses_and_is_announced_once_it_has_room() {
        let mut wire = Wire::new(5, Random::new(1));
        let slices = [IoSlice::new(b"abc"), IoSlice::new(b"defg")];
        assert_eq!(wire.write_vectored(&slices).unwrap(), 5);
        assert!(!wire.pipe().is_writable_again());
        assert_eq!(wire.write(b"x").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(!wire.pipe().is_writable_again());
        assert_eq!(wire.pipe().take(2), b"ab");
        assert!(wire.pipe().is_writable_again());
    }

    #[test]
    fn frames_are_cut_where_they_end() {
        let mut reader = FrameReader::default();
        reader.push(b"\x81\x02hi\x82\x7e\x00");
        let frame = reader.next().unwrap();
        assert_eq!((frame.opcode, frame.payload()), (TEXT, &b"hi"[..]));
        assert_eq!(reader.next(), None);
        reader.push(&[&[200][..], &[7; 200], b"\x88\x02\x03\xe8"].concat());
        assert_eq!(reader.next().unwrap().payload(), [7; 200]);
        assert_eq!(reader.next().unwrap().close_code(), Some(1000));
    }

    #[test]
    #[should_panic(expected = "in a header of 4 bytes")]
    fn a_length_that_is_not_the_shortest_is_refused() {
        let mut reader = FrameReader::default();
        reader.push(b"\x81\x7e\x00\x02hi");
        reader.next();
    }
}
