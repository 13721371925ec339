//! What comes out of a subscription: messages, gaps where messages are missing, and who comes and
//! goes.

use std::fmt;
use std::sync::Arc;

use fanfare_protocol::{Filter, Member, Payload, Position, TopicName, TopicPattern};

/// The next thing that a subscription has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Update {
    /// A message.
    Message(Message),
    /// Messages are missing here.
    Gap(Gap),
    /// The newest messages of a pattern's topics have come. Only with
    /// [`SubscribeOptions::snapshot`](crate::SubscribeOptions::snapshot), asked for or implied, and
    /// again after each reconnect.
    Snapshot(Snapshot),
    /// Clients came to the topic or left it. Only with
    /// [`SubscribeOptions::presence`](crate::SubscribeOptions::presence).
    Presence(PresenceChange),
}

impl Update {
    /// The message, if it is one.
    #[must_use]
    pub fn into_message(self) -> Option<Message> {
        match self {
            Self::Message(message) => Some(message),
            Self::Gap(_) | Self::Snapshot(_) | Self::Presence(_) => None,
        }
    }
}

/// A message of a topic. Cloning shares the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The topic to which it was published.
    pub topic: TopicName,
    /// The life of the topic's sequence; offsets of different epochs do not compare. A
    /// subscription to a pattern does not learn it, unless the same client is subscribed to the
    /// topic by name too.
    pub epoch: Option<Arc<str>>,
    /// Its place in the topic's sequence, from 1.
    pub offset: u64,
    /// The place of the message before it, where that is not `offset - 1`.
    pub prev: Option<u64>,
    /// The content.
    pub payload: Payload,
}

impl Message {
    /// The place of the message before this one in the topic; 0 if this is the topic's first.
    #[must_use]
    pub fn previous_offset(&self) -> u64 {
        self.prev.unwrap_or_else(|| self.offset.saturating_sub(1))
    }

    /// Its place, as a publisher gets it from [`Client::publish`](crate::Client::publish); `None`
    /// if the epoch is not known.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        let epoch = self.epoch.as_ref()?.to_string();
        Some(Position { epoch, offset: self.offset })
    }
}

/// Messages that this subscription does not get. It stands in their place: all that came before
/// it is older, all that follows is newer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The topic whose messages are missing; the pattern, if they may be of any topic that
    /// matches it.
    pub filter: Filter,
    /// Which ones.
    pub missed: Missed,
    /// The topic goes on with the first message after this position; `None` if it is not known,
    /// as with a pattern.
    pub resumes_after: Option<Position>,
}

/// Reads like `ticks.AAPL: messages 42 to 57 were missed`.
impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filter = &self.filter;
        match (self.missed, filter) {
            (Missed::Offsets { from, to }, _) if from == to => {
                write!(f, "{filter}: message {from} was missed")
            }
            (Missed::Offsets { from, to }, _) => {
                write!(f, "{filter}: messages {from} to {to} were missed")
            }
            (Missed::Unknown, Filter::Topic(_)) => {
                write!(f, "{filter}: the sequence began anew; messages may be missed")
            }
            (Missed::Unknown, Filter::Pattern(_)) => {
                write!(f, "{filter}: the connection was lost; messages may be missed")
            }
        }
    }
}

/// Which messages are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missed {
    /// Those whose offsets lie within `from..=to`.
    Offsets {
        /// The first offset that is missing.
        from: u64,
        /// The last offset that is missing, at least `from`.
        to: u64,
    },
    /// Nobody knows. Of a topic: its sequence has begun anew, as after a restart of the broker, so
    /// that the old offsets say nothing about the new ones. Of a pattern: the connection was lost
    /// meanwhile, and what a pattern missed is not recovered.
    Unknown,
}

/// The end of a pattern's snapshot. What came before it was the newest message of each topic at one
/// moment; what follows is newer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The pattern.
    pub pattern: TopicPattern,
    /// How many messages came. Topics that this client was subscribed to otherwise are left out:
    /// what is newest of them it has.
    pub messages: u64,
    /// Topics whose newest message follows later, because this client, its network or the broker
    /// was too slow: not as of that moment, but as new as it comes.
    pub later: u64,
}

/// Who came to a topic and who left it since the change before. Changes of a second come together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresenceChange {
    /// The topic.
    pub topic: TopicName,
    /// Counts the topic's changes. One whose version is not above that of a list from
    /// [`Client::presence`](crate::Client::presence) is in the list already.
    pub version: u64,
    /// How many connections are on the topic now.
    pub count: u64,
    /// Who came.
    pub joined: Vec<Member>,
    /// The connections that left.
    pub left: Vec<String>,
    /// Whether this is all that changed since the change that this subscription told before. If
    /// not, [`Client::presence`](crate::Client::presence) has the list.
    pub is_complete: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_reads_as_a_sentence() {
        let sentence = |filter: &str, missed| {
            let filter = Filter::new(filter).unwrap();
            Gap { filter, missed, resumes_after: None }.to_string()
        };
        let some = Missed::Offsets { from: 3, to: 7 };
        assert_eq!(sentence("a.b", some), "a.b: messages 3 to 7 were missed");
        let one = Missed::Offsets { from: 7, to: 7 };
        assert_eq!(sentence("a.b", one), "a.b: message 7 was missed");
        assert_eq!(
            sentence("a.b", Missed::Unknown),
            "a.b: the sequence began anew; messages may be missed"
        );
        assert_eq!(
            sentence("a.*", Missed::Unknown),
            "a.*: the connection was lost; messages may be missed"
        );
    }
}
