//! `drain`: a broker under load is told to end while its clients listen, and another takes them.
//!
//! Both brokers are started by this program and get the same load, since they are no cluster. What
//! is judged is the first one's end and what its clients got until theirs; how soon, and how evenly
//! they came to the second one, is told.

mod clients;
mod moving;
mod print;
mod spread;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fanfare_protocol::CloseCode;
use serde::{Deserialize, Serialize};

use crate::accepted::Accepted;
use crate::cli::DrainArgs;
use crate::feed::{Steady, UntilOver};
use crate::latency::{Latencies, Percentiles};
use crate::plan::{Plan, Shape, Transport};
use crate::progress::Progress;
use crate::publisher::{PublishError, Publisher};
use crate::report::Faults;
use crate::rounds;
use crate::stamp::now_ns;
use crate::under_test::UnderTest;

use clients::{Clients, Drained};
use moving::Moving;
use spread::Spread;

/// What was asked for, as the result file tells it.
#[derive(Debug, Serialize)]
struct Asked {
    connections: u32,
    topics: u32,
    topics_per_connection: u32,
    transport: Transport,
    payload_bytes: usize,
    /// Deliveries per second to all clients together.
    deliveries: f64,
    warmup_seconds: f64,
}

/// One round's figures. Times count from SIGTERM unless they say otherwise.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Round {
    /// Until the broker's process had ended; missing if it had not in time.
    exit_seconds: Option<f64>,
    /// Its exit code; missing if it has none.
    exit_code: Option<i32>,
    /// Until the first connection was closed.
    first_close_seconds: f64,
    /// Connections closed, second by second from the first.
    closes: Spread,
    /// Clients that are on the other broker by now, second by second from the first.
    returns: Spread,
    /// From a client's close until it was subscribed on the other broker.
    away_us: Percentiles,
    /// The longest time over which a client was told to spread its return.
    window_ms_max: u64,
    /// Attempts to connect that failed and were made again.
    retries: u64,
    /// Why the first of them failed.
    first_error: Option<String>,
    /// Until the broker closed its publisher, and nothing more was published there.
    publisher_seconds: f64,
    /// Messages delivered by both brokers until everybody had moved.
    deliveries: u64,
    /// The same for each second.
    deliveries_per_second: f64,
    /// Their latency.
    response_us: Percentiles,
    faults: Faults,
}

impl rounds::Round for Round {
    fn faults(&self) -> Faults {
        self.faults.clone()
    }
}

/// Runs all rounds and tells the result; true if the broker ended well, said so to every client and
/// owed nobody a message.
///
/// # Errors
/// If the arguments do not fit together, or a round cannot be run.
pub(crate) fn run(args: &DrainArgs) -> Result<bool> {
    args.payload.bytes()?;
    ensure!(
        args.server.server.is_some(),
        "a drain ends one broker and needs another; use --server BIN, which starts both"
    );
    ensure!(
        args.audience.topics.transport.codec().is_some(),
        "a raw stream has no words for when to come back; use --transport json or msgpack"
    );
    let shape = args.audience.covering_shape()?;
    args.generator.check_one_process("a drain", shape.connections)?;
    let ends = (&args.server, &args.generator);
    let document =
        rounds::run(args.audience.topics.rounds, ends, asked(args), |label, progress| {
            round(args, &shape, label, progress)
        })?;
    print::print(&document);
    Ok(document.faults.none())
}

fn round(args: &DrainArgs, shape: &Shape, label: &str, progress: &mut Progress) -> Result<Round> {
    let mut leaving = UnderTest::from_args(&args.server)?;
    let staying = UnderTest::from_args(&args.server)?;
    let transport = args.audience.topics.transport;
    let codec = transport.codec().context("no SDK transport")?;
    let first = Plan::new(leaving.target, transport, shape.clone());
    let second = Plan { target: staying.target, run: first.run.wrapping_add(1), ..first.clone() };

    progress.phase(format!("{label}: connecting"));
    let accepted = Accepted::new(shape.topics.len());
    let plans = [first, second];
    let mut clients = Clients::connect(plans.clone(), codec, &accepted)?;
    // Last of all, so that it is among the last that are closed, and there is load until then.
    let [mut publisher, other] = plans.each_ref().map(|plan| Publisher::connect(plan, 0));
    publisher.iter_mut().for_each(|publisher| publisher.tell_accepted(&accepted));

    progress.phase(format!("{label}: draining"));
    let is_over = AtomicBool::new(false);
    let feed = || UntilOver { feed: steady(args, shape), is_over: &is_over };
    let broker = leaving.started_mut().context("no broker was started")?;
    let (drained, of_leaving, of_staying) = std::thread::scope(|scope| {
        let threads = [publisher?, other?].map(|publisher| {
            let feed = feed();
            scope.spawn(move || publish(publisher, feed))
        });
        let drained = clients.read_for(args.warmup).and_then(|()| {
            let drained = clients.drain(broker, args.timeout, progress)?;
            clients.read_for(args.after)?;
            Ok(drained)
        });
        is_over.store(true, Ordering::Release);
        let [leaving, staying] = threads.map(std::thread::ScopedJoinHandle::join);
        let panicked = "a publisher's thread panicked";
        let (leaving, staying) = (leaving.ok().context(panicked)?, staying.ok().context(panicked)?);
        anyhow::Ok((drained?, leaving, staying))
    })?;
    of_staying.end.map_or(Ok(()), Err)?;
    clients.read_the_rest(&of_staying.counts, args.generator.drain_timeout)?;
    Ok(Round::new(&drained, clients, &of_leaving, &of_staying.counts))
}

/// What a publisher has done.
struct Published {
    /// Messages of each topic.
    counts: Vec<u32>,
    /// Why it ended before its feed did.
    end: Option<PublishError>,
    /// When it ended, in ns of [`now_ns`].
    end_ns: u64,
}

impl Published {
    /// Why its end was none that a drain brings.
    fn bad_end(&self) -> Option<String> {
        match &self.end {
            None | Some(PublishError::Closed { code: Some(CloseCode::SERVICE_RESTART), .. }) => {
                None
            }
            Some(other) => Some(other.to_string()),
        }
    }
}

/// Publishes as long as both the feed and the broker allow; then the connection ends.
fn publish(mut publisher: Publisher, mut feed: UntilOver<'_>) -> Published {
    let end = publisher.run_open(&mut feed, now_ns()).err();
    Published { counts: publisher.published().to_vec(), end, end_ns: now_ns() }
}

/// What makes for that many deliveries if everybody were on one broker.
fn steady(args: &DrainArgs, shape: &Shape) -> Steady {
    let subscriptions = f64::from(shape.connections) * f64::from(shape.topics_per_connection);
    let topics = args.audience.topics.topics;
    let rate = args.deliveries / (subscriptions / f64::from(topics));
    Steady::of_one(rate, u64::MAX, topics, args.payload.size)
}

impl Round {
    fn new(drained: &Drained, clients: Clients, of_leaving: &Published, published: &[u32]) -> Self {
        let (retries, first_error) = (clients.retries, clients.first_error);
        let Moving { records, clients, .. } = clients.receiver.into_sink();
        let after = |ns: u64| ns.saturating_sub(drained.start_ns) as f64 / 1e9;
        let closed: Vec<u64> = clients.iter().map(|c| c.closed_ns).filter(|ns| *ns > 0).collect();
        let returned: Vec<u64> =
            clients.iter().map(|c| c.returned_ns).filter(|ns| *ns > 0).collect();
        let mut away = Latencies::default();
        let moved = clients.iter().filter(|client| client.returned_ns > 0);
        moved.for_each(|client| away.record(client.returned_ns - client.closed_ns));
        let windows = clients.iter().filter_map(|client| client.window);

        let exit_code = drained.exit.and_then(|(_, code)| code);
        let [mut leaving, staying] = records;
        // Who is there still was never closed, and is told as not having come back.
        (0..clients.len()).for_each(|place| leaving.abandon(place));
        let totals = [leaving.finish(&[]), staying.finish(&[published.to_vec()])];
        let mut faults = Faults::of(&totals[0]);
        faults.add(&Faults::of(&totals[1]));
        faults.not_recovered += (clients.len() - returned.len()) as u64;
        faults.bad_exits += u64::from(exit_code != Some(0));
        let bad_end = of_leaving.bad_end();
        faults.closed += u64::from(bad_end.is_some());
        faults.first_close = faults.first_close.or(bad_end);

        let deliveries = totals.iter().map(|totals| totals.messages).sum();
        let mut response = totals[0].response.clone();
        response.merge(&totals[1].response);
        Self {
            exit_seconds: drained.exit.map(|(ns, _)| after(ns)),
            exit_code,
            first_close_seconds: closed.iter().min().map_or(0.0, |ns| after(*ns)),
            closes: Spread::of(&closed),
            returns: Spread::of(&returned),
            away_us: away.percentiles(),
            window_ms_max: windows.max().unwrap_or(Duration::ZERO).as_millis() as u64,
            retries,
            first_error,
            publisher_seconds: after(of_leaving.end_ns),
            deliveries,
            deliveries_per_second: deliveries as f64 / after(drained.end_ns),
            response_us: response.percentiles(),
            faults,
        }
    }
}

fn asked(args: &DrainArgs) -> Asked {
    Asked {
        connections: args.audience.connections,
        topics: args.audience.topics.topics,
        topics_per_connection: args.audience.topics_per_connection,
        transport: args.audience.topics.transport,
        payload_bytes: args.payload.size,
        deliveries: args.deliveries,
        warmup_seconds: args.warmup.as_secs_f64(),
    }
}
