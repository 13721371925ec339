//! `storm`: all clients are cut off, miss messages, come back at once, and must recover them all.
//!
//! A witness that stays connected tells when messages have been delivered, and that live ones go
//! on for those who did not leave.

mod clients;
mod print;
mod returning;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::cli::StormArgs;
use crate::feed::{Steady, UntilOver};
use crate::latency::{Latencies, Percentiles};
use crate::memory::{Memory, MemoryWatch};
use crate::plan::{Peer, Plan, Shape, Transport};
use crate::progress::Progress;
use crate::record::Totals;
use crate::report::{Faults, Span};
use crate::rounds;
use crate::session::{Measured, Pace, Session};
use crate::under_test::UnderTest;

use clients::{Clients, Return};

/// Most topics of one witness; there are as many witnesses as it takes.
const WITNESS_TOPICS_MAX: u32 = 1_000;

/// What was asked for, as the result file tells it.
#[derive(Debug, Serialize)]
struct Asked {
    connections: u32,
    topics: u32,
    topics_per_connection: u32,
    transport: Transport,
    /// Messages on each topic that all clients had.
    seen: u32,
    /// Messages on each topic that they missed.
    missed: u32,
    payload_bytes: usize,
    live_rate: f64,
}

/// One round's figures. Those of the server are missing where its process is not known.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Round {
    /// Clients that had all that they missed in time.
    recovered: u64,
    /// From the first SYN until the last of them had.
    recovered_seconds: f64,
    /// The same of each client.
    recovered_after_us: Percentiles,
    /// From the first SYN until the last client was subscribed.
    connected_seconds: f64,
    /// Attempts to connect that failed and were made again.
    retries: u64,
    /// Why the first of them failed.
    first_error: Option<String>,
    /// Missed messages that were recovered, of all clients.
    recovered_messages: u64,
    /// Messages that were published while clients returned, and shortly after.
    live_published: u64,
    /// Latency of these to those who had stayed.
    live_response_us: Percentiles,
    /// The server's memory while all were connected.
    connected_rss_bytes: Option<u64>,
    /// The same while they returned; it starts when all had gone.
    memory: Option<Memory>,
    /// Cores that the server kept busy meanwhile.
    server_cores: Option<f64>,
    /// Cores that this program kept busy meanwhile.
    loadgen_cores: f64,
    /// What the server counted meanwhile: growth of counters, and gauges at the end.
    server_counts: Option<BTreeMap<String, f64>>,
    faults: Faults,
}

impl rounds::Round for Round {
    fn faults(&self) -> Faults {
        self.faults.clone()
    }
}

/// Runs all rounds and tells the result; true if every client recovered every message.
///
/// # Errors
/// If the arguments do not fit together, or a round cannot be run.
pub(crate) fn run(args: &StormArgs) -> Result<bool> {
    args.payload.bytes()?;
    ensure!(
        args.audience.topics.transport.codec().is_some(),
        "a raw stream has no epoch to come back with; use --transport json or msgpack"
    );
    let shape = args.audience.covering_shape()?;
    args.generator.check_one_process("a storm", shape.connections)?;
    let ends = (&args.server, &args.generator);
    let asked = asked(args);
    let document = rounds::run(args.audience.topics.rounds, ends, asked, |label, progress| {
        round(args, &shape, label, progress)
    })?;
    print::print(&document);
    Ok(document.faults.none())
}

fn round(args: &StormArgs, shape: &Shape, label: &str, progress: &mut Progress) -> Result<Round> {
    let mut under_test = UnderTest::from_args(&args.server)?;
    ensure!(under_test.target.peer == Peer::Broker, "recovery needs a broker, not the floor");
    let transport = args.audience.topics.transport;
    let codec = transport.codec().context("no SDK transport")?;
    let plan = Plan::new(under_test.target, transport, shape.clone());
    let witness = Plan { shape: witness_shape(shape), ..plan };
    let process = under_test.process;

    progress.phase(format!("{label}: connecting"));
    let mut clients = Clients::connect(plan, codec)?;
    let mut session = Session::open(witness, args.generator.means(), None, process, progress)?;
    session.connect_publishers()?;
    progress.phase(format!("{label}: publishing what all see"));
    see(args, &mut clients, &mut session, progress)?;
    let connected_rss_bytes = process.map(|process| process.rss_bytes()).transpose()?;

    clients.cut();
    clients.receiver.sink.leave(args.seen, args.seen + args.missed);
    progress.phase(format!("{label}: publishing what all miss"));
    session.publish(vec![some(args, args.missed)], Pace::Open, progress)?;

    let counts = under_test.counts()?;
    let memory = process.map(MemoryWatch::start).transpose()?;
    progress.phase(format!("{label}: all come back"));
    let (storm, measured) = storm(args, &mut clients, &mut session, progress)?;
    let memory = memory.map(MemoryWatch::stop).transpose()?;
    let server_counts =
        counts.zip(under_test.counts()?).map(|(before, after)| after.since(&before));

    let published = session.published();
    clients.read_the_rest(&published, args.generator.drain_timeout)?;
    let of_witness = session.finish()?;
    let round = Round::new(&storm, clients, &measured, (&of_witness, &published));
    Ok(Round { connected_rss_bytes, memory, server_counts, ..round })
}

/// Publishes what every client gets before it leaves.
fn see(
    args: &StormArgs,
    clients: &mut Clients,
    session: &mut Session,
    progress: &mut Progress,
) -> Result<()> {
    let subscriptions =
        u64::from(args.audience.connections) * u64::from(args.audience.topics_per_connection);
    let (expected, patience) = (subscriptions * u64::from(args.seen), args.generator.drain_timeout);
    let feed = some(args, args.seen);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| clients.read_until(expected, patience));
        session.publish(vec![feed], Pace::Open, progress)?;
        reading.join().ok().context("the clients' thread panicked")?
    })
}

/// Lets all clients come back while live messages go on.
fn storm(
    args: &StormArgs,
    clients: &mut Clients,
    session: &mut Session,
    progress: &mut Progress,
) -> Result<(Return, Measured)> {
    let is_over = AtomicBool::new(false);
    let (topics, payload_bytes) = (args.audience.topics.topics, args.payload.size);
    let live = Steady::of_one(args.live_rate, u64::MAX, topics, payload_bytes);
    let live = UntilOver { feed: live, is_over: &is_over };
    std::thread::scope(|scope| {
        let returning = scope.spawn(|| {
            let returned = clients.storm(args.timeout).and_then(|storm| {
                clients.read_for(args.live_after)?;
                Ok(storm)
            });
            is_over.store(true, Ordering::Release);
            returned
        });
        let measured = session.measure(vec![live], Pace::Open, progress);
        let storm = returning.join().ok().context("the clients' thread panicked")??;
        Ok((storm, measured?))
    })
}

/// Every topic is watched by one witness, or by a few.
fn witness_shape(shape: &Shape) -> Shape {
    let topics = shape.topics.len() as u32;
    let topics_per_connection = topics.min(WITNESS_TOPICS_MAX);
    let connections = topics.div_ceil(topics_per_connection);
    Shape { connections, topics_per_connection, ..shape.clone() }
}

/// So many messages on each topic.
fn some(args: &StormArgs, each: u32) -> Steady {
    let topics = args.audience.topics.topics;
    let messages = u64::from(each) * u64::from(topics);
    Steady::of_one(args.rate, messages, topics, args.payload.size)
}

impl Round {
    fn new(
        storm: &Return,
        clients: Clients,
        measured: &Measured,
        (of_witness, published): (&Totals, &[Vec<u32>]),
    ) -> Self {
        let returning = clients.receiver.into_sink();
        let mut latencies = Latencies::default();
        returning.recovered_after_ns(storm.start_ns).for_each(|ns| latencies.record(ns));
        let recovered_after_us = latencies.percentiles();
        let span = Span::between(measured.before, measured.after);
        let cores = |run_ns: u64| run_ns as f64 / span.wall_ns as f64;
        let (late, not_recovered) = (storm.late as u64, returning.not_recovered);
        let recovered = returning.len() as u64 - late;
        let recovered_messages = returning.missed_received();
        let mut faults = Faults::of(&returning.record.finish(published));
        faults.add(&Faults::of(of_witness));
        faults.not_recovered = not_recovered + late;
        Self {
            recovered,
            recovered_seconds: recovered_after_us.max / 1e6,
            recovered_after_us,
            connected_seconds: storm.connected_ns.saturating_sub(storm.start_ns) as f64 / 1e9,
            retries: storm.retries,
            first_error: storm.first_error.clone(),
            recovered_messages,
            live_published: measured.published,
            live_response_us: of_witness.response.percentiles(),
            connected_rss_bytes: None,
            memory: None,
            server_cores: span.server_cpu.map(|cpu| cores(cpu.run_ns)),
            loadgen_cores: cores(span.own_cpu.run_ns),
            server_counts: None,
            faults,
        }
    }
}

fn asked(args: &StormArgs) -> Asked {
    Asked {
        connections: args.audience.connections,
        topics: args.audience.topics.topics,
        topics_per_connection: args.audience.topics_per_connection,
        transport: args.audience.topics.transport,
        seen: args.seen,
        missed: args.missed,
        payload_bytes: args.payload.size,
        live_rate: args.live_rate,
    }
}
