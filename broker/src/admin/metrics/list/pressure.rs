//! Who is slow, what became of the messages, and how full is what has a limit.

use super::super::values;
use super::Source::{Labelled, Node, Shards, Sum};
use super::{Metric, SHARD, counter, gauge};

pub(super) const SLOWNESS: &[Metric] = &[
    gauge(
        "fanfare_connection_states",
        "connections",
        "Connections by state: `open` has nothing unsent, `blocked` has, `lagging` is over the \
         high-water mark, `stalled` took nothing for a third of the stall timeout, `closing` is \
         being closed. Counted about once a second.",
        Labelled(values::states),
    )
    .labels(&["state"]),
    gauge(
        "fanfare_connections_lagging",
        "connections",
        "Connections over the high-water mark and not yet down at the low-water mark; at once.",
        Sum(|c| &c.connections_lagging),
    ),
    gauge(
        "fanfare_connections_behind",
        "connections",
        "Connections that are owed messages from the topics' rings. Counted about once a second.",
        Sum(|c| &c.connections_behind),
    ),
    gauge(
        "fanfare_subscriptions_behind",
        "subscriptions",
        "Subscriptions whose messages are not queued but owed from the ring.",
        Sum(|c| &c.subscriptions_behind),
    ),
    counter(
        "fanfare_messages_recovered_total",
        "messages",
        "Messages that connections which were behind, or had come back, got from the rings.",
        Sum(|c| &c.messages_recovered),
    ),
    counter(
        "fanfare_messages_merged_total",
        "messages",
        "Policy `latest`: messages that slow readers were spared because newer ones came.",
        Sum(|c| &c.messages_merged),
    ),
    counter(
        "fanfare_messages_thinned_total",
        "messages",
        "Policy `max_rate`: messages that subscriptions with a rate were spared because newer \
         ones came.",
        Sum(|c| &c.messages_thinned),
    ),
    counter(
        "fanfare_gaps_total",
        "gaps",
        "Policy `all`: gaps told to subscribers whose messages the ring no longer had.",
        Sum(|c| &c.gaps),
    ),
    counter(
        "fanfare_gap_messages_total",
        "messages",
        "Messages in these gaps.",
        Sum(|c| &c.gap_messages),
    ),
    counter(
        "fanfare_notices_dropped_total",
        "events",
        "Presence events left out for connections that did not keep up.",
        Sum(|c| &c.notices_dropped),
    ),
];

pub(super) const BUDGETS: &[Metric] = &[
    gauge(
        "fanfare_places_taken",
        "connections",
        "Connections that have a place, those that speak HTTP included.",
        Node(|s| Some(s.admission().taken() as f64)),
    ),
    gauge(
        "fanfare_places_limit",
        "connections",
        "Connections beyond which new ones are refused: what descriptors or the operator allow.",
        Node(|s| Some(s.admission().connections_max() as f64)),
    ),
    gauge(
        "fanfare_memory_used_bytes",
        "bytes",
        "Memory that is compared with the budget: what the process has resident, or, where the \
         budget follows from its control group, what that has in use without files.",
        Node(|s| Some(s.admission().memory().used as f64)),
    ),
    gauge(
        "fanfare_memory_budget_bytes",
        "bytes",
        "Memory from which new connections are refused; 0 if there is no budget.",
        Node(|s| Some(s.admission().memory().budget.unwrap_or_default() as f64)),
    ),
    gauge(
        "fanfare_outbox_bytes",
        "bytes",
        "Bytes of frames accepted for connections and not yet handed to the network.",
        Sum(|c| &c.outbox_bytes),
    ),
    gauge(
        "fanfare_outbox_limit_bytes",
        "bytes",
        "Bytes in all outboxes beyond which the marks of each connection are halved.",
        Node(|s| Some(s.limits().outbox_total_bytes_max as f64)),
    ),
    gauge(
        "fanfare_shard_outbox_pressure",
        "halvings",
        "How often a shard has halved these marks now; 0 is none, 4 the most.",
        Shards(|s, shard| s.shard(shard).outbox_pressure.get() as f64),
    )
    .labels(SHARD),
    gauge(
        "fanfare_history_bytes",
        "bytes",
        "Bytes kept in the topics' rings.",
        Node(|s| Some(s.topics().history_bytes() as f64)),
    ),
    gauge(
        "fanfare_history_limit_bytes",
        "bytes",
        "Bytes beyond which the rings keep nothing new.",
        Node(|s| Some(s.limits().history_total_bytes_max as f64)),
    ),
    gauge(
        "fanfare_topics",
        "topics",
        "Topics in the table now.",
        Node(|s| Some(s.topics().topic_count() as f64)),
    ),
    gauge(
        "fanfare_topics_limit",
        "topics",
        "Topics beyond which no new one is made.",
        Node(|s| Some(s.limits().topics_max as f64)),
    ),
    gauge(
        "fanfare_mailbox_messages",
        "messages",
        "Messages that wait for all shards.",
        Node(|s| Some((0..s.shard_count()).map(|shard| s.mailbox(shard).len() as f64).sum())),
    ),
    gauge(
        "fanfare_mailbox_bytes",
        "bytes",
        "Payload bytes of these.",
        Node(|s| Some((0..s.shard_count()).map(|shard| s.mailbox(shard).bytes() as f64).sum())),
    ),
    gauge(
        "fanfare_mailbox_limit_messages",
        "messages",
        "Messages waiting for one shard from which publishers are not read.",
        Node(|s| Some(s.limits().mailbox_messages_mark as f64)),
    ),
    gauge(
        "fanfare_mailbox_limit_bytes",
        "bytes",
        "Payload bytes waiting for one shard from which publishers are not read.",
        Node(|s| Some(s.limits().mailbox_bytes_mark as f64)),
    ),
    gauge(
        "fanfare_unfinished_bytes",
        "bytes",
        "Bytes of messages that have not come whole yet.",
        Sum(|c| &c.unfinished_bytes),
    ),
    gauge(
        "fanfare_unfinished_limit_bytes",
        "bytes",
        "Bytes of these in one shard from which the connection that passes it is closed.",
        Node(|s| Some(s.limits().unfinished_bytes_max as f64)),
    ),
];
