//! From the mailbox to the marks: who on this shard is to get a message.

use std::sync::Arc;

use fanfare_protocol::Codec;

use super::connection::Through;
use super::fanout::OutgoingFrame;
use super::tier::{Due, Tier};
use super::{Shard, Socket};
use crate::fault::{Fault, planted};
use crate::mailbox::Mail;
use crate::time::Now;
use crate::topics::{FrameParts, Message, PresenceUpdate, Topic, WireForm};

impl<S: Socket> Shard<S> {
    /// Takes up to `messages_max` messages from the mailbox and marks them for their subscribers.
    pub fn drain_mailbox(&mut self, messages_max: usize, now: Now) {
        for _ in 0..messages_max {
            if !self.fanout.has_room() {
                return;
            }
            if planted(Fault::ForgetMailEarly) {
                self.locals.forget_fresh();
            }
            match self.mailbox().pop() {
                None => return self.locals.forget_fresh(),
                Some(mail) => self.open_mail(&mail, now),
            }
        }
    }

    /// Marks what one mail holds for those who are to get it.
    pub(super) fn open_mail(&mut self, mail: &Mail, now: Now) {
        match mail {
            Mail::Message(message) => self.spread(message, now),
            Mail::Presence(update) => self.spread_presence(update, now),
        }
    }

    /// Marks messages that were held back for subscribers with a rate, where their time has come.
    pub fn release_tiers(&mut self, now: Now) {
        while self.fanout.has_room()
            && let Some((tier, Due { ms, local, topic_id })) = self.tiers.pop_due(now.ms())
        {
            let topic = self.locals.get_mut(local).filter(|topic| topic.topic.id == topic_id);
            let Some(topic) = topic else { continue };
            let tiers = topic.tiers.as_deref_mut();
            let Some(turn) = tiers.and_then(|tiers| tiers.release(tier, ms, now.ms())) else {
                if let Some(place) = tier.place() {
                    topic.topic.choices.rest(place, now.ms());
                }
                continue;
            };
            if let Some(due_ms) = turn.due_ms {
                self.tiers.push(tier, (local, topic_id), due_ms);
            }
            for message in &turn.chosen {
                self.mark(local, tier, message);
            }
        }
    }

    /// When [`Self::release_tiers`] has something to do next, in milliseconds.
    #[must_use]
    pub fn next_release_ms(&self) -> Option<u64> {
        self.tiers.next_ms()
    }

    fn spread(&mut self, message: &Arc<Message>, now: Now) {
        if self.waiters.len() > 0 {
            self.wake_waiters(message.topic(), message.offset(), now);
        }
        let Some(local) = self.local_of(message.topic()) else { return };
        let topic = &mut self.locals.topics[local as usize];
        (topic.newest, topic.changed_ms) = (message.offset(), now.ms());
        let patterns = &self.locals.patterns;
        let has_rates = topic.named.has_rates()
            || topic.patterns.iter().any(|place| patterns[*place as usize].lists.has_rates())
            || topic.holds_any();
        self.mark(local, Tier::FULL, message);
        if has_rates {
            self.spread_limited(local, message, now);
        }
    }

    fn spread_limited(&mut self, local: u32, message: &Arc<Message>, now: Now) {
        for tier in Tier::limited() {
            let topic = &mut self.locals.topics[local as usize];
            let patterns = &self.locals.patterns;
            let mut lists = topic.patterns.iter().map(|place| &patterns[*place as usize].lists);
            let has_subscribers = topic.named.of(tier).next().is_some()
                || lists.any(|lists| lists.of(tier).next().is_some());
            if !has_subscribers {
                // Whoever waited has left.
                if let Some(tiers) = &mut topic.tiers {
                    tiers.forget_held(tier);
                }
                continue;
            }
            let tiers = topic.tiers.get_or_insert_default();
            let replaces = tiers.held(tier).is_some();
            let (is_sent, due_ms) = tiers.admit(tier, message, now.ms());
            if let Some(due_ms) = due_ms {
                self.tiers.push(tier, (local, topic.topic.id), due_ms);
            }
            if is_sent {
                self.mark(local, tier, message);
            }
            if replaces {
                self.count_thinned(local, tier);
            }
        }
    }

    /// Counts a message that the subscribers of a tier are spared, because a newer one came.
    fn count_thinned(&self, local: u32, tier: Tier) {
        let topic = &self.locals.topics[local as usize];
        let patterns = topic.patterns.iter().map(|at| &self.locals.patterns[*at as usize].lists);
        let lists = std::iter::once(&topic.named).chain(patterns);
        let subscribers = lists.flat_map(|lists| lists.of(tier)).map(|(_, keys)| keys.len());
        self.counters.messages_thinned.add(subscribers.sum::<usize>() as u64);
    }

    /// Marks a message for the subscribers of its topic in one tier, by name and by pattern.
    fn mark(&mut self, local: u32, tier: Tier, message: &Message) {
        let Self { locals, connections, fanout, .. } = self;
        let topic = &locals.topics[local as usize];
        let offset = message.offset();
        let mut frames = [None; WireForm::ALL.len()];
        let mut frame_of = |form: WireForm, fanout: &mut super::Fanout| {
            *frames[form.index()].get_or_insert_with(|| {
                fanout.add_frame(OutgoingFrame {
                    bytes: message.frame(form).clone(),
                    parts: FrameParts::of(message, form),
                    published: message.published(),
                    local,
                    offset: Some(offset),
                })
            })
        };
        for (form, keys) in topic.named.of(tier) {
            let frame = frame_of(form, fanout);
            for &key in keys.iter().filter(|key| topic.includes(**key, offset)) {
                fanout.mark(key, &mut connections[key].pending, frame);
            }
        }
        for &pattern in &topic.patterns {
            for (form, keys) in locals.patterns[pattern as usize].lists.of(tier) {
                let frame = frame_of(form, fanout);
                for &key in keys.iter().filter(|key| topic.includes(**key, offset)) {
                    let connection = &mut connections[key];
                    // Where several subscriptions of one connection match, one of them counts.
                    let counts = planted(Fault::CountEveryPattern)
                        || !topic.overlaps()
                        || connection
                            .through(local, &topic.patterns)
                            .is_some_and(|(through, _)| through == Through::Pattern(pattern));
                    if counts {
                        fanout.mark(key, &mut connection.pending, frame);
                    }
                }
            }
        }
    }

    /// The place of a topic in this shard; `None` if nobody here subscribes to it any more.
    fn local_of(&mut self, topic: &Arc<Topic>) -> Option<u32> {
        let local = self.locals.find(topic.id).or_else(|| self.locals.locate_matching(topic));
        if local.is_none() {
            self.topics.forget_pattern_interest(topic, self.index);
        }
        local
    }

    fn spread_presence(&mut self, update: &PresenceUpdate, now: Now) {
        let Some(local) = self.locals.find(update.topic.id) else { return };
        let topic = &self.locals.topics[local as usize];
        if topic.listeners == 0 {
            return;
        }
        for tier in std::iter::once(Tier::FULL).chain(Tier::limited()) {
            for codec in Codec::ALL {
                let form = WireForm::Sdk(codec);
                let lists = topic.named.of(tier).filter(|(listed, _)| *listed == form);
                let mut frame = None;
                for &key in lists.flat_map(|(_, keys)| keys) {
                    let connection = &mut self.connections[key];
                    let at = connection.subscription(local);
                    if !at.is_some_and(|at| connection.subscriptions[at].listens) {
                        continue;
                    }
                    let frame = *frame.get_or_insert_with(|| {
                        let bytes = update.frame(codec, &self.node).clone();
                        self.fanout.add_frame(OutgoingFrame {
                            parts: FrameParts::of_other(form, bytes.len()),
                            bytes,
                            published: now,
                            local,
                            offset: None,
                        })
                    });
                    self.fanout.mark(key, &mut connection.pending, frame);
                }
            }
        }
    }
}
