//! One shard: the connections of one thread, and all that happens to them between bytes read and
//! bytes written.
//!
//! Owned and driven by that thread: it reports readable and writable sockets, passing time and
//! mail, and lends the shard its turn to write. Shared with others are only the topic table, the
//! mailbox and the counters.

#[cfg(any(test, feature = "simulator"))]
mod audit;
mod behind;
mod catch_up;
mod census;
mod closed;
mod connection;
mod connections;
mod deadlines;
mod disconnect;
mod ending;
mod events;
mod fanout;
mod hand_over;
mod marks;
mod queries;
mod report;
mod session;
mod snapshot;
mod spread;
mod subscribers;
mod subscriptions;
mod tier;
mod timeouts;
mod waiters;
mod write;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_protocol::{CloseCode, Codec, Event, Payload, PayloadKind, Ping, StreamEvent};

use census::Census;
pub use closed::Closed;
use connection::{Connection, Phase};
pub use connection::{ConnectionKind, EventSource, StreamOptions};
use connections::Connections;
use deadlines::DeadlineQueue;
pub use disconnect::ConnectionTarget;
use fanout::Fanout;
use marks::Marks;
pub(crate) use marks::OutboxTotals;
pub use report::{ConnectionOrder, ConnectionQuery, ConnectionReport, ConnectionState};
use subscribers::LocalTopics;
use subscriptions::Wishes;
use tier::TierQueue;
use waiters::Waiters;
pub use waiters::{WaitError, WaiterKey};

use crate::counters::ShardCounters;
use crate::event_frame::event_frame;
use crate::limits::Limits;
use crate::mailbox::Mailbox;
use crate::sdk_frame::sdk_frame;
use crate::time::Now;
use crate::topics::{FrameParts, TopicTable, WireForm};
use crate::ws::{Incoming, close_frame, ping_frame, pong_frame};

/// A connection's place in its shard. Used again after the connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub u32);

/// A non-blocking byte stream to a client.
pub trait Socket: io::Read + io::Write {
    /// Bytes that were written and that the network has not taken yet; none where nothing stands
    /// between.
    fn unsent_bytes(&self) -> usize {
        0
    }

    /// Where the client is, if that can be told.
    fn peer(&self) -> Option<SocketAddr> {
        None
    }

    /// Tells the peer that nothing more will be written.
    fn shutdown_write(&mut self) -> io::Result<()>;
}

/// What became of reading a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Everything that had come is read.
    Drained,
    /// There may be more; come back without waiting for the socket.
    More,
    /// The connection publishes faster than the node delivers; come back once
    /// [`TopicTable::is_congested`] says no.
    Congested,
    /// The connection is gone.
    Gone,
}

/// The broker process in the names that it gives to its connections.
pub type NodeName = Arc<str>;

/// The connections of one thread.
#[derive(Debug)]
pub struct Shard<S> {
    index: usize,
    node: NodeName,
    limits: Arc<Limits>,
    topics: Arc<TopicTable>,
    counters: Arc<ShardCounters>,
    connections: Connections<S>,
    locals: LocalTopics,
    fanout: Fanout,
    writer: write::Writer,
    marks: Marks,
    census: Census,
    closed: Vec<Closed>,
    tiers: TierQueue,
    waiters: Waiters,
    next_serial: u32,
    /// Whether the connection being read has published.
    has_published: bool,
    /// Bytes of payload that connections here have published.
    published_bytes: u64,
    ping_frames: [Bytes; WireForm::ALL.len()],
    connects: DeadlineQueue,
    pings: DeadlineQueue,
    pongs: DeadlineQueue,
    unfinished: DeadlineQueue,
    stalls: DeadlineQueue,
    closings: DeadlineQueue,
    places: DeadlineQueue,
}

/// Reads of one connection in a row before others get their turn.
const READS_PER_TURN: usize = 4;

impl<S: Socket> Shard<S> {
    /// The shard number `index` of the node, without connections.
    #[must_use]
    pub fn new(index: usize, node: NodeName, topics: Arc<TopicTable>) -> Self {
        let limits = topics.live_limits();
        Self {
            index,
            node,
            topics,
            counters: Arc::default(),
            connections: Connections::default(),
            locals: LocalTopics::default(),
            fanout: Fanout::default(),
            writer: write::Writer::default(),
            marks: Marks::new(&limits),
            census: Census::default(),
            closed: Vec::new(),
            tiers: TierQueue::default(),
            waiters: Waiters::default(),
            next_serial: 0,
            has_published: false,
            published_bytes: 0,
            ping_frames: WireForm::ALL.map(ping_frames),
            connects: DeadlineQueue::new(limits.handshake_timeout_ms),
            pings: DeadlineQueue::new(limits.ping_interval_ms),
            pongs: DeadlineQueue::new(limits.pong_timeout_ms),
            unfinished: DeadlineQueue::new(limits.message_timeout_ms),
            stalls: DeadlineQueue::new(limits.stall_timeout_ms.div_ceil(3)),
            closings: DeadlineQueue::new(limits.close_timeout_ms),
            places: DeadlineQueue::new(events::PLACE_INTERVAL_MS),
            limits,
        }
    }

    /// What the shard counts.
    #[must_use]
    pub fn counters(&self) -> &Arc<ShardCounters> {
        &self.counters
    }

    /// The node's topics.
    #[must_use]
    pub fn topics(&self) -> &Arc<TopicTable> {
        &self.topics
    }

    /// Connections that are not gone yet.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// The socket of a connection.
    #[must_use]
    pub fn socket_mut(&mut self, key: Key) -> Option<&mut S> {
        self.connections.get_mut(key).map(|connection| &mut connection.socket)
    }

    /// Bytes accepted for a connection and not handed to the network, kernel included.
    #[must_use]
    pub fn buffered_amount(&self, key: Key) -> Option<usize> {
        let connection = self.connections.get(key)?;
        Some(connection.outbox_bytes() + connection.socket.unsent_bytes())
    }

    /// Takes over a connection whose request is answered.
    pub fn open(&mut self, socket: S, kind: &ConnectionKind, now: Now) -> Key {
        self.open_with(socket, kind, &[], now)
    }

    /// Takes over a connection and answers its request with `head`, before anything else is
    /// written. A raw stream is subscribed by then, so that whoever has read the answer hears
    /// what is published from there on.
    pub fn open_with(&mut self, socket: S, kind: &ConnectionKind, head: &[u8], now: Now) -> Key {
        let (form, phase) = match kind {
            ConnectionKind::Raw { .. } => (WireForm::Raw, Phase::Open),
            ConnectionKind::Sdk(codec) => (WireForm::Sdk(*codec), Phase::AwaitingConnect),
            ConnectionKind::TopicEvents { .. } => (WireForm::TopicEvents, Phase::Open),
            ConnectionKind::Events { .. } => (WireForm::Events, Phase::Open),
        };
        self.next_serial = self.next_serial.wrapping_add(1);
        let serial = self.next_serial;
        let connection = Connection::new(socket, form, phase, serial, now.ms());
        let key = self.connections.insert(connection);
        self.counters.connections.add(1);
        self.counters.connections_opened.add(1);
        self.pings.push(key, serial, now.ms());
        if !matches!(kind, ConnectionKind::Raw { .. }) && !self.write_head(key, head) {
            return key;
        }
        match kind {
            ConnectionKind::Sdk(_) => self.connects.push(key, serial, now.ms()),
            ConnectionKind::Raw { topic, since, options } => {
                let wishes = Wishes { since: since.as_ref(), options: *options, listens: false };
                self.open_raw(key, topic, wishes, head, now);
            }
            ConnectionKind::TopicEvents { topic, since, options } => {
                self.open_topic_events(key, topic, since.as_ref(), *options, now);
            }
            ConnectionKind::Events { sources, options } => {
                self.open_events(key, sources, *options, now);
            }
        }
        key
    }

    /// Answers the request of a connection. `false`: a socket that cannot take its first few
    /// hundred bytes is broken, and its connection has ended.
    fn write_head(&mut self, key: Key, head: &[u8]) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return false };
        if head.is_empty() || connection.socket.write(head).is_ok_and(|n| n == head.len()) {
            return true;
        }
        self.end(key);
        false
    }

    /// Reads what has come for a connection. `to_end`: go on until the socket would block, which
    /// is needed where the end of the stream may have been announced together with data.
    pub fn handle_readable(
        &mut self,
        key: Key,
        scratch: &mut [u8],
        to_end: bool,
        now: Now,
    ) -> ReadOutcome {
        self.has_published = false;
        for _ in 0..READS_PER_TURN {
            let Some(connection) = self.connections.get_mut(key) else {
                return ReadOutcome::Gone;
            };
            match connection.socket.read(scratch) {
                Ok(0) => return self.end(key),
                Ok(n) => {
                    self.counters.bytes_in.add(n as u64);
                    self.handle_bytes(key, &mut scratch[..n], now);
                    if n < scratch.len() && !to_end {
                        return self.outcome(key, ReadOutcome::Drained);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return self.outcome(key, ReadOutcome::Drained);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.end(key),
            }
            if self.has_published && self.topics.is_congested() {
                return self.outcome(key, ReadOutcome::Congested);
            }
        }
        self.outcome(key, ReadOutcome::More)
    }

    /// Handles bytes that were read elsewhere, such as those behind a handshake.
    pub fn handle_bytes(&mut self, key: Key, bytes: &mut [u8], now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.heard_ms = now.ms();
        if connection.phase == Phase::Closing {
            return;
        }
        if connection.form.is_events() {
            return self.ignore_input(key, bytes.len(), now);
        }
        let mut decoder = std::mem::take(&mut connection.decoder);
        let kept_before = decoder.buffered_bytes();
        let limits = self.limits.decode();
        let mut position = 0;
        while self.is_live(key) {
            match decoder.next(bytes, &mut position, &limits) {
                Ok(Some(incoming)) => self.handle_incoming(key, incoming, now),
                Ok(None) => break,
                Err(error) => self.refuse(key, error, now),
            }
        }
        decoder.forget_finished();
        self.keep_decoder(key, decoder, kept_before, now);
        self.flush_outbox(key, now);
    }

    /// Writes what waits for a connection whose socket takes bytes again.
    pub fn handle_writable(&mut self, key: Key, now: Now) {
        self.flush_outbox(key, now);
    }

    /// Whether a connection waits for [`Self::handle_writable`].
    #[must_use]
    pub fn is_waiting(&self, key: Key) -> bool {
        self.connections.get(key).is_some_and(Connection::is_waiting)
    }

    /// The shard's mailbox.
    #[must_use]
    pub fn mailbox(&self) -> &Mailbox {
        &self.topics.mailboxes()[self.index]
    }

    /// Whether marked messages are still to be written.
    #[must_use]
    pub fn has_pending_writes(&self) -> bool {
        !self.fanout.is_empty()
    }

    fn form(&self, key: Key) -> Option<WireForm> {
        self.connections.get(key).map(|connection| connection.form)
    }

    fn is_live(&self, key: Key) -> bool {
        self.connections.get(key).is_some_and(|c| c.phase != Phase::Closing)
    }

    fn outcome(&self, key: Key, outcome: ReadOutcome) -> ReadOutcome {
        if self.connections.contains(key) { outcome } else { ReadOutcome::Gone }
    }

    fn handle_incoming(&mut self, key: Key, incoming: Incoming<'_>, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let form = connection.form;
        let content_len = match &incoming {
            Incoming::Text(text) => text.len(),
            Incoming::Binary(bytes) | Incoming::Ping(bytes) => bytes.len(),
            Incoming::Pong | Incoming::Close(_) => 0,
        };
        let published_before = self.published_bytes;
        self.obey_incoming(key, form, incoming, now);
        let published = (self.published_bytes - published_before) as usize;
        self.counters.of(form).count_incoming(FrameParts::of_incoming(content_len, published));
    }

    fn obey_incoming(&mut self, key: Key, form: WireForm, incoming: Incoming<'_>, now: Now) {
        match (incoming, form) {
            (Incoming::Text(text), WireForm::Raw) => {
                self.publish_raw(key, Payload::kind_of_text(text), text.as_bytes(), now);
            }
            (Incoming::Binary(bytes), WireForm::Raw) => {
                self.publish_raw(key, PayloadKind::Binary, bytes, now);
            }
            (Incoming::Text(text), WireForm::Sdk(Codec::Json)) => {
                self.handle_commands(key, Codec::Json, text.as_bytes(), now);
            }
            (Incoming::Binary(bytes), WireForm::Sdk(Codec::MsgPack)) => {
                self.handle_commands(key, Codec::MsgPack, bytes, now);
            }
            (Incoming::Text(_) | Incoming::Binary(_), WireForm::Sdk(codec)) => {
                let kind = if codec == Codec::Json { "text" } else { "binary" };
                let reason = format!("{} uses {kind} frames only", codec.subprotocol());
                self.close(key, CloseCode::UNSUPPORTED_DATA, &reason, now);
            }
            // Their input is not decoded.
            (_, WireForm::TopicEvents | WireForm::Events) => {}
            (Incoming::Ping(content), _) => {
                if self.admit_control_frame(key, now) {
                    self.send(key, pong_frame(content), now);
                }
            }
            (Incoming::Pong, _) => {
                self.admit_control_frame(key, now);
            }
            (Incoming::Close(frame), _) => {
                let code = frame.map(|frame| frame.code);
                self.begin_close(key, code, close_frame(code, ""), now);
            }
        }
    }

    fn publish_raw(&mut self, key: Key, kind: PayloadKind, bytes: &[u8], now: Now) {
        let Some(connection) = self.connections.get(key) else { return };
        let Some(local) = connection.subscriptions.first().map(|s| s.local) else { return };
        self.note_publish(bytes.len());
        let Some(local_topic) = self.locals.get(local) else { return };
        let payload = Payload::from_checked(kind, Bytes::copy_from_slice(bytes));
        // A topic with a subscriber is never retired, and this connection is one.
        let published =
            self.topics.publish_on(&local_topic.topic, &payload, None, &self.counters, now);
        debug_assert!(published.is_some());
    }

    /// Notes that the connection being read publishes so many bytes.
    fn note_publish(&mut self, bytes: usize) {
        self.has_published = true;
        self.published_bytes += bytes as u64;
    }

    fn admit_control_frame(&mut self, key: Key, now: Now) -> bool {
        let most = self.limits.control_frames_per_second_max;
        let Some(connection) = self.connections.get_mut(key) else { return false };
        if connection.idle_input.add(1, now) <= most {
            return true;
        }
        let reason = format!("over {most} control frames in one second");
        self.close(key, CloseCode::POLICY_VIOLATION, &reason, now);
        false
    }

    fn keep_decoder(
        &mut self,
        key: Key,
        mut decoder: crate::ws::Decoder,
        kept_before: usize,
        now: Now,
    ) {
        let kept = if self.is_live(key) { decoder.buffered_bytes() } else { 0 };
        let change = (kept as u64).wrapping_sub(kept_before as u64);
        self.counters.unfinished_bytes.add(change);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.phase == Phase::Closing {
            return;
        }
        if decoder.mark_unfinished(now.ms()) {
            self.unfinished.push(key, connection.serial, now.ms());
        }
        connection.decoder = decoder;
        if kept > 0
            && self.counters.unfinished_bytes.get() > self.limits.unfinished_bytes_max as u64
        {
            let reason = "the broker holds too many unfinished messages; send them faster";
            self.close(key, CloseCode::TRY_AGAIN_LATER, reason, now);
        }
    }
}

/// What a ping is in each form: a WebSocket ping, and for the SDK an event that a browser sees.
/// In an event stream it is a comment.
fn ping_frames(form: WireForm) -> Bytes {
    let codec = match form {
        WireForm::Raw => return ping_frame(),
        WireForm::Sdk(codec) => codec,
        WireForm::TopicEvents | WireForm::Events => {
            return event_frame(StreamEvent::Heartbeat, 2);
        }
    };
    let event = Event::Ping(Ping::default());
    let event = sdk_frame(codec, 16, |out| event.encode(codec, out));
    [ping_frame(), event].concat().into()
}

#[cfg(test)]
mod tests;
