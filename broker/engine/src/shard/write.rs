//! Everything that is written to sockets, and what waits when one takes no more.

use std::io;

use bytes::Bytes;
use fanfare_protocol::{CloseCode, Mode};

use super::catch_up::CaughtUp;
use super::connection::{Admission, Phase, Terms};
use super::{Key, Shard, Socket};
use crate::fault::{Fault, planted};
use crate::outbox::Outbox;
use crate::time::Now;
use crate::topics::FrameParts;

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
    /// Topics on which the connection at hand has just fallen behind.
    fallen: Vec<u32>,
}

impl<S: Socket> Shard<S> {
    /// Writes marked messages to up to `connections_max` connections. Whether more is waiting.
    pub fn flush(&mut self, connections_max: usize, now: Now) -> bool {
        for turn in 0..connections_max {
            let Some(key) = self.fanout.next() else { break };
            self.flush_pending(key, turn == 0, now);
        }
        if self.fanout.reset_if_served() && !planted(Fault::KeepStaleBatch) {
            self.writer.corked.clear();
        }
        !self.fanout.is_empty()
    }

    /// Writes the frames that are marked for a connection, or queues them if others wait.
    fn flush_pending(&mut self, key: Key, is_sample: bool, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        self.fanout.take(&mut connection.pending, &mut self.writer.list);
        let Some(&first) = self.writer.list.first() else { return };
        if is_sample {
            let waited_us = now.us.saturating_sub(self.fanout.frame(first).published.us);
            self.counters.delivery_us.record(waited_us);
        }
        if connection.is_waiting() {
            return self.queue_list(key, 0, now);
        }
        let (mut total, mut parts) = (0, FrameParts::default());
        for frame in self.writer.list.iter().map(|&frame| self.fanout.frame(frame)) {
            total += frame.bytes.len();
            parts.add(frame.parts);
        }
        let form = connection.form;
        let written = if let [only] = self.writer.list[..] {
            connection.socket.write(&self.fanout.frame(only).bytes)
        } else if total <= CORK_BYTES_MAX {
            self.writer.cork(&self.fanout);
            connection.socket.write(&self.writer.cork)
        } else {
            return self.write_in_parts(key, now);
        };
        self.counters.writes.add(1);
        match written {
            Ok(n) if n == total => {
                self.counters.bytes_out.add(n as u64);
                self.counters.of(form).count_messages(self.writer.list.len(), parts);
            }
            Ok(n) => {
                self.counters.bytes_out.add(n as u64);
                self.queue_list(key, n, now);
                self.flush_outbox(key, now);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.queue_list(key, 0, now);
                self.watch(key, now);
            }
            // No event will say that the socket takes bytes: it may well do so now.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => self.write_in_parts(key, now),
            Err(_) => {
                self.end(key);
            }
        }
    }

    /// Writes the frames of `writer.list` through the outbox, no more at a time than may wait
    /// there: that they are many is no sign of a slow reader, but it may turn out to be one.
    fn write_in_parts(&mut self, key: Key, now: Now) {
        let mut taken = 0;
        while let Some(&index) = self.writer.list.get(taken) {
            taken += 1;
            let frame = self.fanout.frame(index);
            let (local, bytes, parts) = (frame.local, frame.bytes.clone(), frame.parts);
            let is_latest = frame.offset.is_some()
                && self.terms(key, local).is_some_and(|terms| terms.mode == Mode::Latest);
            let Some(connection) = self.connections.get_mut(key) else { return };
            let replaceable = is_latest.then_some(local);
            let queue = |outbox: &mut Outbox| outbox.push_message(bytes, replaceable, now.ms());
            connection.change_outbox(&self.marks, &self.counters, queue);
            self.counters.of(connection.form).count_messages(1, parts);
            let is_full = connection.outbox_bytes() >= self.marks.high_bytes;
            if is_full && !self.write_outbox(key, now) {
                self.writer.list.drain(..taken);
                return self.queue_list(key, 0, now);
            }
        }
        self.flush_outbox(key, now);
    }

    /// The terms on which a connection gets the messages of a topic.
    fn terms(&self, key: Key, local: u32) -> Option<Terms> {
        let patterns = &self.locals.get(local)?.patterns;
        let (_, terms) = self.connections.get(key)?.through(local, patterns)?;
        Some(terms)
    }

    /// Queues the frames of `writer.list` without the `written` bytes that are out already, or
    /// notes that they are owed: the socket takes nothing now, so modes decide.
    fn queue_list(&mut self, key: Key, mut written: usize, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
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
                counters.of(connection.form).count_messages(1, frame.parts);
                continue;
            }
            let terms = self.locals.get(frame.local).and_then(|topic| {
                connection.through(frame.local, &topic.patterns).map(|(_, terms)| terms)
            });
            match connection.admission(frame, terms) {
                Admission::Queue => {
                    fits &= connection.enqueue(frame.bytes.clone(), marks, counters, now);
                    counters.of(connection.form).count_messages(1, frame.parts);
                }
                Admission::Defer(after) => {
                    if connection.fall_behind(frame.local, after, now)
                        && let Some(topic) = self.locals.get_mut(frame.local)
                    {
                        topic.behind += 1;
                        counters.subscriptions_behind.add(1);
                        self.writer.fallen.push(frame.local);
                    }
                }
                Admission::Owed => {}
                Admission::Leave => counters.notices_dropped.add(1),
            }
        }
        while let Some(local) = self.writer.fallen.pop() {
            self.unlist(key, local);
        }
        if !fits {
            self.close_slow(key, now);
        }
    }

    /// Writes or queues frames that are marked for a connection, so that what is sent next comes
    /// after them. The connection may be gone then.
    pub(super) fn stage_pending(&mut self, key: Key, now: Now) {
        let connection = self.connections.get(key);
        if connection.is_some_and(|connection| !connection.pending.is_empty()) {
            self.flush_pending(key, false, now);
        }
    }

    /// Sends a frame of the connection's own, behind everything that was sent before. It leaves
    /// with the next [`Self::flush_outbox`].
    pub(super) fn send(&mut self, key: Key, frame: Bytes, now: Now) {
        if let Some(form) = self.form(key) {
            self.counters.of(form).count_other(FrameParts::of_other(form, frame.len()));
        }
        self.queue_own(key, frame, now);
    }

    /// As [`Self::send`], of what is counted already.
    pub(super) fn queue_own(&mut self, key: Key, frame: Bytes, now: Now) {
        self.stage_pending(key, now);
        // Much that is sent in one go is no sign of a slow reader: let it take that.
        if self.connections.get(key).is_some_and(|connection| connection.is_lagging) {
            self.write_outbox(key, now);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
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
            match self.catch_up(key, now) {
                CaughtUp::Partly => {}
                CaughtUp::Blocked => return self.watch(key, now),
                CaughtUp::Lost => return,
                CaughtUp::Done => return self.finish_close(key),
            }
        }
    }

    /// Tells the peer that nothing follows the close frame.
    fn finish_close(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.phase == Phase::Closing && connection.socket.shutdown_write().is_err() {
            self.end(key);
        }
    }

    /// Writes the outbox; whether it is empty now.
    pub(super) fn write_outbox(&mut self, key: Key, now: Now) -> bool {
        while let Some(connection) = self.connections.get_mut(key) {
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
        let Some(connection) = self.connections.get_mut(key) else { return };
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
        if planted(Fault::ShuffleBatch) {
            self.list.reverse();
        }
        for &frame in &self.list {
            self.cork.extend_from_slice(&fanout.frame(frame).bytes);
        }
        self.corked.clone_from(&self.list);
    }
}
