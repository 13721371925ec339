//! `replay`: market ticks at their own speed, and proof that every subscriber got every one of
//! them, once and in order.

mod row;
mod ticks;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::cli::ReplayArgs;
use crate::environment::Environment;
use crate::plan::{Plan, Shape, Transport};
use crate::progress::Progress;
use crate::report::{Document, Measurement, SCHEMA, command_line};
use crate::rounds::write_latencies;
use crate::session::{Pace, Session};
use crate::stamp::MARK;
use crate::table;
use crate::under_test::UnderTest;

use ticks::{Selection, TickFeed, Ticks};

/// What was asked for, as the result file tells it.
#[derive(Debug, Serialize)]
struct Load {
    file: String,
    src: String,
    rows: usize,
    symbols: usize,
    /// Time from the first row to the last, as the ticks came.
    span_seconds: f64,
    speed: f64,
    subscribers: u32,
    topics_per_connection: u32,
    transport: Transport,
}

/// Replays once and tells the result; true if nothing was lost, doubled or reordered.
///
/// # Errors
/// If the file cannot be read, the arguments do not fit together, or the run cannot be made.
pub(crate) fn run(args: &ReplayArgs) -> Result<bool> {
    let environment = Environment::read(args.server.server.as_deref());
    let mut progress = Progress::new();
    progress.phase(format!("reading {}", args.file.display()));
    let ticks = read(args)?;
    let shape = shape(args, &ticks)?;
    let load = Load {
        file: args.file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        src: ticks.src.clone(),
        rows: ticks.len(),
        symbols: ticks.topics.len(),
        span_seconds: ticks.span_us() as f64 / 1e6,
        speed: args.speed,
        subscribers: args.subscribers,
        topics_per_connection: shape.topics_per_connection,
        transport: args.transport,
    };
    let measurement = replay(args, shape, ticks, &mut progress)?;
    drop(progress);
    let document = Document {
        schema: SCHEMA,
        name: args.generator.name.clone(),
        command: command_line(),
        environment,
        load,
        faults: measurement.faults.clone(),
        rounds: vec![measurement.clone()],
        median: measurement,
    };
    if let Some(path) = &args.generator.out {
        document.write(path)?;
        write_latencies(path, document.rounds.iter().map(|round| ("replay", round)))?;
    }
    print(&document);
    Ok(document.faults.none())
}

fn read(args: &ReplayArgs) -> Result<Ticks> {
    ensure!(
        !args.topic_prefix.as_bytes().contains(&MARK),
        "--topic-prefix must not hold {}, which marks a stamp",
        char::from(MARK)
    );
    let span_us = args.duration.map(|time| (time.as_secs_f64() * args.speed * 1e6) as u64);
    let selection = Selection {
        src: args.src.as_deref(),
        topic_prefix: &args.topic_prefix,
        limit: args.limit.unwrap_or(usize::MAX),
        span_us: span_us.unwrap_or(u64::MAX),
    };
    Ticks::read(&args.file, selection).with_context(|| args.file.display().to_string())
}

fn shape(args: &ReplayArgs, ticks: &Ticks) -> Result<Shape> {
    let symbols = ticks.topics.len() as u32;
    let each = args.topics_per_connection.min(symbols);
    ensure!(
        args.transport != Transport::Raw || args.topics_per_connection == 1,
        "a raw stream carries one topic; use --topics-per-connection 1"
    );
    let subscriptions = u64::from(args.subscribers) * u64::from(each);
    ensure!(
        args.subscribers == 0 || subscriptions >= u64::from(symbols),
        "{} subscribers of {each} symbols leave some of {symbols} symbols out; use at least {}",
        args.subscribers,
        symbols.div_ceil(each.max(1))
    );
    let topics = ticks.topics.clone();
    let shape = Shape { connections: args.subscribers, topics, topics_per_connection: each };
    shape.check()?;
    Ok(shape)
}

fn replay(
    args: &ReplayArgs,
    shape: Shape,
    ticks: Ticks,
    progress: &mut Progress,
) -> Result<Measurement> {
    let under_test = UnderTest::from_args(&args.server)?;
    let means = args.generator.means();
    let plan = Plan::new(under_test.target, args.transport, shape);
    progress.phase("connecting");
    let mut session = Session::open(plan, means, None, under_test.process, progress)?;
    session.connect_publishers()?;
    progress.phase(format!("replaying {} at {}x", ticks.src, args.speed));
    let feed = TickFeed::new(ticks, args.speed);
    let measured = session.measure(vec![feed], Pace::Open, progress)?;
    let rss_bytes = under_test.process.map(|process| process.rss_bytes()).transpose()?;
    let (connecting, connect) = (session.connecting, session.connect.latency.clone());
    let totals = session.finish()?;
    let measurement = Measurement::new(args.subscribers, connecting, &connect, &measured, &totals);
    Ok(Measurement { server_rss_bytes: rss_bytes, ..measurement })
}

fn print(document: &Document<Load, Measurement>) {
    let Load { file, src, rows, symbols, subscribers, topics_per_connection, .. } = &document.load;
    println!(
        "\nreplay: {} of {file}: {} ticks of {symbols} symbols in {:.1} s at {}x",
        src,
        table::count(*rows as u64),
        document.load.span_seconds,
        document.load.speed,
    );
    println!(
        "{} subscribers × {topics_per_connection} symbols, {}\n",
        table::count(u64::from(*subscribers)),
        document.load.transport.name(),
    );
    print!("{}", table::measurements(&[("server", &document.median)], None));
    table::print_verdict(&document.faults, document.median.foreign, document.environment.build);
}
