//! `exhaust`: what a crowd that finds no place does to those who are connected, and how soon
//! somebody is let in again once there is room.
//!
//! Each round measures the same load without the crowd and with it.

mod crowd;
mod print;

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::cli::ExhaustArgs;
use crate::feed::{Steady, padding};
use crate::plan::{Peer, Plan, Transport};
use crate::progress::Progress;
use crate::report::{Faults, Measurement};
use crate::rounds;
use crate::session::{Pace, Session};
use crate::under_test::UnderTest;

use crowd::{Attempts, Crowd};

/// What was asked for, as the result file tells it.
#[derive(Debug, Serialize)]
struct Asked {
    connections: u32,
    topics: u32,
    topics_per_connection: u32,
    transport: Transport,
    /// Files that the server may open; `None` if its own limit was left as it is.
    descriptors: Option<u64>,
    openers: u32,
    pause_seconds: f64,
    /// Messages per second over all topics.
    rate: f64,
    deliveries_per_second: f64,
    payload_bytes: usize,
    duration_seconds: f64,
    warmup_seconds: f64,
}

/// One round's figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Round {
    without: Measurement,
    with: Measurement,
    /// What became of the crowd's attempts while it was measured.
    attempts: Attempts,
    /// Connections that the crowd had got before that.
    kept: u64,
    /// CPU time of the server with the crowd, as a multiple of that without.
    cpu_ratio: Option<f64>,
    /// Latency of those who are connected, as a multiple of that without.
    p50_ratio: f64,
    /// The same.
    p99_ratio: f64,
    /// From the release of all that the crowd had until one of it was let in; missing if none was
    /// within ten seconds.
    accepting_again_ms: Option<f64>,
}

impl rounds::Round for Round {
    fn faults(&self) -> Faults {
        let mut faults = self.without.faults.clone();
        faults.add(&self.with.faults);
        faults
    }

    fn measurements(&self) -> Vec<(&'static str, &Measurement)> {
        vec![("without", &self.without), ("with", &self.with)]
    }
}

/// Runs all rounds and tells the result; true if everybody who was connected got everything, and
/// somebody was let in again.
///
/// # Errors
/// If the arguments do not fit together, or a round cannot be run.
pub(crate) fn run(args: &ExhaustArgs) -> Result<bool> {
    args.payload.bytes()?;
    args.audience.covering_shape()?;
    let ends = (&args.server, &args.generator);
    let count = args.audience.topics.rounds;
    let document = rounds::run(count, ends, args.asked(), |label, progress| {
        let without = measure(args, false, &format!("{label}, without"), progress)?.load;
        let Figures { load: with, crowd } =
            measure(args, true, &format!("{label}, with"), progress)?;
        Ok(Round::new(without, with, crowd))
    })?;
    print::print(&document);
    let is_back = document.rounds.iter().all(|round| round.accepting_again_ms.is_some());
    Ok(document.faults.none() && is_back)
}

/// What one measurement found out.
struct Figures {
    load: Measurement,
    crowd: CrowdFigures,
}

#[derive(Default)]
struct CrowdFigures {
    attempts: Attempts,
    kept: u64,
    accepting_again: Option<Duration>,
}

fn measure(
    args: &ExhaustArgs,
    is_crowded: bool,
    label: &str,
    progress: &mut Progress,
) -> Result<Figures> {
    let under_test = UnderTest::from_args(&args.server)?;
    ensure!(under_test.target.peer == Peer::Broker, "a crowd needs a broker, not the floor");
    if let Some((process, most)) = under_test.process.zip(args.descriptors()) {
        process.limit_descriptors(most)?;
    }
    let transport = args.audience.topics.transport;
    let connections = args.audience.connections;
    let plan = Plan::new(under_test.target, transport, args.audience.shape_of(connections)?);
    progress.phase(format!("{label}: connecting"));
    let means = args.generator.means();
    let mut session = Session::open(plan, means, None, under_test.process, progress)?;
    session.connect_publishers()?;
    progress.phase(format!("{label}: warm-up"));
    session.publish(vec![feed(args, args.warmup)], Pace::Open, progress)?;

    let crowd = if is_crowded { Some(gather(args, &under_test, label, progress)?) } else { None };
    let before = crowd.as_ref().map(Crowd::attempts).unwrap_or_default();
    progress.phase(format!("{label}: measuring"));
    let measured = session.measure(vec![feed(args, args.duration)], Pace::Open, progress)?;
    let after = crowd.as_ref().map(Crowd::attempts).unwrap_or_default();
    let crowd = CrowdFigures {
        attempts: after.since(before),
        kept: before.opened,
        accepting_again: crowd.as_ref().and_then(Crowd::release),
    };
    let (connecting, connect) = (session.connecting, session.connect.latency.clone());
    let totals = session.finish()?;
    let load = Measurement::new(connections, connecting, &connect, &measured, &totals);
    Ok(Figures { load, crowd })
}

fn gather(
    args: &ExhaustArgs,
    under_test: &UnderTest,
    label: &str,
    progress: &mut Progress,
) -> Result<Crowd> {
    progress.phase(format!("{label}: the crowd takes what is left"));
    let path = format!("/v1/topics/{}crowd", args.audience.topics.topic_prefix);
    let crowd = Crowd::start(under_test.target.address, path, args.openers, args.pause)?;
    crowd.fill()?;
    Ok(crowd)
}

fn feed(args: &ExhaustArgs, duration: Duration) -> Steady {
    let rate = args.rate();
    Steady {
        rate,
        burst: 1,
        topics: args.audience.topics.topics,
        messages: (rate * duration.as_secs_f64()).round() as u64,
        next: 0,
        publishers: 1,
        tail: padding(args.payload.size),
    }
}

impl Round {
    fn new(without: Measurement, with: Measurement, crowd: CrowdFigures) -> Self {
        let ratio = |with: f64, without: f64| with / without.max(f64::MIN_POSITIVE);
        let cores = with.server_cores.zip(without.server_cores);
        Self {
            cpu_ratio: cores.map(|(with, without)| ratio(with, without)),
            p50_ratio: ratio(with.response_us.p50, without.response_us.p50),
            p99_ratio: ratio(with.response_us.p99, without.response_us.p99),
            attempts: crowd.attempts,
            kept: crowd.kept,
            accepting_again_ms: crowd.accepting_again.map(|time| time.as_secs_f64() * 1e3),
            without,
            with,
        }
    }
}

impl ExhaustArgs {
    /// Files that the server may open, if that is to be limited.
    fn descriptors(&self) -> Option<u64> {
        let room = u64::from(self.audience.connections) + ROOM;
        self.descriptors.or_else(|| self.server.server.as_ref().map(|_| room))
    }

    /// Messages per second over all topics.
    fn rate(&self) -> f64 {
        let audience = &self.audience;
        let subscriptions =
            f64::from(audience.connections) * f64::from(audience.topics_per_connection);
        self.deliveries / (subscriptions / f64::from(audience.topics.topics))
    }

    fn asked(&self) -> Asked {
        Asked {
            connections: self.audience.connections,
            topics: self.audience.topics.topics,
            topics_per_connection: self.audience.topics_per_connection,
            transport: self.audience.topics.transport,
            descriptors: self.descriptors(),
            openers: self.openers,
            pause_seconds: self.pause.as_secs_f64(),
            rate: self.rate(),
            deliveries_per_second: self.deliveries,
            payload_bytes: self.payload.size,
            duration_seconds: self.duration.as_secs_f64(),
            warmup_seconds: self.warmup.as_secs_f64(),
        }
    }
}

/// Descriptors beside those of the subscribers, where nothing else is said: what a broker needs for
/// itself, and some for the crowd to take.
const ROOM: u64 = 300;
