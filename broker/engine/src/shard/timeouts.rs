//! What happens to connections when time passes: pings, and ends that are overdue.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_protocol::{CloseCode, Event, Mode, Ping};

use super::connection::{Connection, Phase, Subscription};
use super::{Key, Shard, Socket};
use crate::fault::{Fault, planted};
use crate::sdk_frame::sdk_frame;
use crate::time::Now;
use crate::topics::WireForm;
use crate::ws::ping_frame;

/// Topics looked at for being retired each time.
const SWEEP_STEP: usize = 256;

impl<S: Socket> Shard<S> {
    /// Looks after everything that is due. To be called every few tens of milliseconds;
    /// `call_interval_ms` is how often it is, from which follows how many pings to send at once.
    pub fn handle_timeouts(&mut self, now: Now, call_interval_ms: u64) {
        self.renew_limits();
        self.close_unconnected(now);
        self.close_unfinished(now);
        self.end_overdue_closings(now);
        self.close_silent(now);
        self.close_stalled(now);
        self.send_pings(now, call_interval_ms);
        self.tell_places(now, call_interval_ms);
        self.tighten_marks(now);
        self.count_states(now, call_interval_ms);
        self.counters.ticked_ms.set(now.ms());
        if self.fanout.is_empty() {
            self.locals.sweep(SWEEP_STEP);
        }
    }

    /// Takes over limits that have changed. Those of the queues of deadlines stay: a queue has one
    /// interval for good.
    fn renew_limits(&mut self) {
        let limits = self.topics.live_limits();
        if !Arc::ptr_eq(&limits, &self.limits) {
            self.limits = limits;
            self.marks.renew(&self.limits);
        }
    }

    /// Adapts the marks to what the whole node has unsent, and closes who is over them.
    fn tighten_marks(&mut self, now: Now) {
        let outbox_bytes = self.counters.outbox_bytes.get() as usize;
        let total = self.topics.outbox_totals().report(self.index, outbox_bytes);
        self.marks.adapt(&self.limits, total);
        self.counters.outbox_pressure.set(self.marks.pressure().into());
        if !self.marks.are_tightened() || planted(Fault::SpareTheWorst) {
            return;
        }
        let over = |connection: &Connection<S>| {
            connection.phase != Phase::Closing && connection.outbox_bytes() >= self.marks.max_bytes
        };
        let worst: Vec<Key> = self
            .connections
            .iter()
            .filter(|(_, connection)| over(connection))
            .map(|(key, _)| key)
            .collect();
        worst.into_iter().for_each(|key| self.close_slow(key, now));
    }

    fn is_same(&self, key: Key, serial: u32) -> bool {
        self.connections.get(key).is_some_and(|c| c.serial == serial)
    }

    fn close_unconnected(&mut self, now: Now) {
        while let Some((key, serial)) = self.connects.pop_due(now.ms()) {
            let is_waiting = self.connections.get(key).is_some_and(|connection| {
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
            let Some(connection) = self.connections.get(key) else { continue };
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
            let is_silent = self.connections.get(key).is_some_and(|connection| {
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
            let Some(connection) = self.connections.get_mut(key) else { continue };
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
            let Some((key, serial, since_ms)) = self.pings.pop_due_with_start(now.ms()) else {
                return;
            };
            let Some(connection) = self.connections.get(key) else { continue };
            if connection.serial != serial || connection.phase == Phase::Closing {
                continue;
            }
            // What is marked goes first, so that the heads tell what was sent.
            self.stage_pending(key, now);
            self.update_places(key);
            let frames = self.ping(key, since_ms);
            self.send(key, frames, now);
            self.flush_outbox(key, now);
            self.pings.push(key, serial, now.ms());
            // Who reads events says nothing; the kernel tells when what is sent does not arrive.
            if self.form(key).is_some_and(|form| !form.is_events()) {
                self.pongs.push(key, serial, now.ms());
            }
        }
    }

    /// A ping for one connection, with the heads of its topics that changed since `since_ms`.
    fn ping(&self, key: Key, since_ms: u64) -> Bytes {
        let Some(connection) = self.connections.get(key) else { return Bytes::new() };
        let plain = &self.ping_frames[connection.form.index()];
        if connection.form == WireForm::Events {
            return [plain.clone(), self.place_event(connection)].concat().into();
        }
        let WireForm::Sdk(codec) = connection.form else { return plain.clone() };
        let heads = self.heads(connection, since_ms);
        if heads.is_empty() {
            return plain.clone();
        }
        let event = Event::Ping(Ping { heads });
        let event = sdk_frame(codec, 256, |out| event.encode(codec, out));
        [ping_frame(), event].concat().into()
    }

    /// Up to which offset the connection was sent the topics that it subscribes to by name, where
    /// that changed since `since_ms`. Never more than it was sent, or passed over for a newer one.
    fn heads(&self, connection: &Connection<S>, since_ms: u64) -> BTreeMap<String, u64> {
        let mut heads = BTreeMap::new();
        for Subscription { local, terms, .. } in &connection.subscriptions {
            let Some(topic) = self.locals.get(*local) else { continue };
            let owed_after = connection.behind().and_then(|behind| behind.get(*local));
            let tier = topic.tiers.as_deref().and_then(|tiers| tiers.get(terms.tier));
            let (offset, changed_ms) = match (owed_after, tier) {
                _ if planted(Fault::TellHeadEarly) => (topic.newest, topic.changed_ms),
                // Told with the first ping after it has caught up.
                (Some(_), _) if terms.mode == Mode::Latest => continue,
                (Some(after), _) => (after, topic.changed_ms),
                (None, Some(tier)) if tier.holds() => (tier.sent_offset, tier.sent_ms),
                (None, Some(tier)) => (topic.newest, topic.changed_ms.max(tier.sent_ms)),
                (None, None) => (topic.newest, topic.changed_ms),
            };
            if offset > 0 && changed_ms >= since_ms {
                heads.insert(topic.topic.name().to_string(), offset);
            }
        }
        heads
    }
}
