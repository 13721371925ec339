//! Which commands the shards have read, and so carried out, whether or not their replies ever come:
//! what is true of the node follows from them, not from what a client has heard.

use std::collections::{BTreeMap, VecDeque};

use super::asked::Asked;
use super::pages::Kept;
use super::presence::Attended;
use super::record::Place;

/// A connection of the node: its shard, and which of that shard's connections it is, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionId {
    pub(super) shard: usize,
    pub(super) serial: u32,
}

impl ConnectionId {
    /// Its name on the wire.
    pub(super) fn name(self) -> String {
        format!("n-{}-{}", self.shard, self.serial)
    }
}

/// What the reply to a command must say, as far as that was decided when it was carried out.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// Whatever else is known of the command.
    Any,
    /// To a subscription: the version of the topic's presence then.
    Joined { version: u64 },
    /// To a publish with a key: where the message stands, and whether it is an earlier one.
    Published { place: Place, duplicate: bool },
    /// To a question for history: what there was.
    Kept(Kept),
    /// Who was there.
    Attended(Attended),
}

/// The commands of all connections.
#[derive(Debug, Default)]
pub(super) struct Intake(BTreeMap<ConnectionId, Commands>);

#[derive(Debug, Default)]
struct Commands {
    /// Sent and not read yet, with the place of their last byte in what the client sends.
    sent: VecDeque<(u64, Asked)>,
    /// Of those that were read and whose replies have not come.
    answers: VecDeque<Answer>,
}

impl Intake {
    /// A client has sent a command; its last byte is the one with the number `end`.
    pub(super) fn send(&mut self, id: ConnectionId, end: u64, asked: Asked) {
        self.0.entry(id).or_default().sent.push_back((end, asked));
    }

    /// The next command of which the broker has read all, if it has read `read` bytes.
    pub(super) fn next(&mut self, id: ConnectionId, read: u64) -> Option<Asked> {
        let sent = &mut self.0.get_mut(&id)?.sent;
        let (_, asked) = sent.pop_front_if(|(end, _)| *end <= read)?;
        Some(asked)
    }

    /// Notes what the reply to the command that was read last must say.
    pub(super) fn answer(&mut self, id: ConnectionId, answer: Answer) {
        self.0.entry(id).or_default().answers.push_back(answer);
    }

    /// What the reply that has come now must say.
    pub(super) fn take_answer(&mut self, id: ConnectionId) -> Answer {
        let answers = self.0.get_mut(&id).map(|commands| &mut commands.answers);
        let answer = answers.and_then(VecDeque::pop_front);
        answer.unwrap_or_else(|| panic!("a reply to what {} has not read", id.name()))
    }

    /// The broker listens no more on a connection.
    pub(super) fn end(&mut self, id: ConnectionId) {
        if let Some(commands) = self.0.get_mut(&id) {
            commands.sent.clear();
        }
    }
}
