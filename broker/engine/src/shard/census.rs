//! How many connections are in which state, for the gauges.
//!
//! A connection also becomes stalled by doing nothing, so states are looked up and not counted as
//! they change: a part of the connections each time, so that a large node is not held up.

use super::report::ConnectionState;
use super::{Shard, Socket};
use crate::time::Now;

/// How long one count of all connections takes, and how old the gauges are at most.
const PASS_MS: u64 = 1_000;

/// Most chunks looked at in one call: some eight thousand connections, well under a millisecond.
const CHUNKS_PER_CALL_MAX: u64 = 8;

/// A count that goes on.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// When the next count begins.
    due_ms: u64,
    /// The next chunk to look at.
    chunk: usize,
    states: [u64; ConnectionState::ALL.len()],
    behind: u64,
}

impl<S: Socket> Shard<S> {
    /// Goes on counting connections by state; tells the counters once all were looked at.
    pub(super) fn count_states(&mut self, now: Now, call_interval_ms: u64) {
        if now.ms() < self.census.due_ms {
            return;
        }
        let chunks = self.connections.chunk_count() as u64;
        let share = (chunks * call_interval_ms).div_ceil(PASS_MS);
        for _ in 0..share.clamp(1, CHUNKS_PER_CALL_MAX) {
            if !self.count_chunk(now) {
                return self.tell_states(now);
            }
        }
    }

    /// Counts the connections of the next chunk; whether there was one.
    fn count_chunk(&mut self, now: Now) -> bool {
        let Some(chunk) = self.connections.chunk(self.census.chunk) else { return false };
        let mut states = self.census.states;
        let mut behind = 0;
        for connection in chunk {
            states[self.state(connection, now) as usize] += 1;
            behind += u64::from(connection.behind().is_some());
        }
        self.census.states = states;
        self.census.behind += behind;
        self.census.chunk += 1;
        true
    }

    fn tell_states(&mut self, now: Now) {
        let Census { states, behind, .. } = std::mem::take(&mut self.census);
        for (counter, count) in self.counters.states.iter().zip(states) {
            counter.set(count);
        }
        self.counters.connections_behind.set(behind);
        self.census.due_ms = now.ms() + PASS_MS;
    }
}
