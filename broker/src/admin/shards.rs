//! The view of shards: how busy and how full each of them is.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use fanfare_engine::{ConnectionState, Mailbox, ShardCounters};
use serde::{Deserialize, Serialize};

use super::Admin;
use super::view::{Parameters, json};
use crate::clock;

/// `GET /v1/shards`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shards {
    /// The node's name, with which the names of its connections begin.
    pub(crate) node: String,
    pub(crate) shards: Vec<Shard>,
}

/// One shard. Counts since the start, where they are no numbers of now.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shard {
    pub(crate) shard: usize,
    /// Part of the last second that it worked.
    pub(crate) busy_ratio: f64,
    pub(crate) busy_ms: u64,
    /// Time since it last looked at its timers.
    pub(crate) tick_age_ms: u64,
    pub(crate) connections: u64,
    /// Connections by state, counted about once a second.
    pub(crate) states: BTreeMap<String, u64>,
    pub(crate) subscriptions: u64,
    pub(crate) mailbox_messages: usize,
    pub(crate) mailbox_bytes: usize,
    pub(crate) outbox_bytes: u64,
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) out_bytes: u64,
}

/// By what shards are sorted: by their numbers, or the greatest first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ShardOrder {
    Shard,
    Busy,
    Connections,
    Mailbox,
    MessagesOut,
}

impl ShardOrder {
    pub(crate) const ALL: &'static [(Self, &'static str)] = &[
        (Self::Shard, "shard"),
        (Self::Busy, "busy"),
        (Self::Connections, "connections"),
        (Self::Mailbox, "mailbox"),
        (Self::MessagesOut, "messages_out"),
    ];
}

impl Shard {
    fn new(shard: usize, counters: &ShardCounters, mailbox: &Mailbox, now_ms: u64) -> Self {
        let states = ConnectionState::ALL.into_iter().zip(&counters.states);
        Self {
            shard,
            busy_ratio: counters.busy_ratio_millionths.get() as f64 / 1e6,
            busy_ms: counters.busy_ns.get() / 1_000_000,
            tick_age_ms: now_ms.saturating_sub(counters.ticked_ms.get()),
            connections: counters.connections.get(),
            states: states.map(|(state, n)| (state.name().to_owned(), n.get())).collect(),
            subscriptions: counters.subscriptions.get(),
            mailbox_messages: mailbox.len(),
            mailbox_bytes: mailbox.bytes(),
            outbox_bytes: counters.outbox_bytes.get(),
            messages_in: counters.messages_in.get(),
            messages_out: counters.messages_out(),
            out_bytes: counters.bytes_out.get(),
        }
    }

    fn rank(&self, order: ShardOrder) -> u64 {
        match order {
            ShardOrder::Shard => 0,
            ShardOrder::Busy => (self.busy_ratio * 1e6) as u64,
            ShardOrder::Connections => self.connections,
            ShardOrder::Mailbox => self.mailbox_messages as u64,
            ShardOrder::MessagesOut => self.messages_out,
        }
    }
}

/// `GET /v1/shards?sort=KEY&limit=N`.
pub(super) async fn report(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let parameters = Parameters { orders: ShardOrder::ALL, takes_topic: false };
    let asked = match parameters.read(query.as_deref()) {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let now_ms = clock::now().ms();
    let counters = admin.metrics.meter.shards.read().clone();
    // Behind the shards' counters come those of publishers inside the process.
    let own = admin.metrics.topics.mailboxes().iter().zip(&counters).enumerate();
    let mut shards: Vec<Shard> =
        own.map(|(shard, (mailbox, own))| Shard::new(shard, own, mailbox, now_ms)).collect();
    shards.sort_by_key(|shard| Reverse(shard.rank(asked.order)));
    shards.truncate(asked.limit);
    json(&Shards { node: admin.node.to_string(), shards })
}
