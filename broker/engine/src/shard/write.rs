//! Everything that is written to sockets, and what waits when one takes no more.

use std::io;

use bytes::Bytes;
use fanfare_protocol::{CloseCode, Mode};

use super::connection::{Admission, Phase};
use super::{Key, Shard, Socket};
use crate::outbox::Outbox;
use crate::time::Now;

/// Most bytes that are copied together for one write. Beyond it a vectored write from the shared
/// frames costs less than the copy.
const CORK_BYTES_MAX: usize = 64 * 1_024;

/// Buffers for writing that all connections of a shard share.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// Frames of the connection at hand.
    list: Vec<u32>,
    /// Frames that `cork` holds. Connections with the same subscriptions have the same frames
    /// waiting, so the copy is often there already.
    corked: Vec<u32>,
    cork: Vec<u8>,
}

impl<S: Socket> Shard<S> {
    /// Writes marked messages to up to `connections_max` connections. Whether more is waiting.
    pub fn flush(&mut self, connections_max: usize, now: Now) -> bool {
        for turn in 0..connections_max {
            let Some(key) = self.fanout.next() else { break };
            self.flush_pending(key, turn == 0, now);
        }
        if self.fanout.reset_if_served() {
            self.writer.corked.clear();
        }
        !self.fanout.is_empty()
    }

    /// Writes the frames that are marked for a connection, or queues them if others wait.
    fn flush_pending(&mut self, key: Key, is_sample: bool, now: Now) {
        let Some(connection) = self.connections.get_mut(key.0 as usize) else { return };
        self.fanout.take(&mut connection.pending, &mut self.writer.list);
        let Some(&first) = self.writer.list.first() else { return };
        if is_sample {
            let waited_us = now.us.saturating_sub(self.fanout.frame(first).published.us);
            self.counters.delivery_us.record(waited_us);
        }
        if connection.is_waiting() {
            return self.queue_list(key, 0, true, now);
        }
        let total: usize = match self.writer.list[..] {
            [only] => self.fanout.frame(only).bytes.len(),
            _ => self.writer.list.iter().map(|&f| self.fanout.frame(f).bytes.len()).sum(),
        };
        let written = if let [only] = self.writer.list[..] {
            connection.socket.write(&self.fanout.frame(only).bytes)
        } else if total <= CORK_BYTES_MAX {
            self.writer.cork(&self.fanout);
            connection.socket.write(&self.writer.cork)
        } else {
            Ok(0)
        };
        self.counters.writes.add(1);
        match written {
            Ok(n) if n == total => {
                self.counters.bytes_out.add(n as u64);
                self.counters.messages_out.add(self.writer.list.len() as u64);
            }
            Ok(n) => {
                self.counters.bytes_out.add(n as u64);
                // Too much for one copy is no sign of a slow reader: nothing was tried yet.
                let is_blocked = total <= CORK_BYTES_MAX;
                self.queue_list(key, n, is_blocked, now);
                self.flush_outbox(key, now);
            }
            Err(e) if is_temporary(&e) => {
                self.queue_list(key, 0, true, now);
                self.watch(key, now);
            }
            Err(_) => {
                self.end(key);
            }
        }
    }

    /// Queues the frames of `writer.list` without the `written` bytes that are out already, or
    /// notes that they are owed. `is_blocked`: the socket takes nothing, so modes decide.
    fn queue_list(&mut self, key: Key, mut written: usize, is_blocked: bool, now: Now) {
        let Some(connection) = self.connections.get_mut(key.0 as usize) else { return };
        if connection.phase == Phase::Closing {
            return;
        }
        let (marks, counters, now_ms) = (&self.marks, &self.counters, now.ms());
        let mut fits = true;
        for frame in self.writer.list.iter().map(|&index| self.fanout.frame(index)) {
            let rest_is_out = written >= frame.bytes.len();
            if rest_is_out || written > 0 {
                if !rest_is_out {
                    let bytes = &frame.bytes;
                    let queue = |outbox: &mut Outbox| outbox.push_rest(bytes, written, now_ms);
                    connection.change_outbox(marks, counters, queue);
                }
                written = written.saturating_sub(frame.bytes.len());
                counters.messages_out.add(1);
                continue;
            }
            let terms = self.locals.get(frame.local).and_then(|topic| {
                connection.through(frame.local, &topic.patterns).map(|(_, terms)| terms)
            });
            if !is_blocked {
                // Bounded by what one fan-out may mark, and written right after.
                let is_latest = terms.is_some_and(|terms| terms.mode == Mode::Latest);
                let replaceable = frame.offset.filter(|_| is_latest).map(|_| frame.local);
                let bytes = frame.bytes.clone();
                let queue = |outbox: &mut Outbox| outbox.push_message(bytes, replaceable, now_ms);
                connection.change_outbox(marks, counters, queue);
                counters.messages_out.add(1);
                continue;
            }
            match connection.admission(frame, terms) {
                Admission::Queue => {
                    fits &= connection.enqueue(frame.bytes.clone(), marks, counters, now);
                    counters.messages_out.add(1);
                }
                Admission::Defer(after) => {
                    if connection.fall_behind(frame.local, after, now)
                        && let Some(topic) = self.locals.get_mut(frame.local)
                    {
                        topic.behind += 1;
                    }
                    counters.messages_deferred.add(1);
                }
                Admission::Owed => counters.messages_deferred.add(1),
                Admission::Leave => counters.notices_dropped.add(1),
            }
        }
        if !fits {
            self.close_slow(key, now);
        }
    }

    /// Moves frames that are marked for a connection into its outbox, so that what is sent next
    /// comes after them.
    pub(super) fn stage_pending(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key.0 as usize) else { return };
        if !connection.pending.is_empty() {
            let is_blocked = connection.is_waiting();
            self.fanout.take(&mut connection.pending, &mut self.writer.list);
            self.queue_list(key, 0, is_blocked, now);
        }
    }

    /// Sends a frame of the connection's own, behind everything that was sent before. It leaves
    /// with the next [`Self::flush_outbox`].
    pub(super) fn send(&mut self, key: Key, frame: Bytes, now: Now) {
        self.stage_pending(key, now);
        let Some(connection) = self.connections.get_mut(key.0 as usize) else { return };
        if connection.phase != Phase::Closing
            && !connection.enqueue(frame, &self.marks, &self.counters, now)
        {
            self.close_slow(key, now);
        }
    }

    /// Writes what waits for a connection, and then what it is owed, until there is nothing more
    /// or the socket takes no more.
    pub(super) fn flush_outbox(&mut self, key: Key, now: Now) {
        self.renew_waiting(key, now);
        while self.write_outbox(key, now) {
            if self.catch_up(key, now) {
                continue;
            }
            let Some(connection) = self.connections.get_mut(key.0 as usize) else { return };
            if connection.phase == Phase::Closing && connection.socket.shutdown_write().is_err() {
                self.end(key);
            }
            return;
        }
    }

    /// Writes the outbox; whether it is empty now.
    fn write_outbox(&mut self, key: Key, now: Now) -> bool {
        while let Some(connection) = self.connections.get_mut(key.0 as usize) {
            let Some(written) = connection.write_outbox() else { return true };
            self.counters.writes.add(1);
            match written {
                Ok(n) => {
                    connection.progress_ms = now.ms();
                    self.counters.bytes_out.add(n as u64);
                    connection.change_outbox(&self.marks, &self.counters, |o| o.advance(n));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.watch(key, now);
                    return false;
                }
                Err(_) => {
                    self.end(key);
                    return false;
                }
            }
        }
        false
    }

    /// Begins to look whether a connection that waits is stalled.
    fn watch(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key.0 as usize) else { return };
        if !connection.is_watched {
            connection.is_watched = true;
            connection.progress_ms = now.ms();
            self.stalls.push(key, connection.serial, now.ms());
        }
    }

    pub(super) fn close_slow(&mut self, key: Key, now: Now) {
        let reason = format!(
            "over {} bytes wait for this connection; read faster, or subscribe to less",
            self.marks.max_bytes
        );
        self.close(key, CloseCode::SLOW_CONSUMER, &reason, now);
    }
}

impl Writer {
    /// Makes `cork` the bytes of all frames in `list`.
    fn cork(&mut self, fanout: &super::fanout::Fanout) {
        if self.corked == self.list {
            return;
        }
        self.cork.clear();
        for &frame in &self.list {
            self.cork.extend_from_slice(&fanout.frame(frame).bytes);
        }
        self.corked.clone_from(&self.list);
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
