//! The node in Prometheus terms. Counters are summed over the shards when they are scraped, so
//! that counting costs nothing while messages flow. No label ever names a topic or a user.

use std::sync::Arc;

use fanfare_engine::{Histogram, HistogramSnapshot, ShardCounters, SharedCounter, TopicTable};
use prometheus::core::{Collector, Desc};
use prometheus::proto;
use prometheus::{Registry, TextEncoder};

use super::transports;
use crate::http::Meter;
use crate::server::AllCounters;

/// All metrics of a node.
pub(super) struct Metrics {
    registry: Registry,
}

impl Metrics {
    pub(super) fn new(topics: Arc<TopicTable>, meter: Meter) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counters = meter.shards.clone();
        registry.register(Box::new(NodeCollector { topics, counters, meter }))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self { registry })
    }

    /// The text that a scrape returns.
    pub(super) fn encode(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

struct NodeCollector {
    topics: Arc<TopicTable>,
    counters: AllCounters,
    meter: Meter,
}

type Pick = fn(&ShardCounters) -> &SharedCounter;

/// Counters: name, help, and which one it is.
const COUNTERS: &[(&str, &str, Pick)] = &[
    ("connections_opened_total", "Connections opened: WebSockets and event streams.", |c| {
        &c.connections_opened
    }),
    ("messages_in_total", "Messages published.", |c| &c.messages_in),
    ("message_in_bytes_total", "Payload bytes of messages published.", |c| &c.message_in_bytes),
    ("out_bytes_total", "Bytes written to connections, framing included.", |c| &c.bytes_out),
    ("in_bytes_total", "Bytes read from connections, framing included.", |c| &c.bytes_in),
    ("writes_total", "Write calls to sockets of connections.", |c| &c.writes),
    (
        "messages_recovered_total",
        "Messages that connections which were behind, or had come back, got from the rings.",
        |c| &c.messages_recovered,
    ),
    (
        "messages_merged_total",
        "Messages that subscriptions of mode latest were spared because newer ones came.",
        |c| &c.messages_merged,
    ),
    (
        "notices_dropped_total",
        "Presence events left out for connections that did not keep up.",
        |c| &c.notices_dropped,
    ),
    ("gaps_total", "Gaps told to subscribers that the ring could not serve any more.", |c| &c.gaps),
    ("gap_messages_total", "Messages in these gaps.", |c| &c.gap_messages),
    ("command_errors_total", "Commands answered with an error.", |c| &c.command_errors),
];

/// Gauges: name, help, and which one it is.
const GAUGES: &[(&str, &str, Pick)] = &[
    ("connections", "WebSockets and event streams open now.", |c| &c.connections),
    ("subscriptions", "Subscriptions held now.", |c| &c.subscriptions),
    (
        "outbox_bytes",
        "Bytes of frames accepted for connections and not yet handed to the network.",
        |c| &c.outbox_bytes,
    ),
    (
        "subscriptions_behind",
        "Subscriptions whose messages are not queued but owed from the ring.",
        |c| &c.subscriptions_behind,
    ),
    (
        "connections_lagging",
        "Connections whose buffered amount is at or over the high-water mark.",
        |c| &c.connections_lagging,
    ),
    ("waiting_requests", "Requests that wait for a message now (long polling).", |c| {
        &c.waiting_requests
    }),
    ("unfinished_bytes", "Bytes kept of messages that have not come whole yet.", |c| {
        &c.unfinished_bytes
    }),
];

impl Collector for NodeCollector {
    /// None: the registry then takes the names from what is collected.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let all = self.counters.read().clone();
        let sum = |pick: Pick| all.iter().map(|c| pick(c).get()).fold(0, u64::wrapping_add);
        let mut families = vec![build_info()];
        for (name, help, pick) in COUNTERS {
            families.push(family(name, help, proto::MetricType::COUNTER, [counter(sum(*pick))]));
        }
        for (name, help, pick) in GAUGES {
            families.push(gauge_family(name, help, sum(*pick) as f64));
        }
        let messages_out = all.iter().map(|c| c.messages_out()).fold(0, u64::wrapping_add);
        families.push(family(
            "messages_out_total",
            "Messages handed to subscribers' sockets or outboxes.",
            proto::MetricType::COUNTER,
            [counter(messages_out)],
        ));
        families.push(self.closes(&all));
        families.extend(self.table());
        families.extend(transports::families(&self.meter.totals()));
        let connections = self.meter.http_connections();
        let help = "Connections that speak HTTP now, waiting and idle ones included.";
        families.push(gauge_family("http_connections", help, connections as f64));
        families.extend(shards(&all[..self.topics.mailboxes().len()]));
        families.extend(histograms(&all));
        families
    }
}

impl NodeCollector {
    fn closes(&self, all: &[Arc<ShardCounters>]) -> proto::MetricFamily {
        let mut codes: Vec<(&str, u64)> = Vec::new();
        for (label, count) in all.iter().flat_map(|c| c.closes()) {
            match codes.iter_mut().find(|(known, _)| *known == label) {
                Some((_, sum)) => *sum += count,
                None => codes.push((label, count)),
            }
        }
        let metrics = codes.into_iter().map(|(code, n)| labelled(counter(n), "code", code));
        let help = "Connections ended, by close code; `other` is a code of the peer's own or a \
                    connection lost without one.";
        family("connections_closed_total", help, proto::MetricType::COUNTER, metrics)
    }

    fn table(&self) -> [proto::MetricFamily; 4] {
        let mailboxes = self.topics.mailboxes();
        let waiting: usize = mailboxes.iter().map(|m| m.len()).sum();
        let waiting_bytes: usize = mailboxes.iter().map(|m| m.bytes()).sum();
        let (topics, history) = (self.topics.topic_count(), self.topics.history_bytes());
        [
            gauge_family("topics", "Topics in the table now.", topics as f64),
            gauge_family("history_bytes", "Bytes kept in the topics' rings.", history as f64),
            gauge_family("mailbox_messages", "Messages that wait for shards.", waiting as f64),
            gauge_family("mailbox_bytes", "Payload bytes of these.", waiting_bytes as f64),
        ]
    }
}

fn shards(shards: &[Arc<ShardCounters>]) -> [proto::MetricFamily; 3] {
    let each = |value: fn(&ShardCounters) -> f64, metric: fn(f64) -> proto::Metric| {
        let shards = shards.iter().enumerate();
        shards.map(|(i, c)| labelled(metric(value(c)), "shard", &i.to_string())).collect::<Vec<_>>()
    };
    let ratio = each(|c| c.busy_ratio_millionths.get() as f64 / 1e6, gauge);
    let busy = each(|c| c.busy_ns.get() as f64 / 1e9, counter_f64);
    let connections = each(|c| c.connections.get() as f64, gauge);
    let (gauge, counter) = (proto::MetricType::GAUGE, proto::MetricType::COUNTER);
    [
        family("shard_busy_ratio", "Part of the last second that the shard worked.", gauge, ratio),
        family("shard_busy_seconds_total", "Time that the shard worked.", counter, busy),
        family("shard_connections", "Connections of the shard now.", gauge, connections),
    ]
}

fn histograms(all: &[Arc<ShardCounters>]) -> [proto::MetricFamily; 2] {
    let sum = |pick: fn(&ShardCounters) -> &Histogram, unit: f64| {
        let mut snapshot = HistogramSnapshot::default();
        all.iter().for_each(|c| pick(c).add_to(&mut snapshot));
        histogram(pick(&all[0]).bounds(), &snapshot, unit)
    };
    let kind = proto::MetricType::HISTOGRAM;
    [
        family(
            "fanout_size",
            "Subscribers by name of each message.",
            kind,
            [sum(|c| &c.fanout, 1.0)],
        ),
        family(
            "delivery_seconds",
            "Time from a publish to the write towards a subscriber, sampled.",
            kind,
            [sum(|c| &c.delivery_us, 1e-6)],
        ),
    ]
}

fn build_info() -> proto::MetricFamily {
    let metric = labelled(gauge(1.0), "version", env!("CARGO_PKG_VERSION"));
    family("build_info", "The broker's version.", proto::MetricType::GAUGE, [metric])
}

pub(super) fn family(
    name: &str,
    help: &str,
    kind: proto::MetricType,
    metrics: impl IntoIterator<Item = proto::Metric>,
) -> proto::MetricFamily {
    let mut family = proto::MetricFamily::default();
    family.set_name(format!("fanfare_{name}"));
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics.into_iter().collect());
    family
}

fn gauge_family(name: &str, help: &str, value: f64) -> proto::MetricFamily {
    family(name, help, proto::MetricType::GAUGE, [gauge(value)])
}

pub(super) fn counter(value: u64) -> proto::Metric {
    counter_f64(value as f64)
}

fn counter_f64(value: f64) -> proto::Metric {
    let mut counter = proto::Counter::default();
    counter.set_value(value);
    let mut metric = proto::Metric::default();
    metric.set_counter(counter);
    metric
}

fn gauge(value: f64) -> proto::Metric {
    let mut gauge = proto::Gauge::default();
    gauge.set_value(value);
    let mut metric = proto::Metric::default();
    metric.set_gauge(gauge);
    metric
}

/// The metric with one more label.
pub(super) fn labelled(mut metric: proto::Metric, name: &str, value: &str) -> proto::Metric {
    let mut label = proto::LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    let mut labels = metric.take_label();
    labels.push(label);
    metric.set_label(labels);
    metric
}

fn histogram(bounds: &[u64], snapshot: &HistogramSnapshot, unit: f64) -> proto::Metric {
    let mut cumulative = 0;
    let mut buckets = Vec::with_capacity(bounds.len());
    for (bound, count) in bounds.iter().zip(&snapshot.buckets) {
        cumulative += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*bound as f64 * unit);
        bucket.set_cumulative_count(cumulative);
        buckets.push(bucket);
    }
    let mut histogram = proto::Histogram::default();
    histogram.set_sample_count(snapshot.buckets.iter().sum());
    histogram.set_sample_sum(snapshot.sum as f64 * unit);
    histogram.set_bucket(buckets);
    let mut metric = proto::Metric::default();
    metric.set_histogram(histogram);
    metric
}
