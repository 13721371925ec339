//! A shard's event loop, taken apart into steps that may come in any order.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::wire::Wire;
use crate::limits::Limits;
use crate::mailbox::Mailbox;
use crate::shard::{Key, Shard};
use crate::time::Now;

/// Longest ping in bytes, with the event that goes along.
const PING_BYTES: usize = 220;

/// Longest event that tells a place.
pub(super) const PLACE_BYTES: usize = 100;

/// A shard and whether it sleeps.
#[derive(Debug)]
pub(super) struct EventLoop {
    pub(super) shard: Shard<Wire>,
    bell: Bell,
    is_asleep: bool,
}

/// What wakes a sleeping shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Bell(Arc<AtomicBool>);

impl Bell {
    /// A mailbox that rings this bell.
    pub(super) fn mailbox(&self) -> Arc<Mailbox> {
        let bell = self.0.clone();
        Arc::new(Mailbox::new(move || bell.store(true, Ordering::Relaxed)))
    }
}

/// A connection that a shard may still hold, whoever its client is.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) shard: usize,
    pub(super) key: Key,
    pub(super) wire: Wire,
    /// Tells it from others in the trace.
    number: u64,
    opened: Now,
    /// Pings that it may have been sent.
    pings: u64,
    /// Whether reading it waits until the mailboxes are no longer over their marks.
    pub(super) is_paused: bool,
    /// Most bytes of its own, such as replies, that may wait for it beside messages.
    pub(super) own_bytes: usize,
    /// Whether it is an event stream of several topics, which is told its place each second.
    pub(super) tells_place: bool,
}

impl Link {
    pub(super) fn new(number: u64, shard: usize, key: Key, wire: Wire, opened: Now) -> Self {
        Self {
            shard,
            key,
            wire,
            number,
            opened,
            pings: 0,
            is_paused: false,
            own_bytes: 0,
            tells_place: false,
        }
    }

    /// Allows for the pings, and the place, that have become due within a second.
    pub(super) fn count_pings(&mut self, now: Now, limits: &Limits) {
        let pings = (now.ms() - self.opened.ms()) / limits.ping_interval_ms;
        self.own_bytes += (pings - self.pings) as usize * PING_BYTES;
        self.pings = pings;
        self.own_bytes += usize::from(self.tells_place) * PLACE_BYTES;
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {} of shard {}", self.number, self.shard)
    }
}

impl EventLoop {
    pub(super) fn new(shard: Shard<Wire>, bell: Bell) -> Self {
        Self { shard, bell, is_asleep: false }
    }

    /// Whether the shard still holds this connection.
    pub(super) fn holds(&mut self, link: &Link) -> bool {
        self.shard.socket_mut(link.key).is_some_and(|wire| wire.is_same(&link.wire))
    }

    /// Wakes for an event of a socket or of time.
    pub(super) fn wake(&mut self) {
        if self.is_asleep {
            self.shard.mailbox().stay_awake();
            self.is_asleep = false;
        }
    }

    /// Whether it is awake, woken by its mailbox perhaps. A shard whose mail did not wake it
    /// leaves its mail where it is.
    pub(super) fn is_awake(&mut self) -> bool {
        if self.bell.0.swap(false, Ordering::Relaxed) {
            self.wake();
        }
        !self.is_asleep
    }

    /// Falls asleep if there is nothing to do.
    pub(super) fn try_sleep(&mut self) -> bool {
        if self.is_asleep || !self.is_served() {
            return false;
        }
        self.is_asleep = self.shard.mailbox().try_sleep();
        self.is_asleep
    }

    /// Whether every message that came is handed to every socket that takes it.
    pub(super) fn is_served(&self) -> bool {
        self.shard.mailbox().is_empty() && !self.shard.has_pending_writes()
    }
}
