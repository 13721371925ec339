//! `idle`: connections that only exist, and what each of them costs the server.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::cli::IdleArgs;
use crate::connect::ConnectReport;
use crate::latency::Percentiles;
use crate::plan::{Plan, Shape, Transport};
use crate::progress::Progress;
use crate::record::Totals;
use crate::report::{Document, Faults, Span};
use crate::rounds;
use crate::session::{Means, Session};
use crate::table::{self, Table};
use crate::under_test::UnderTest;

/// What was asked for, as the result file tells it.
#[derive(Debug, Serialize)]
struct Load {
    connections: u32,
    topics: u32,
    topics_per_connection: u32,
    transport: Transport,
    settle_seconds: f64,
    duration_seconds: f64,
}

/// One round's figures; those of the server are missing where its process was not measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Round {
    /// Connections that became live.
    opened: u32,
    /// Connections that were refused or failed.
    failed: u32,
    /// Why the first of them failed.
    first_error: Option<String>,
    /// From the first SYN to the last confirmed subscription of all connections.
    connect_seconds: f64,
    /// The same of each connection.
    connect_latency_us: Percentiles,
    /// CPU time of the server for accepting one connection with its subscription.
    server_cpu_us_per_connection: Option<f64>,
    /// Resident memory of the server before the first connection.
    server_rss_bytes_before: Option<u64>,
    /// The same with all connections, after the settle time.
    server_rss_bytes: Option<u64>,
    /// The difference for each live connection.
    server_rss_bytes_per_connection: Option<f64>,
    /// CPU time of the server for holding one connection for one second.
    server_cpu_us_per_connection_second: Option<f64>,
    faults: Faults,
}

impl rounds::Round for Round {
    fn faults(&self) -> Faults {
        self.faults.clone()
    }
}

/// Runs all rounds and tells the result; true if every connection was accepted and held.
///
/// # Errors
/// If the arguments do not fit together, or a round cannot be run.
pub(crate) fn run(args: &IdleArgs) -> Result<bool> {
    let count = args.audience.topics.rounds;
    ensure!(
        count == 1 || args.server.server.is_some(),
        "several rounds need --server, which starts the server afresh: one that had connections \
         keeps memory for the next"
    );
    let shape = args.audience.shape_of(args.audience.connections)?;
    let means = args.generator.means();
    let ends = (&args.server, &args.generator);
    let document = rounds::run(count, ends, load(args), |label, progress| {
        round(args, &shape, means, label, progress)
    })?;
    let failed = document.rounds.iter().map(|round| round.failed).sum::<u32>();
    print(args, &document, failed);
    Ok(document.faults.none() && failed == 0)
}

fn round(
    args: &IdleArgs,
    shape: &Shape,
    means: Means,
    label: &str,
    progress: &mut Progress,
) -> Result<Round> {
    let under_test = UnderTest::from_args(&args.server)?;
    let rss = || under_test.process.map(|process| process.rss_bytes()).transpose();
    let rss_before = rss()?;
    let transport = args.audience.topics.transport;
    let plan = Plan { publishers: 0, ..Plan::new(under_test.target, transport, shape.clone()) };
    progress.phase(format!("{label}: connecting"));
    let session = Session::open(plan, means, None, under_test.process, progress)?;
    let connect = session.connect.clone();
    ensure!(
        connect.opened > 0,
        "no connection became live: {}",
        connect.first_error.as_deref().unwrap_or("no reason is known")
    );
    progress.phase(format!("{label}: settling"));
    hold(args.settle, progress);
    let (rss_after, held_from) = (rss()?, session.sample()?);
    progress.phase(format!("{label}: holding {} connections", connect.opened));
    hold(args.duration, progress);
    let held = Span::between(held_from, session.sample()?);
    let opening = Span::between(session.connecting.0, session.connecting.1);
    let totals = session.finish().context("the connections could not be held")?;
    Ok(Round::new(connect, opening, held, (rss_before, rss_after), &totals))
}

impl Round {
    fn new(
        connect: ConnectReport,
        opening: Span,
        held: Span,
        (rss_before, rss_after): (Option<u64>, Option<u64>),
        totals: &Totals,
    ) -> Self {
        let opened = u64::from(connect.opened);
        let grown = rss_before.zip(rss_after).map(|(before, after)| after.saturating_sub(before));
        let per_second = |us: f64| us / (held.wall_ns as f64 / 1e9);
        Self {
            opened: connect.opened,
            failed: connect.failed,
            first_error: connect.first_error,
            connect_seconds: opening.wall_ns as f64 / 1e9,
            connect_latency_us: connect.latency.percentiles(),
            server_cpu_us_per_connection: opening.server_us_per(opened),
            server_rss_bytes_before: rss_before,
            server_rss_bytes: rss_after,
            server_rss_bytes_per_connection: grown.map(|bytes| bytes as f64 / opened as f64),
            server_cpu_us_per_connection_second: held.server_us_per(opened).map(per_second),
            faults: Faults::of(totals),
        }
    }
}

fn hold(duration: Duration, progress: &mut Progress) {
    let started = Instant::now();
    while started.elapsed() < duration {
        std::thread::sleep(Duration::from_millis(100).min(duration));
        progress.update(|| format!("{:.0} s", started.elapsed().as_secs_f64()));
    }
}

fn load(args: &IdleArgs) -> Load {
    Load {
        connections: args.audience.connections,
        topics: args.audience.topics.topics,
        topics_per_connection: args.audience.topics_per_connection,
        transport: args.audience.topics.transport,
        settle_seconds: args.settle.as_secs_f64(),
        duration_seconds: args.duration.as_secs_f64(),
    }
}

fn print(args: &IdleArgs, document: &Document<Load, Round>, failed: u32) {
    println!(
        "\nidle: {} connections × {} of {} topics, {}",
        table::count(args.audience.connections.into()),
        args.audience.topics_per_connection,
        table::count(args.audience.topics.topics.into()),
        args.audience.topics.transport.name(),
    );
    println!("{}\n", table::rounds(args.audience.topics.rounds, args.duration));
    let round = &document.median;
    let latency = &round.connect_latency_us;
    let us = |figure| table::or_dash(figure, table::us);
    let mut lines = Table::default();
    let per_connection = round.server_rss_bytes_per_connection;
    let size = table::or_dash(per_connection, |bytes| format!("{bytes:.0} B"));
    lines.line(["server memory per connection".to_owned(), size]);
    lines.line(["server memory", &table::or_dash(round.server_rss_bytes, table::bytes)]);
    let before = table::or_dash(round.server_rss_bytes_before, table::bytes);
    lines.line(["  before the first connection", &before]);
    lines.line(["server CPU per accepted connection", &us(round.server_cpu_us_per_connection)]);
    let held = us(round.server_cpu_us_per_connection_second);
    lines.line(["server CPU per held connection and second", &held]);
    lines.line(["connecting".to_owned(), format!("{:.2} s", round.connect_seconds)]);
    lines.line(["connect latency p50", &table::us(latency.p50)]);
    lines.line(["connect latency p99", &table::us(latency.p99)]);
    lines.line(["connect latency max", &table::us(latency.max)]);
    print!("{lines}");
    println!("\n  {} refused or failed connections", table::count(failed.into()));
    if let Some(error) = document.rounds.iter().find_map(|round| round.first_error.as_ref()) {
        println!("  the first: {error}");
    }
    println!("  {} connections closed by the server", table::count(document.faults.closed));
}
