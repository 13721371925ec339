//! What the counters, the topic table and the system say at the moment of a scrape.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use fanfare_engine::{
    ConnectionState, Limits, Mailbox, NAMESPACES_COUNTED, NamespaceCounters, ShardCounters,
    SharedCounter, TopicTable,
};

use super::Metrics;
use super::process::Process;
use crate::admission::Admission;
use crate::clock;
use crate::http::{Total, Transport};

/// Values of labels, and the number that they have.
pub(super) type Series = Vec<(Vec<String>, f64)>;

/// One scrape: what is read once for all metrics.
pub(super) struct Scrape<'a> {
    metrics: &'a Metrics,
    /// Those of the shards first, then those of publishers inside the process.
    counters: Vec<Arc<ShardCounters>>,
    pub(super) process: Process,
    now_ms: u64,
}

impl<'a> Scrape<'a> {
    pub(super) fn new(metrics: &'a Metrics) -> Self {
        let counters = metrics.meter.shards.read().clone();
        Self { metrics, counters, process: Process::read(), now_ms: clock::now().ms() }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &ShardCounters> {
        self.counters.iter().map(Arc::as_ref)
    }

    pub(super) fn shard_count(&self) -> usize {
        self.topics().mailboxes().len()
    }

    pub(super) fn shard(&self, shard: usize) -> &ShardCounters {
        &self.counters[shard]
    }

    pub(super) fn mailbox(&self, shard: usize) -> &Mailbox {
        &self.topics().mailboxes()[shard]
    }

    pub(super) fn topics(&self) -> &TopicTable {
        &self.metrics.topics
    }

    pub(super) fn limits(&self) -> &Limits {
        self.topics().limits()
    }

    /// A counter or gauge, added up. Wraps as the parts of a gauge may: one shard may count up
    /// what another counts down.
    pub(super) fn sum(&self, pick: fn(&ShardCounters) -> &SharedCounter) -> u64 {
        self.all().map(|counters| pick(counters).get()).fold(0, u64::wrapping_add)
    }

    /// When the node started, in seconds of Unix time.
    pub(super) fn start_seconds(&self) -> f64 {
        let since = self.metrics.started.duration_since(UNIX_EPOCH);
        since.map_or(0.0, |since| since.as_secs_f64())
    }

    /// Messages handed to subscribers.
    pub(super) fn messages_out(&self) -> u64 {
        self.all().map(ShardCounters::messages_out).fold(0, u64::wrapping_add)
    }

    pub(super) fn is_ready(&self) -> bool {
        !*self.metrics.stopping.borrow() && !self.admission().sheds_for_long()
    }

    pub(super) fn admission(&self) -> &Admission {
        &self.metrics.admission
    }

    /// Lines of the log that could not be written.
    pub(super) fn log_lines_dropped(&self) -> u64 {
        self.metrics.logs.lines_dropped()
    }

    /// Connections that speak HTTP now.
    pub(super) fn http_connections(&self) -> u64 {
        self.metrics.meter.http_connections()
    }

    fn transports(&self) -> Vec<(Transport, Total)> {
        self.metrics.meter.totals()
    }

    /// How long ago a shard last looked at its timers, in seconds.
    pub(super) fn tick_age_seconds(&self, shard: usize) -> f64 {
        self.now_ms.saturating_sub(self.shard(shard).ticked_ms.get()) as f64 / 1e3
    }
}

/// Connections that ended, by close code; codes that never came are at zero.
pub(super) fn closes(scrape: &Scrape<'_>) -> Series {
    let mut codes: Vec<(&str, u64)> = Vec::new();
    for (label, count) in scrape.all().flat_map(ShardCounters::closes) {
        match codes.iter_mut().find(|(known, _)| *known == label) {
            Some((_, sum)) => *sum += count,
            None => codes.push((label, count)),
        }
    }
    codes.into_iter().map(|(code, count)| one(code, count)).collect()
}

pub(super) fn states(scrape: &Scrape<'_>) -> Series {
    let count = |place: usize| scrape.all().map(|counters| counters.states[place].get()).sum();
    let states = ConnectionState::ALL.into_iter().enumerate();
    states.map(|(place, state)| one(state.name(), count(place))).collect()
}

pub(super) fn failed_handshakes(scrape: &Scrape<'_>) -> Series {
    vec![
        one("abandoned", scrape.sum(|c| &c.handshakes_abandoned)),
        one("refused", scrape.sum(|c| &c.handshakes_refused)),
        one("timed_out", scrape.sum(|c| &c.handshakes_timed_out)),
    ]
}

pub(super) fn refused(scrape: &Scrape<'_>) -> Series {
    scrape.admission().refused().map(|(reason, count)| one(reason, count)).to_vec()
}

pub(super) fn accept_errors(scrape: &Scrape<'_>) -> Series {
    scrape.admission().accept_errors().map(|(reason, count)| one(reason, count)).to_vec()
}

/// A count by namespace: those with options of their own, and `other`.
pub(super) fn namespaces(
    scrape: &Scrape<'_>,
    pick: fn(&NamespaceCounters) -> &SharedCounter,
) -> Series {
    let count = |place: usize| scrape.all().map(|all| pick(&all.namespaces[place]).get()).sum();
    let named = scrape.topics().namespaces().into_iter().enumerate();
    let named = named.map(|(place, name)| one(&name, count(place)));
    named.chain([one("other", count(NAMESPACES_COUNTED))]).collect()
}

/// Requests by transport and status.
pub(super) fn requests(scrape: &Scrape<'_>) -> Series {
    let mut series = Series::new();
    for (transport, total) in scrape.transports() {
        let labels = |status| vec![transport.name().to_owned(), status];
        series.extend(total.requests.into_iter().map(|(status, n)| (labels(status), n as f64)));
    }
    series
}

/// Bytes by transport, direction and what they are.
pub(super) fn transport_bytes(scrape: &Scrape<'_>) -> Series {
    let mut series = Series::new();
    for (transport, total) in scrape.transports() {
        for (direction, parts) in [("in", total.bytes_in), ("out", total.bytes_out)] {
            let labels = |part| [transport.name(), direction, part].map(str::to_owned).to_vec();
            series.extend(parts.named().map(|(part, n)| (labels(part), n as f64)));
        }
    }
    series
}

pub(super) fn transport_messages(scrape: &Scrape<'_>) -> Series {
    let totals = scrape.transports().into_iter();
    totals.map(|(transport, total)| one(transport.name(), total.messages)).collect()
}

pub(super) fn build_info(_: &Scrape<'_>) -> Series {
    vec![one(env!("CARGO_PKG_VERSION"), 1)]
}

fn one(label: &str, count: u64) -> (Vec<String>, f64) {
    (vec![label.to_owned()], count as f64)
}
