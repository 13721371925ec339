//! What went over each transport, by what the bytes are: what the comparison of transports rests
//! on.

use std::sync::Arc;

use fanfare_engine::{FormCounters, PartCounters, ShardCounters, SharedCounter, WireForm};
use prometheus::proto;

use super::metrics::{counter, family, labelled};

/// Transports whose connections belong to shards.
const TRANSPORTS: [&str; 3] = ["raw", "sdk", "sse"];

type Part = fn(&PartCounters) -> &SharedCounter;

/// What bytes are, apart from heads of requests.
const PARTS: [(&str, Part); 3] = [
    ("framing", |parts| &parts.framing),
    ("envelope", |parts| &parts.envelope),
    ("payload", |parts| &parts.payload),
];

pub(super) fn families(all: &[Arc<ShardCounters>]) -> [proto::MetricFamily; 2] {
    let sum = |transport: &str, pick: &dyn Fn(&FormCounters) -> u64| {
        let forms = || WireForm::ALL.into_iter().filter(|form| form.transport() == transport);
        all.iter().flat_map(|c| forms().map(|form| pick(c.of(form)))).fold(0, u64::wrapping_add)
    };
    let mut bytes = Vec::new();
    let mut messages = Vec::new();
    for transport in TRANSPORTS {
        let label = |metric| labelled(metric, "transport", transport);
        let delivered = sum(transport, &|form| form.messages_out.get());
        messages.push(label(counter(delivered)));
        for (name, part) in PARTS {
            let incoming = sum(transport, &|form| part(&form.bytes_in).get());
            let outgoing = sum(transport, &|form| part(&form.bytes_out).get());
            for (direction, count) in [("in", incoming), ("out", outgoing)] {
                let metric = labelled(label(counter(count)), "direction", direction);
                bytes.push(labelled(metric, "part", name));
            }
        }
    }
    let kind = proto::MetricType::COUNTER;
    let of_bytes = "Bytes by transport and by what they are; headers of the fragments of one \
                    message count once.";
    let of_messages = "Messages delivered by transport.";
    [
        family("transport_bytes_total", of_bytes, kind, bytes),
        family("transport_messages_total", of_messages, kind, messages),
    ]
}
