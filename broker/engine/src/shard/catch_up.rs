//! How a connection that fell behind gets what it is owed from the topics' rings.

use fanfare_protocol::{CloseCode, Codec, Event, Gap, Mode};

use super::connection::{Connection, Phase};
use super::{Key, Shard, Socket};
use crate::time::Now;
use crate::topics::{CatchUp, Topic, WireForm};
use crate::ws::{FrameBuilder, Opcode};

impl<S: Socket> Shard<S> {
    /// Queues what a connection is owed, up to the high-water mark. To be called when its outbox
    /// is empty; whether anything was queued.
    pub(super) fn catch_up(&mut self, key: Key, now: Now) -> bool {
        if !self.connections.get(key.0 as usize).is_some_and(Connection::is_behind) {
            return false;
        }
        // Marked messages of topics that are behind are in the rings too; drop the marks first,
        // or they would come twice.
        self.stage_pending(key, now);
        while let Some(connection) = self.connections.get_mut(key.0 as usize) {
            if connection.phase == Phase::Closing
                || connection.outbox_bytes() >= self.limits.outbox_high_water_bytes
            {
                break;
            }
            let Some((local, after)) = connection.next_behind() else { break };
            let subscription = connection.subscription(local);
            let (Some(at), Some(local_topic)) = (subscription, self.locals.get(local)) else {
                connection.forget_behind(local);
                continue;
            };
            let mode = connection.subscriptions[at].mode;
            let topic = local_topic.topic.clone();
            let bytes_max = self.limits.outbox_high_water_bytes;
            let step = self.topics.catch_up(&topic, self.index, mode, after, bytes_max);
            self.take_step(key, local, mode, &topic, &step, now);
        }
        self.connections.get(key.0 as usize).is_some_and(|c| c.outbox().is_some())
    }

    fn take_step(
        &mut self,
        key: Key,
        local: u32,
        mode: Mode,
        topic: &Topic,
        step: &CatchUp,
        now: Now,
    ) {
        if let (Some((from, to)), Mode::All) = (step.missed, mode) {
            self.tell_gap(key, topic, from, to, now);
        }
        let Some(connection) = self.connections.get_mut(key.0 as usize) else { return };
        if connection.phase == Phase::Closing {
            return;
        }
        for message in &step.messages {
            let frame = message.frame(connection.form).clone();
            connection.change_outbox(&self.limits, &self.counters, |outbox| outbox.push(frame));
            self.counters.messages_out.add(1);
        }
        if !step.is_complete {
            connection.fall_behind(local, step.up_to);
            return;
        }
        connection.forget_behind(local);
        if step.has_older_mail {
            self.locals.skip_up_to(local, key, step.up_to);
        }
    }

    /// Says which messages are lost to a subscriber. The raw stream has no words for it, so it
    /// is closed.
    fn tell_gap(&mut self, key: Key, topic: &Topic, from: u64, to: u64, now: Now) {
        self.counters.gaps.add(1);
        self.counters.gap_messages.add(to - from + 1);
        let Some(connection) = self.connections.get_mut(key.0 as usize) else { return };
        let WireForm::Sdk(codec) = connection.form else {
            let reason = format!("messages {from} to {to} were not taken in time and are gone");
            return self.close(key, CloseCode::SLOW_CONSUMER, &reason, now);
        };
        let gap =
            Gap { topic: topic.name().to_string(), epoch: topic.epoch().to_string(), from, to };
        let mut frame = FrameBuilder::with_capacity(96);
        Event::Gap(gap).encode(codec, frame.payload());
        let opcode = if codec == Codec::Json { Opcode::Text } else { Opcode::Binary };
        let (frame, _) = frame.finish(opcode);
        connection.change_outbox(&self.limits, &self.counters, |outbox| outbox.push(frame));
    }
}
