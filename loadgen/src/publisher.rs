//! One publisher: a connection and a thread that sends what a feed says, when it says so.
//!
//! In the open loop the schedule never waits for the broker: a message that goes out late keeps
//! the time at which it should have gone, and the lag is reported. Nothing is dropped: a socket
//! that takes no more bytes is waited for.

use std::io::{self, Read, Write};
use std::net::TcpStream as StdTcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_protocol::{CloseCode, Codec, Command, Connect, Request};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::accepted::{Accepted, Asking};
use crate::feed::{Feed, write_payload};
use crate::frame::{self, Sender};
use crate::handshake::UpgradeRequest;
use crate::latency::Latencies;
use crate::metrics;
use crate::opening::ConnectError;
use crate::plan::{Peer, Plan};
use crate::replies::Replies;
use crate::stamp::{SEQUENCE_MAX, Stamp, now_ns};
use crate::window::Window;

/// What is due is written in one system call up to this many bytes.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// How long a publisher sleeps at most before it looks at its socket for pings.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// How long a server may read nothing at all.
const BLOCKED_MAX: Duration = Duration::from_secs(30);

/// How long a server may take to read what was sent.
const SETTLE_MAX: Duration = Duration::from_secs(60);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a publisher cannot go on. What it sent before still counts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    /// The socket failed.
    #[error("a publisher's connection failed: {0}")]
    Socket(#[from] io::Error),
    /// The connection never became live.
    #[error("a publisher cannot connect: {0}")]
    Connect(#[from] ConnectError),
    /// The server closed the connection.
    #[error("the server closed a publisher's connection: {text}")]
    Closed {
        /// The code of its close frame, if it sent one.
        code: Option<CloseCode>,
        /// Code and reason, for a person.
        text: String,
    },
    /// The server does not read what is published.
    #[error("the server has read nothing of a publisher for {} s", BLOCKED_MAX.as_secs())]
    Blocked,
    /// The run is too long for the stamps.
    #[error("over {SEQUENCE_MAX} messages on one topic; make the run shorter or the topics more")]
    TooManyMessages,
}

/// One publisher's connection and its place in every topic's sequence.
#[derive(Debug)]
pub(crate) struct Publisher {
    stream: TcpStream,
    poll: Poll,
    wire: Wire,
    run: u8,
    index: u8,
    /// The next sequence number of each topic.
    sequences: Vec<u32>,
    /// Whole frames that are due; a part of them may have gone out.
    output: Vec<u8>,
    input: Vec<u8>,
    content: Vec<u8>,
    lag: Latencies,
    looked_ns: u64,
    pongs: u64,
    asking: Option<Asking>,
}

/// How a payload becomes the content of a frame.
#[derive(Debug)]
struct Wire {
    opcode: u8,
    /// What stands before a payload, for each topic.
    heads: Vec<Vec<u8>>,
    end: &'static [u8],
}

impl Wire {
    fn new(plan: &Plan) -> Self {
        let topics = (0_u32..).zip(&plan.shape.topics);
        match plan.target.peer {
            Peer::Broker => Self {
                opcode: frame::TEXT,
                heads: topics.map(|(_, name)| publish_head(name)).collect(),
                end: b"}}",
            },
            Peer::Floor => Self {
                opcode: frame::BINARY,
                heads: topics.map(|(topic, name)| floor_head(topic, name)).collect(),
                end: b"",
            },
        }
    }
}

/// A `publish` command without an id, up to its payload.
fn publish_head(topic: &str) -> Vec<u8> {
    let name = serde_json::Value::from(topic);
    format!(r#"{{"publish":{{"topic":{name},"data":"#).into_bytes()
}

/// What the floor is told before a payload; see [`crate::floor`].
fn floor_head(topic: u32, name: &str) -> Vec<u8> {
    let mut head = topic.to_le_bytes().to_vec();
    head.push(name.len() as u8);
    head.extend_from_slice(name.as_bytes());
    head
}

impl Publisher {
    /// Connects publisher number `index`.
    ///
    /// # Errors
    /// [`PublishError`] if the server is not there or refuses.
    pub(crate) fn connect(plan: &Plan, index: u8) -> Result<Self, PublishError> {
        let mut stream = StdTcpStream::connect_timeout(&plan.target.address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CONNECT_TIMEOUT))?;
        let input = open(&mut stream, plan)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let poll = Poll::new()?;
        let interests = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(0), interests)?;
        Ok(Self {
            stream,
            poll,
            wire: Wire::new(plan),
            run: plan.run,
            index,
            sequences: vec![plan.first_sequence; plan.shape.topics.len()],
            output: Vec::new(),
            input,
            content: Vec::new(),
            lag: Latencies::default(),
            looked_ns: 0,
            pongs: 0,
            asking: None,
        })
    }

    /// How many messages each topic has got from this publisher, those before this connection
    /// included.
    #[must_use]
    pub(crate) fn published(&self) -> &[u32] {
        &self.sequences
    }

    /// From now on tells what the server has taken for sure, as often as it looks at its socket.
    pub(crate) fn tell_accepted(&mut self, accepted: &Arc<Accepted>) {
        self.asking = Some(Asking::new(accepted));
    }

    /// How late messages were sent since this was last asked.
    pub(crate) fn take_lag(&mut self) -> Latencies {
        std::mem::take(&mut self.lag)
    }

    /// Open loop: sends each message of `feed` when it is due after `start_ns`, whatever the
    /// broker does.
    ///
    /// # Errors
    /// [`PublishError`] if the connection ends.
    pub(crate) fn run_open(
        &mut self,
        feed: &mut dyn Feed,
        start_ns: u64,
    ) -> Result<(), PublishError> {
        while let Some(due_ns) = feed.due_ns() {
            let (intended_ns, now_ns) = (start_ns + due_ns, now_ns());
            if intended_ns <= now_ns && self.output.len() < WRITE_BYTES_MAX {
                self.append(feed, intended_ns, now_ns, None)?;
            } else if self.output.is_empty() {
                let ahead = Duration::from_nanos(intended_ns - now_ns);
                std::thread::sleep(ahead.min(SLEEP_MAX));
                self.look(now_ns)?;
            } else {
                self.flush()?;
                self.look(now_ns)?;
            }
        }
        self.flush()
    }

    /// Returns once the server has read all that was sent: it has answered a ping behind that.
    ///
    /// # Errors
    /// [`PublishError`] if the connection ends, or no answer comes.
    pub(crate) fn settle(&mut self) -> Result<(), PublishError> {
        let (pongs, deadline) = (self.pongs, Instant::now() + SETTLE_MAX);
        frame::write_masked(&mut self.output, frame::PING, b"");
        self.flush()?;
        while self.pongs == pongs {
            if Instant::now() > deadline {
                return Err(PublishError::Connect(ConnectError::Silent));
            }
            std::thread::sleep(Duration::from_millis(1));
            self.read()?;
        }
        Ok(())
    }

    /// Closed loop: keeps `window` full until `end_ns`.
    ///
    /// # Errors
    /// [`PublishError`] if the connection ends.
    pub(crate) fn run_closed(
        &mut self,
        feed: &mut dyn Feed,
        window: &Window,
        end_ns: u64,
    ) -> Result<(), PublishError> {
        window.attach();
        let mut published = self.sequences.iter().map(|&count| u64::from(count)).sum::<u64>();
        loop {
            let now_ns = now_ns();
            if now_ns >= end_ns {
                return Ok(());
            }
            let in_flight = published - window.completed_total();
            let free = u64::from(window.size()).saturating_sub(in_flight);
            for _ in 0..free {
                self.append(feed, now_ns, now_ns, Some(window))?;
            }
            published += free;
            self.flush()?;
            self.look(now_ns)?;
            if free == 0 {
                std::thread::park_timeout(SLEEP_MAX);
            }
        }
    }

    /// Appends the feed's next message to the output.
    fn append(
        &mut self,
        feed: &mut dyn Feed,
        intended_ns: u64,
        now_ns: u64,
        window: Option<&Window>,
    ) -> Result<(), PublishError> {
        let (topic, tail) = feed.take();
        let sequence = self.sequences[topic as usize];
        if sequence >= SEQUENCE_MAX {
            return Err(PublishError::TooManyMessages);
        }
        self.sequences[topic as usize] = sequence + 1;
        let late_us = u32::try_from((now_ns - intended_ns) / 1_000).unwrap_or(u32::MAX);
        let stamp =
            Stamp { run: self.run, publisher: self.index, topic, sequence, intended_ns, late_us };
        self.content.clear();
        self.content.extend_from_slice(&self.wire.heads[topic as usize]);
        write_payload(&stamp, tail, &mut self.content);
        self.content.extend_from_slice(self.wire.end);
        frame::write_masked(&mut self.output, self.wire.opcode, &self.content);
        if let Some(window) = window {
            window.published(topic, sequence);
        }
        self.lag.record(now_ns - intended_ns);
        if let Some(live) = metrics::live() {
            live.published(now_ns - intended_ns);
        }
        Ok(())
    }

    /// Writes all output, waiting for the socket where it takes no more.
    fn flush(&mut self) -> Result<(), PublishError> {
        let (mut written, mut moved) = (0, Instant::now());
        while written < self.output.len() {
            match self.stream.write(&self.output[written..]) {
                Ok(count) => (written, moved) = (written + count, Instant::now()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if moved.elapsed() > BLOCKED_MAX {
                        return Err(PublishError::Blocked);
                    }
                    // The poll may only tell of old edges; then the next write says so again.
                    let mut events = Events::with_capacity(1);
                    match self.poll.poll(&mut events, Some(SLEEP_MAX)) {
                        Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                            return Err(error.into());
                        }
                        _ => self.read()?,
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.output.clear();
        Ok(())
    }

    /// Reads the socket and answers pings, at most every [`SLEEP_MAX`].
    fn look(&mut self, now_ns: u64) -> Result<(), PublishError> {
        if now_ns - self.looked_ns < SLEEP_MAX.as_nanos() as u64 {
            return Ok(());
        }
        self.looked_ns = now_ns;
        self.read()?;
        self.flush()?;
        if let Some(asking) = &mut self.asking {
            asking.ask(&self.sequences, &mut self.output);
        }
        self.flush()
    }

    fn read(&mut self) -> Result<(), PublishError> {
        let mut scratch = [0; 4096];
        loop {
            match self.stream.read(&mut scratch) {
                Ok(0) => {
                    let text = "without a close frame".to_owned();
                    return Err(PublishError::Closed { code: None, text });
                }
                Ok(read) => self.input.extend_from_slice(&scratch[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            self.take_frames()?;
        }
    }

    /// Pongs join the end of the output, which always is the end of a frame.
    fn take_frames(&mut self) -> Result<(), PublishError> {
        let mut at = 0;
        let fault = |fault| PublishError::Connect(ConnectError::Frame(fault));
        while let Some(frame) = frame::read(&self.input[at..], Sender::Server).map_err(fault)? {
            let content = &self.input[at..][frame.content.clone()];
            match frame.opcode {
                frame::CLOSE => {
                    let (code, text) = (frame::close_code(content), frame::close_text(content));
                    return Err(PublishError::Closed { code, text });
                }
                frame::PONG => {
                    self.pongs += 1;
                    self.asking.iter_mut().for_each(|asking| asking.answered(content));
                }
                frame::PING => frame::write_masked(&mut self.output, frame::PONG, content),
                _ => {}
            }
            at += frame.content.end;
        }
        self.input.drain(..at);
        Ok(())
    }
}

/// Upgrade and session of a publisher, on a blocking socket; what came behind them.
fn open(stream: &mut StdTcpStream, plan: &Plan) -> Result<Vec<u8>, ConnectError> {
    let host = plan.target.address.to_string();
    let (path, subprotocol) = match plan.target.peer {
        Peer::Broker => ("/v1/ws".to_owned(), Some(Codec::Json.subprotocol())),
        Peer::Floor => (format!("/floor?publish={}", plan.transport.name()), None),
    };
    let request = UpgradeRequest::new(&host, &path, subprotocol);
    stream.write_all(request.bytes())?;
    let mut input = Vec::new();
    while !upgraded(&request, &mut input)? {
        receive(stream, &mut input)?;
    }
    if plan.target.peer == Peer::Broker {
        let connect = Request::Connect(Connect::default());
        let (mut content, mut output) = (Vec::new(), Vec::new());
        Command { id: Some(1), request: connect }.encode(Codec::Json, &mut content);
        frame::write_masked(&mut output, frame::TEXT, &content);
        stream.write_all(&output)?;
        let mut replies = Replies::new(Codec::Json, 1);
        while !replies.are_complete() {
            receive(stream, &mut input)?;
            replies.read(&mut input)?;
        }
    }
    Ok(input)
}

fn upgraded(request: &UpgradeRequest, input: &mut Vec<u8>) -> Result<bool, ConnectError> {
    let Some(head_bytes) = request.read_answer(input)? else { return Ok(false) };
    input.drain(..head_bytes);
    Ok(true)
}

fn receive(stream: &mut StdTcpStream, input: &mut Vec<u8>) -> Result<(), ConnectError> {
    let mut scratch = [0; 4096];
    match stream.read(&mut scratch) {
        Ok(0) => Err(ConnectError::Closed("without a close frame".to_owned())),
        Ok(read) => {
            input.extend_from_slice(&scratch[..read]);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(ConnectError::Silent),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_protocol::{Payload, Publish};

    #[test]
    fn what_is_published_is_a_command_of_the_protocol() {
        let mut content = publish_head("ticks.a\"b");
        let mut payload = Vec::new();
        write_payload(&Stamp::default(), &crate::feed::padding(128), &mut payload);
        content.extend_from_slice(&payload);
        content.extend_from_slice(b"}}");
        let commands = Command::decode_frame(Codec::Json, &content).unwrap();
        let payload = Payload::json(payload).unwrap();
        let publish = Publish::new("ticks.a\"b", payload);
        assert_eq!(commands[0].request, Ok(Request::Publish(publish)));
        assert_eq!((commands.len(), commands[0].id), (1, None));
    }
}
