//! What returning clients have and get: their positions, and who has recovered when.
//!
//! Owns no socket. Whether messages come once and in order is the record's to judge, through both
//! lives of a connection.

use fanfare_protocol::{Codec, Position, ServerFrame, Subscribed};

use crate::plan::{Plan, Share};
use crate::receiver::{Ended, Sink};
use crate::record::Record;
use crate::stamp::{SEQUENCE_MAX, Stamp};

/// The sink of all clients.
#[derive(Debug)]
pub(super) struct Returning {
    /// Judges every message.
    pub record: Record,
    codec: Codec,
    topics: Vec<String>,
    topics_per_connection: usize,
    /// Where each client stands in each of its topics, client by client.
    positions: Vec<Position>,
    /// Messages up to this number were published while all were away. Until then clients take
    /// note of their positions.
    missed_until: Option<u32>,
    seen: u32,
    /// Missed messages that each client has still to get.
    to_come: Vec<u32>,
    /// When each client had the last of them, in ns of [`crate::stamp::now_ns`]; 0 before.
    recovered_ns: Vec<u64>,
    /// How many clients have.
    pub recovered: usize,
    /// Subscriptions of which the server did not say that they are recovered.
    pub not_recovered: u64,
}

impl Returning {
    /// Clients of `share` that have nothing yet.
    #[must_use]
    pub(super) fn new(plan: &Plan, share: Share, codec: Codec) -> Self {
        let (clients, each) = (share.count as usize, plan.shape.topics_per_connection as usize);
        let nowhere = Position { epoch: String::new(), offset: 0 };
        Self {
            record: Record::new(plan, share),
            codec,
            topics: plan.shape.topics.clone(),
            topics_per_connection: each,
            positions: vec![nowhere; clients * each],
            missed_until: None,
            seen: 0,
            to_come: vec![0; clients],
            recovered_ns: vec![0; clients],
            recovered: 0,
            not_recovered: 0,
        }
    }

    /// From now on clients are away, and come back having missed the messages `seen..until` of
    /// each topic.
    pub(super) fn leave(&mut self, seen: u32, until: u32) {
        (self.seen, self.missed_until) = (seen, Some(until.min(SEQUENCE_MAX)));
        self.to_come.fill((until - seen) * self.topics_per_connection as u32);
    }

    /// The positions with which a client comes back.
    #[must_use]
    pub(super) fn positions(&self, place: usize) -> &[Position] {
        &self.positions[place * self.topics_per_connection..][..self.topics_per_connection]
    }

    /// Takes the answers to a client's subscriptions.
    pub(super) fn subscribed(&mut self, place: usize, answers: Vec<Subscribed>) {
        let first = place * self.topics_per_connection;
        for (position, answer) in self.positions[first..].iter_mut().zip(answers) {
            let Subscribed { epoch, offset, recovered, .. } = answer;
            if self.missed_until.is_none() {
                *position = Position { epoch, offset };
            } else if !recovered || epoch != position.epoch {
                self.not_recovered += 1;
            }
        }
    }

    /// Whether clients are away, or on their way back.
    #[must_use]
    pub(super) fn has_left(&self) -> bool {
        self.missed_until.is_some()
    }

    /// How many clients there are.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.to_come.len()
    }

    /// How many missed messages have come, of all clients.
    #[must_use]
    pub(super) fn missed_received(&self) -> u64 {
        let Some(until) = self.missed_until else { return 0 };
        let each = u64::from(until - self.seen) * self.topics_per_connection as u64;
        self.to_come.iter().map(|to_come| each - u64::from(*to_come)).sum()
    }

    /// How long after `start_ns` each client that has recovered had done so, in ns.
    pub(super) fn recovered_after_ns(&self, start_ns: u64) -> impl Iterator<Item = u64> {
        let recovered = self.recovered_ns.iter().filter(|at_ns| **at_ns > 0);
        recovered.map(move |at_ns| at_ns.saturating_sub(start_ns))
    }

    /// A message before the clients leave moves their position.
    fn note_position(&mut self, place: usize, first_topic: u32, topic: u32, content: &[u8]) {
        let Ok(ServerFrame::Message(push)) = ServerFrame::decode(self.codec, content) else {
            return;
        };
        let count = self.topics.len();
        let within = (topic as usize + count - first_topic as usize) % count;
        self.positions[place * self.topics_per_connection + within].offset = push.offset;
    }

    fn note_missed(&mut self, place: usize, now_ns: u64) {
        let to_come = &mut self.to_come[place];
        *to_come = to_come.saturating_sub(1);
        if *to_come == 0 && self.recovered_ns[place] == 0 {
            self.recovered_ns[place] = now_ns;
            self.recovered += 1;
        }
    }
}

impl Sink for Returning {
    #[inline]
    fn message(
        &mut self,
        connection: usize,
        first_topic: u32,
        content: &[u8],
        now_ns: u64,
    ) -> Option<Stamp> {
        let stamp = self.record.message(connection, first_topic, content, now_ns)?;
        match self.missed_until {
            None => self.note_position(connection, first_topic, stamp.topic, content),
            Some(until) if (self.seen..until).contains(&stamp.sequence) => {
                self.note_missed(connection, now_ns);
            }
            Some(_) => {}
        }
        Some(stamp)
    }

    fn read(&mut self, bytes: usize) {
        self.record.read(bytes);
    }

    fn closed(&mut self, connection: usize, end: &Ended) {
        self.record.closed(connection, end);
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::{MessagePush, Payload};

    use super::*;
    use crate::feed::{padding, write_payload};
    use crate::plan::{Shape, Target, Transport};

    fn returning() -> Returning {
        let target = Target::parse("ws://127.0.0.1:1").unwrap();
        let topics = ["t.0", "t.1", "t.2"].map(str::to_owned).to_vec();
        let shape = Shape { connections: 2, topics, topics_per_connection: 2 };
        let plan = Plan { run: 5, ..Plan::new(target, Transport::Json, shape) };
        Returning::new(&plan, Share { first: 0, count: 2, source: None }, Codec::Json)
    }

    /// Client 1 has topics 2 and 0.
    fn deliver(returning: &mut Returning, topic: u32, sequence: u32, offset: u64, now_ns: u64) {
        let mut payload = Vec::new();
        let stamp = Stamp { run: 5, topic, sequence, ..Stamp::default() };
        write_payload(&stamp, &padding(64), &mut payload);
        let payload = Payload::json(payload).unwrap();
        let topic = format!("t.{topic}");
        let mut content = Vec::new();
        MessagePush { topic, offset, prev: None, payload }.encode(Codec::Json, &mut content);
        returning.message(1, 2, &content, now_ns);
    }

    fn answer(offset: u64, recovered: bool) -> Subscribed {
        let mut answer = br#"{"id":1,"subscribe":{"epoch":"e","offset":"#.to_vec();
        answer.extend_from_slice(format!("{offset},\"recovered\":{recovered}}}}}").as_bytes());
        match ServerFrame::decode(Codec::Json, &answer) {
            Ok(ServerFrame::Reply(reply)) => match reply.result {
                Ok(fanfare_protocol::ReplyBody::Subscribe(subscribed)) => subscribed,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_client_comes_back_with_the_last_offsets_that_it_had() {
        let mut returning = returning();
        returning.subscribed(1, vec![answer(40, false), answer(7, false)]);
        deliver(&mut returning, 2, 0, 43, 1);
        deliver(&mut returning, 0, 0, 9, 1);
        let position = |offset| Position { epoch: "e".to_owned(), offset };
        assert_eq!(returning.positions(1), [position(43), position(9)]);
        returning.leave(1, 3);
        deliver(&mut returning, 2, 1, 44, 1);
        assert_eq!(returning.positions(1)[0].offset, 43, "it has left");
    }

    #[test]
    fn a_client_has_recovered_with_the_last_message_of_its_last_topic() {
        let mut returning = returning();
        returning.leave(0, 2);
        for (topic, sequence, now_ns) in [(2, 0, 10), (0, 0, 11), (0, 1, 12), (0, 2, 13)] {
            deliver(&mut returning, topic, sequence, 1, now_ns);
        }
        assert_eq!(returning.recovered, 0, "live messages do not make up for missed ones");
        deliver(&mut returning, 2, 1, 1, 20);
        deliver(&mut returning, 2, 2, 1, 30);
        assert_eq!(returning.recovered, 1);
        assert_eq!(returning.recovered_after_ns(5).collect::<Vec<_>>(), [15]);
    }

    #[test]
    fn answers_other_than_recovered_in_the_same_epoch_are_counted() {
        let mut returning = returning();
        returning.subscribed(1, vec![answer(40, false), answer(7, false)]);
        returning.leave(0, 2);
        returning.subscribed(1, vec![answer(42, true), answer(9, true)]);
        assert_eq!(returning.not_recovered, 0);
        returning.subscribed(1, vec![answer(42, true), answer(9, false)]);
        assert_eq!(returning.not_recovered, 1);
        let other = Subscribed { epoch: "f".to_owned(), ..answer(9, true) };
        returning.subscribed(1, vec![other, answer(9, true)]);
        assert_eq!(returning.not_recovered, 2);
    }
}
