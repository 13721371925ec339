//! How a connection that fell behind gets what it is owed from the topics' rings.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use fanfare_protocol::{CloseCode, Event, Gap, Mode};
use smallvec::SmallVec;

use super::behind::Behind;
use super::connection::{Phase, SLICES_MAX};
use super::{Key, Shard, Socket};
use crate::fault::{Fault, planted};
use crate::outbox::{Outbox, Renewals};
use crate::sdk_frame::sdk_frame;
use crate::time::Now;
use crate::topics::{CatchUp, FrameParts, Topic, WireForm};

/// What came of catching up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CaughtUp {
    /// Nothing is owed.
    Done,
    /// Something was queued or written, and more may be owed.
    Partly,
    /// The socket takes nothing.
    Blocked,
    /// The connection was lost.
    Lost,
}

/// The newest message of a topic that a connection is owed.
struct Newest {
    local: u32,
    step: CatchUp,
    frame: Bytes,
}

impl<S: Socket> Shard<S> {
    /// Gives a connection a part of what it is owed. To be called when its outbox is empty.
    pub(super) fn catch_up(&mut self, key: Key, now: Now) -> CaughtUp {
        if self.connections.get(key).is_none_or(|c| c.behind().is_none()) {
            return CaughtUp::Done;
        }
        // Marked messages of topics that are behind are in the rings too; drop the marks first,
        // or they would come twice.
        self.stage_pending(key, now);
        while let Some(connection) = self.connections.get_mut(key) {
            if connection.phase == Phase::Closing
                || connection.outbox_bytes() >= self.marks.high_bytes
            {
                break;
            }
            let Some((local, after)) = connection.behind_mut().and_then(Behind::next) else {
                break;
            };
            let Some((topic, mode)) = self.owed(key, local) else {
                self.forget_behind(key, local);
                continue;
            };
            if mode == Mode::Latest {
                self.turn_back(key, local);
                let is_empty = self.connections[key].outbox().is_none();
                return if is_empty { self.write_newest(key, now) } else { CaughtUp::Partly };
            }
            let bytes_max = self.marks.high_bytes;
            let step = self.topics.catch_up(&topic, self.index, mode, after, bytes_max);
            self.queue_missed(key, local, &topic, step, now);
        }
        let waits = self.connections.get(key).is_some_and(|c| c.outbox().is_some());
        if waits { CaughtUp::Partly } else { CaughtUp::Done }
    }

    /// The topic at `local` and the mode in which a connection gets it.
    fn owed(&self, key: Key, local: u32) -> Option<(Arc<Topic>, Mode)> {
        let local_topic = self.locals.get(local)?;
        let connection = self.connections.get(key)?;
        let (_, terms) = connection.through(local, &local_topic.patterns)?;
        Some((local_topic.topic.clone(), terms.mode))
    }

    fn turn_back(&mut self, key: Key, local: u32) {
        let connection = self.connections.get_mut(key);
        if let Some(behind) = connection.and_then(|connection| connection.behind_mut()) {
            behind.turn_back(local);
        }
    }

    /// Queues what a subscription of mode `all` has missed.
    fn queue_missed(
        &mut self,
        key: Key,
        local: u32,
        topic: &Arc<Topic>,
        mut step: CatchUp,
        now: Now,
    ) {
        if let Some((from, to)) = step.missed.filter(|_| !planted(Fault::HideGap)) {
            self.tell_gap(key, topic, from, to, now);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.phase == Phase::Closing {
            return;
        }
        let mut queued = 0;
        for message in &step.messages {
            // The step is bounded by payloads; of short ones the frames may be far longer.
            if queued > 0 && connection.outbox_bytes() >= self.marks.high_bytes {
                break;
            }
            let frame = message.frame(connection.form).clone();
            let queue = |outbox: &mut Outbox| outbox.push(frame, now.ms());
            connection.change_outbox(&self.marks, &self.counters, queue);
            queued += 1;
        }
        step.cut(queued);
        self.note_served(key, local, &step, now);
    }

    /// Writes the newest message of the topics that are owed in mode `latest`, and only what the
    /// socket takes: what it does not take is not queued, because it would be old by the time it
    /// is sent.
    fn write_newest(&mut self, key: Key, now: Now) -> CaughtUp {
        let batch = self.newest(key);
        let Some(connection) = self.connections.get_mut(key) else {
            return CaughtUp::Lost;
        };
        let frames = batch.iter().map(|newest| &newest.frame);
        let written = write_frames(&mut connection.socket, frames);
        let mut left = match written {
            Ok(written) => written,
            Err(error) if is_temporary(&error) => {
                if let Some(first) = batch.first() {
                    self.turn_back(key, first.local);
                }
                // No event follows an interrupted write: the socket may well take bytes now.
                let is_full = error.kind() == io::ErrorKind::WouldBlock;
                return if is_full { CaughtUp::Blocked } else { CaughtUp::Partly };
            }
            Err(_) => {
                self.end(key);
                return CaughtUp::Lost;
            }
        };
        connection.progress_ms = now.ms();
        self.counters.writes.add(1);
        self.counters.bytes_out.add(left as u64);
        for Newest { local, step, frame } in batch {
            if left == 0 && !frame.is_empty() {
                self.turn_back(key, local);
                break;
            }
            let Some(connection) = self.connections.get_mut(key) else { break };
            if left < frame.len() {
                let queue = |outbox: &mut Outbox| outbox.push_rest(&frame, left, now.ms());
                connection.change_outbox(&self.marks, &self.counters, queue);
            }
            left = left.saturating_sub(frame.len());
            self.count_merged(key, local, &step);
            self.note_served(key, local, &step, now);
        }
        CaughtUp::Partly
    }

    /// The newest messages that a connection is owed next, for one write; an empty frame where
    /// there is none any more.
    fn newest(&mut self, key: Key) -> SmallVec<[Newest; SLICES_MAX]> {
        let mut batch: SmallVec<[Newest; SLICES_MAX]> = SmallVec::new();
        while batch.len() < SLICES_MAX
            && let Some(connection) = self.connections.get_mut(key)
            && let Some((local, after)) = connection.behind_mut().and_then(Behind::next)
        {
            let form = connection.form;
            let is_round = batch.first().is_some_and(|first| first.local == local);
            let owed = self.owed(key, local).filter(|(_, mode)| *mode == Mode::Latest);
            let Some((topic, mode)) = owed.filter(|_| !is_round) else {
                self.turn_back(key, local);
                break;
            };
            let step = self.topics.catch_up(&topic, self.index, mode, after, 0);
            let frame = step.messages.first().map(|message| message.frame(form).clone());
            batch.push(Newest { local, step, frame: frame.unwrap_or_default() });
        }
        batch
    }

    /// Notes that a connection has, or has queued, what `step` holds.
    fn note_served(&mut self, key: Key, local: u32, step: &CatchUp, now: Now) {
        if let Some(form) = self.form(key) {
            let mut parts = FrameParts::default();
            step.messages.iter().for_each(|message| parts.add(FrameParts::of(message, form)));
            self.counters.of(form).count_messages(step.messages.len(), parts);
        }
        self.counters.messages_recovered.add(step.messages.len() as u64);
        if !step.is_complete {
            return self.fall_behind(key, local, step.up_to, now);
        }
        self.forget_behind(key, local);
        let Some(local_topic) = self.locals.get_mut(local) else { return };
        // The next ping may tell the head again, which it could not while this was owed.
        local_topic.changed_ms = now.ms();
        let has_older = step.has_older_mail || local_topic.holds_any();
        if has_older && !planted(Fault::ForgetMailAfterCatchUp) {
            self.locals.skip_up_to(local, key, step.up_to);
        }
    }

    /// Puts newer messages in the place of those that wait and are not begun, where the topic is
    /// owed by now: a reader of mode `latest` that goes on gets nothing older than its socket held.
    /// In their place, because pings behind them tell how far the connection has come.
    pub(super) fn renew_waiting(&mut self, key: Key, now: Now) {
        if self.connections.get(key).is_none_or(|c| c.behind().is_none()) {
            return;
        }
        // As in a catch-up.
        self.stage_pending(key, now);
        let (mut newest, steps) = self.renewals(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if newest.is_empty() || connection.phase == Phase::Closing {
            return;
        }
        let mut replaced = 0;
        let renew = |outbox: &mut Outbox| replaced = outbox.renew(&mut newest);
        connection.change_outbox(&self.marks, &self.counters, renew);
        connection.extras_mut().merged += replaced;
        self.counters.messages_merged.add(replaced);
        for (local, step) in steps {
            self.count_merged(key, local, &step);
            self.note_served(key, local, &step, now);
        }
    }

    /// The newest frames of the topics that a connection is owed while an older message of them
    /// waits and is not begun. Where the newest is not kept, what waits is the newest there is.
    fn renewals(&self, key: Key) -> (Renewals, Vec<(u32, CatchUp)>) {
        let (mut newest, mut steps) = (Renewals::new(), Vec::new());
        let Some(connection) = self.connections.get(key) else {
            return (newest, steps);
        };
        let topics = connection.outbox().into_iter().flat_map(Outbox::replaceable_topics);
        for local in topics {
            let owed = connection.behind().and_then(|behind| behind.get(local));
            let Some(after) = owed.filter(|_| !newest.contains_key(&local)) else { continue };
            let Some((topic, Mode::Latest)) = self.owed(key, local) else { continue };
            let step = self.topics.catch_up(&topic, self.index, Mode::Latest, after, 0);
            if let Some(message) = step.messages.last() {
                newest.insert(local, Some(message.frame(connection.form).clone()));
                steps.push((local, step));
            }
        }
        (newest, steps)
    }

    /// Counts what a subscription of mode `latest` was spared.
    fn count_merged(&mut self, key: Key, local: u32, step: &CatchUp) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(after) = connection.behind().and_then(|behind| behind.get(local)) else { return };
        let merged = (step.up_to - after).saturating_sub(step.messages.len() as u64);
        if merged > 0 {
            connection.extras_mut().merged += merged;
            self.counters.messages_merged.add(merged);
        }
    }

    /// Says which messages are lost to a subscriber. The raw stream has no words for it, so it
    /// is closed.
    fn tell_gap(&mut self, key: Key, topic: &Topic, from: u64, to: u64, now: Now) {
        self.counters.gaps.add(1);
        self.counters.gap_messages.add(to - from + 1);
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.extras_mut().lost += to - from + 1;
        let gap =
            Gap { topic: topic.name().to_string(), epoch: topic.epoch().to_string(), from, to };
        let frame = match connection.form {
            WireForm::Raw => {
                let reason = format!("messages {from} to {to} were not taken in time and are gone");
                return self.close(key, CloseCode::SLOW_CONSUMER, &reason, now);
            }
            WireForm::Sdk(codec) => sdk_frame(codec, 96, |out| Event::Gap(gap).encode(codec, out)),
            form @ (WireForm::TopicEvents | WireForm::Events) => super::events::gap(form, &gap),
        };
        let parts = FrameParts::of_other(connection.form, frame.len());
        self.counters.of(connection.form).count_other(parts);
        let queue = |outbox: &mut Outbox| outbox.push(frame, now.ms());
        connection.change_outbox(&self.marks, &self.counters, queue);
    }
}

/// Writes frames with one call.
pub(super) fn write_frames<'a>(
    socket: &mut impl Socket,
    frames: impl Iterator<Item = &'a Bytes>,
) -> io::Result<usize> {
    let frames = frames.filter(|frame| !frame.is_empty());
    let slices: SmallVec<[IoSlice<'_>; SLICES_MAX]> =
        frames.map(|frame| IoSlice::new(frame)).collect();
    if slices.is_empty() { Ok(0) } else { socket.write_vectored(&slices) }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
