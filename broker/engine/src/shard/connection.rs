//! What a shard holds for one connection: about a hundred bytes while it is idle.

use std::io::{self, IoSlice};

use bytes::Bytes;
use fanfare_protocol::{Filter, Mode, Position, TopicName};
use smallvec::SmallVec;

use super::behind::Behind;
use super::fanout::{OutgoingFrame, Pending};
use super::marks::Marks;
use super::tier::{ListPlace, Tier};
use crate::counters::ShardCounters;
use crate::fault::{Fault, planted};
use crate::outbox::Outbox;
use crate::time::Now;
use crate::topics::{MemberName, WireForm};
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
        /// How it wants them.
        options: StreamOptions,
    },
    /// The SDK protocol.
    Sdk(fanfare_protocol::Codec),
    /// Server-sent events of one topic, each with the bare payload.
    TopicEvents {
        /// The topic.
        topic: TopicName,
        /// Where to go on, if the client was here before.
        since: Option<Position>,
        /// How it wants them.
        options: StreamOptions,
    },
    /// Server-sent events of several topics, each with what the SDK protocol pushes.
    Events {
        /// What it wants to hear, in the order in which its places are told. What stands there
        /// twice counts once.
        sources: Vec<EventSource>,
        /// How it wants them.
        options: StreamOptions,
    },
}

/// One topic or pattern of an event stream of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSource {
    /// The topic or pattern.
    pub filter: Filter,
    /// Where to go on, if the client was here before. Not for a pattern.
    pub since: Option<Position>,
}

/// What a stream asks for beside its topics and positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// What it gets when it is slow; the namespace decides if it does not say.
    pub mode: Option<Mode>,
    /// Most messages per second.
    pub max_rate: Option<u32>,
    /// Whether the newest message comes at once; mode and namespace decide if it does not say.
    pub snapshot: Option<bool>,
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
    /// After this offset the topic is owed from its ring.
    Defer(u64),
    /// The topic is owed already.
    Owed,
    /// It is no message, and left out.
    Leave,
}

/// On what terms a subscription gets its messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) mode: Mode,
    pub(super) tier: Tier,
    /// Whether messages of mode `all` are queued to the hard limit in place of being owed.
    pub(super) disconnects: bool,
}

/// A subscription by name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    /// The topic's place in the shard.
    pub(super) local: u32,
    /// The connection's place in the topic's list; `None` while the connection is behind on the
    /// topic: then no message is given to it, so that being behind costs a publish nothing.
    pub(super) position: Option<ListPlace>,
    pub(super) terms: Terms,
    /// Whether it is told who comes and goes.
    pub(super) listens: bool,
}

/// A subscription by pattern: its place in the shard, and the connection's place in its list.
#[derive(Clone, Copy, Debug)]
pub(super) struct PatternSubscription {
    pub(super) pattern: u32,
    pub(super) position: ListPlace,
    pub(super) terms: Terms,
}

/// Which of a connection's subscriptions a topic's messages come through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Through {
    Name,
    Pattern(u32),
}

/// What few connections have.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// In the order in which they began.
    pub(super) patterns: Vec<PatternSubscription>,
    /// What the client calls itself.
    pub(super) name: MemberName,
    /// Topics looked through for its patterns.
    pub(super) searched: PerSecond,
    /// Messages that were passed over for a newer one of their topic.
    pub(super) merged: u64,
    /// Messages that are lost to the connection, and were told.
    pub(super) lost: u64,
    /// How far an event stream of several topics has come, in the order of its sources; `None`
    /// for a pattern.
    pub(super) places: Vec<Option<Place>>,
}

/// How far a connection has come on a topic that it subscribes to by name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The topic's place in the shard.
    pub(super) local: u32,
    /// Everything up to here was sent, or passed over as mode and rate say.
    pub(super) offset: u64,
    /// The topic's head when the subscription began: who is not behind has that much.
    pub(super) began_at: u64,
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
    /// When it was opened, in seconds: fits where padding would be.
    pub(super) opened_s: u32,
    /// When bytes last came.
    pub(super) heard_ms: u64,
    /// What came that carries nothing: control frames, or bytes from the reader of an event stream.
    pub(super) idle_input: PerSecond,
    pub(super) is_lagging: bool,
    extras: Option<Box<Extras>>,
}

/// How much of something there was in the current second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PerSecond {
    second: u32,
    count: u32,
}

impl PerSecond {
    /// Counts `n` and tells how many this second has had.
    pub(super) fn add(&mut self, n: u32, now: Now) -> u32 {
        let second = (now.ms() / 1_000) as u32;
        if self.second != second {
            *self = Self { second, count: 0 };
        }
        self.count = self.count.saturating_add(n);
        self.count
    }
}

/// Frames of one vectored write.
pub(super) const SLICES_MAX: usize = 64;

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
            opened_s: (now_ms / 1_000) as u32,
            heard_ms: now_ms,
            idle_input: PerSecond::default(),
            is_lagging: false,
            extras: None,
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

    /// Since when the oldest of what waits in the outbox, or of what is owed, has waited.
    pub(super) fn waits_since_ms(&self) -> Option<u64> {
        let waits = self.outbox().and_then(Outbox::oldest_ms);
        let owed = self.behind().map(|behind| behind.since_ms);
        waits.into_iter().chain(owed).min()
    }

    /// What is owed from the rings.
    pub(super) fn behind(&self) -> Option<&Behind> {
        self.behind.as_deref()
    }

    /// Takes away all that is owed.
    pub(super) fn take_behind(&mut self) -> Option<Box<Behind>> {
        self.behind.take()
    }

    pub(super) fn extras(&self) -> Option<&Extras> {
        self.extras.as_deref()
    }

    pub(super) fn extras_mut(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// The subscriptions by pattern, in the order in which they began.
    pub(super) fn patterns(&self) -> &[PatternSubscription] {
        self.extras.as_deref().map_or(&[], |extras| &extras.patterns)
    }

    /// Which subscription the messages of a topic come through, and on what terms: the one by
    /// name, or else the oldest of those whose pattern is among `patterns`.
    pub(super) fn through(&self, local: u32, patterns: &[u32]) -> Option<(Through, Terms)> {
        if let Some(at) = self.subscription(local) {
            return Some((Through::Name, self.subscriptions[at].terms));
        }
        let one = self.oldest_of(patterns)?;
        Some((Through::Pattern(one.pattern), one.terms))
    }

    /// The oldest subscription by one of these patterns.
    pub(super) fn oldest_of(&self, patterns: &[u32]) -> Option<&PatternSubscription> {
        self.patterns().iter().find(|one| patterns.contains(&one.pattern))
    }

    /// What to do with a frame for this connection, whose socket takes nothing now. `terms`: those
    /// of the frame's subscription.
    pub(super) fn admission(&self, frame: &OutgoingFrame, terms: Option<Terms>) -> Admission {
        let Some(offset) = frame.offset else {
            return if self.is_lagging { Admission::Leave } else { Admission::Queue };
        };
        let is_owed = self.behind.as_deref().is_some_and(|b| b.get(frame.local).is_some());
        if is_owed && !planted(Fault::QueueWhatIsOwed) {
            return Admission::Owed;
        }
        let is_lagging = self.is_lagging && !planted(Fault::IgnoreHighWater);
        let served = offset - u64::from(!planted(Fault::DeferOneLate));
        match terms {
            Some(terms) if terms.mode == Mode::Latest => Admission::Defer(served),
            Some(terms) if is_lagging && !terms.disconnects => Admission::Defer(served),
            _ => Admission::Queue,
        }
    }

    /// The place of a topic's subscription by name.
    pub(super) fn subscription(&self, local: u32) -> Option<usize> {
        self.subscriptions.binary_search_by_key(&local, |s| s.local).ok()
    }

    /// Owes the subscriber of `local` everything after this offset; whether it was owed nothing.
    pub(super) fn fall_behind(&mut self, local: u32, after: u64, now: Now) -> bool {
        let behind = self.behind.get_or_insert_with(|| Box::new(Behind::new(now.ms())));
        behind.set(local, after)
    }

    /// Owes the subscriber of `local` nothing more; whether it was owed something.
    pub(super) fn forget_behind(&mut self, local: u32) -> bool {
        let Some(behind) = self.behind.as_deref_mut() else { return false };
        let was_behind = behind.remove(local);
        self.behind.take_if(|behind| behind.is_empty());
        was_behind
    }

    /// What is owed from the rings, to take turns.
    pub(super) fn behind_mut(&mut self) -> Option<&mut Behind> {
        self.behind.as_deref_mut()
    }

    /// Queues a frame; `false` if the hard limit was reached before, then nothing is queued.
    #[must_use]
    pub(super) fn enqueue(
        &mut self,
        frame: Bytes,
        marks: &Marks,
        counters: &ShardCounters,
        now: Now,
    ) -> bool {
        if self.outbox_bytes() >= marks.max_bytes {
            return false;
        }
        self.change_outbox(marks, counters, |outbox| outbox.push(frame, now.ms()));
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
        marks: &Marks,
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
        let is_lagging = after >= marks.high_bytes || (self.is_lagging && after > marks.low_bytes);
        if is_lagging != self.is_lagging {
            self.is_lagging = is_lagging;
            counters.connections_lagging.add(if is_lagging { 1 } else { 1u64.wrapping_neg() });
        }
    }
}
