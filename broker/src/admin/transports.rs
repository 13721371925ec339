//! Transports in Prometheus terms: bytes by what they are, messages, requests.

use prometheus::proto::{self, MetricType};

use super::metrics::{counter, family, labelled};
use crate::http::{Total, Transport};

/// The families of `totals`. Counters of transports are there from the start; statuses only once
/// a request had them.
pub(super) fn families(totals: &[(Transport, Total)]) -> [proto::MetricFamily; 3] {
    let mut bytes = Vec::new();
    let mut requests = Vec::new();
    for (transport, total) in totals {
        for (direction, parts) in [("in", &total.bytes_in), ("out", &total.bytes_out)] {
            for (part, count) in parts.named() {
                let metric = labelled(counter(count), "transport", transport.name());
                bytes.push(labelled(labelled(metric, "direction", direction), "part", part));
            }
        }
        for (status, count) in &total.requests {
            let metric = labelled(counter(*count), "transport", transport.name());
            requests.push(labelled(metric, "status", status));
        }
    }
    let messages = totals
        .iter()
        .map(|(transport, total)| labelled(counter(total.messages), "transport", transport.name()));
    [
        family(
            "transport_bytes_total",
            "Bytes by transport and by what they are; headers of the fragments of one message \
             count once.",
            MetricType::COUNTER,
            bytes,
        ),
        family(
            "transport_messages_total",
            "Messages that were published or delivered by each transport.",
            MetricType::COUNTER,
            messages,
        ),
        family(
            "http_requests_total",
            "Requests on the data port, by what they were for and their status.",
            MetricType::COUNTER,
            requests,
        ),
    ]
}
