//! What all shards count of the transports together: for metrics, and for the live page's meter.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_engine::SharedCounter;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use super::Reply;
use super::counters::{self, HttpCounters, Transport};

/// The counters of a transport, summed over the shards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Total {
    pub(crate) messages: u64,
    #[serde(rename = "in")]
    pub(crate) bytes_in: Parts,
    #[serde(rename = "out")]
    pub(crate) bytes_out: Parts,
    /// Requests by status.
    pub(crate) requests: BTreeMap<String, u64>,
}

/// Bytes of one direction by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Parts {
    pub(crate) head: u64,
    pub(crate) framing: u64,
    pub(crate) envelope: u64,
    pub(crate) payload: u64,
}

impl Parts {
    /// The parts with their names.
    pub(crate) fn named(&self) -> [(&'static str, u64); 4] {
        let Self { head, framing, envelope, payload } = *self;
        [("head", head), ("framing", framing), ("envelope", envelope), ("payload", payload)]
    }

    fn add(&mut self, bytes: &counters::Bytes) {
        for (sum, counter) in [
            (&mut self.head, &bytes.head),
            (&mut self.framing, &bytes.framing),
            (&mut self.envelope, &bytes.envelope),
            (&mut self.payload, &bytes.payload),
        ] {
            *sum += SharedCounter::get(counter);
        }
    }
}

/// The counters of all transports.
pub(crate) fn totals(shards: &[Arc<HttpCounters>]) -> Vec<(Transport, Total)> {
    let of = |transport| {
        let mut total = Total::default();
        for counters in shards.iter().map(|shard| shard.of(transport)) {
            total.messages += counters.messages.get();
            total.bytes_in.add(&counters.bytes_in);
            total.bytes_out.add(&counters.bytes_out);
            for (status, count) in counters.requests().filter(|(_, count)| *count > 0) {
                *total.requests.entry(status).or_default() += count;
            }
        }
        total
    };
    Transport::ALL.into_iter().map(|transport| (transport, of(transport))).collect()
}

/// The same as JSON.
pub(super) fn reply(shards: &[Arc<HttpCounters>]) -> Reply {
    #[derive(Serialize)]
    struct Meter {
        transports: BTreeMap<&'static str, Total>,
    }
    let totals = totals(shards).into_iter();
    let transports = totals.map(|(transport, total)| (transport.name(), total)).collect();
    // Numbers and plain names: writing them does not fail.
    let json = serde_json::to_vec(&Meter { transports }).unwrap_or_default();
    let mut reply = Response::new(Bytes::from(json));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}
