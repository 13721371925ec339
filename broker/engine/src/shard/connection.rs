//! What a shard holds for one connection: about a hundred bytes while it is idle.

use std::io::{self, IoSlice};

use bytes::Bytes;
use fanfare_protocol::TopicName;
use smallvec::SmallVec;

use super::fanout::Pending;
use crate::counters::ShardCounters;
use crate::limits::Limits;
use crate::outbox::Outbox;
use crate::topics::WireForm;
use crate::ws::Decoder;

/// What a new connection is, as its handshake told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionKind {
    /// The raw stream of one topic.
    Raw(TopicName),
    /// The SDK protocol.
    Sdk(fanfare_protocol::Codec),
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// An SDK connection whose `connect` has not come.
    AwaitingConnect,
    /// In use.
    Open,
    /// A close frame is sent or queued; whatever still comes is thrown away.
    Closing,
}

/// A subscription: the topic's place in the shard, and the connection's place in its list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    pub(super) local: u32,
    pub(super) position: u32,
}

#[derive(Debug)]
pub(super) struct Connection<S> {
    pub(super) socket: S,
    pub(super) form: WireForm,
    pub(super) phase: Phase,
    /// Tells this connection from others that had or will have the same key.
    pub(super) serial: u32,
    pub(super) decoder: Decoder,
    /// `None` while nothing waits, which is nearly always.
    outbox: Option<Box<Outbox>>,
    /// Frames of the current fan-out that are still to be written.
    pub(super) pending: Pending,
    /// Sorted by `local`.
    pub(super) subscriptions: SmallVec<[Subscription; 2]>,
    /// When bytes last came.
    pub(super) heard_ms: u64,
    pub(super) control_frames: ControlFrames,
    is_lagging: bool,
}

/// Control frames in the current second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ControlFrames {
    second: u32,
    count: u32,
}

impl ControlFrames {
    /// Counts one and tells how many this second has had.
    pub(super) fn count(&mut self, now_ms: u64) -> u32 {
        let second = (now_ms / 1_000) as u32;
        if self.second != second {
            *self = Self { second, count: 0 };
        }
        self.count += 1;
        self.count
    }
}

/// Frames of one vectored write.
const SLICES_MAX: usize = 64;

impl<S> Connection<S> {
    pub(super) fn new(socket: S, form: WireForm, phase: Phase, serial: u32, now_ms: u64) -> Self {
        Self {
            socket,
            form,
            phase,
            serial,
            decoder: Decoder::default(),
            outbox: None,
            pending: Pending::default(),
            subscriptions: SmallVec::new(),
            heard_ms: now_ms,
            control_frames: ControlFrames::default(),
            is_lagging: false,
        }
    }

    /// Bytes of frames that are accepted for this connection and not handed to the network.
    pub(super) fn outbox_bytes(&self) -> usize {
        self.outbox.as_deref().map_or(0, Outbox::bytes)
    }

    pub(super) fn outbox(&self) -> Option<&Outbox> {
        self.outbox.as_deref()
    }

    /// Queues a frame; `false` if the hard limit was reached before, then nothing is queued.
    #[must_use]
    pub(super) fn enqueue(
        &mut self,
        frame: Bytes,
        limits: &Limits,
        counters: &ShardCounters,
    ) -> bool {
        if self.outbox_bytes() >= limits.outbox_bytes_max {
            return false;
        }
        self.change_outbox(limits, counters, |outbox| outbox.push(frame));
        true
    }

    /// Writes the first frames of the outbox with one call; `None` if nothing waits.
    pub(super) fn write_outbox(&mut self) -> Option<io::Result<usize>>
    where
        S: io::Write,
    {
        let outbox = self.outbox.as_deref()?;
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let filled = outbox.fill(&mut slices);
        Some(match &slices[..filled] {
            [only] => self.socket.write(only),
            several => self.socket.write_vectored(several),
        })
    }

    /// Changes the outbox and keeps the gauges in step with it.
    pub(super) fn change_outbox(
        &mut self,
        limits: &Limits,
        counters: &ShardCounters,
        change: impl FnOnce(&mut Outbox),
    ) {
        let outbox = self.outbox.get_or_insert_default();
        let before = outbox.bytes();
        change(outbox);
        let after = outbox.bytes();
        if outbox.is_empty() {
            self.outbox = None;
        }
        counters.outbox_bytes.add((after as u64).wrapping_sub(before as u64));
        let is_lagging = after >= limits.outbox_high_water_bytes;
        if is_lagging != self.is_lagging {
            self.is_lagging = is_lagging;
            counters.connections_lagging.add(if is_lagging { 1 } else { 1u64.wrapping_neg() });
        }
    }
}
