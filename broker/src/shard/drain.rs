//! How a shard that stops closes its connections: in waves, so that neither this node nor the
//! ones that its clients go to are stormed, and nobody is away for longer than it takes to connect.

use fanfare_engine::Shard;
use tokio::time::{Duration, Instant};

use super::event_loop::TICK_MS;
use super::socket::DataSocket;
use crate::clock;

/// Connections that a node closes in a second: what one core accepts without being felt by anyone.
const CLOSES_PER_SECOND: u64 = 1_000;

/// Over how long those of one wave come back: a few waves, so that waves are not felt as such.
const RETURN_WINDOW_MS: u64 = 4 * TICK_MS;

/// A drain that has begun.
pub(super) struct Drain {
    /// Connections of one wave.
    wave: usize,
    /// When whoever is left is closed.
    end: Instant,
    /// How long those may take to say goodbye.
    close_timeout: Duration,
}

impl Drain {
    /// Begins now. The end leaves the last ones time to say goodbye before the node's deadline.
    pub(super) fn new(shard: &Shard<DataSocket>) -> Self {
        let limits = shard.topics().limits();
        let shards = shard.topics().mailboxes().len() as u64;
        let connections = shard.connection_count() as u64;
        let longest_ms = limits.drain_timeout_ms.saturating_sub(limits.close_timeout_ms);
        let window_ms = (connections * shards * 1_000 / CLOSES_PER_SECOND).min(longest_ms);
        let waves = (window_ms / TICK_MS).max(1);
        Self {
            wave: connections.div_ceil(waves) as usize,
            end: Instant::now() + Duration::from_millis(window_ms),
            close_timeout: Duration::from_millis(limits.close_timeout_ms),
        }
    }

    /// Whether everyone has had the time to say goodbye.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.end + self.close_timeout
    }

    /// Closes the next wave; to be called every [`TICK_MS`].
    pub(super) fn close_wave(&self, shard: &mut Shard<DataSocket>) {
        let wave = if Instant::now() >= self.end { usize::MAX } else { self.wave };
        shard.shut_down(wave, RETURN_WINDOW_MS, clock::now());
    }
}
