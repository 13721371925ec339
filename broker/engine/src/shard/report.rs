//! What an operator may ask about single connections: who has the most unsent, and why.

use std::net::SocketAddr;

use fanfare_protocol::{Mode, TopicName};

use super::connection::{Connection, Phase};
use super::{Key, Shard, Socket};
use crate::greatest::Greatest;
use crate::time::Now;
use crate::topics::{MemberId, WireForm};

/// How well a connection keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Nothing is unsent.
    Open,
    /// Its socket takes nothing.
    Blocked,
    /// It has reached the high-water mark and not yet come down to the low-water mark.
    Lagging,
    /// Its socket has taken nothing for a third of the stall timeout.
    Stalled,
    /// It is being closed.
    Closing,
}

impl ConnectionState {
    /// All of them, from the best to the worst.
    pub const ALL: [Self; 5] =
        [Self::Open, Self::Blocked, Self::Lagging, Self::Stalled, Self::Closing];

    /// The name in views and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Blocked => "blocked",
            Self::Lagging => "lagging",
            Self::Stalled => "stalled",
            Self::Closing => "closing",
        }
    }
}

/// By what connections are sorted; the greatest come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionOrder {
    /// [`ConnectionReport::buffered_amount`].
    #[default]
    BufferedAmount,
    /// [`ConnectionReport::oldest_unsent_ms`].
    OldestUnsent,
    /// Subscriptions of all modes.
    Subscriptions,
    /// [`ConnectionReport::topics_behind`].
    TopicsBehind,
    /// [`ConnectionReport::merged`].
    Merged,
    /// [`ConnectionReport::lost`].
    Lost,
    /// [`ConnectionReport::age_s`].
    Age,
}

impl ConnectionOrder {
    /// Every order with its name in views; the first is the usual one.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::BufferedAmount, "buffered_amount"),
        (Self::OldestUnsent, "oldest_unsent"),
        (Self::Subscriptions, "subscriptions"),
        (Self::TopicsBehind, "topics_behind"),
        (Self::Merged, "merged"),
        (Self::Lost, "lost"),
        (Self::Age, "age"),
    ];
}

/// Which connections an operator wants to see.
#[derive(Clone, Debug)]
pub struct ConnectionQuery {
    /// What decides which come first.
    pub order: ConnectionOrder,
    /// Most connections that are told.
    pub limit: usize,
    /// Only those that get the messages of this topic, by its name or a pattern.
    pub topic: Option<TopicName>,
}

/// One connection at one moment.
#[derive(Clone, Debug)]
pub struct ConnectionReport {
    /// Its name on the wire.
    pub connection: String,
    /// What the client calls itself.
    pub name: Option<String>,
    /// Where it comes from.
    pub peer: Option<SocketAddr>,
    /// For how many seconds it has been open.
    pub age_s: u32,
    /// What it speaks.
    pub form: WireForm,
    /// How well it keeps up.
    pub state: ConnectionState,
    /// Bytes of frames that were accepted for it and that the network has not taken: those that
    /// wait in the broker and those in the kernel that were never sent.
    pub buffered_amount: usize,
    /// The part of them in the kernel.
    pub kernel_bytes: usize,
    /// For how long the oldest of them, or the oldest message owed, has waited in the broker.
    pub oldest_unsent_ms: Option<u64>,
    /// Subscriptions of mode `all`, patterns included.
    pub subscriptions_all: usize,
    /// Subscriptions of mode `latest`, patterns included.
    pub subscriptions_latest: usize,
    /// Topics whose messages are not queued but owed from their rings.
    pub topics_behind: usize,
    /// Messages that it was spared because newer ones came.
    pub merged: u64,
    /// Messages that are lost to it, and were told.
    pub lost: u64,
    /// What it was sorted by, to put the connections of several shards in one order.
    pub rank: u64,
}

impl<S: Socket> Shard<S> {
    /// The connections that `query` asks for, the greatest first.
    #[must_use]
    pub fn report(&self, query: &ConnectionQuery, now: Now) -> Vec<ConnectionReport> {
        let listeners = query.topic.as_ref().map(|name| self.listeners(name));
        let mut greatest = Greatest::new(query.limit);
        for (key, connection) in self.connections.iter() {
            if listeners.as_ref().is_some_and(|listeners| !listeners.include(connection)) {
                continue;
            }
            let rank = rank(connection, query.order, now);
            let behind = connection.behind().map_or(0, |behind| behind.len());
            greatest.offer((rank, behind, key.0), (key, rank));
        }
        greatest.into_items().filter_map(|(key, rank)| self.report_one(key, rank, now)).collect()
    }

    fn listeners(&self, name: &TopicName) -> Listeners {
        let patterns = self.locals.patterns.iter();
        let matching = patterns.filter(|(_, local)| local.pattern.matches(name));
        Listeners {
            local: self.topics.id_of(name).and_then(|topic_id| self.locals.find(topic_id)),
            patterns: matching.map(|(place, _)| place as u32).collect(),
        }
    }

    fn report_one(&self, key: Key, rank: u64, now: Now) -> Option<ConnectionReport> {
        let connection = self.connections.get(key)?;
        let id = MemberId { shard: self.index as u32, serial: connection.serial };
        let named = connection.subscriptions.iter().map(|one| one.terms.mode);
        let patterns = connection.patterns().iter().map(|one| one.terms.mode);
        let (mut all, mut latest) = (0, 0);
        for mode in named.chain(patterns) {
            *(if mode == Mode::All { &mut all } else { &mut latest }) += 1;
        }
        let extras = connection.extras();
        let kernel_bytes = connection.socket.unsent_bytes();
        Some(ConnectionReport {
            connection: id.connection(&self.node),
            name: extras.and_then(|extras| extras.name.as_deref().map(str::to_owned)),
            peer: connection.socket.peer(),
            age_s: age_s(connection, now),
            form: connection.form,
            state: self.state(connection, now),
            buffered_amount: connection.outbox_bytes() + kernel_bytes,
            kernel_bytes,
            oldest_unsent_ms: oldest_unsent_ms(connection, now),
            subscriptions_all: all,
            subscriptions_latest: latest,
            topics_behind: connection.behind().map_or(0, |behind| behind.len()),
            merged: extras.map_or(0, |extras| extras.merged),
            lost: extras.map_or(0, |extras| extras.lost),
            rank,
        })
    }

    pub(super) fn state(&self, connection: &Connection<S>, now: Now) -> ConnectionState {
        let silent_ms = now.ms().saturating_sub(connection.progress_ms);
        if connection.phase == Phase::Closing {
            ConnectionState::Closing
        } else if !connection.is_waiting() {
            ConnectionState::Open
        } else if silent_ms >= self.limits.stall_timeout_ms / 3 {
            ConnectionState::Stalled
        } else if connection.is_lagging {
            ConnectionState::Lagging
        } else {
            ConnectionState::Blocked
        }
    }
}

/// Who gets the messages of one topic, by their places in the shard.
struct Listeners {
    /// The topic, if it is known here: one that was not heard of yet may have patterns alone.
    local: Option<u32>,
    patterns: Vec<u32>,
}

impl Listeners {
    fn include<S>(&self, connection: &Connection<S>) -> bool {
        let is_named = self.local.is_some_and(|local| connection.subscription(local).is_some());
        is_named || connection.oldest_of(&self.patterns).is_some()
    }
}

fn rank<S: Socket>(connection: &Connection<S>, order: ConnectionOrder, now: Now) -> u64 {
    let extras = connection.extras();
    match order {
        ConnectionOrder::BufferedAmount => {
            (connection.outbox_bytes() + connection.socket.unsent_bytes()) as u64
        }
        ConnectionOrder::OldestUnsent => oldest_unsent_ms(connection, now).map_or(0, |ms| ms + 1),
        ConnectionOrder::Subscriptions => {
            (connection.subscriptions.len() + connection.patterns().len()) as u64
        }
        ConnectionOrder::TopicsBehind => connection.behind().map_or(0, |b| b.len()) as u64,
        ConnectionOrder::Merged => extras.map_or(0, |extras| extras.merged),
        ConnectionOrder::Lost => extras.map_or(0, |extras| extras.lost),
        ConnectionOrder::Age => age_s(connection, now).into(),
    }
}

fn oldest_unsent_ms<S>(connection: &Connection<S>, now: Now) -> Option<u64> {
    connection.waits_since_ms().map(|since_ms| now.ms().saturating_sub(since_ms))
}

fn age_s<S>(connection: &Connection<S>, now: Now) -> u32 {
    ((now.ms() / 1_000) as u32).saturating_sub(connection.opened_s)
}
