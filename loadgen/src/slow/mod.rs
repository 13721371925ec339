//! `slow`: what readers that do not read do to the others and to the broker's memory.
//!
//! Each round measures the same load without them and with them. With `--slow-only` there are no
//! others, and rounds compare the memory after loads of different lengths.

mod load;
mod only;
mod print;
mod readers;

use std::time::Duration;

use anyhow::{Result, ensure};
use fanfare_protocol::Mode;
use serde::{Deserialize, Serialize};

use crate::cli::{SlowArgs, WhenClosed};
use crate::latency::Percentiles;
use crate::plan::{Shape, Transport};
use crate::progress::Progress;
use crate::report::{Faults, Measurement};
use crate::rounds;

use load::{Figures, Load};

/// What was asked for, as the result file tells it.
#[derive(Debug, Serialize)]
struct Asked {
    connections: u32,
    slow: u32,
    topics: u32,
    topics_per_connection: u32,
    transport: Transport,
    mode: Mode,
    /// Messages per second over all topics.
    rate: f64,
    /// What that makes for all connections together, slow ones included.
    deliveries_per_second: f64,
    payload_bytes: usize,
    durations_seconds: Vec<f64>,
    warmup_seconds: f64,
    /// Messages on each topic before anybody subscribed.
    fill: u32,
    receive_buffer_bytes: usize,
    trickle_bytes_per_second: Option<usize>,
    when_closed: WhenClosed,
}

/// One round's figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Round {
    without: Figures,
    with: Figures,
    /// Latency of the others with slow readers, as a multiple of that without.
    latency_ratio: LatencyRatio,
    /// Growth of the server's memory that the slow readers add, for each of them; may be
    /// negative where it is within the noise.
    growth_bytes_per_slow_reader: Option<f64>,
}

/// Ratios of percentiles.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct LatencyRatio {
    p50: f64,
    p99: f64,
    p99_9: f64,
}

impl rounds::Round for Round {
    fn faults(&self) -> Faults {
        let mut faults = self.without.faults();
        faults.add(&self.with.faults());
        faults
    }

    fn measurements(&self) -> Vec<(&'static str, &Measurement)> {
        vec![("without", &self.without.quick), ("with", &self.with.quick)]
    }
}

/// Runs all rounds and tells the result; true if everybody got what is promised.
///
/// # Errors
/// If the arguments do not fit together, or a round cannot be run.
pub(crate) fn run(args: &SlowArgs) -> Result<bool> {
    args.payload.bytes()?;
    args.audience.covering_shape()?;
    if args.slow_only {
        return only::run(args);
    }
    let slow = args.slow_readers();
    ensure!(
        (1..args.audience.connections).contains(&slow),
        "{slow} of {} connections would be slow; use at least one and not all, or --slow-only",
        args.audience.connections
    );
    let ends = (&args.server, &args.generator);
    let asked = args.asked(&[args.duration]);
    let document = rounds::run(args.audience.topics.rounds, ends, asked, |label, progress| {
        round(args, slow, label, progress)
    })?;
    print::compared(&document);
    Ok(document.faults.none())
}

fn round(args: &SlowArgs, slow: u32, label: &str, progress: &mut Progress) -> Result<Round> {
    let quick = args.audience.connections - slow;
    let (rate, warmup, duration) = (args.rate(), args.warmup, args.duration);
    let without = Load { quick, slow: 0, rate, warmup, duration };
    let with = Load { slow, ..without };
    let without = load::measure(args, without, &format!("{label}, without"), progress)?;
    let with = load::measure(args, with, &format!("{label}, with"), progress)?;
    let growths = without.growth().zip(with.growth());
    Ok(Round {
        latency_ratio: LatencyRatio::of(&with.quick.response_us, &without.quick.response_us),
        growth_bytes_per_slow_reader: growths
            .map(|(without, with)| (with as f64 - without as f64) / f64::from(slow)),
        without,
        with,
    })
}

impl LatencyRatio {
    fn of(with: &Percentiles, without: &Percentiles) -> Self {
        let ratio = |with: f64, without: f64| with / without.max(f64::MIN_POSITIVE);
        Self {
            p50: ratio(with.p50, without.p50),
            p99: ratio(with.p99, without.p99),
            p99_9: ratio(with.p99_9, without.p99_9),
        }
    }
}

impl SlowArgs {
    /// How many readers do not read.
    fn slow_readers(&self) -> u32 {
        let all = self.audience.connections;
        if self.slow_only { all } else { self.slow.of(all) }
    }

    /// The shape of so many of the connections.
    fn shape(&self, connections: u32) -> Result<Shape> {
        self.audience.shape_of(connections)
    }

    /// Subscribers of each topic, on average.
    fn subscribers(&self) -> f64 {
        let audience = &self.audience;
        let subscriptions =
            f64::from(audience.connections) * f64::from(audience.topics_per_connection);
        subscriptions / f64::from(audience.topics.topics)
    }

    /// Messages per second over all topics.
    fn rate(&self) -> f64 {
        self.rate.unwrap_or_else(|| self.deliveries / self.subscribers())
    }

    fn asked(&self, durations: &[Duration]) -> Asked {
        Asked {
            connections: self.audience.connections,
            slow: self.slow_readers(),
            topics: self.audience.topics.topics,
            topics_per_connection: self.audience.topics_per_connection,
            transport: self.audience.topics.transport,
            mode: self.mode,
            rate: self.rate(),
            deliveries_per_second: self.rate() * self.subscribers(),
            payload_bytes: self.payload.size,
            durations_seconds: durations.iter().map(Duration::as_secs_f64).collect(),
            warmup_seconds: if self.slow_only { 0.0 } else { self.warmup.as_secs_f64() },
            fill: self.fill,
            receive_buffer_bytes: self.stall.receive_buffer,
            trickle_bytes_per_second: self.stall.trickle,
            when_closed: self.when_closed,
        }
    }
}
