//! The snapshot with which a subscription to a pattern may begin: the newest message of each topic
//! that matches, all of one moment.
//!
//! The moment is a place in the shard's mailbox. All messages of the pattern's topics come through
//! it, and one that was published before another lies before it, whatever their topics are. So
//! what is newest in front of any place was newest on the whole node at one time, and no topic has
//! to be locked for the sake of another.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_protocol::{Event, SnapshotEnd, StreamEvent};
use smallvec::SmallVec;

use super::catch_up::write_frames;
use super::connection::{Phase, SLICES_MAX};
use super::{Key, Shard, Socket};
use crate::event_frame::event_frame;
use crate::fault::{Fault, planted};
use crate::mailbox::Mail;
use crate::outbox::Outbox;
use crate::sdk_frame::sdk_frame;
use crate::time::Now;
use crate::topics::{FrameParts, Message, TopicTable, WireForm};

/// A snapshot that is taken and not sent yet.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The pattern's place in the shard.
    pattern: u32,
    /// The newest message of each topic, by the topic's place in the shard.
    messages: Vec<(u32, Arc<Message>)>,
    is_of_one_moment: bool,
}

impl<S: Socket> Shard<S> {
    /// Takes the snapshot of a pattern for a connection that is about to subscribe to it: of the
    /// topics that it does not get already.
    pub(super) fn take_snapshot(&mut self, key: Key, pattern: u32, now: Now) -> Snapshot {
        let topics: BTreeSet<u32> = self.locals.patterns[pattern as usize].topics.clone();
        let wanted = topics.into_iter().filter(|local| self.is_new_to(key, *local));
        let newest = wanted.filter_map(|local| {
            Some((local, TopicTable::newest(&self.locals.topics[local as usize].topic)?))
        });
        let messages = newest.collect();
        let mut snapshot = Snapshot { pattern, messages, is_of_one_moment: true };
        // What was looked at early may have got messages meanwhile. Up to here they count.
        let is_torn = planted(Fault::TearSnapshot);
        let place = if is_torn { 0 } else { self.mailbox().len() };
        snapshot.is_of_one_moment = self.advance(&mut snapshot, key, place, now);
        if !snapshot.is_of_one_moment || is_torn {
            for (local, message) in &snapshot.messages {
                self.locals.skip_up_to(*local, key, message.offset());
            }
        }
        if planted(Fault::ForgetLastOfSnapshot) {
            snapshot.messages.pop();
        }
        snapshot
    }

    /// Takes this many messages out of the mailbox, for others and for the snapshot. `false`:
    /// there is no room for so many.
    fn advance(&mut self, snapshot: &mut Snapshot, key: Key, mails: usize, now: Now) -> bool {
        for _ in 0..mails {
            if !self.fanout.has_room() {
                return false;
            }
            let Some(mail) = self.mailbox().pop() else { break };
            self.open_mail(&mail, now);
            let Mail::Message(message) = mail else { continue };
            let Some(local) = self.locals.find(message.topic().id) else { continue };
            let is_matched =
                self.locals.patterns[snapshot.pattern as usize].topics.contains(&local);
            if is_matched && self.is_new_to(key, local) {
                snapshot.renew(local, message);
            }
        }
        if self.mailbox().is_empty() {
            self.locals.forget_fresh();
        }
        true
    }

    /// Whether a connection does not get a topic through any subscription.
    fn is_new_to(&self, key: Key, local: u32) -> bool {
        let patterns = &self.locals.topics[local as usize].patterns;
        let connection = self.connections.get(key);
        connection.is_some_and(|connection| connection.through(local, patterns).is_none())
    }

    /// Sends a snapshot behind all that was sent before, and says where it ends. What the socket
    /// does not take is owed like everything else that a slow reader is owed.
    pub(super) fn send_snapshot(&mut self, key: Key, snapshot: Snapshot, now: Now) {
        self.stage_pending(key, now);
        self.write_outbox(key, now);
        // Who did not take the reply may be closed by now, and then subscribes to nothing.
        if !self.is_live(key) {
            return;
        }
        let Snapshot { pattern, messages, is_of_one_moment } = snapshot;
        let sent = if is_of_one_moment { self.write_messages(key, &messages, now) } else { 0 };
        let later = &messages[sent..];
        for (local, message) in later {
            self.fall_behind(key, *local, message.offset() - 1, now);
        }
        let (messages, later) = (sent as u64, later.len() as u64);
        let (Some(form), Some(pattern)) =
            (self.form(key), self.locals.patterns.get(pattern as usize))
        else {
            return;
        };
        let topic = pattern.pattern.as_str().to_owned();
        let end = SnapshotEnd { topic, messages, later };
        let frame = match form {
            WireForm::Sdk(codec) => {
                sdk_frame(codec, 96, |out| Event::Snapshot(end).encode(codec, out))
            }
            WireForm::Raw | WireForm::TopicEvents | WireForm::Events => {
                event_frame(StreamEvent::SnapshotEnd(&end), 128)
            }
        };
        self.send(key, frame, now);
    }

    /// Writes messages until the socket takes no more; how many it took or has begun.
    fn write_messages(&mut self, key: Key, messages: &[(u32, Arc<Message>)], now: Now) -> usize {
        let mut sent = 0;
        while sent < messages.len() {
            let Some(connection) = self.connections.get_mut(key) else { return messages.len() };
            if connection.is_waiting() || connection.phase == Phase::Closing {
                break;
            }
            let form = connection.form;
            let batch = &messages[sent..messages.len().min(sent + SLICES_MAX)];
            let frames: SmallVec<[&Bytes; SLICES_MAX]> =
                batch.iter().map(|(_, message)| message.frame(form)).collect();
            let mut left = match write_frames(&mut connection.socket, frames.iter().copied()) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.end(key);
                    return messages.len();
                }
            };
            connection.progress_ms = now.ms();
            self.counters.writes.add(1);
            self.counters.bytes_out.add(left as u64);
            let mut parts = FrameParts::default();
            let before = sent;
            for ((_, message), frame) in batch.iter().zip(&frames) {
                if left == 0 {
                    break;
                }
                if left < frame.len() {
                    let queue = |outbox: &mut Outbox| outbox.push_rest(frame, left, now.ms());
                    connection.change_outbox(&self.marks, &self.counters, queue);
                }
                left = left.saturating_sub(frame.len());
                parts.add(FrameParts::of(message, form));
                sent += 1;
            }
            self.counters.of(form).count_messages(sent - before, parts);
            if sent == before {
                break;
            }
        }
        sent
    }
}

impl Snapshot {
    /// Makes `message` the newest of its topic.
    fn renew(&mut self, local: u32, message: Arc<Message>) {
        match self.messages.binary_search_by_key(&local, |(local, _)| *local) {
            Ok(at) if self.messages[at].1.offset() < message.offset() => {
                self.messages[at].1 = message;
            }
            Ok(_) => {}
            Err(at) => self.messages.insert(at, (local, message)),
        }
    }
}
