//! What a shard holds for one connection: about a hundred bytes while it is idle.

use std::io::{self, IoSlice};

use bytes::Bytes;
use fanfare_protocol::{Mode, Position, TopicName};
use smallvec::SmallVec;

use super::behind::Behind;
use super::fanout::{OutgoingFrame, Pending};
use crate::counters::ShardCounters;
use crate::limits::Limits;
use crate::outbox::Outbox;
use crate::topics::WireForm;
use crate::ws::Decoder;

/// What a new connection is, as its handshake told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionKind {
    /// The raw stream of one topic.
    Raw {
        /// The topic.
        topic: TopicName,
        /// Where to go on, if the client was here before.
        since: Option<Position>,
        /// What it gets when it is slow.
        mode: Mode,
    },
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

/// What becomes of a message for a connection whose socket takes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It waits in the outbox.
    Queue,
    /// From this one on the topic is owed from its ring.
    Defer,
    /// The topic is owed already.
    Owed,
}

/// A subscription: the topic's place in the shard, and the connection's place in its list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    pub(super) local: u32,
    pub(super) position: u32,
    pub(super) mode: Mode,
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
    /// What is owed from the rings; `None` while nothing is, which is nearly always.
    behind: Option<Box<Behind>>,
    /// When the socket last took bytes, or last had nothing to take.
    pub(super) progress_ms: u64,
    /// Whether the connection is in the queue that looks for stalled ones.
    pub(super) is_watched: bool,
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
            behind: None,
            progress_ms: now_ms,
            is_watched: false,
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

    /// Whether something waits for the socket to take bytes again.
    pub(super) fn is_waiting(&self) -> bool {
        self.outbox.is_some() || self.behind.is_some()
    }

    /// Whether something is owed from the rings.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.is_some()
    }

    /// What to do with a message for this connection, whose socket takes nothing now.
    pub(super) fn admission(&self, frame: &OutgoingFrame, limits: &Limits) -> Admission {
        if self.behind.as_deref().is_some_and(|behind| behind.contains(frame.local)) {
            return Admission::Owed;
        }
        let mode =
            self.subscription(frame.local).map_or(Mode::All, |at| self.subscriptions[at].mode);
        match mode {
            Mode::Latest => Admission::Defer,
            Mode::All if self.outbox_bytes() >= limits.outbox_high_water_bytes => Admission::Defer,
            Mode::All => Admission::Queue,
        }
    }

    /// The place of a topic's subscription.
    pub(super) fn subscription(&self, local: u32) -> Option<usize> {
        self.subscriptions.binary_search_by_key(&local, |s| s.local).ok()
    }

    /// Owes the subscriber of `local` everything after this offset.
    pub(super) fn fall_behind(&mut self, local: u32, after: u64) {
        self.behind.get_or_insert_default().set(local, after);
    }

    /// Owes the subscriber of `local` nothing more.
    pub(super) fn forget_behind(&mut self, local: u32) {
        if let Some(behind) = self.behind.as_deref_mut() {
            behind.remove(local);
            if behind.is_empty() {
                self.behind = None;
            }
        }
    }

    /// The topics that are owed.
    #[cfg(any(test, feature = "simulator"))]
    pub(super) fn behind_topics(&self) -> impl Iterator<Item = u32> {
        self.behind.iter().flat_map(|behind| behind.topics())
    }

    /// The next topic that is owed, and the offset up to which it is served.
    pub(super) fn next_behind(&mut self) -> Option<(u32, u64)> {
        self.behind.as_deref_mut()?.next()
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
