//! The receive path: one thread, one poll, one read buffer for all of its connections.
//!
//! It must be cheap, or the generator measures itself: a message costs no allocation, no parser
//! and no task; a connection keeps bytes only of a frame that has not come whole. Opening
//! connections is `connect`'s, judging messages is `record`'s.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use fanfare_protocol::CloseCode;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Poll};
use socket2::SockRef;

use crate::connect::{self, ConnectReport, Live, Opened};
use crate::frame::{self, FrameFault, Sender};
use crate::plan::{Plan, Share};
use crate::record::Record;
use crate::stamp::{Stamp, now_ns};
use crate::window::Window;

/// The read buffer of a receiver. Fits the second-level cache.
const SCRATCH_BYTES: usize = 128 * 1024;

/// Room for new bytes that a read must at least have; a longer partial frame grows the buffer.
const READ_BYTES_MIN: usize = 16 * 1024;

const EVENTS_PER_POLL: usize = 1_024;

/// How soon a receiver sees that it should stop.
const POLL_MAX: Duration = Duration::from_millis(20);

/// What a receiver tells while it runs, and is told.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Live connections.
    pub opened: AtomicU32,
    /// Messages received since the start, without doubled ones, or left out in mode `latest`.
    pub received: AtomicU64,
    /// When the last of them was read, in ns of [`now_ns`].
    pub last_ns: AtomicU64,
    /// Whether latencies and bytes are counted.
    pub measuring: AtomicBool,
    /// Whether to end.
    pub stop: AtomicBool,
}

/// What is done with what a receiver reads.
pub(crate) trait Sink {
    /// Takes a data frame of connection number `connection` of this share, whose first topic is
    /// `first_topic`, read at `now_ns`. Returns its stamp if this message came for the first time.
    fn message(
        &mut self,
        connection: usize,
        first_topic: u32,
        content: &[u8],
        now_ns: u64,
    ) -> Option<Stamp>;

    /// Notes one read of this many bytes.
    fn read(&mut self, bytes: usize);

    /// Notes that connection number `connection` of this share has ended, and how.
    fn closed(&mut self, connection: usize, end: &Ended);
}

/// One thread's connections.
#[derive(Debug)]
pub(crate) struct Receiver<S> {
    /// Where all connections are registered, edge-triggered, under their places.
    pub poll: Poll,
    connections: Vec<Connection>,
    /// Where what they got goes.
    pub sink: S,
    scratch: Vec<u8>,
    window: Option<Arc<Window>>,
}

#[derive(Debug)]
struct Connection {
    /// `None` once it has ended.
    stream: Option<TcpStream>,
    first_topic: u32,
    /// The start of a frame whose end has not come.
    partial: Vec<u8>,
}

/// How far a connection is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Until a read does not fill the buffer: it has emptied the socket, and the next bytes raise
    /// a new edge.
    ToTheEdge,
    /// Until there is nothing more; needed where the end of the stream may have come with the
    /// last bytes.
    ToTheEnd,
    /// One read of so many bytes.
    AtMost(usize),
}

impl Extent {
    /// What an edge asks for.
    #[must_use]
    pub(crate) fn of(event: &Event) -> Self {
        let may_have_ended = event.is_read_closed() || event.is_error();
        if may_have_ended { Self::ToTheEnd } else { Self::ToTheEdge }
    }
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// What came is no frame of a server.
    #[error("the server sent {0}")]
    Frame(#[from] FrameFault),
    /// The stream ended without a word.
    #[error("the server closed it: without a close frame")]
    WithoutClose,
    /// A close frame came.
    #[error("the server closed it: {text}")]
    Closed {
        /// Its code, if it has one.
        code: Option<CloseCode>,
        /// Code and reason, for a person.
        text: String,
    },
}

impl Receiver<Record> {
    /// Opens the connections of `share`, whose messages are checked and counted.
    ///
    /// # Errors
    /// Only if the poll cannot be set up; see [`connect::open`].
    pub(crate) fn open(
        plan: &Plan,
        share: Share,
        count: &AtomicU32,
        window: Option<Arc<Window>>,
    ) -> io::Result<(Self, ConnectReport)> {
        let mut opened = connect::open(plan, share, count)?;
        let report = std::mem::take(&mut opened.report);
        let mut receiver = Self::new(plan, share, opened, Record::new(plan, share));
        receiver.window = window;
        // Edges that came while connections were opened are gone, so look at each one once.
        (0..receiver.len()).for_each(|place| receiver.read(place, Extent::ToTheEnd));
        Ok((receiver, report))
    }

    /// Receives until told to stop.
    ///
    /// # Errors
    /// Only if polling itself fails; a connection that ends is noted in the record.
    pub(crate) fn run(mut self, counters: &Counters) -> io::Result<Record> {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        while !counters.stop.load(Ordering::Acquire) {
            match self.poll.poll(&mut events, Some(POLL_MAX)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            // Loaded after the poll: what is published after the flag was set is measured.
            self.sink.set_measuring(counters.measuring.load(Ordering::Acquire));
            for event in &events {
                if event.is_readable() {
                    self.read(event.token().0, Extent::of(event));
                }
            }
            let received = self.sink.received();
            if received != counters.received.load(Ordering::Relaxed) {
                self.sink.tell_live();
                counters.last_ns.store(now_ns(), Ordering::Relaxed);
                counters.received.store(received, Ordering::Release);
            }
        }
        Ok(self.sink)
    }
}

impl<S: Sink> Receiver<S> {
    /// A receiver of connections that are live already.
    #[must_use]
    pub(crate) fn new(plan: &Plan, share: Share, opened: Opened, sink: S) -> Self {
        let numbered = (share.first..).zip(opened.connections);
        let connections = numbered.map(|(number, live)| {
            let first_topic = plan.shape.first_topic(number);
            let (stream, partial) = live.map(|live| (live.stream, live.unread)).unzip();
            Connection { stream, first_topic, partial: partial.unwrap_or_default() }
        });
        let mut receiver = Self {
            poll: opened.poll,
            connections: connections.collect(),
            sink,
            scratch: vec![0; SCRATCH_BYTES],
            window: None,
        };
        (0..receiver.len()).for_each(|place| receiver.take_unread(place));
        receiver
    }

    /// Ends all connections.
    #[must_use]
    pub(crate) fn into_sink(self) -> S {
        self.sink
    }

    /// How many connections there are, ended ones included.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// The socket of a connection that has not ended.
    pub(crate) fn stream(&mut self, place: usize) -> Option<&mut TcpStream> {
        self.connections[place].stream.as_mut()
    }

    /// Puts a new connection in the place of one that has ended.
    pub(crate) fn replace(&mut self, place: usize, live: Live) {
        let connection = &mut self.connections[place];
        (connection.stream, connection.partial) = (Some(live.stream), live.unread);
        self.take_unread(place);
    }

    /// Takes what came with a connection's last reply.
    fn take_unread(&mut self, place: usize) {
        let connection = &mut self.connections[place];
        let bytes = std::mem::take(&mut connection.partial);
        let first_topic = connection.first_topic;
        let Some(stream) = connection.stream.as_mut() else { return };
        let window = self.window.as_deref();
        let mut frames = Frames { place, first_topic, sink: &mut self.sink, window, stream };
        match frames.take(&bytes) {
            Ok(used) => connection.partial.extend_from_slice(&bytes[used..]),
            Err(ended) => self.ended(place, &ended),
        }
    }

    fn ended(&mut self, place: usize, why: &Ended) {
        self.cut(place);
        self.sink.closed(place, why);
    }

    /// Drops a connection, without a goodbye.
    pub(crate) fn cut(&mut self, place: usize) {
        self.connections[place].stream = None;
        self.connections[place].partial = Vec::new();
    }

    /// Reads a connection and takes its frames.
    pub(crate) fn read(&mut self, place: usize, extent: Extent) {
        if let Err(ended) = self.read_frames(place, extent) {
            self.ended(place, &ended);
        }
    }

    fn read_frames(&mut self, place: usize, extent: Extent) -> Result<(), Ended> {
        let connection = &mut self.connections[place];
        let Some(stream) = connection.stream.as_mut() else { return Ok(()) };
        loop {
            let kept = connection.partial.len();
            if self.scratch.len() < kept + READ_BYTES_MIN {
                self.scratch.resize(2 * kept + READ_BYTES_MIN, 0);
            }
            self.scratch[..kept].copy_from_slice(&connection.partial);
            let end = match extent {
                Extent::AtMost(bytes) => self.scratch.len().min(kept + bytes),
                Extent::ToTheEdge | Extent::ToTheEnd => self.scratch.len(),
            };
            let read = match stream.read(&mut self.scratch[kept..end]) {
                Ok(0) => return Err(Ended::WithoutClose),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.sink.read(read);
            let bytes = &self.scratch[..kept + read];
            let mut frames = Frames {
                place,
                first_topic: connection.first_topic,
                sink: &mut self.sink,
                window: self.window.as_deref(),
                stream,
            };
            let used = frames.take(bytes)?;
            connection.partial.clear();
            connection.partial.extend_from_slice(&bytes[used..]);
            let is_enough = match extent {
                Extent::ToTheEdge => bytes.len() < self.scratch.len(),
                Extent::ToTheEnd => false,
                Extent::AtMost(_) => true,
            };
            if is_enough {
                return Ok(());
            }
        }
    }
}

/// The frames of one read of one connection.
struct Frames<'a, S> {
    place: usize,
    first_topic: u32,
    sink: &'a mut S,
    window: Option<&'a Window>,
    stream: &'a mut TcpStream,
}

impl<S: Sink> Frames<'_, S> {
    /// Takes all whole frames; how many bytes they have.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, Ended> {
        let now_ns = now_ns();
        let (mut used, mut completed) = (0, 0);
        while let Some(frame) = frame::read(&bytes[used..], Sender::Server)? {
            let content = &bytes[used..][frame.content.clone()];
            if matches!(frame.opcode, frame::TEXT | frame::BINARY) {
                let stamp = self.sink.message(self.place, self.first_topic, content, now_ns);
                if let (Some(stamp), Some(window)) = (stamp, self.window) {
                    completed += u64::from(window.delivered(stamp.topic, stamp.sequence));
                }
            } else {
                self.control(frame.opcode, content)?;
            }
            used += frame.content.end;
        }
        if let (Some(window), 1..) = (self.window, completed) {
            window.completed(completed);
        }
        Ok(used)
    }

    /// A receiver writes nothing but what is here, so it always fits the socket's empty buffer.
    #[cold]
    fn control(&mut self, opcode: u8, content: &[u8]) -> Result<(), Ended> {
        match opcode {
            frame::CLOSE => Err(self.goodbye(content)),
            frame::PING => {
                let mut pong = Vec::new();
                frame::write_masked(&mut pong, frame::PONG, content);
                Ok(self.stream.write_all(&pong)?)
            }
            _ => Ok(()),
        }
    }

    /// Answers a close frame (RFC 6455 section 5.5.1), so that the server need not wait.
    fn goodbye(&mut self, content: &[u8]) -> Ended {
        let mut answer = Vec::new();
        frame::write_masked(&mut answer, frame::CLOSE, content);
        // Whoever has gone already needs no answer. Nor is there a reset, which might destroy it.
        let _ = self.stream.write_all(&answer);
        let _ = SockRef::from(&*self.stream).set_linger(None);
        Ended::Closed { code: frame::close_code(content), text: frame::close_text(content) }
    }
}
