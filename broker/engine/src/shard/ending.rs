//! How connections end: a close frame behind what is owed, or no word at all.

use bytes::Bytes;
use fanfare_protocol::{CloseCode, Drain, Event, STREAM_RETRY_MS, StreamEvent};

use super::connection::Phase;
use super::fanout::Pending;
use super::{Key, ReadOutcome, Shard, Socket};
use crate::event_frame::event_frame;
use crate::fault::{Fault, planted};
use crate::outbox::Outbox;
use crate::sdk_frame::sdk_frame;
use crate::time::Now;
use crate::topics::{FrameParts, WireForm};
use crate::ws::{DecodeError, close_frame};

impl<S: Socket> Shard<S> {
    /// Closes up to `connections_max` connections, as a broker that restarts. Their clients are
    /// told to come back spread over `window_ms`, where their form has words for it.
    pub fn shut_down(&mut self, connections_max: usize, window_ms: u64, now: Now) {
        let open = self.connections.iter().filter(|(_, c)| c.phase != Phase::Closing);
        let keys: Vec<Key> = open.map(|(key, _)| key).take(connections_max).collect();
        let drain = Event::Drain(Drain { window_ms });
        let reason = "the broker restarts; come back";
        let mut returns = self.spread_returns(&keys, window_ms);
        for key in keys {
            if let Some(WireForm::Sdk(codec)) = self.form(key) {
                self.send(key, sdk_frame(codec, 48, |out| drain.encode(codec, out)), now);
                // Or the connection would look blocked to what is still to come before the end.
                self.flush_outbox(key, now);
            }
            let code = CloseCode::SERVICE_RESTART;
            let is_told_when = self.form(key).is_some_and(WireForm::is_events);
            let retry_ms = is_told_when.then(|| returns.next()).flatten();
            let last = self.last_word(key, code, reason, retry_ms.unwrap_or(STREAM_RETRY_MS));
            self.begin_close(key, Some(code), last, now);
        }
    }

    /// When each reader of an event stream among `keys` is to come back: after the usual wait, and
    /// evenly over `window_ms`. It does as it is told, and knows nothing of chance.
    fn spread_returns(&self, keys: &[Key], window_ms: u64) -> impl Iterator<Item = u64> + use<S> {
        let is_told = |key: &&Key| self.form(**key).is_some_and(WireForm::is_events);
        let told = keys.iter().filter(is_told).count() as u64;
        (0..told).map(move |place| STREAM_RETRY_MS + window_ms * (2 * place + 1) / (2 * told))
    }

    /// What ends a connection, in its form.
    fn last_word(&self, key: Key, code: CloseCode, reason: &str, retry_ms: u64) -> Bytes {
        match self.form(key) {
            Some(WireForm::TopicEvents | WireForm::Events) => {
                event_frame(StreamEvent::Close { code, reason, retry_ms }, 128)
            }
            _ => close_frame(Some(code), reason),
        }
    }

    pub(super) fn refuse(&mut self, key: Key, error: DecodeError, now: Now) {
        self.close(key, error.close_code(), &error.to_string(), now);
    }

    /// Closes a connection for a reason of the broker's.
    pub(super) fn close(&mut self, key: Key, code: CloseCode, reason: &str, now: Now) {
        self.note_closed(key, code, reason);
        let last = self.last_word(key, code, reason, STREAM_RETRY_MS);
        self.begin_close(key, Some(code), last, now);
    }

    pub(super) fn begin_close(&mut self, key: Key, code: Option<CloseCode>, last: Bytes, now: Now) {
        if !self.is_live(key) {
            return;
        }
        if code != Some(CloseCode::SLOW_CONSUMER) && !planted(Fault::CloseEarly) {
            // What was published before the end, by this connection too, comes before the end.
            self.drain_mailbox(usize::MAX, now);
            self.stage_pending(key, now);
            self.send_all_held(key, now);
        }
        self.leave_all(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.phase == Phase::Closing {
            return;
        }
        connection.phase = Phase::Closing;
        let parts = FrameParts::of_other(connection.form, last.len());
        self.counters.of(connection.form).count_other(parts);
        connection.pending = Pending::default();
        let decoder = std::mem::take(&mut connection.decoder);
        self.counters.unfinished_bytes.sub(decoder.buffered_bytes() as u64);
        connection.change_outbox(&self.marks, &self.counters, |outbox| {
            if code == Some(CloseCode::SLOW_CONSUMER) {
                outbox.drop_unbegun();
            }
            outbox.push(last, now.ms());
        });
        self.closings.push(key, connection.serial, now.ms());
        self.counters.count_close(code);
        self.flush_outbox(key, now);
    }

    /// The peer is gone, or done after a close.
    pub(super) fn end(&mut self, key: Key) -> ReadOutcome {
        self.leave_all(key);
        if let Some(mut connection) = self.connections.remove(key) {
            connection.change_outbox(&self.marks, &self.counters, |outbox| {
                if !planted(Fault::LeakOutboxBytes) {
                    *outbox = Outbox::default();
                }
            });
            self.counters.unfinished_bytes.sub(connection.decoder.buffered_bytes() as u64);
            if connection.phase != Phase::Closing {
                self.counters.count_close(None);
            }
            self.counters.connections.sub(1);
        }
        ReadOutcome::Gone
    }
}
