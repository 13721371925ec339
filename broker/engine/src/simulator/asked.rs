//! The commands of a client, as it remembers them until their replies come.

use fanfare_protocol::{
    Connect, ErrorCode, History, Payload, Position, Presence, Publish, Request, Subscribe,
    Unsubscribe,
};

use super::pages::PageWish;
use super::random::Random;
use super::record::{Heads, Record};
use super::wish::Wish;
use crate::time::Now;

/// A command that was sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) asked: Asked,
    pub(super) now: Now,
    /// How far the topics had come then.
    pub(super) heads: Heads,
}

/// What a command asked.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Connect {
        name: Option<String>,
    },
    Subscribe {
        topic: usize,
        wish: Wish,
        since: Option<Position>,
        /// Whether to be told who comes and goes.
        presence: bool,
    },
    Unsubscribe {
        topic: usize,
    },
    SubscribePattern {
        pattern: usize,
        wish: Wish,
    },
    UnsubscribePattern {
        pattern: usize,
    },
    Publish {
        topic: usize,
        payload: Payload,
        key: Option<String>,
    },
    History(PageWish),
    Presence {
        topic: usize,
        limit: u32,
    },
    /// Something that is answered with this error.
    Mistake {
        topic: usize,
        code: ErrorCode,
    },
}

impl Asked {
    pub(super) fn request(&self, record: &Record) -> Request {
        match self {
            Self::Connect { name } => {
                Request::Connect(Connect { name: name.clone(), ..Connect::default() })
            }
            Self::Subscribe { topic, wish, since, presence } => {
                let mut subscribe = wish.subscribe(record.topic_name(*topic).as_str());
                (subscribe.since, subscribe.presence) = (since.clone(), *presence);
                Request::Subscribe(subscribe)
            }
            Self::SubscribePattern { pattern, wish } => {
                Request::Subscribe(wish.subscribe(record.pattern(*pattern).as_str()))
            }
            Self::Unsubscribe { topic }
            | Self::Mistake { topic, code: ErrorCode::NotSubscribed } => {
                let topic = record.topic_name(*topic).to_string();
                Request::Unsubscribe(Unsubscribe { topic })
            }
            Self::UnsubscribePattern { pattern } => {
                let topic = record.pattern(*pattern).as_str().to_owned();
                Request::Unsubscribe(Unsubscribe { topic })
            }
            Self::History(PageWish { topic, after, limit }) => {
                let topic = record.topic_name(*topic).to_string();
                let (after, limit) = (after.clone(), Some(*limit));
                Request::History(History { topic, after, limit })
            }
            Self::Presence { topic, limit } => {
                let topic = record.topic_name(*topic).to_string();
                Request::Presence(Presence { topic, limit: Some(*limit) })
            }
            Self::Mistake { topic, code: ErrorCode::NotEnabled } => {
                Request::Presence(Presence::new(record.topic_name(*topic).as_str()))
            }
            Self::Mistake { topic, .. } => {
                Request::Subscribe(Subscribe::new(record.topic_name(*topic).as_str()))
            }
            Self::Publish { topic, payload, key } => {
                let topic = record.topic_name(*topic).to_string();
                let (key, payload) = (key.clone(), payload.clone());
                Request::Publish(Publish { topic, key, payload })
            }
        }
    }

    /// For how many replies of usual length the reply to this counts.
    pub(super) fn reply_weight(&self, record: &Record) -> usize {
        match self {
            Self::History(wish) => 1 + wish.limit as usize * record.message_weight(),
            Self::Presence { limit, .. } => 1 + *limit as usize / 4,
            _ => 1,
        }
    }
}

/// The key of a publish, mostly none: one of few, so that they come again.
pub(super) fn random_key(random: &mut Random) -> Option<String> {
    random.one_in(3).then(|| format!("k{}", random.below(6)))
}
