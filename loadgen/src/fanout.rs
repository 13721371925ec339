//! `fanout`: publish to many subscribers, round after round, beside the floor if asked.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::cli::FanoutArgs;
use crate::feed::{Steady, padding};
use crate::plan::{Peer, Plan, Shape, Target, Transport};
use crate::progress::Progress;
use crate::report::{Document, Faults, Measurement};
use crate::rounds;
use crate::scraping::{self, Scraping};
use crate::session::{Means, Pace, Session};
use crate::table::{self, Table};
use crate::under_test::UnderTest;

/// What was asked for, as the result file tells it.
#[derive(Debug, Serialize)]
struct Load {
    connections: u32,
    topics: u32,
    topics_per_connection: u32,
    /// `open` or `closed`.
    r#loop: &'static str,
    /// Messages per second of all publishers together; open loop only.
    rate: Option<f64>,
    burst: u64,
    /// Closed loop only.
    in_flight: Option<u32>,
    payload_bytes: usize,
    transport: Transport,
    publishers: u8,
    duration_seconds: f64,
    warmup_seconds: f64,
}

/// One round's figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Round {
    #[serde(skip_serializing_if = "Option::is_none")]
    floor: Option<Measurement>,
    server: Measurement,
    /// The server's CPU per delivery as a multiple of the floor's.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_floor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scraping: Option<Scraping>,
}

impl rounds::Round for Round {
    fn faults(&self) -> Faults {
        let mut faults = self.server.faults.clone();
        self.floor.iter().for_each(|floor| faults.add(&floor.faults));
        faults
    }

    fn measurements(&self) -> Vec<(&'static str, &Measurement)> {
        let floor = self.floor.iter().map(|floor| ("floor", floor));
        floor.chain([("server", &self.server)]).collect()
    }
}

/// Runs all rounds and tells the result; true if nothing was lost, doubled or reordered.
///
/// # Errors
/// If the arguments do not fit together, or a round cannot be run.
pub(crate) fn run(args: &FanoutArgs) -> Result<bool> {
    let shape = shape(args)?;
    let means = args.generator.means();
    let ends = (&args.server, &args.generator);
    let document =
        rounds::run(args.audience.topics.rounds, ends, load(args), |label, progress| {
            round(args, &shape, means, label, progress)
        })?;
    print(args, &document);
    Ok(document.faults.none())
}

fn round(
    args: &FanoutArgs,
    shape: &Shape,
    means: Means,
    label: &str,
    progress: &mut Progress,
) -> Result<Round> {
    let floor = if args.floor {
        let label = format!("{label}, floor");
        Some(measure(args, shape, means, &mut UnderTest::floor()?, &label, progress)?.0)
    } else {
        None
    };
    let mut server = UnderTest::from_args(&args.server)?;
    let label = format!("{label}, {}", name(server.target));
    let (server, scraping) = measure(args, shape, means, &mut server, &label, progress)?;
    let cpu = |m: &Measurement| m.server_cpu_us_per_delivery.filter(|&us| us > 0.0);
    let both = cpu(&server).zip(floor.as_ref().and_then(cpu));
    let ratio_to_floor = both.map(|(server, floor)| server / floor);
    Ok(Round { floor, server, ratio_to_floor, scraping })
}

fn name(target: Target) -> &'static str {
    match target.peer {
        Peer::Broker => "broker",
        Peer::Floor => "floor",
    }
}

fn measure(
    args: &FanoutArgs,
    shape: &Shape,
    means: Means,
    under_test: &mut UnderTest,
    label: &str,
    progress: &mut Progress,
) -> Result<(Measurement, Option<Scraping>)> {
    let transport = args.audience.topics.transport;
    let plan = Plan {
        publishers: args.publishers,
        ..Plan::new(under_test.target, transport, shape.clone())
    };
    progress.phase(format!("{label}: connecting"));
    let mut session = Session::open(plan, means, args.in_flight, under_test.process, progress)?;
    session.connect_publishers()?;
    progress.phase(format!("{label}: warm-up"));
    session.publish(feeds(args, args.warmup), pace(args, args.warmup), progress)?;
    progress.phase(format!("{label}: measuring"));
    let pace = pace(args, args.duration);
    let feeds = || feeds(args, args.duration);
    let (measured, scraping) = match args.scrape_metrics {
        None => (session.measure(feeds(), pace, progress)?, None),
        Some(interval) => {
            let admin = under_test.admin().context(
                "metrics are on the admin port; use --server, or --admin-url with --server-pid",
            )?;
            let load = (feeds, pace);
            let measured = scraping::measure(&mut session, (admin, interval), load, progress)?;
            (measured.0, Some(measured.1))
        }
    };
    let rss_bytes = under_test.process.map(|process| process.rss_bytes()).transpose()?;
    let (connecting, connect) = (session.connecting, session.connect.latency.clone());
    let totals = session.finish()?;
    let measurement = Measurement::new(shape.connections, connecting, &connect, &measured, &totals);
    Ok((Measurement { server_rss_bytes: rss_bytes, ..measurement }, scraping))
}

fn pace(args: &FanoutArgs, duration: Duration) -> Pace {
    args.in_flight.map_or(Pace::Open, |_| Pace::Closed(duration))
}

/// One feed for each publisher.
fn feeds(args: &FanoutArgs, duration: Duration) -> Vec<Steady> {
    let open_messages = (args.rate * duration.as_secs_f64()).round() as u64;
    let messages = args.in_flight.map_or(open_messages, |_| u64::MAX);
    let feed = |publisher| Steady {
        rate: args.rate,
        burst: args.burst,
        topics: args.audience.topics.topics,
        messages,
        next: u64::from(publisher),
        publishers: u64::from(args.publishers),
        tail: padding(args.payload.size),
    };
    (0..args.publishers).map(feed).collect()
}

fn shape(args: &FanoutArgs) -> Result<Shape> {
    ensure!(args.rate.is_finite() && args.rate > 0.0, "--rate must be a positive number");
    args.payload.bytes()?;
    ensure!(
        args.in_flight.is_none() || args.publishers == 1,
        "a closed loop (--in-flight) has one publisher"
    );
    args.audience.covering_shape()
}

fn load(args: &FanoutArgs) -> Load {
    Load {
        connections: args.audience.connections,
        topics: args.audience.topics.topics,
        topics_per_connection: args.audience.topics_per_connection,
        r#loop: if args.in_flight.is_some() { "closed" } else { "open" },
        rate: args.in_flight.is_none().then_some(args.rate),
        burst: args.burst,
        in_flight: args.in_flight,
        payload_bytes: args.payload.size,
        transport: args.audience.topics.transport,
        publishers: args.publishers,
        duration_seconds: args.duration.as_secs_f64(),
        warmup_seconds: args.warmup.as_secs_f64(),
    }
}

fn print(args: &FanoutArgs, document: &Document<Load, Round>) {
    let pace = match args.in_flight {
        Some(in_flight) => format!("closed loop, {in_flight} in flight (latency from the send)"),
        None if args.burst > 1 => {
            format!("open loop, {} msg/s in bursts of {}", args.rate, args.burst)
        }
        None => format!("open loop, {} msg/s", args.rate),
    };
    println!(
        "\nfanout: {} connections × {} of {} topics, {}-byte payloads, {}, {pace}",
        table::count(args.audience.connections.into()),
        args.audience.topics_per_connection,
        table::count(args.audience.topics.topics.into()),
        args.payload.size,
        args.audience.topics.transport.name(),
    );
    println!("{}\n", table::rounds(args.audience.topics.rounds, args.duration));
    let Round { floor, server, ratio_to_floor, scraping } = &document.median;
    let mut columns: Vec<(&str, &Measurement)> = Vec::new();
    columns.extend(floor.as_ref().map(|floor| ("floor", floor)));
    columns.push(("server", server));
    print!("{}", table::measurements(&columns, *ratio_to_floor));
    if let Some(scraping) = scraping {
        print!("\n{}", scraping_table(scraping));
    }
    table::print_verdict(&document.faults, server.foreign, document.environment.build);
}

fn scraping_table(scraping: &Scraping) -> Table {
    let mut lines = Table::default();
    let interval = Duration::from_secs_f64(scraping.interval_seconds);
    let every = format!("scraped every {}", humantime::format_duration(interval));
    lines.line(["", "not scraped", &every, "ratio"]);
    lines.line([
        "server CPU per delivery".to_owned(),
        table::us(scraping.unscraped_cpu_us_per_delivery),
        table::us(scraping.scraped_cpu_us_per_delivery),
        format!("{:.3}", scraping.ratio),
    ]);
    lines.line(["scrapes", "", &table::count(scraping.scrapes)]);
    lines.line(["  bytes of a page", "", &table::count(scraping.page_bytes)]);
    lines.line(["  one takes, p50", "", &table::us(scraping.scrape_us.p50)]);
    lines.line(["  the longest", "", &table::us(scraping.scrape_us.max)]);
    lines
}
