//! How connections come in: as many as there are places for. Of the others a few at a time are
//! taken in to be told that there is none; the rest waits in the kernel, where it costs nothing.
//!
//! Owns the listener. While nobody can be let in it is not in the poll, so whoever comes then does
//! not wake the shard: a look with each tick is all that a crowd at the door costs.

use std::io::{self, ErrorKind};
use std::net::IpAddr;

use fanfare_engine::Now;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use super::Requests;

/// The token of the listener in each shard's poll.
const LISTENER: Token = Token(usize::MAX - 1);

/// Connections accepted in a row before established ones get their turn.
const ACCEPTS_PER_TURN: usize = 64;

/// Most connections of a shard at a time that are there to be refused, and most that begin to be in
/// one tick: stragglers are told at once.
pub(crate) const REFUSALS_MAX: usize = 16;

/// Ticks that must pass for one refusal, beside those that ticks before have left: 5 a second,
/// which those who are connected do not feel, however many want in.
const TICKS_PER_REFUSAL: usize = 4;

/// Fewer are not begun with: several in a row cost less each than one now and then, which finds
/// every cache cold.
const REFUSALS_BATCH: usize = 4;

pub(super) struct Door {
    /// None once the broker stops.
    listener: Option<TcpListener>,
    /// Whether the poll tells of those who come.
    is_watched: bool,
    /// Places of the node that connections of this shard had when it last looked.
    places: usize,
    /// Connections that are here only to be refused. They have no place.
    pub(super) refused: usize,
    /// Ticks that have passed and were not spent on refusals.
    ticks_left: usize,
}

/// What `accept` found.
enum Arrival {
    One(TcpStream, IpAddr),
    Nobody,
    Failed(io::Error),
}

impl Door {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self {
            listener: Some(listener),
            is_watched: false,
            places: 0,
            refused: 0,
            ticks_left: REFUSALS_MAX * TICKS_PER_REFUSAL,
        }
    }

    /// Whether an event with this token is about the listener.
    pub(super) fn is_token(token: Token) -> bool {
        token == LISTENER
    }

    /// Lets nobody in any more.
    pub(super) fn close(&mut self) {
        self.listener = None;
    }

    fn next(&self) -> Arrival {
        let Some(listener) = &self.listener else { return Arrival::Nobody };
        loop {
            match listener.accept() {
                Ok((stream, peer)) => return Arrival::One(stream, peer.ip()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Arrival::Nobody,
                // Each takes one from the queue, so this ends.
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Arrival::Failed(e),
            }
        }
    }

    /// Asks the poll to tell of those who come, or not to. It tells of those who are there already.
    fn watch(&mut self, wanted: bool, registry: &Registry) {
        let Some(listener) = &mut self.listener else { return };
        if self.is_watched == wanted {
            return;
        }
        let changed = match wanted {
            true => registry.register(listener, LISTENER, Interest::READABLE),
            false => registry.deregister(listener),
        };
        // Fails only for want of the kernel's memory. The next tick looks and tries again.
        if changed.is_ok() {
            self.is_watched = wanted;
        }
    }
}

impl Requests {
    /// Accepts what waits, as far as there are places. Whether more may be waiting that no event
    /// will announce.
    pub(in crate::shard) fn accept(&mut self, now: Now) -> bool {
        self.return_places();
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.context.admission.take() {
                self.door.watch(false, &self.registry);
                return false;
            }
            self.door.places += 1;
            match self.door.next() {
                Arrival::One(stream, peer) => {
                    self.admit(stream, peer, None, now);
                }
                Arrival::Nobody => {
                    self.return_places();
                    self.door.watch(true, &self.registry);
                    return false;
                }
                Arrival::Failed(error) => {
                    self.return_places();
                    self.note_failure(&error, now);
                    self.door.watch(false, &self.registry);
                    return false;
                }
            }
        }
        true
    }

    /// Looks at the door with each tick, whether an event has come or not: places come free, on
    /// other shards too, and what the system was short of is there again. Whether more may be
    /// waiting.
    pub(in crate::shard) fn look_at_door(&mut self, now: Now) -> bool {
        self.return_places();
        let most = REFUSALS_MAX * TICKS_PER_REFUSAL;
        self.door.ticks_left = (self.door.ticks_left + 1).min(most);
        let Some(refusal) = self.context.admission.refusal() else { return self.accept(now) };
        self.door.watch(false, &self.registry);
        if self.door.ticks_left < REFUSALS_BATCH * TICKS_PER_REFUSAL {
            return false;
        }
        while self.door.refused < REFUSALS_MAX && self.door.ticks_left >= TICKS_PER_REFUSAL {
            match self.door.next() {
                Arrival::One(stream, peer) => {
                    self.door.ticks_left -= TICKS_PER_REFUSAL;
                    self.context.admission.count_refused(refusal);
                    self.context.journal.turned_away(refusal.name(), now);
                    if self.admit(stream, peer, Some(refusal), now) {
                        self.door.refused += 1;
                    }
                }
                Arrival::Nobody => break,
                Arrival::Failed(error) => {
                    self.note_failure(&error, now);
                    break;
                }
            }
        }
        false
    }

    fn note_failure(&self, error: &io::Error, now: Now) {
        self.context.admission.count_error(error.into());
        self.context.journal.accept_failed(error, now);
    }

    /// Gives back the places of connections that are gone.
    fn return_places(&mut self) {
        let here = self.clients.len() - self.door.refused;
        let open = here + self.context.local.connection_count();
        self.context.admission.give_back(self.door.places.saturating_sub(open));
        self.door.places = open;
    }
}
