//! How a connection that fell behind gets what it is owed from the topics' rings.

use std::collections::HashMap;
use std::sync::Arc;

use fanfare_protocol::{CloseCode, Event, Gap, Mode};

use super::connection::{Phase, Terms};
use super::{Key, Shard, Socket};
use crate::outbox::Outbox;
use crate::sdk_frame::sdk_frame;
use crate::time::Now;
use crate::topics::{CatchUp, Topic, WireForm};

impl<S: Socket> Shard<S> {
    /// Queues what a connection is owed, up to the high-water mark. To be called when its outbox
    /// is empty; whether anything was queued.
    pub(super) fn catch_up(&mut self, key: Key, now: Now) -> bool {
        if self.connections.get(key.0 as usize).is_none_or(|c| c.behind().is_none()) {
            return false;
        }
        // Marked messages of topics that are behind are in the rings too; drop the marks first,
        // or they would come twice.
        self.stage_pending(key, now);
        while let Some(connection) = self.connections.get_mut(key.0 as usize) {
            if connection.phase == Phase::Closing
                || connection.outbox_bytes() >= self.marks.high_bytes
            {
                break;
            }
            let Some((local, after)) = connection.next_behind() else { break };
            let through = self.locals.get(local).and_then(|local_topic| {
                let (_, terms) = connection.through(local, &local_topic.patterns)?;
                Some((local_topic.topic.clone(), terms))
            });
            let Some((topic, terms)) = through else {
                self.forget_behind(key, local);
                continue;
            };
            let bytes_max = self.marks.high_bytes;
            let step = self.topics.catch_up(&topic, self.index, terms.mode, after, bytes_max);
            if terms.mode == Mode::Latest {
                self.count_merged(key, after, &step);
            }
            self.take_step(key, (local, terms), &topic, &step, now);
        }
        self.connections.get(key.0 as usize).is_some_and(|c| c.outbox().is_some())
    }

    fn take_step(
        &mut self,
        key: Key,
        (local, terms): (u32, Terms),
        topic: &Arc<Topic>,
        step: &CatchUp,
        now: Now,
    ) {
        if let (Some((from, to)), Mode::All) = (step.missed, terms.mode) {
            self.tell_gap(key, topic, from, to, now);
        }
        let Some(connection) = self.connections.get_mut(key.0 as usize) else { return };
        if connection.phase == Phase::Closing {
            return;
        }
        let replaceable = Some(local).filter(|_| terms.mode == Mode::Latest);
        for message in &step.messages {
            let frame = message.frame(connection.form).clone();
            let queue = |outbox: &mut Outbox| outbox.push_message(frame, replaceable, now.ms());
            connection.change_outbox(&self.marks, &self.counters, queue);
            self.counters.messages_out.add(1);
        }
        if !step.is_complete {
            return self.fall_behind(key, local, step.up_to, now);
        }
        self.catch_up_done(key, local, step, now);
    }

    /// A connection has everything of a topic up to where `step` has led.
    fn catch_up_done(&mut self, key: Key, local: u32, step: &CatchUp, now: Now) {
        self.forget_behind(key, local);
        let Some(local_topic) = self.locals.get_mut(local) else { return };
        // The next ping may tell the head again, which it could not while this was owed.
        local_topic.changed_ms = now.ms();
        if let Some(tiers) = local_topic.tiers.as_deref_mut() {
            tiers.tell_again(now.ms());
        }
        if step.has_older_mail || local_topic.holds_any() {
            self.locals.skip_up_to(local, key, step.up_to);
        }
    }

    /// Puts newer messages in the place of those that wait and are not begun, where the topic is
    /// owed by now: a reader of mode `latest` that goes on gets nothing older than its socket held.
    /// In their place, because pings behind them tell how far the connection has come.
    pub(super) fn renew_waiting(&mut self, key: Key, now: Now) {
        if self.connections.get(key.0 as usize).is_none_or(|c| c.behind().is_none()) {
            return;
        }
        // As in a catch-up.
        self.stage_pending(key, now);
        let Some(connection) = self.connections.get(key.0 as usize) else { return };
        let (Some(outbox), Some(behind)) = (connection.outbox(), connection.behind()) else {
            return;
        };
        let mut newest = HashMap::new();
        let mut steps = Vec::new();
        for local in outbox.replaceable_topics() {
            let Some(after) = behind.get(local).filter(|_| !newest.contains_key(&local)) else {
                continue;
            };
            let Some(topic) = self.locals.get(local) else { continue };
            let through = connection.through(local, &topic.patterns);
            if through.is_none_or(|(_, terms)| terms.mode != Mode::Latest) {
                continue;
            }
            let step = self.topics.catch_up(&topic.topic, self.index, Mode::Latest, after, 0);
            // Where the newest is not kept any more, what waits is the newest that there is.
            if let Some(message) = step.messages.last() {
                newest.insert(local, Some(message.frame(connection.form).clone()));
                steps.push((local, after, step));
            }
        }
        let Some(connection) = self.connections.get_mut(key.0 as usize) else { return };
        if newest.is_empty() || connection.phase == Phase::Closing {
            return;
        }
        let mut replaced = 0;
        let renew = |outbox: &mut Outbox| replaced = outbox.renew(&mut newest);
        connection.change_outbox(&self.marks, &self.counters, renew);
        connection.extras_mut().merged += replaced;
        self.counters.messages_merged.add(replaced);
        for (local, after, step) in steps {
            self.count_merged(key, after, &step);
            self.catch_up_done(key, local, &step, now);
        }
    }

    /// Counts what a subscription of mode `latest` was spared.
    fn count_merged(&mut self, key: Key, after: u64, step: &CatchUp) {
        let merged = (step.up_to - after).saturating_sub(step.messages.len() as u64);
        if merged > 0
            && let Some(connection) = self.connections.get_mut(key.0 as usize)
        {
            connection.extras_mut().merged += merged;
            self.counters.messages_merged.add(merged);
        }
    }

    /// Says which messages are lost to a subscriber. The raw stream has no words for it, so it
    /// is closed.
    fn tell_gap(&mut self, key: Key, topic: &Topic, from: u64, to: u64, now: Now) {
        self.counters.gaps.add(1);
        self.counters.gap_messages.add(to - from + 1);
        let Some(connection) = self.connections.get_mut(key.0 as usize) else { return };
        connection.extras_mut().lost += to - from + 1;
        let WireForm::Sdk(codec) = connection.form else {
            let reason = format!("messages {from} to {to} were not taken in time and are gone");
            return self.close(key, CloseCode::SLOW_CONSUMER, &reason, now);
        };
        let gap =
            Gap { topic: topic.name().to_string(), epoch: topic.epoch().to_string(), from, to };
        let frame = sdk_frame(codec, 96, |out| Event::Gap(gap).encode(codec, out));
        let queue = |outbox: &mut Outbox| outbox.push(frame, now.ms());
        connection.change_outbox(&self.marks, &self.counters, queue);
    }
}
