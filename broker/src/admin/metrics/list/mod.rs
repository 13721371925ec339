//! The list of all metrics of the broker: the exposition and `broker/docs/METRICS.md` follow from
//! it. To add one, add an entry; the tests of `reference` say what its name must be like.

mod http;
mod node;
mod pressure;
mod traffic;

use fanfare_engine::{Histogram, ShardCounters, SharedCounter};

use super::values::{Scrape, Series};
use http::HTTP;
use node::{HEALTH, PROCESS, SHARDS};
use pressure::{BUDGETS, SLOWNESS};
use traffic::{CONNECTIONS, SPEED, TRAFFIC};

/// One metric, as it is told to Prometheus and to readers.
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What one of it is: `seconds` or `bytes`, or the thing that is counted.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the reference page tells it"))]
    pub(super) unit: &'static str,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
    pub(super) source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Where the values of a metric come from.
pub(super) enum Source {
    /// Added up over the shards and the publishers inside the process.
    Sum(fn(&ShardCounters) -> &SharedCounter),
    /// One number; none where the system does not tell it.
    Node(fn(&Scrape<'_>) -> Option<f64>),
    /// One number for each shard.
    Shards(fn(&Scrape<'_>, usize) -> f64),
    /// One number for each combination of labels.
    Labelled(fn(&Scrape<'_>) -> Series),
    /// Added up over the shards; one of what it counts in the metric's unit.
    Histogram(fn(&ShardCounters) -> &Histogram, f64),
}

/// Metrics that answer the same question.
pub(super) struct Section {
    #[cfg_attr(not(test), expect(dead_code, reason = "only the reference page tells it"))]
    pub(super) question: &'static str,
    pub(super) metrics: &'static [Metric],
}

pub(super) const SECTIONS: &[Section] = &[
    Section { question: "Is it well?", metrics: HEALTH },
    Section { question: "Who is connected, and how do connections end?", metrics: CONNECTIONS },
    Section { question: "How much is published and delivered?", metrics: TRAFFIC },
    Section { question: "What does each transport carry?", metrics: HTTP },
    Section { question: "How fast is a message from publish to socket?", metrics: SPEED },
    Section { question: "Who is slow, and what became of their messages?", metrics: SLOWNESS },
    Section { question: "How full is what has a limit?", metrics: BUDGETS },
    Section { question: "How busy are the shards?", metrics: SHARDS },
    Section { question: "What does the process take?", metrics: PROCESS },
];

/// Every metric, in the order of the sections.
pub(super) fn all() -> impl Iterator<Item = &'static Metric> {
    SECTIONS.iter().flat_map(|section| section.metrics)
}

const SHARD: &[&str] = &["shard"];
const NAMESPACE: &[&str] = &["namespace"];

const fn counter(n: &'static str, u: &'static str, help: &'static str, source: Source) -> Metric {
    Metric { name: n, kind: Kind::Counter, unit: u, labels: &[], help, source }
}

const fn gauge(n: &'static str, u: &'static str, help: &'static str, source: Source) -> Metric {
    Metric { name: n, kind: Kind::Gauge, unit: u, labels: &[], help, source }
}

const fn histogram(n: &'static str, u: &'static str, help: &'static str, source: Source) -> Metric {
    Metric { name: n, kind: Kind::Histogram, unit: u, labels: &[], help, source }
}

impl Metric {
    const fn labels(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }
}
