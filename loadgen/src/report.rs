//! What a run found out: the figures of one measurement, medians of rounds, the result file.
//!
//! Owns the shape of the result and its schema version. How it looks on a terminal is `table`'s.

use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::environment::Environment;
use crate::latency::{Latencies, Percentiles};
use crate::record::Totals;
use crate::server::CpuTime;
use crate::session::{Measured, Sample};

/// Version of the result file's shape; raised when a field changes its meaning or goes.
pub(crate) const SCHEMA: &str = "fanfare-loadgen/1";

/// One server's figures of one round. Times are µs, sizes are bytes; a figure of the server is
/// missing where its process was not measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// Subscribing connections.
    pub connections: u32,
    /// From the first SYN to the last confirmed subscription of all connections.
    pub connect_seconds: f64,
    /// The same of each connection.
    pub connect_latency_us: Percentiles,
    /// CPU time of the server for one connection with its subscriptions.
    pub server_cpu_us_per_connection: Option<f64>,
    /// Resident memory of the server after the last delivery.
    pub server_rss_bytes: Option<u64>,
    /// Messages published while measuring.
    pub published: u64,
    /// Messages received while measuring, without doubled ones.
    pub deliveries: u64,
    /// From the start of measuring to the last delivery.
    pub seconds: f64,
    /// Deliveries in each of those seconds.
    pub deliveries_per_second: f64,
    /// Bytes received for each delivery, frame headers included.
    pub bytes_per_delivery: f64,
    /// Deliveries that came with one system call of the receiver.
    pub deliveries_per_read: f64,
    /// CPU time of the server for each delivery.
    pub server_cpu_us_per_delivery: Option<f64>,
    /// Cores that the server kept busy.
    pub server_cores: Option<f64>,
    /// Cores that the server could have used, had others not had them: the machine was busy.
    pub server_cores_waited_for: Option<f64>,
    /// CPU time of this program, publishers included, for each delivery.
    pub loadgen_cpu_us_per_delivery: f64,
    /// Cores that this program kept busy.
    pub loadgen_cores: f64,
    /// Cores that this program could have used besides.
    pub loadgen_cores_waited_for: f64,
    /// From when a message should have been sent until it was read.
    pub response_us: Percentiles,
    /// From when it was sent until it was read.
    pub service_us: Percentiles,
    /// How much later than planned messages were sent.
    pub schedule_lag_us: Percentiles,
    /// Faults of the whole round, warm-up included.
    pub faults: Faults,
    /// Frames with data that no publisher of this run sent.
    pub foreign: u64,
    /// All of `response_us`, for the file beside the result.
    #[serde(skip)]
    pub response: Latencies,
}

/// What must not happen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Faults {
    /// Messages that never came.
    pub lost: u64,
    /// Messages that came again.
    pub doubled: u64,
    /// Messages that came after a later one of their sequence.
    pub reordered: u64,
    /// Messages that mode `latest` should have left out for a newer one.
    #[serde(default)]
    pub stale: u64,
    /// Messages that came although a gap was told in their place.
    #[serde(default)]
    pub false_gap_messages: u64,
    /// Subscriptions that came back in time and were not told that they are recovered, and
    /// clients that had not recovered when they were given up.
    #[serde(default)]
    pub not_recovered: u64,
    /// Connections that the server ended.
    pub closed: u64,
    /// Servers that were to end and did not end well.
    #[serde(default)]
    pub bad_exits: u64,
    /// Why the first of them was ended.
    pub first_close: Option<String>,
}

impl Faults {
    /// Those that receivers counted.
    #[must_use]
    pub(crate) fn of(totals: &Totals) -> Self {
        Self {
            lost: totals.lost,
            doubled: totals.doubled,
            reordered: totals.reordered,
            false_gap_messages: totals.false_gap_messages,
            closed: totals.closed.into(),
            first_close: totals.first_close.clone(),
            ..Self::default()
        }
    }

    /// Whether there is none.
    #[must_use]
    pub(crate) fn none(&self) -> bool {
        self.counts().iter().all(|(_, count)| *count == 0)
    }

    /// Each of them by its name.
    #[must_use]
    pub(crate) fn counts(&self) -> [(&'static str, u64); 8] {
        [
            ("lost", self.lost),
            ("doubled", self.doubled),
            ("reordered", self.reordered),
            ("connections closed", self.closed),
            ("stale", self.stale),
            ("not recovered", self.not_recovered),
            ("told as gaps and delivered", self.false_gap_messages),
            ("bad exits", self.bad_exits),
        ]
    }

    /// Adds the faults of another measurement.
    pub(crate) fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.stale += other.stale;
        self.false_gap_messages += other.false_gap_messages;
        self.not_recovered += other.not_recovered;
        self.closed += other.closed;
        self.bad_exits += other.bad_exits;
        if self.first_close.is_none() {
            self.first_close.clone_from(&other.first_close);
        }
    }
}

/// Time and CPU between two samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Wall time in ns.
    pub wall_ns: u64,
    /// CPU time of the server, if measured.
    pub server_cpu: Option<CpuTime>,
    /// CPU time of this program.
    pub own_cpu: CpuTime,
}

impl Span {
    /// From `before` to `after`.
    #[must_use]
    pub(crate) fn between(before: Sample, after: Sample) -> Self {
        let server = before.server_cpu.zip(after.server_cpu);
        Self {
            wall_ns: after.at_ns - before.at_ns,
            server_cpu: server.map(|(before, after)| after.since(before)),
            own_cpu: after.own_cpu.since(before.own_cpu),
        }
    }

    /// CPU time of the server for each of `count` things, in µs.
    #[must_use]
    pub(crate) fn server_us_per(&self, count: u64) -> Option<f64> {
        (count > 0).then_some(self.server_cpu?.run_ns as f64 / 1_000.0 / count as f64)
    }
}

impl Measurement {
    /// Puts together what a session found out.
    #[must_use]
    pub(crate) fn new(
        connections: u32,
        connecting: (Sample, Sample),
        connect: &Latencies,
        measured: &Measured,
        totals: &Totals,
    ) -> Self {
        let opening = Span::between(connecting.0, connecting.1);
        let span = Span::between(measured.before, measured.after);
        let wall_ns = (measured.last_ns - measured.before.at_ns) as f64;
        let per_delivery = |amount: f64| amount / totals.messages.max(1) as f64;
        Self {
            connections,
            connect_seconds: opening.wall_ns as f64 / 1e9,
            connect_latency_us: connect.percentiles(),
            server_cpu_us_per_connection: opening.server_us_per(connections.into()),
            server_rss_bytes: None,
            published: measured.published,
            deliveries: totals.messages,
            seconds: wall_ns / 1e9,
            deliveries_per_second: totals.messages as f64 / wall_ns * 1e9,
            bytes_per_delivery: per_delivery(totals.bytes as f64),
            deliveries_per_read: totals.messages as f64 / totals.reads.max(1) as f64,
            server_cpu_us_per_delivery: span.server_us_per(totals.messages),
            server_cores: span.server_cpu.map(|cpu| cpu.run_ns as f64 / wall_ns),
            server_cores_waited_for: span.server_cpu.map(|cpu| cpu.wait_ns as f64 / wall_ns),
            loadgen_cpu_us_per_delivery: per_delivery(span.own_cpu.run_ns as f64 / 1_000.0),
            loadgen_cores: span.own_cpu.run_ns as f64 / wall_ns,
            loadgen_cores_waited_for: span.own_cpu.wait_ns as f64 / wall_ns,
            response_us: totals.response.percentiles(),
            service_us: totals.service.percentiles(),
            schedule_lag_us: measured.lag.percentiles(),
            faults: Faults::of(totals),
            foreign: totals.foreign,
            response: totals.response.clone(),
        }
    }
}

/// The result file: one JSON document.
#[derive(Debug, Serialize)]
pub(crate) struct Document<Load, Round> {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The name that was given to this result.
    pub name: Option<String>,
    /// The whole command line.
    pub command: Vec<String>,
    /// Where it ran.
    pub environment: Environment,
    /// What was asked for.
    pub load: Load,
    /// Each round's figures.
    pub rounds: Vec<Round>,
    /// The median of each figure over all rounds.
    pub median: Round,
    /// Faults of all rounds together.
    pub faults: Faults,
}

impl<Load: Serialize, Round: Serialize> Document<Load, Round> {
    /// Writes the document to `path`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// The command line of this process.
#[must_use]
pub(crate) fn command_line() -> Vec<String> {
    std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect()
}

/// The median of every figure of `rounds`, each by itself. Of an even number of rounds it is the
/// mean of the two in the middle; anything that is no number is taken from the first round.
///
/// # Errors
/// If there are no rounds.
pub(crate) fn median<T: Serialize + DeserializeOwned>(rounds: &[T]) -> Result<T> {
    let values = rounds.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
    Ok(serde_json::from_value(median_value(&values))?)
}

fn median_value(values: &[Value]) -> Value {
    match values.first() {
        Some(Value::Object(first)) => {
            let of_key = |key: &String| {
                let column: Vec<Value> =
                    values.iter().filter_map(|value| value.get(key).cloned()).collect();
                (key.clone(), median_value(&column))
            };
            Value::Object(first.keys().map(of_key).collect::<Map<_, _>>())
        }
        Some(Value::Number(first)) => {
            let mut numbers: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
            numbers.sort_by(f64::total_cmp);
            let (low, high) = (numbers[(numbers.len() - 1) / 2], numbers[numbers.len() / 2]);
            let middle = low.midpoint(high);
            if first.is_f64() { Value::from(middle) } else { Value::from(middle as u64) }
        }
        Some(Value::Array(first)) => {
            let of_place = |place: usize| {
                let column: Vec<Value> =
                    values.iter().filter_map(|value| value.get(place).cloned()).collect();
                median_value(&column)
            };
            Value::Array((0..first.len()).map(of_place).collect())
        }
        Some(other) => other.clone(),
        None => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(deliveries: u64, p99: f64, cpu: Option<f64>) -> Measurement {
        let response_us = Percentiles { p99, ..Percentiles::default() };
        Measurement {
            deliveries,
            response_us,
            server_cpu_us_per_delivery: cpu,
            ..Default::default()
        }
    }

    #[test]
    fn each_figure_has_its_own_median() {
        let rounds = [
            measurement(3, 9.0, Some(1.0)),
            measurement(1, 7.0, Some(5.0)),
            measurement(2, 8.0, Some(4.0)),
        ];
        let median = median(&rounds).unwrap();
        assert_eq!(median.deliveries, 2);
        assert_eq!((median.response_us.p99, median.server_cpu_us_per_delivery), (8.0, Some(4.0)));
    }

    #[test]
    fn an_even_number_of_rounds_has_the_mean_of_the_middle() {
        let rounds = [measurement(1, 1.0, None), measurement(4, 2.0, None)];
        let median = median(&rounds).unwrap();
        assert_eq!((median.deliveries, median.response_us.p99), (2, 1.5));
        assert_eq!(median.server_cpu_us_per_delivery, None);
    }

    #[test]
    fn lists_have_the_medians_of_their_places() {
        assert_eq!(median(&[vec![1, 9], vec![3, 7], vec![2, 8]]).unwrap(), [2, 8]);
    }

    #[test]
    fn a_median_of_nothing_is_an_error() {
        assert!(median::<Measurement>(&[]).is_err());
    }

    #[test]
    fn faults_add_up_over_rounds() {
        let mut total = Faults::default();
        assert!(total.none());
        let closed =
            Faults { closed: 1, first_close: Some("3000".to_owned()), ..Faults::default() };
        total.add(&closed);
        total.add(&Faults { lost: 2, ..closed.clone() });
        assert_eq!((total.lost, total.closed, total.first_close.as_deref()), (2, 2, Some("3000")));
        assert!(!total.none());
    }
}
