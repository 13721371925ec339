//! The floor: a bare server whose deliveries cost what the kernel takes for them and nothing else.
//!
//! One thread. It answers the upgrade, builds a message's frame once, in the form and length that
//! the broker would give it, and then does one `send()` of that buffer for each subscriber in
//! turn. No queue, no batch, no second thread: a broker that sends each delivery by itself cannot
//! be cheaper.
//!
//! | request | is |
//! |---|---|
//! | `GET /floor?topics=0,5` | a subscriber of these topics, by index |
//! | `GET /floor?publish=json` (`msgpack`, `raw`) | a publisher, and the form of its messages |
//!
//! A publisher's binary frame holds the topic's index (4 bytes, little-endian), the length of its
//! name (1 byte), its name and the payload.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use fanfare_protocol::{MessageHead, Payload, PayloadKind};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::frame::{self, Sender};
use crate::handshake;
use crate::opening::opcode;
use crate::plan::Transport;

const LISTENER: Token = Token(0);

const READ_BYTES: usize = 64 * 1024;

const BACKLOG: i32 = 4_096;

/// Serves until the process is ended.
///
/// # Errors
/// If the address cannot be listened on, or polling fails.
pub(crate) fn run(listen: SocketAddr) -> io::Result<()> {
    let mut listener = bind(listen)?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("floor: listening on ws://{}/floor", listener.local_addr()?);
    io::stdout().flush()?;
    let mut floor = Floor {
        listener,
        poll,
        peers: HashMap::new(),
        next_token: LISTENER.0 + 1,
        topics: HashMap::new(),
        sockets: Vec::new(),
        delayed: 0,
        scratch: vec![0; READ_BYTES],
    };
    floor.serve()
}

/// A listener that no burst of connections overruns.
fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

struct Floor {
    listener: TcpListener,
    poll: Poll,
    /// Peers that are read: handshakes under way and publishers.
    peers: HashMap<Token, Peer>,
    next_token: usize,
    topics: HashMap<u32, Topic>,
    /// Sockets of subscribers, out of the poll; `None` once a send has failed.
    sockets: Vec<Option<TcpStream>>,
    /// Sends that the socket did not take at once.
    delayed: u64,
    scratch: Vec<u8>,
}

struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
    /// The form of its messages, once it is a publisher.
    publishes: Option<Transport>,
}

#[derive(Default)]
struct Topic {
    offset: u64,
    subscribers: Vec<usize>,
}

/// What a request asks to be.
enum Role {
    Subscriber(Vec<u32>),
    Publisher(Transport),
}

impl Floor {
    fn serve(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept()?;
                } else {
                    self.read(event.token());
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let token = Token(self.next_token);
            self.next_token += 1;
            self.poll.registry().register(&mut stream, token, Interest::READABLE)?;
            self.peers.insert(token, Peer { stream, input: Vec::new(), publishes: None });
        }
    }

    /// Reads a peer; one that ended or did what it may not is dropped.
    fn read(&mut self, token: Token) {
        let Some(mut peer) = self.peers.remove(&token) else { return };
        loop {
            match peer.stream.read(&mut self.scratch) {
                Ok(0) => return self.report(&peer),
                Ok(read) => peer.input.extend_from_slice(&self.scratch[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return self.report(&peer),
            }
            match peer.publishes {
                Some(transport) if self.publish(&mut peer.input, transport) => {}
                Some(_) => return self.report(&peer),
                None => match self.shake_hands(peer) {
                    Some(still) => peer = still,
                    None => return,
                },
            }
        }
        self.peers.insert(token, peer);
    }

    /// Goes on with a handshake; the peer if it is still to be read.
    fn shake_hands(&mut self, mut peer: Peer) -> Option<Peer> {
        let request = match handshake::read_request(&peer.input) {
            Ok(Some(request)) => request,
            Ok(None) => return Some(peer),
            Err(error) => {
                let answer =
                    format!("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n{error}\n");
                // The peer is dropped either way.
                let _ = peer.stream.write_all(answer.as_bytes());
                return None;
            }
        };
        let Some(role) = role(&request.path) else {
            let _ = peer.stream.write_all(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n");
            return None;
        };
        peer.stream.write_all(&request.answer).ok()?;
        peer.input.drain(..request.request_bytes);
        match role {
            Role::Publisher(transport) => {
                peer.publishes = Some(transport);
                Some(peer)
            }
            Role::Subscriber(topics) => {
                self.poll.registry().deregister(&mut peer.stream).ok()?;
                for topic in topics {
                    self.topics.entry(topic).or_default().subscribers.push(self.sockets.len());
                }
                self.sockets.push(Some(peer.stream));
                None
            }
        }
    }

    /// Sends every whole message of a publisher's input; false if the publisher is at fault.
    fn publish(&mut self, input: &mut Vec<u8>, transport: Transport) -> bool {
        let mut at = 0;
        loop {
            let frame = match frame::read(&input[at..], Sender::Client) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return false,
            };
            let content = &mut input[at..][frame.content.clone()];
            frame::apply_mask(content, frame.mask);
            if frame.opcode == frame::BINARY && self.fan_out(content, transport).is_none() {
                return false;
            }
            at += frame.content.end;
        }
        input.drain(..at);
        true
    }

    fn fan_out(&mut self, content: &[u8], transport: Transport) -> Option<()> {
        let (index, rest) = content.split_first_chunk::<4>()?;
        let (&name_bytes, rest) = rest.split_first()?;
        let (name, payload) = rest.split_at_checked(usize::from(name_bytes))?;
        let topic = self.topics.entry(u32::from_le_bytes(*index)).or_default();
        topic.offset += 1;
        let frame = encode(transport, std::str::from_utf8(name).ok()?, topic.offset, payload);
        for &subscriber in &topic.subscribers {
            let socket = &mut self.sockets[subscriber];
            let Some(stream) = socket else { continue };
            match stream.write(&frame) {
                Ok(sent) if sent == frame.len() => {}
                partly => {
                    let finished = finish(stream, &frame, partly);
                    self.delayed += u64::from(finished.is_ok());
                    if finished.is_err() {
                        *socket = None;
                    }
                }
            }
        }
        Some(())
    }

    /// Says at a publisher's end what disturbed the measurement, if anything did.
    fn report(&mut self, peer: &Peer) {
        if peer.publishes.is_some() && self.delayed > 0 {
            eprintln!("floor: {} sends did not fit the socket at once", self.delayed);
            self.delayed = 0;
        }
    }
}

fn role(path: &str) -> Option<Role> {
    let query = path.strip_prefix("/floor?")?;
    if let Some(name) = query.strip_prefix("publish=") {
        return Transport::from_name(name).map(Role::Publisher);
    }
    let topics = query.strip_prefix("topics=")?.split(',').map(str::parse);
    topics.collect::<Result<Vec<u32>, _>>().ok().map(Role::Subscriber)
}

/// A message as the broker would send it.
fn encode(transport: Transport, topic: &str, offset: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let Some(codec) = transport.codec() else {
        frame::write_bare(&mut frame, frame::TEXT, payload);
        return frame;
    };
    let payload = Payload::from_checked(PayloadKind::Json, payload.to_vec().into());
    let mut content = Vec::new();
    MessageHead { topic, offset, prev: None }.encode(codec, &payload, &mut content);
    frame::write_bare(&mut frame, opcode(codec), &content);
    frame
}

/// Waits until the socket has taken the rest of a frame: a frame is never left unfinished.
fn finish(stream: &TcpStream, frame: &[u8], partly: io::Result<usize>) -> io::Result<()> {
    let sent = match partly {
        Ok(sent) => sent,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    let socket = SockRef::from(stream);
    socket.set_nonblocking(false)?;
    (&*socket).write_all(&frame[sent..])?;
    socket.set_nonblocking(true)
}
