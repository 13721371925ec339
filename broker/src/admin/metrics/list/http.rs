//! Transports: bytes by what they are, messages, and requests over HTTP.

use super::super::values;
use super::Source::{Labelled, Node, Sum};
use super::{Metric, counter, gauge};

pub(super) const HTTP: &[Metric] = &[
    counter(
        "fanfare_http_requests_total",
        "requests",
        "Requests on the data port, by what they were for and their status. A status is there once \
         a request had it.",
        Labelled(values::requests),
    )
    .labels(&["transport", "status"]),
    counter(
        "fanfare_transport_bytes_total",
        "bytes",
        "Bytes by transport and by what they are: `head` of HTTP requests and responses, \
         `framing`, `envelope` around payloads, and `payload`. Headers of the fragments of one \
         message count once.",
        Labelled(values::transport_bytes),
    )
    .labels(&["transport", "direction", "part"]),
    counter(
        "fanfare_transport_messages_total",
        "messages",
        "Messages that were published or delivered by each transport.",
        Labelled(values::transport_messages),
    )
    .labels(&["transport"]),
    gauge(
        "fanfare_http_connections",
        "connections",
        "Connections that speak HTTP now, waiting and idle ones included.",
        Node(|s| Some(s.http_connections() as f64)),
    ),
    gauge(
        "fanfare_waiting_requests",
        "requests",
        "Requests that wait for a message now (long polling).",
        Sum(|c| &c.waiting_requests),
    ),
];
