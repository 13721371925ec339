//! What an operator may ask about single connections: who has the most unsent, and why.

use std::cmp::Reverse;
use std::net::SocketAddr;

use fanfare_protocol::Mode;

use super::connection::{Connection, Phase};
use super::{Key, Shard, Socket};
use crate::time::Now;
use crate::topics::{MemberId, WireForm};

/// How well a connection keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Nothing is unsent.
    Open,
    /// Its socket takes nothing.
    Blocked,
    /// It has reached the high-water mark and not yet come down to the low-water mark.
    Lagging,
    /// Its socket has taken nothing for a third of the stall timeout.
    Stalled,
    /// It is being closed.
    Closing,
}

impl ConnectionState {
    /// All of them, from the best to the worst.
    pub const ALL: [Self; 5] =
        [Self::Open, Self::Blocked, Self::Lagging, Self::Stalled, Self::Closing];

    /// The name in views and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Blocked => "blocked",
            Self::Lagging => "lagging",
            Self::Stalled => "stalled",
            Self::Closing => "closing",
        }
    }
}

/// One connection at one moment.
#[derive(Clone, Debug)]
pub struct ConnectionReport {
    /// Its name on the wire.
    pub connection: String,
    /// What the client calls itself.
    pub name: Option<String>,
    /// Where it comes from.
    pub peer: Option<SocketAddr>,
    /// What it speaks.
    pub form: WireForm,
    /// How well it keeps up.
    pub state: ConnectionState,
    /// Bytes of frames that were accepted for it and that the network has not taken: those that
    /// wait in the broker and those in the kernel that were never sent.
    pub buffered_amount: usize,
    /// The part of them in the kernel.
    pub kernel_bytes: usize,
    /// For how long the oldest of them, or the oldest message owed, has waited in the broker.
    pub oldest_unsent_ms: Option<u64>,
    /// Subscriptions of mode `all`, patterns included.
    pub subscriptions_all: usize,
    /// Subscriptions of mode `latest`, patterns included.
    pub subscriptions_latest: usize,
    /// Topics whose messages are not queued but owed from their rings.
    pub topics_behind: usize,
    /// Messages that it was spared because newer ones came.
    pub merged: u64,
    /// Messages that are lost to it, and were told.
    pub lost: u64,
}

impl<S: Socket> Shard<S> {
    /// The `limit` connections with the most unsent, most first.
    #[must_use]
    pub fn worst_connections(&self, limit: usize, now: Now) -> Vec<ConnectionReport> {
        let amount = |c: &Connection<S>| c.outbox_bytes() + c.socket.unsent_bytes();
        let mut keys: Vec<(usize, usize, Key)> = self
            .connections
            .iter()
            .map(|(key, c)| (amount(c), c.behind().map_or(0, |b| b.len()), key))
            .collect();
        keys.sort_unstable_by_key(|(bytes, behind, key)| Reverse((*bytes, *behind, key.0)));
        keys.truncate(limit);
        keys.into_iter().filter_map(|(_, _, key)| self.report(key, now)).collect()
    }

    fn report(&self, key: Key, now: Now) -> Option<ConnectionReport> {
        let connection = self.connections.get(key)?;
        let id = MemberId { shard: self.index as u32, serial: connection.serial };
        let named = connection.subscriptions.iter().map(|one| one.terms.mode);
        let patterns = connection.patterns().iter().map(|one| one.terms.mode);
        let (mut all, mut latest) = (0, 0);
        for mode in named.chain(patterns) {
            *(if mode == Mode::All { &mut all } else { &mut latest }) += 1;
        }
        let waits = connection.outbox().and_then(|outbox| outbox.oldest_ms());
        let owed = connection.behind().map(|behind| behind.since_ms);
        let oldest_ms = waits.into_iter().chain(owed).min();
        let extras = connection.extras();
        let kernel_bytes = connection.socket.unsent_bytes();
        Some(ConnectionReport {
            connection: id.connection(&self.node),
            name: extras.and_then(|extras| extras.name.as_deref().map(str::to_owned)),
            peer: connection.socket.peer(),
            form: connection.form,
            state: self.state(connection, now),
            buffered_amount: connection.outbox_bytes() + kernel_bytes,
            kernel_bytes,
            oldest_unsent_ms: oldest_ms.map(|since| now.ms().saturating_sub(since)),
            subscriptions_all: all,
            subscriptions_latest: latest,
            topics_behind: connection.behind().map_or(0, |behind| behind.len()),
            merged: extras.map_or(0, |extras| extras.merged),
            lost: extras.map_or(0, |extras| extras.lost),
        })
    }

    pub(super) fn state(&self, connection: &Connection<S>, now: Now) -> ConnectionState {
        let silent_ms = now.ms().saturating_sub(connection.progress_ms);
        if connection.phase == Phase::Closing {
            ConnectionState::Closing
        } else if !connection.is_waiting() {
            ConnectionState::Open
        } else if silent_ms >= self.limits.stall_timeout_ms / 3 {
            ConnectionState::Stalled
        } else if connection.is_lagging {
            ConnectionState::Lagging
        } else {
            ConnectionState::Blocked
        }
    }
}
