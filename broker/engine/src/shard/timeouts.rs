//! What happens to connections when time passes: pings, and ends that are overdue.

use fanfare_protocol::CloseCode;

use super::connection::Phase;
use super::{Key, Shard, Socket};
use crate::time::Now;

impl<S: Socket> Shard<S> {
    /// Looks after everything that is due. To be called every few tens of milliseconds;
    /// `call_interval_ms` is how often it is, from which follows how many pings to send at once.
    pub fn handle_timeouts(&mut self, now: Now, call_interval_ms: u64) {
        self.close_unconnected(now);
        self.close_unfinished(now);
        self.end_overdue_closings(now);
        self.close_silent(now);
        self.close_stalled(now);
        self.send_pings(now, call_interval_ms);
    }

    fn is_same(&self, key: Key, serial: u32) -> bool {
        self.connections.get(key.0 as usize).is_some_and(|c| c.serial == serial)
    }

    fn close_unconnected(&mut self, now: Now) {
        while let Some((key, serial)) = self.connects.pop_due(now.ms()) {
            let is_waiting = self.connections.get(key.0 as usize).is_some_and(|connection| {
                connection.serial == serial && connection.phase == Phase::AwaitingConnect
            });
            if is_waiting {
                let seconds = self.limits.handshake_timeout_ms as f64 / 1_000.0;
                let reason = format!("no `connect` command came within {seconds} s");
                self.close(key, CloseCode::CONNECT_TIMEOUT, &reason, now);
            }
        }
    }

    fn close_unfinished(&mut self, now: Now) {
        while let Some((key, serial)) = self.unfinished.pop_due(now.ms()) {
            let Some(connection) = self.connections.get(key.0 as usize) else { continue };
            let Some((since_ms, received)) = connection.decoder.unfinished_since() else {
                continue;
            };
            let waited_ms = now.ms() - since_ms;
            if connection.serial != serial || waited_ms < self.limits.message_timeout_ms {
                // Another message, which has a deadline of its own.
                continue;
            }
            let bytes_ms =
                received as u64 * 1_000 / self.limits.message_bytes_per_second_min.max(1);
            if waited_ms < self.limits.message_timeout_ms + bytes_ms {
                self.unfinished.push(key, serial, now.ms());
                continue;
            }
            let reason = format!("a message was not finished within {} s", waited_ms / 1_000);
            self.close(key, CloseCode::MESSAGE_TIMEOUT, &reason, now);
        }
    }

    fn end_overdue_closings(&mut self, now: Now) {
        while let Some((key, serial)) = self.closings.pop_due(now.ms()) {
            if self.is_same(key, serial) {
                self.end(key);
            }
        }
    }

    fn close_silent(&mut self, now: Now) {
        while let Some((key, serial, pinged_ms)) = self.pongs.pop_due_with_start(now.ms()) {
            let is_silent = self.connections.get(key.0 as usize).is_some_and(|connection| {
                // Behind a backlog the ping may not have arrived; taking bytes is life enough.
                let takes_bytes = connection.is_waiting() && connection.progress_ms >= pinged_ms;
                connection.serial == serial && connection.heard_ms < pinged_ms && !takes_bytes
            });
            if is_silent {
                let seconds = self.limits.pong_timeout_ms as f64 / 1_000.0;
                let reason = format!("no pong came within {seconds} s");
                self.close(key, CloseCode::NO_PONG, &reason, now);
            }
        }
    }

    fn close_stalled(&mut self, now: Now) {
        while let Some((key, serial)) = self.stalls.pop_due(now.ms()) {
            let Some(connection) = self.connections.get_mut(key.0 as usize) else { continue };
            if connection.serial != serial {
                continue;
            }
            connection.is_watched = connection.is_waiting();
            if !connection.is_watched {
                continue;
            }
            let silent_ms = now.ms().saturating_sub(connection.progress_ms);
            if silent_ms < self.limits.stall_timeout_ms {
                self.stalls.push(key, serial, now.ms());
                continue;
            }
            let reason = format!("no byte was taken for {} s; read faster", silent_ms / 1_000);
            self.close(key, CloseCode::SLOW_CONSUMER, &reason, now);
        }
    }

    /// Pings what is due, a part of it at a time, so that connections which came together are
    /// not pinged together for ever.
    fn send_pings(&mut self, now: Now, call_interval_ms: u64) {
        const FEWEST: u64 = 32;
        let share = 2 * self.pings.len() as u64 * call_interval_ms / self.limits.ping_interval_ms;
        for _ in 0..share.max(FEWEST) {
            let Some((key, serial)) = self.pings.pop_due(now.ms()) else { return };
            let Some(connection) = self.connections.get(key.0 as usize) else { continue };
            if connection.serial != serial || connection.phase == Phase::Closing {
                continue;
            }
            let frames = self.ping_frames[connection.form.index()].clone();
            self.send(key, frames, now);
            self.flush_outbox(key, now);
            self.pings.push(key, serial, now.ms());
            self.pongs.push(key, serial, now.ms());
        }
    }
}
