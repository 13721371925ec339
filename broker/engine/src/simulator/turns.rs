//! What follows for the whole node from a step: commands that were carried out, connections that
//! ended, and who is told of it.

use super::asked::Asked;
use super::intake::{Answer, ConnectionId};
use super::pages::Kept;
use super::presence::Attended;
use super::world::World;

impl World {
    /// Notes what the broker did with the commands that it has read from a connection.
    pub(super) fn take_in(&mut self, at: usize) {
        let (id, read) = (self.links[at].id, self.links[at].wire.pipe().read_bytes);
        let has_ended = self.has_ended(at);
        while let Some(asked) = self.record.intake.next(id, read) {
            let answer = self.carry_out(id, asked, has_ended);
            self.record.intake.answer(id, answer);
        }
        self.note_ends();
    }

    /// What follows from a command. `has_ended`: the connection ended with or before it, so that
    /// nobody hears the reply, and it may not have been carried out.
    pub(super) fn carry_out(&mut self, id: ConnectionId, asked: Asked, has_ended: bool) -> Answer {
        let attendance = &mut self.record.attendance;
        match asked {
            Asked::Connect { name } => attendance.call(id, name),
            Asked::Subscribe { topic, .. } => {
                attendance.join(topic, id);
                let epoch = self.record.epoch(topic).unwrap_or_default();
                let version = self.record.attendance.version(topic, epoch);
                return Answer::Joined { version };
            }
            Asked::Unsubscribe { topic } => attendance.leave(topic, id),
            Asked::Publish { topic, payload, key: Some(key) } => {
                let published = self.record.publish_with_key((topic, &key), &payload);
                return published.map_or(Answer::Any, |(place, duplicate)| {
                    self.record.summary.add("publishes sent again", duplicate.into());
                    Answer::Published { place, duplicate }
                });
            }
            Asked::History(wish) => return Answer::Kept(self.kept(wish.topic)),
            Asked::Presence { topic, limit } => {
                let before = self.epochs_before[topic].clone().unwrap_or_default();
                let now = self.record.epoch(topic).unwrap_or_default().to_owned();
                let attendance = &mut self.record.attendance;
                // Which life of the topic it was given in is not known if there were two.
                let members = match before == now && !has_ended {
                    true => attendance.list(topic, &now),
                    false => attendance.members(topic),
                };
                let told = self.table.presence_version(&self.plan.topics[topic]);
                let versions = [&before, &now].map(|epoch| attendance.version(topic, epoch));
                let versions = [versions[0], versions[1], told.unwrap_or_default()];
                let limit = limit as usize;
                return Answer::Attended(Attended { members, limit, versions });
            }
            _ => {}
        }
        Answer::Any
    }

    /// What a topic has now, and had before commands were read.
    fn kept(&self, topic: usize) -> Kept {
        let ring = self.table.ring(self.record.topic_name(topic));
        let (_, head_before) = self.heads_before.0[topic];
        Kept {
            epochs: [
                self.epochs_before[topic].clone(),
                ring.as_ref().map(|ring| ring.epoch.to_string()),
            ],
            head_before,
            head: ring.as_ref().map_or(0, |ring| ring.head),
            oldest: ring.and_then(|ring| Some(ring.messages.first()?.offset())),
        }
    }

    /// Notes which connections the broker serves no more.
    pub(super) fn note_ends(&mut self) {
        for at in 0..self.links.len() {
            if self.has_ended(at) {
                self.record.intake.end(self.links[at].id);
                self.record.attendance.leave_all(self.links[at].id);
            }
        }
    }

    fn has_ended(&mut self, at: usize) -> bool {
        let link = &self.links[at];
        let event_loop = &mut self.loops[link.shard];
        !event_loop.holds(link) || event_loop.shard.is_closing(link.key)
    }

    /// The broker looks whether there is something to be told of who came and went.
    pub(super) fn tell_presence(&mut self) {
        self.note_ends();
        self.record.write_down();
        let now = self.record.now;
        self.table.tell_presence(now);
        for topic in 0..self.plan.topics.len() {
            let version = self.table.presence_version(self.record.topic_name(topic));
            let epoch = self.record.epoch(topic).map(str::to_owned);
            let is_on = self.record.options(topic).presence;
            let attendance = &mut self.record.attendance;
            match (version, epoch) {
                (Some(version), Some(epoch)) if is_on => {
                    attendance.tell(topic, &epoch, version, now);
                }
                (Some(version), _) => assert_eq!(version, 0, "nothing is told of {topic}"),
                (None, _) => attendance.forget(topic),
            }
        }
        self.record.attendance.end_turn(now);
    }
}
