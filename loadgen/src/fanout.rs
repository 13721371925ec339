//! `fanout`: publish to many subscribers, round after round, beside the floor if asked.

use std::time::Duration;

use anyhow::{Result, ensure};
use fanfare_protocol::TopicName;
use serde::{Deserialize, Serialize};

use crate::cli::FanoutArgs;
use crate::environment::Environment;
use crate::feed::{PAYLOAD_BYTES_MIN, Steady, padding};
use crate::plan::{Peer, Plan, Shape, Target, Transport};
use crate::progress::Progress;
use crate::report::{Document, Faults, Measurement, SCHEMA, command_line, median};
use crate::session::{Means, Pace, Session};
use crate::stamp::MARK;
use crate::table;
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
}

/// Runs all rounds and tells the result; true if nothing was lost, doubled or reordered.
///
/// # Errors
/// If the arguments do not fit together, or a round cannot be run.
pub(crate) fn run(args: &FanoutArgs) -> Result<bool> {
    let shape = shape(args)?;
    let means = args.generator.means();
    let environment = Environment::read(args.server.server.as_deref());
    let mut progress = Progress::new();
    let mut rounds = Vec::new();
    for number in 1..=args.rounds {
        let label = format!("round {number}/{}", args.rounds);
        rounds.push(round(args, &shape, means, &label, &mut progress)?);
    }
    drop(progress);
    let mut faults = Faults::default();
    for round in &rounds {
        round.floor.iter().for_each(|floor| faults.add(&floor.faults));
        faults.add(&round.server.faults);
    }
    let document = Document {
        schema: SCHEMA,
        name: args.generator.name.clone(),
        command: command_line(),
        environment,
        load: load(args),
        median: median(&rounds)?,
        rounds,
        faults,
    };
    args.generator.out.as_ref().map_or(Ok(()), |path| document.write(path))?;
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
        Some(measure(args, shape, means, &UnderTest::floor()?, &label, progress)?)
    } else {
        None
    };
    let server = UnderTest::from_args(&args.server)?;
    let label = format!("{label}, {}", name(server.target));
    let server = measure(args, shape, means, &server, &label, progress)?;
    let cpu = |m: &Measurement| m.server_cpu_us_per_delivery.filter(|&us| us > 0.0);
    let both = cpu(&server).zip(floor.as_ref().and_then(cpu));
    Ok(Round { floor, server, ratio_to_floor: both.map(|(server, floor)| server / floor) })
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
    under_test: &UnderTest,
    label: &str,
    progress: &mut Progress,
) -> Result<Measurement> {
    let plan = Plan {
        target: under_test.target,
        transport: args.transport,
        shape: shape.clone(),
        publishers: args.publishers,
        run: fastrand::u8(..),
    };
    progress.phase(format!("{label}: connecting"));
    let mut session = Session::open(plan, means, args.in_flight, under_test.process, progress)?;
    session.connect_publishers()?;
    progress.phase(format!("{label}: warm-up"));
    session.publish(feeds(args, args.warmup), pace(args, args.warmup), progress)?;
    progress.phase(format!("{label}: measuring"));
    let pace = pace(args, args.duration);
    let measured = session.measure(feeds(args, args.duration), pace, progress)?;
    let rss_bytes = under_test.process.map(|process| process.rss_bytes()).transpose()?;
    let (connecting, connect) = (session.connecting, session.connect.latency.clone());
    let totals = session.finish()?;
    let measurement = Measurement::new(shape.connections, connecting, &connect, &measured, &totals);
    Ok(Measurement { server_rss_bytes: rss_bytes, ..measurement })
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
        topics: args.topics,
        messages,
        next: u64::from(publisher),
        publishers: u64::from(args.publishers),
        tail: padding(args.size),
    };
    (0..args.publishers).map(feed).collect()
}

fn shape(args: &FanoutArgs) -> Result<Shape> {
    ensure!(args.rate.is_finite() && args.rate > 0.0, "--rate must be a positive number");
    ensure!(
        args.size >= PAYLOAD_BYTES_MIN,
        "--size {} is too small for the stamp; at least {PAYLOAD_BYTES_MIN} bytes are needed",
        args.size
    );
    ensure!(
        args.in_flight.is_none() || args.publishers == 1,
        "a closed loop (--in-flight) has one publisher"
    );
    ensure!(
        args.transport != Transport::Raw || args.topics_per_connection == 1,
        "a raw stream carries one topic; use --topics-per-connection 1"
    );
    let shape = Shape {
        connections: args.connections,
        topics: topic_names(&args.topic_prefix, args.topics)?,
        topics_per_connection: args.topics_per_connection,
    };
    shape.check()?;
    let subscriptions = u64::from(args.connections) * u64::from(args.topics_per_connection);
    ensure!(
        subscriptions >= u64::from(args.topics),
        "{subscriptions} subscriptions leave some of {} topics without a subscriber",
        args.topics
    );
    Ok(shape)
}

/// `PREFIX0000` and so on.
///
/// # Errors
/// If that is no topic name, or holds the mark of a stamp.
pub(crate) fn topic_names(prefix: &str, topics: u32) -> Result<Vec<String>> {
    ensure!(
        !prefix.as_bytes().contains(&MARK),
        "--topic-prefix must not hold {}, which marks a stamp",
        char::from(MARK)
    );
    let names: Vec<String> = (0..topics).map(|topic| format!("{prefix}{topic:04}")).collect();
    names.iter().try_for_each(|name| TopicName::check(name))?;
    Ok(names)
}

fn load(args: &FanoutArgs) -> Load {
    Load {
        connections: args.connections,
        topics: args.topics,
        topics_per_connection: args.topics_per_connection,
        r#loop: if args.in_flight.is_some() { "closed" } else { "open" },
        rate: args.in_flight.is_none().then_some(args.rate),
        burst: args.burst,
        in_flight: args.in_flight,
        payload_bytes: args.size,
        transport: args.transport,
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
        table::count(args.connections.into()),
        args.topics_per_connection,
        table::count(args.topics.into()),
        args.size,
        args.transport.name(),
    );
    println!("{}\n", table::rounds(args.rounds, args.duration));
    let Round { floor, server, ratio_to_floor } = &document.median;
    let mut columns: Vec<(&str, &Measurement)> = Vec::new();
    columns.extend(floor.as_ref().map(|floor| ("floor", floor)));
    columns.push(("server", server));
    print!("{}", table::measurements(&columns, *ratio_to_floor));
    table::print_verdict(&document.faults, server.foreign, document.environment.build);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_numbered_behind_the_prefix() {
        assert_eq!(topic_names("load.", 2).unwrap(), ["load.0000", "load.0001"]);
        assert!(topic_names("a~b.", 1).unwrap_err().to_string().contains("marks a stamp"));
        assert!(topic_names("a b", 1).is_err());
    }
}
