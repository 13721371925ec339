//! The world of the shard's tests: sockets of memory, a clock moved by hand, and clients that
//! send frames written from the RFC.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use fanfare_protocol::{Command, Connect, Request, ServerFrame, TopicName};

use super::super::*;
use super::subscribe;

/// Both ends of a connection: what the client has sent, and what it has got.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) to_broker: VecDeque<u8>,
    pub(super) to_client: Vec<u8>,
    /// Bytes that the network still takes.
    pub(super) room: usize,
    /// Writes that are still to be interrupted.
    pub(super) interrupts: u32,
    pub(super) is_shut: bool,
    pub(super) is_lost: bool,
    pub(super) peer: Option<SocketAddr>,
}

#[derive(Clone, Debug)]
pub(super) struct Client(pub(super) Rc<RefCell<Pipe>>);

impl io::Read for Client {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        if pipe.is_lost {
            return Ok(0);
        }
        let n = pipe.to_broker.len().min(buffer.len());
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (to, from) in buffer.iter_mut().zip(pipe.to_broker.drain(..n)) {
            *to = from;
        }
        Ok(n)
    }
}

impl io::Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        if pipe.interrupts > 0 {
            pipe.interrupts -= 1;
            return Err(io::ErrorKind::Interrupted.into());
        }
        let n = bytes.len().min(pipe.room);
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        assert!(!pipe.is_shut, "nothing may be written behind the end");
        pipe.room -= n;
        pipe.to_client.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Client {
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.0.borrow_mut().is_shut = true;
        Ok(())
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.0.borrow().peer
    }
}

/// A frame as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) opcode: u8,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn close_code(&self) -> Option<u16> {
        (self.opcode == 8).then(|| u16::from_be_bytes([self.payload[0], self.payload[1]]))
    }

    pub(super) fn json(&self) -> ServerFrame {
        assert_eq!(self.opcode, 1);
        ServerFrame::decode(Codec::Json, &self.payload).unwrap()
    }

    pub(super) fn offset(&self) -> u64 {
        match self.json() {
            ServerFrame::Message(message) => message.offset,
            other => panic!("not a message: {other:?}"),
        }
    }
}

impl Client {
    pub(super) fn new() -> Self {
        Self(Rc::new(RefCell::new(Pipe { room: usize::MAX, ..Pipe::default() })))
    }

    pub(super) fn send(&self, opcode: u8, payload: &[u8]) {
        let mut pipe = self.0.borrow_mut();
        pipe.to_broker.push_back(0x80 | opcode);
        match payload.len() {
            len @ 0..=125 => pipe.to_broker.push_back(0x80 | len as u8),
            len => {
                pipe.to_broker.push_back(0x80 | 126);
                pipe.to_broker.extend((len as u16).to_be_bytes());
            }
        }
        pipe.to_broker.extend([0, 0, 0, 0]);
        pipe.to_broker.extend(payload);
    }

    pub(super) fn command(&self, id: u64, request: Request) {
        let mut out = Vec::new();
        Command { id: Some(id), request }.encode(Codec::Json, &mut out);
        self.send(1, &out);
    }

    pub(super) fn set_room(&self, room: usize) {
        self.0.borrow_mut().room = room;
    }

    /// Takes the whole frames that have come.
    pub(super) fn frames(&self) -> Vec<Frame> {
        let mut pipe = self.0.borrow_mut();
        let mut frames = Vec::new();
        loop {
            let bytes = &pipe.to_client;
            let Some(&[first, second]) = bytes.first_chunk::<2>() else { break };
            assert_eq!(first & 0xf0, 0x80, "whole frames without reserved bits");
            let (len, at) = match second {
                126 if bytes.len() >= 4 => (usize::from(bytes[2]) << 8 | usize::from(bytes[3]), 4),
                short @ 0..=125 => (usize::from(short), 2),
                _ => break,
            };
            if bytes.len() < at + len {
                break;
            }
            let payload = bytes[at..at + len].to_vec();
            frames.push(Frame { opcode: first & 0x0f, payload });
            pipe.to_client.drain(..at + len);
        }
        frames
    }

    /// Puts frames back to be taken again, before those that have come since.
    pub(super) fn put_back(&self, frames: Vec<Frame>) {
        let mut bytes = Vec::new();
        for Frame { opcode, payload } in frames {
            bytes.push(0x80 | opcode);
            match payload.len() {
                len @ 0..=125 => bytes.push(len as u8),
                len => {
                    bytes.push(126);
                    bytes.extend((len as u16).to_be_bytes());
                }
            }
            bytes.extend(payload);
        }
        self.0.borrow_mut().to_client.splice(0..0, bytes);
    }

    pub(super) fn close_code(&self) -> Option<u16> {
        self.frames().iter().find_map(Frame::close_code)
    }
}

pub(super) struct World {
    pub(super) shard: Shard<Client>,
    pub(super) now: Now,
}

impl World {
    pub(super) fn new(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::default();
        change(&mut limits);
        let mailboxes = vec![Arc::new(Mailbox::new(|| {}))];
        let topics = Arc::new(TopicTable::new(mailboxes, Arc::new(limits), 3));
        Self { shard: Shard::new(0, "n1".into(), topics), now: Now::from_ms(1_000) }
    }

    pub(super) fn raw(&mut self, topic: &str) -> (Key, Client) {
        let client = Client::new();
        let topic = TopicName::new(topic).unwrap();
        let kind = ConnectionKind::Raw { topic, since: None, options: StreamOptions::default() };
        (self.shard.open(client.clone(), &kind, self.now), client)
    }

    pub(super) fn sdk(&mut self) -> (Key, Client) {
        let client = Client::new();
        let key = self.shard.open(client.clone(), &ConnectionKind::Sdk(Codec::Json), self.now);
        (key, client)
    }

    /// An SDK connection that has connected and subscribed.
    pub(super) fn subscriber(&mut self, topics: &[&str]) -> (Key, Client) {
        let (key, client) = self.sdk();
        client.command(1, Request::Connect(Connect::default()));
        for (i, topic) in topics.iter().enumerate() {
            client.command(2 + i as u64, subscribe(topic));
        }
        self.read(key);
        assert_eq!(client.frames().len(), 1 + topics.len());
        (key, client)
    }

    pub(super) fn read(&mut self, key: Key) -> ReadOutcome {
        let mut scratch = vec![0; 4_096];
        self.shard.handle_readable(key, &mut scratch, true, self.now)
    }

    pub(super) fn publish(&self, topic: &str, body: &str) -> u64 {
        let name = TopicName::new(topic).unwrap();
        let counters = ShardCounters::default();
        let payload = Payload::json(body.to_owned()).unwrap_or_else(|| Payload::text(body));
        self.shard.topics.publish(&name, &payload, None, &counters, self.now).unwrap().offset
    }

    pub(super) fn deliver(&mut self) {
        self.shard.release_tiers(self.now);
        self.shard.drain_mailbox(usize::MAX, self.now);
        while self.shard.flush(3, self.now) {}
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now = Now::from_ms(self.now.ms() + ms);
        self.shard.handle_timeouts(self.now, 50);
    }

    /// Up to ten connections.
    pub(super) fn report(&self, order: ConnectionOrder) -> Vec<ConnectionReport> {
        let query = ConnectionQuery { order, limit: 10, topic: None };
        self.shard.report(&query, self.now)
    }

    pub(super) fn counters(&self) -> &ShardCounters {
        &self.shard.counters
    }
}
