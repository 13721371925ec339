//! What all shards count of the transports together: for metrics, and for the live page's meter.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_engine::{FormCounters, PartCounters, SharedCounter, WireForm};
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use super::Reply;
use super::counters::{self, HttpCounters, Transport};
use crate::server::AllCounters;

/// The counters of all threads of the node.
#[derive(Clone)]
pub(crate) struct Meter {
    /// Those of the shards' requests, in the order of the shards.
    pub(crate) http: Arc<[Arc<HttpCounters>]>,
    pub(crate) shards: AllCounters,
}

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
            *sum += counter.get();
        }
    }

    /// Adds what the engine counts, which knows no heads of HTTP.
    fn add_parts(&mut self, parts: &PartCounters) {
        for (sum, counter) in [
            (&mut self.framing, &parts.framing),
            (&mut self.envelope, &parts.envelope),
            (&mut self.payload, &parts.payload),
        ] {
            *sum += SharedCounter::get(counter);
        }
    }
}

impl Total {
    fn add_requests(&mut self, counters: &counters::TransportCounters) {
        self.messages += counters.messages.get();
        self.bytes_in.add(&counters.bytes_in);
        self.bytes_out.add(&counters.bytes_out);
        for (status, count) in counters.requests().filter(|(_, count)| *count > 0) {
            *self.requests.entry(status).or_default() += count;
        }
    }

    fn add_connections(&mut self, counters: &FormCounters) {
        self.messages += counters.messages_out.get();
        self.bytes_in.add_parts(&counters.bytes_in);
        self.bytes_out.add_parts(&counters.bytes_out);
    }
}

impl Meter {
    /// The counters of all transports.
    pub(crate) fn totals(&self) -> Vec<(Transport, Total)> {
        let shards = self.shards.read().clone();
        let of = |transport: Transport| {
            let mut total = Total::default();
            self.http.iter().for_each(|shard| total.add_requests(shard.of(transport)));
            let forms = WireForm::ALL.into_iter();
            for form in forms.filter(|form| form.transport() == transport.name()) {
                shards.iter().for_each(|shard| total.add_connections(shard.of(form)));
            }
            total
        };
        Transport::ALL.into_iter().map(|transport| (transport, of(transport))).collect()
    }

    /// Connections that speak HTTP now.
    pub(crate) fn http_connections(&self) -> u64 {
        self.http.iter().map(|shard| shard.connections.get()).sum()
    }

    /// The totals as JSON.
    pub(super) fn reply(&self) -> Reply {
        #[derive(Serialize)]
        struct Totals {
            transports: BTreeMap<&'static str, Total>,
        }
        let totals = self.totals().into_iter();
        let transports = totals.map(|(transport, total)| (transport.name(), total)).collect();
        // Numbers and plain names: writing them does not fail.
        let json = serde_json::to_vec(&Totals { transports }).unwrap_or_default();
        let mut reply = Response::new(Bytes::from(json));
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        reply
    }
}
