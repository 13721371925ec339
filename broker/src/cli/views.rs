//! The views of the admin port as tables, for `report` and for `top`.

use super::table::{Column, Table, number, text};
use super::units::{amount, bytes, or_dash, percent, time_ms, time_s};
use crate::admin::{Connection, Shard, Topic};

const CONNECTIONS: &[Column] = &[
    text("connection"),
    text("state"),
    number("buffered"),
    number("oldest"),
    number("behind"),
    number("merged"),
    number("lost"),
    number("all"),
    number("latest"),
    number("age"),
    text("protocol"),
    text("peer"),
    text("name"),
    number("kernel"),
];

/// One row for each connection.
pub(super) fn connections(connections: &[Connection]) -> Table {
    let mut table = Table::new(CONNECTIONS);
    for one in connections {
        table.push([
            one.connection.clone(),
            one.state.to_string(),
            bytes(one.buffered_amount as u64),
            or_dash(one.oldest_unsent_ms, time_ms),
            one.topics_behind.to_string(),
            one.messages_merged.to_string(),
            one.messages_lost.to_string(),
            one.subscriptions_all.to_string(),
            one.subscriptions_latest.to_string(),
            time_s(one.age_s),
            one.protocol.to_string(),
            or_dash(one.peer.clone(), |peer| peer),
            or_dash(one.name.clone(), |name| name),
            bytes(one.kernel_bytes as u64),
        ]);
    }
    table
}

const TOPICS: &[Column] = &[
    text("topic"),
    number("rate"),
    number("subscribers"),
    number("offset"),
    number("kept"),
    number("bytes"),
    number("newest"),
    number("waiting"),
    text("namespace"),
    text("epoch"),
];

/// One row for each topic.
pub(super) fn topics(topics: &[Topic]) -> Table {
    let mut table = Table::new(TOPICS);
    for one in topics {
        table.push([
            one.topic.clone(),
            or_dash(one.messages_per_second, |rate| format!("{}/s", amount(rate))),
            one.subscribers.to_string(),
            one.offset.to_string(),
            one.messages.to_string(),
            bytes(one.bytes as u64),
            or_dash(one.newest_age_ms, time_ms),
            one.waiting_requests.to_string(),
            one.namespace.clone(),
            one.epoch.clone(),
        ]);
    }
    table
}

const SHARDS: &[Column] = &[
    number("shard"),
    number("busy"),
    number("connections"),
    number("open"),
    number("blocked"),
    number("lagging"),
    number("stalled"),
    number("closing"),
    number("subscriptions"),
    number("mailbox"),
    number("mail bytes"),
    number("outboxes"),
    number("published"),
    number("delivered"),
    number("bytes out"),
    number("last tick"),
];

/// One row for each shard.
pub(super) fn shards(shards: &[Shard]) -> Table {
    let mut table = Table::new(SHARDS);
    for one in shards {
        let state = |name: &str| one.states.get(name).copied().unwrap_or(0).to_string();
        table.push([
            one.shard.to_string(),
            percent(one.busy_ratio),
            one.connections.to_string(),
            state("open"),
            state("blocked"),
            state("lagging"),
            state("stalled"),
            state("closing"),
            one.subscriptions.to_string(),
            one.mailbox_messages.to_string(),
            bytes(one.mailbox_bytes as u64),
            bytes(one.outbox_bytes),
            one.messages_in.to_string(),
            one.messages_out.to_string(),
            bytes(one.out_bytes),
            time_ms(one.tick_age_ms),
        ]);
    }
    table
}
