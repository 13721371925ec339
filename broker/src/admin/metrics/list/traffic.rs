//! Connections, and the messages that come and go on them.

use super::super::values;
use super::Source::{Labelled, Node, Sum};
use super::{Metric, NAMESPACE, Source, counter, gauge, histogram};

pub(super) const CONNECTIONS: &[Metric] = &[
    gauge(
        "fanfare_connections",
        "connections",
        "WebSockets and event streams open now.",
        Sum(|c| &c.connections),
    ),
    counter(
        "fanfare_connections_opened_total",
        "connections",
        "WebSockets and event streams opened.",
        Sum(|c| &c.connections_opened),
    ),
    counter(
        "fanfare_connections_closed_total",
        "connections",
        "Connections ended, by the name of their close code; `other` is a code of the peer's own \
         or a connection lost without one.",
        Labelled(values::closes),
    )
    .labels(&["code"]),
    counter(
        "fanfare_accepted_total",
        "connections",
        "TCP connections accepted, whatever became of them.",
        Sum(|c| &c.accepted),
    ),
    counter(
        "fanfare_accept_errors_total",
        "errors",
        "Connections that the system could not hand over, by what it was short of. Each shard \
         tries 20 times a second while it lasts.",
        Labelled(values::accept_errors),
    )
    .labels(&["reason"]),
    counter(
        "fanfare_connections_refused_total",
        "connections",
        "Connections that were told to come back later (503), because there was no place for them: \
         as many as `descriptors` allow, or as the operator does (`limit`), or no `memory`.",
        Labelled(values::refused),
    )
    .labels(&["reason"]),
    counter(
        "fanfare_handshakes_failed_total",
        "handshakes",
        "Connections that never became useful: `abandoned` by the client before a whole request, \
         `timed_out` without one, or a WebSocket handshake that was `refused`.",
        Labelled(values::failed_handshakes),
    )
    .labels(&["reason"]),
    gauge(
        "fanfare_subscriptions",
        "subscriptions",
        "Subscriptions held now.",
        Sum(|c| &c.subscriptions),
    ),
    counter(
        "fanfare_command_errors_total",
        "commands",
        "Commands answered with an error.",
        Sum(|c| &c.command_errors),
    ),
];

pub(super) const TRAFFIC: &[Metric] = &[
    counter(
        "fanfare_messages_in_total",
        "messages",
        "Messages published.",
        Sum(|c| &c.messages_in),
    ),
    counter(
        "fanfare_message_in_bytes_total",
        "bytes",
        "Payload bytes of messages published.",
        Sum(|c| &c.message_in_bytes),
    ),
    counter(
        "fanfare_messages_out_total",
        "messages",
        "Deliveries: messages handed to subscribers' sockets or outboxes.",
        Node(|s| Some(s.messages_out() as f64)),
    ),
    counter(
        "fanfare_in_bytes_total",
        "bytes",
        "Bytes read from connections, framing included.",
        Sum(|c| &c.bytes_in),
    ),
    counter(
        "fanfare_out_bytes_total",
        "bytes",
        "Bytes written to connections, framing included.",
        Sum(|c| &c.bytes_out),
    ),
    counter(
        "fanfare_writes_total",
        "calls",
        "Write calls to sockets of connections.",
        Sum(|c| &c.writes),
    ),
    counter(
        "fanfare_namespace_messages_in_total",
        "messages",
        "Messages published, by namespace. Those with options of their own have a label, 32 at \
         most; the rest is `other`.",
        Labelled(|s| values::namespaces(s, |n| &n.messages_in)),
    )
    .labels(NAMESPACE),
    counter(
        "fanfare_namespace_message_in_bytes_total",
        "bytes",
        "Payload bytes of messages published, by namespace.",
        Labelled(|s| values::namespaces(s, |n| &n.message_in_bytes)),
    )
    .labels(NAMESPACE),
    counter(
        "fanfare_namespace_fanout_total",
        "messages",
        "Subscribers by name of each message published, added up, by namespace: what its \
         deliveries would be if all readers kept up.",
        Labelled(|s| values::namespaces(s, |n| &n.fanout)),
    )
    .labels(NAMESPACE),
];

pub(super) const SPEED: &[Metric] = &[
    histogram(
        "fanfare_delivery_seconds",
        "seconds",
        "Time from a publish to the write towards a subscriber; one of 64 deliveries is measured.",
        Source::Histogram(|c| &c.delivery_us, 1e-6),
    ),
    histogram(
        "fanfare_fanout_size",
        "subscribers",
        "Subscribers by name of each message.",
        Source::Histogram(|c| &c.fanout, 1.0),
    ),
];
