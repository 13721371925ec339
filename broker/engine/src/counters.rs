//! What one shard counts. Written by its thread alone, read by whoever scrapes.

use std::sync::atomic::{AtomicU64, Ordering};

use fanfare_protocol::CloseCode;

use crate::histogram::Histogram;
use crate::shard::ConnectionState;
use crate::sync::SingleWriter;
use crate::topics::{FrameParts, WireForm};

/// Namespaces that are counted each on its own; topics of further ones count as others.
pub const NAMESPACES_COUNTED: usize = 32;

/// A number that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct SharedCounter {
    value: AtomicU64,
    writer: SingleWriter,
}

impl SharedCounter {
    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    /// Adds `n`. Only the owning thread may call this: it is a load and a store, so that counting
    /// costs what a plain integer costs.
    pub fn add(&self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    /// Takes `n` away, for a gauge. Only the owning thread may call this.
    pub fn sub(&self, n: u64) {
        self.add(n.wrapping_neg());
    }

    /// Replaces the value. Only the owning thread may call this.
    pub fn set(&self, n: u64) {
        self.writer.check();
        self.value.store(n, Ordering::Relaxed);
    }
}

/// Bytes in one direction, by what they are.
#[derive(Debug, Default)]
pub struct PartCounters {
    /// WebSocket headers; field names and line ends of server-sent events.
    pub framing: SharedCounter,
    /// What is neither framing nor payload.
    pub envelope: SharedCounter,
    /// Content of messages.
    pub payload: SharedCounter,
}

impl PartCounters {
    fn add(&self, parts: FrameParts) {
        self.framing.add(parts.framing);
        self.envelope.add(parts.envelope);
        self.payload.add(parts.payload);
    }
}

/// What went over the connections of one wire form, apart from heads of requests.
#[derive(Debug, Default)]
pub struct FormCounters {
    /// Messages handed to subscribers' sockets or outboxes.
    pub messages_out: SharedCounter,
    /// Bytes handed to sockets or outboxes.
    pub bytes_out: PartCounters,
    /// Bytes of what came whole.
    pub bytes_in: PartCounters,
}

impl FormCounters {
    /// Counts messages for subscribers.
    pub(crate) fn count_messages(&self, count: usize, parts: FrameParts) {
        self.messages_out.add(count as u64);
        self.bytes_out.add(parts);
    }

    /// Counts something else that is sent.
    pub(crate) fn count_other(&self, parts: FrameParts) {
        self.bytes_out.add(parts);
    }

    /// Counts something that came.
    pub(crate) fn count_incoming(&self, parts: FrameParts) {
        self.bytes_in.add(parts);
    }
}

/// What was published on the topics of one namespace.
#[derive(Debug, Default)]
pub struct NamespaceCounters {
    /// Messages.
    pub messages_in: SharedCounter,
    /// Their payloads in bytes.
    pub message_in_bytes: SharedCounter,
    /// Their subscribers by name at that moment, added up.
    pub fanout: SharedCounter,
}

/// The counters and gauges of one shard, or of one other thread that publishes.
#[derive(Debug)]
pub struct ShardCounters {
    /// Connections open now, closing ones included.
    pub connections: SharedCounter,
    /// Connections that were ever opened.
    pub connections_opened: SharedCounter,
    /// Connections that ended, by close code in the order of [`CloseCode::ALL`]; the last one is
    /// for codes of the peer's own and for connections lost without a close frame.
    closes: Box<[SharedCounter]>,
    /// Connections by state in the order of [`ConnectionState::ALL`], as last counted.
    pub states: [SharedCounter; ConnectionState::ALL.len()],
    /// Connections that are owed something from the rings, as last counted.
    pub connections_behind: SharedCounter,
    /// Connections that were accepted, whatever became of them.
    pub accepted: SharedCounter,
    /// Connections whose client left before it had sent a whole request.
    pub handshakes_abandoned: SharedCounter,
    /// Connections whose client sent no whole request in time.
    pub handshakes_timed_out: SharedCounter,
    /// WebSocket handshakes that were answered with an error.
    pub handshakes_refused: SharedCounter,
    /// Subscriptions held now.
    pub subscriptions: SharedCounter,
    /// Messages published through this shard.
    pub messages_in: SharedCounter,
    /// Their payloads in bytes.
    pub message_in_bytes: SharedCounter,
    /// What went over the connections of each wire form.
    forms: [FormCounters; WireForm::ALL.len()],
    /// Bytes written to sockets, framing included.
    pub bytes_out: SharedCounter,
    /// Bytes read from sockets, framing included.
    pub bytes_in: SharedCounter,
    /// Bytes in all outboxes now.
    pub outbox_bytes: SharedCounter,
    /// Connections at or over the high-water mark now.
    pub connections_lagging: SharedCounter,
    /// Bytes kept of unfinished messages now.
    pub unfinished_bytes: SharedCounter,
    /// Write calls to sockets.
    pub writes: SharedCounter,
    /// Subscriptions whose messages are not queued now but owed from the ring.
    pub subscriptions_behind: SharedCounter,
    /// Messages that connections which were behind, or had come back, got from the rings.
    pub messages_recovered: SharedCounter,
    /// Messages that subscriptions of mode `latest` were spared, because newer ones came.
    pub messages_merged: SharedCounter,
    /// Messages that subscriptions with a rate were spared, because newer ones came.
    pub messages_thinned: SharedCounter,
    /// Requests that wait for a message now (long polling).
    pub waiting_requests: SharedCounter,
    /// Presence events that were left out for connections that did not keep up.
    pub notices_dropped: SharedCounter,
    /// Gaps that were told: a connection was so far behind that the ring had moved on.
    pub gaps: SharedCounter,
    /// Messages in these gaps.
    pub gap_messages: SharedCounter,
    /// Commands that were answered with an error.
    pub command_errors: SharedCounter,
    /// How often the outboxes' marks are halved now, because the node is over its budget.
    pub outbox_pressure: SharedCounter,
    /// When the shard last looked at its timers, in milliseconds of the engine's clock.
    pub ticked_ms: SharedCounter,
    /// Messages published by namespace: first those with options of their own, in the order of
    /// [`crate::TopicTable::namespaces`]; the last one is for all other topics.
    pub namespaces: [NamespaceCounters; NAMESPACES_COUNTED + 1],
    /// Nanoseconds that the shard's loop worked rather than waited.
    pub busy_ns: SharedCounter,
    /// The part of the last second that it worked, in millionths.
    pub busy_ratio_millionths: SharedCounter,
    /// Subscribers of each message published through this shard, on the whole node.
    pub fanout: Histogram,
    /// Microseconds from a publish to the write towards a subscriber, sampled.
    pub delivery_us: Histogram,
}

impl Default for ShardCounters {
    fn default() -> Self {
        let closes = (0..=CloseCode::ALL.len()).map(|_| SharedCounter::default()).collect();
        let zero = SharedCounter::default;
        Self {
            connections: zero(),
            connections_opened: zero(),
            closes,
            states: Default::default(),
            connections_behind: zero(),
            accepted: zero(),
            handshakes_abandoned: zero(),
            handshakes_timed_out: zero(),
            handshakes_refused: zero(),
            subscriptions: zero(),
            messages_in: zero(),
            message_in_bytes: zero(),
            forms: Default::default(),
            bytes_out: zero(),
            bytes_in: zero(),
            outbox_bytes: zero(),
            connections_lagging: zero(),
            unfinished_bytes: zero(),
            writes: zero(),
            subscriptions_behind: zero(),
            messages_recovered: zero(),
            messages_merged: zero(),
            messages_thinned: zero(),
            waiting_requests: zero(),
            notices_dropped: zero(),
            gaps: zero(),
            gap_messages: zero(),
            command_errors: zero(),
            outbox_pressure: zero(),
            ticked_ms: zero(),
            namespaces: std::array::from_fn(|_| NamespaceCounters::default()),
            busy_ns: zero(),
            busy_ratio_millionths: zero(),
            fanout: Histogram::new(Histogram::FANOUT),
            delivery_us: Histogram::new(Histogram::LATENCY_US),
        }
    }
}

impl ShardCounters {
    /// What went over the connections of one wire form.
    #[must_use]
    pub fn of(&self, form: WireForm) -> &FormCounters {
        &self.forms[form.index()]
    }

    /// Messages handed to subscribers' sockets or outboxes, in all forms.
    #[must_use]
    pub fn messages_out(&self) -> u64 {
        self.forms.iter().map(|form| form.messages_out.get()).fold(0, u64::wrapping_add)
    }

    /// Counts the end of a connection; `None` where no close frame told why.
    pub(crate) fn count_close(&self, code: Option<CloseCode>) {
        let known = code.and_then(|c| CloseCode::ALL.iter().position(|(known, _)| *known == c));
        self.closes[known.unwrap_or(CloseCode::ALL.len())].add(1);
    }

    /// Connections that ended, with the label of their close code.
    pub fn closes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = CloseCode::ALL.iter().map(|(_, label)| *label).chain(["other"]);
        labels.zip(self.closes.iter().map(SharedCounter::get))
    }
}
