//! What comes out of a subscription: messages, and gaps where messages are missing.

use std::fmt;
use std::sync::Arc;

use fanfare_protocol::{Payload, Position, TopicName};

/// The next thing that a subscription has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Update {
    /// A message.
    Message(Message),
    /// Messages are missing here.
    Gap(Gap),
}

impl Update {
    /// The message, if it is one.
    #[must_use]
    pub fn into_message(self) -> Option<Message> {
        match self {
            Self::Message(message) => Some(message),
            Self::Gap(_) => None,
        }
    }
}

/// A message of a subscription. Cloning shares the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The topic to which it was published.
    pub topic: TopicName,
    /// The life of the topic's sequence; offsets of different epochs do not compare.
    pub epoch: Arc<str>,
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

    /// Its place, as a publisher gets it from [`Client::publish`](crate::Client::publish).
    #[must_use]
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch.to_string(), offset: self.offset }
    }
}

/// Messages that this subscription does not get. It stands in their place: all that came before
/// it is older, all that follows is newer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The topic whose messages are missing.
    pub topic: TopicName,
    /// Which ones.
    pub missed: Missed,
    /// The subscription goes on with the first message after this position.
    pub resumes_after: Position,
}

/// Reads like `ticks.AAPL: messages 42 to 57 were missed`.
impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topic = &self.topic;
        match self.missed {
            Missed::Offsets { from, to } if from == to => {
                write!(f, "{topic}: message {from} was missed")
            }
            Missed::Offsets { from, to } => {
                write!(f, "{topic}: messages {from} to {to} were missed")
            }
            Missed::Unknown => {
                write!(f, "{topic}: the sequence began anew; messages may be missed")
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
    /// Nobody knows: the topic's sequence has begun anew, as after a restart of the broker, so
    /// that the old offsets say nothing about the new ones.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_reads_as_a_sentence() {
        let sentence = |missed| {
            let topic = TopicName::new("a.b").unwrap();
            let resumes_after = Position { epoch: "e".to_owned(), offset: 7 };
            Gap { topic, missed, resumes_after }.to_string()
        };
        assert_eq!(
            sentence(Missed::Offsets { from: 3, to: 7 }),
            "a.b: messages 3 to 7 were missed"
        );
        assert_eq!(sentence(Missed::Offsets { from: 7, to: 7 }), "a.b: message 7 was missed");
        assert_eq!(
            sentence(Missed::Unknown),
            "a.b: the sequence began anew; messages may be missed"
        );
    }
}
