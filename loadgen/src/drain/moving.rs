//! What clients get that move from a broker that drains to one that stays.
//!
//! Owns no socket. Whether messages come once and in order is the records' to judge, one for each
//! broker; what had to come before a broker's close is judged here.

use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{CloseCode, Codec, Event, Position, ServerFrame, Subscribed};

use crate::accepted::Accepted;
use crate::plan::{Plan, Share};
use crate::receiver::{Ended, Sink};
use crate::record::Record;
use crate::stamp::{Stamp, now_ns};

/// The broker that drains, and the one that stays, as places in arrays.
pub(super) const LEAVING: usize = 0;
pub(super) const STAYING: usize = 1;

/// The sink of all clients.
#[derive(Debug)]
pub(super) struct Moving {
    /// What each of the two brokers sends.
    pub records: [Record; 2],
    pub heads: Heads,
    /// Each client.
    pub clients: Vec<Mover>,
    /// Clients whose connection has ended since somebody last looked.
    pub ended: Vec<usize>,
    /// Whether the first broker may close connections by now.
    pub may_close: bool,
    codec: Codec,
}

/// One client.
#[derive(Clone, Debug, Default)]
pub(super) struct Mover {
    /// Which broker it is on, or goes to.
    pub on: usize,
    /// When the first one closed its connection, in ns of [`now_ns`]; 0 before.
    pub closed_ns: u64,
    /// When it was subscribed on the second one; 0 before.
    pub returned_ns: u64,
    /// Over which time it was told to spread its return.
    pub window: Option<Duration>,
    /// Where it stood on the first one when it began; a client that comes back says so.
    pub since: Vec<Position>,
}

impl Moving {
    /// Clients that have nothing yet.
    #[must_use]
    pub(super) fn new(
        plans: &[Plan; 2],
        share: Share,
        codec: Codec,
        accepted: &Arc<Accepted>,
    ) -> Self {
        let count = share.count as usize;
        let [leaving, mut staying] = plans.each_ref().map(|plan| Record::new(plan, share));
        // Nobody is there yet.
        (0..count).for_each(|place| staying.abandon(place));
        Self {
            records: [leaving, staying],
            heads: Heads::new(accepted),
            clients: vec![Mover::default(); count],
            ended: Vec::new(),
            may_close: false,
            codec,
        }
    }

    /// A client has subscribed on the broker that it is on by now.
    pub(super) fn joined(&mut self, place: usize, answers: Vec<Subscribed>) {
        let client = &mut self.clients[place];
        if client.on == STAYING {
            client.returned_ns = now_ns();
            self.records[STAYING].restart(place);
        } else {
            let position = |answer: Subscribed| {
                let Subscribed { epoch, offset, .. } = answer;
                Position { epoch, offset }
            };
            client.since = answers.into_iter().map(position).collect();
        }
    }

    /// How many clients are on the second broker, or have been.
    #[must_use]
    pub(super) fn returned(&self) -> usize {
        self.clients.iter().filter(|client| client.returned_ns > 0).count()
    }

    #[cold]
    fn event(&mut self, place: usize, content: &[u8]) {
        let frame = ServerFrame::decode(self.codec, content);
        if let Ok(ServerFrame::Event(Event::Drain(drain))) = frame {
            self.clients[place].window = Some(Duration::from_millis(drain.window_ms));
        }
    }
}

impl Sink for Moving {
    #[inline]
    fn message(
        &mut self,
        connection: usize,
        first_topic: u32,
        content: &[u8],
        now_ns: u64,
    ) -> Option<Stamp> {
        let on = self.clients[connection].on;
        let stamp = self.records[on].message(connection, first_topic, content, now_ns);
        match stamp {
            Some(stamp) if on == LEAVING => self.heads.seen(stamp.topic, stamp.sequence),
            Some(_) => {}
            None => self.event(connection, content),
        }
        stamp
    }

    fn read(&mut self, bytes: usize) {
        self.records[STAYING].read(bytes);
    }

    fn closed(&mut self, connection: usize, end: &Ended) {
        let client = &mut self.clients[connection];
        let (on, restart) = (client.on, CloseCode::SERVICE_RESTART);
        let is_restart = matches!(end, Ended::Closed { code: Some(code), .. } if *code == restart);
        if on == LEAVING {
            client.closed_ns = now_ns();
            client.on = STAYING;
            self.records[LEAVING].leave(connection, &self.heads.due);
        }
        if on == STAYING || !is_restart || !self.may_close {
            self.records[on].closed(connection, end);
        }
        self.ended.push(connection);
    }
}

/// How far each topic of the first broker was known to have come, and when.
///
/// A message is known once any subscriber has it or the broker has taken it from its publisher. One
/// that was known before a connection was closed had to come on that connection. When the close
/// frame came is not told; but a poll that reports fewer connections than it could has reported all
/// that had something, and each of those is then read to its end. So what is read after a poll has
/// come after the poll before that began, and what was known then is due.
#[derive(Debug)]
pub(super) struct Heads {
    accepted: Arc<Accepted>,
    known: Vec<u32>,
    /// What was known before the last poll.
    before_poll: Vec<u32>,
    /// What has to be there when a connection turns out to be closed; of the one publisher.
    due: [Vec<u32>; 1],
}

impl Heads {
    fn new(accepted: &Arc<Accepted>) -> Self {
        let none: Vec<u32> = accepted.counts().map(|_| 0).collect();
        let accepted = Arc::clone(accepted);
        Self { accepted, known: none.clone(), before_poll: none.clone(), due: [none] }
    }

    /// A poll begins; whether the one before reported all that there was.
    pub(super) fn poll_begins(&mut self, last_was_complete: bool) {
        if last_was_complete {
            std::mem::swap(&mut self.due[0], &mut self.before_poll);
        }
        for (known, accepted) in self.known.iter_mut().zip(self.accepted.counts()) {
            *known = (*known).max(accepted);
        }
        self.before_poll.clone_from(&self.known);
    }

    #[inline]
    fn seen(&mut self, topic: u32, sequence: u32) {
        let known = &mut self.known[topic as usize];
        *known = (*known).max(sequence + 1);
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::{Drain, MessagePush, Payload};

    use super::*;
    use crate::feed::{padding, write_payload};
    use crate::plan::{Shape, Target, Transport};

    /// Two clients of one topic.
    fn moving() -> Moving {
        let target = Target::parse("ws://127.0.0.1:1").unwrap();
        let topics = vec!["t.0".to_owned()];
        let shape = Shape { connections: 2, topics, topics_per_connection: 1 };
        let leaving = Plan { run: 5, ..Plan::new(target, Transport::Json, shape) };
        let staying = Plan { run: 6, ..leaving.clone() };
        let share = Share { first: 0, count: 2, source: None };
        Moving::new(&[leaving, staying], share, Codec::Json, &Accepted::new(1))
    }

    fn deliver(moving: &mut Moving, place: usize, run: u8, sequence: u32) {
        let mut payload = Vec::new();
        let stamp = Stamp { run, sequence, ..Stamp::default() };
        write_payload(&stamp, &padding(64), &mut payload);
        let payload = Payload::json(payload).unwrap();
        let push = MessagePush { topic: "t.0".to_owned(), offset: 1, prev: None, payload };
        let mut content = Vec::new();
        push.encode(Codec::Json, &mut content);
        moving.message(place, 0, &content, 1);
    }

    fn close(moving: &mut Moving, place: usize, code: CloseCode) {
        moving.closed(place, &Ended::Closed { code: Some(code), text: String::new() });
    }

    fn faults(moving: Moving) -> (u64, u32) {
        let [leaving, staying] = moving.records.map(|record| record.finish(&[]));
        (leaving.lost + staying.lost, leaving.closed + staying.closed)
    }

    #[test]
    fn what_another_had_before_the_poll_before_is_due_at_a_close() {
        for (polls, lost) in [(0, 0), (1, 0), (2, 1)] {
            let mut moving = moving();
            moving.may_close = true;
            deliver(&mut moving, 0, 5, 0);
            (0..polls).for_each(|_| moving.heads.poll_begins(true));
            close(&mut moving, 1, CloseCode::SERVICE_RESTART);
            assert_eq!(faults(moving), (lost, 0), "after {polls} polls");
        }
    }

    #[test]
    fn a_poll_that_may_have_left_something_out_proves_nothing() {
        let mut moving = moving();
        moving.may_close = true;
        deliver(&mut moving, 0, 5, 0);
        (0..5).for_each(|_| moving.heads.poll_begins(false));
        close(&mut moving, 1, CloseCode::SERVICE_RESTART);
        assert_eq!(faults(moving), (0, 0));
    }

    #[test]
    fn only_a_restart_after_the_signal_is_a_good_end() {
        let mut moving = moving();
        close(&mut moving, 0, CloseCode::SERVICE_RESTART);
        moving.may_close = true;
        close(&mut moving, 1, CloseCode::GOING_AWAY);
        // And never on the broker that stays.
        close(&mut moving, 1, CloseCode::SERVICE_RESTART);
        assert_eq!(moving.ended, [0, 1, 1]);
        assert_eq!(faults(moving), (0, 3));
    }

    #[test]
    fn a_client_comes_back_as_it_is_told_and_begins_anywhere() {
        let mut moving = moving();
        moving.may_close = true;
        let mut event = Vec::new();
        Event::Drain(Drain { window_ms: 200 }).encode(Codec::Json, &mut event);
        moving.message(0, 0, &event, 1);
        assert_eq!(moving.clients[0].window, Some(Duration::from_millis(200)));
        close(&mut moving, 0, CloseCode::SERVICE_RESTART);
        moving.joined(0, Vec::new());
        assert_eq!(moving.returned(), 1);
        for sequence in [7, 8, 10] {
            deliver(&mut moving, 0, 6, sequence);
        }
        assert_eq!(faults(moving), (1, 0), "number 9 is missing");
    }
}
