//! From an entry of the list and the node's counters to what the encoder writes.

use fanfare_engine::HistogramSnapshot;
use prometheus::proto;

use super::list::{Kind, Metric, Source};
use super::values::Scrape;

/// A metric with all its samples.
pub(super) fn family(metric: &Metric, scrape: &Scrape<'_>) -> proto::MetricFamily {
    let mut family = proto::MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(match metric.kind {
        Kind::Counter => proto::MetricType::COUNTER,
        Kind::Gauge => proto::MetricType::GAUGE,
        Kind::Histogram => proto::MetricType::HISTOGRAM,
    });
    family.set_metric(samples(metric, scrape));
    family
}

fn samples(metric: &Metric, scrape: &Scrape<'_>) -> Vec<proto::Metric> {
    let plain = |value| number(metric.kind, value);
    match metric.source {
        Source::Sum(pick) => vec![plain(scrape.sum(pick) as f64)],
        Source::Node(value) => value(scrape).map(plain).into_iter().collect(),
        Source::Shards(value) => {
            let one = |shard: usize| (vec![shard.to_string()], value(scrape, shard));
            labelled(metric, (0..scrape.shard_count()).map(one))
        }
        Source::Labelled(series) => labelled(metric, series(scrape)),
        Source::Histogram(pick, unit) => {
            let mut snapshot = HistogramSnapshot::default();
            scrape.all().for_each(|counters| pick(counters).add_to(&mut snapshot));
            let bounds = scrape.all().next().map_or(&[][..], |counters| pick(counters).bounds());
            vec![histogram(bounds, &snapshot, unit)]
        }
    }
}

fn labelled(
    metric: &Metric,
    series: impl IntoIterator<Item = (Vec<String>, f64)>,
) -> Vec<proto::Metric> {
    let one = |(values, value): (Vec<String>, f64)| {
        debug_assert_eq!(values.len(), metric.labels.len(), "{}", metric.name);
        let mut sample = number(metric.kind, value);
        let pairs = metric.labels.iter().zip(values).map(|(name, value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value);
            pair
        });
        sample.set_label(pairs.collect());
        sample
    };
    series.into_iter().map(one).collect()
}

fn number(kind: Kind, value: f64) -> proto::Metric {
    let mut metric = proto::Metric::default();
    if kind == Kind::Counter {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

/// `unit`: one of what the histogram counts in the metric's unit.
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
