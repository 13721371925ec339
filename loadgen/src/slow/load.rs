//! One measurement: quick readers, perhaps some that do not read, and a fixed rate.
//!
//! Owns the order of its steps, and what is sampled between them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::readers::{Habits, SlowFigures, SlowReaders};
use crate::cli::SlowArgs;
use crate::feed::Steady;
use crate::memory::{self, Memory, MemoryWatch};
use crate::plan::{Peer, Plan};
use crate::progress::Progress;
use crate::publisher::Publisher;
use crate::report::{Faults, Measurement};
use crate::session::{Pace, Session};
use crate::under_test::UnderTest;

/// Messages per second while the topics' history is filled.
const FILL_RATE: f64 = 20_000.0;

/// What one measurement does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Subscribers that read.
    pub quick: u32,
    /// Subscribers that do not.
    pub slow: u32,
    /// Messages per second over all topics.
    pub rate: f64,
    /// How long all read first.
    pub warmup: Duration,
    /// How long it then lasts.
    pub duration: Duration,
}

/// What one measurement found out. What belongs to the server's process or to its counts is
/// missing where these are not known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Figures {
    /// Of those that read.
    pub quick: Measurement,
    /// Of those that do not; missing if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<SlowFigures>,
    /// The server's memory before anybody connected.
    pub before_bytes: Option<u64>,
    /// The server's memory during the load.
    pub memory: Option<Memory>,
    /// What the server counted during the load: growth of counters, and gauges at its end.
    pub server_counts: Option<BTreeMap<String, f64>>,
}

/// Measures once.
///
/// # Errors
/// If the server, the readers or the publisher fail as a whole.
pub(super) fn measure(
    args: &SlowArgs,
    load: Load,
    label: &str,
    progress: &mut Progress,
) -> Result<Figures> {
    let mut under_test = UnderTest::from_args(&args.server)?;
    ensure!(under_test.target.peer == Peer::Broker, "slow readers need a broker, not the floor");
    let mut plan =
        Plan::new(under_test.target, args.audience.topics.transport, args.shape(load.quick)?);
    plan.mode = Some(args.mode);
    progress.phase(format!("{label}: filling the history"));
    fill(args, &plan)?;
    plan.first_sequence = args.fill;
    let before_bytes = under_test.process.map(memory::settled_rss_bytes).transpose()?;

    progress.phase(format!("{label}: connecting"));
    let mut means = args.generator.means();
    means.process_connections_max = means.process_connections_max.saturating_sub(load.slow).max(1);
    let process = under_test.process;
    let mut session = Session::open(plan.clone(), means, None, process, progress)?;
    let slow = if load.slow == 0 { None } else { Some(connect_slow(args, load.slow, &plan)?) };
    session.connect_publishers()?;
    if !load.warmup.is_zero() {
        progress.phase(format!("{label}: warm-up"));
        session.publish(vec![feed(args, load.rate, load.warmup)], Pace::Open, progress)?;
    }
    slow.as_ref().map_or(Ok(()), SlowReaders::stall)?;

    progress.phase(format!("{label}: measuring"));
    let counts = under_test.counts()?;
    let memory = process.map(MemoryWatch::start).transpose()?;
    let feed = feed(args, load.rate, load.duration);
    let measured = session.measure(vec![feed], Pace::Open, progress)?;
    let memory = memory.map(MemoryWatch::stop).transpose()?;
    let server_counts =
        counts.zip(under_test.counts()?).map(|(before, after)| after.since(&before));

    // The quick ones are judged before slow ones may read: nothing may wait for those.
    let published = session.published();
    let (connecting, connect) = (session.connecting, session.connect.latency.clone());
    let totals = session.finish()?;
    let mut quick = Measurement::new(load.quick, connecting, &connect, &measured, &totals);
    quick.server_rss_bytes = memory.map(|memory| memory.end_bytes);
    if slow.is_some() {
        progress.phase(format!("{label}: the slow ones read again"));
    }
    let slow = slow.map(|slow| slow.finish(published, means.drain_timeout)).transpose()?;
    Ok(Figures { quick, slow, before_bytes, memory, server_counts })
}

/// Publishes what the topics' history holds, while nobody subscribes.
fn fill(args: &SlowArgs, plan: &Plan) -> Result<()> {
    let topics = args.audience.topics.topics;
    let messages = u64::from(args.fill) * u64::from(topics);
    let mut publisher = Publisher::connect(plan, 0)?;
    let mut feed = Steady::of_one(FILL_RATE, messages, topics, args.payload.size);
    publisher.run_open(&mut feed, crate::stamp::now_ns())?;
    Ok(publisher.settle()?)
}

fn connect_slow(args: &SlowArgs, readers: u32, quick: &Plan) -> Result<SlowReaders> {
    let plan = Plan {
        shape: args.shape(readers)?,
        receive_buffer_bytes: Some(args.stall.receive_buffer),
        gaps_are_excused: true,
        ..quick.clone()
    };
    SlowReaders::connect(plan, Habits::new(&args.stall, args.when_closed))
}

fn feed(args: &SlowArgs, rate: f64, duration: Duration) -> Steady {
    let messages = (rate * duration.as_secs_f64()).round() as u64;
    Steady::of_one(rate, messages, args.audience.topics.topics, args.payload.size)
}

impl Figures {
    /// Growth of the server's memory during the load, in bytes.
    #[must_use]
    pub(super) fn growth(&self) -> Option<u64> {
        self.memory.map(|memory| memory.growth_bytes)
    }

    /// Growth from before anybody connected, in bytes.
    #[must_use]
    pub(super) fn growth_in_all(&self) -> Option<u64> {
        let ends = self.before_bytes.zip(self.memory);
        ends.map(|(before, memory)| memory.peak_bytes.saturating_sub(before))
    }

    /// What went wrong. That slow readers are closed is no fault.
    #[must_use]
    pub(super) fn faults(&self) -> Faults {
        let mut faults = self.quick.faults.clone();
        if let Some(slow) = &self.slow {
            faults.lost += slow.lost;
            faults.false_gap_messages += slow.false_gap_messages;
            faults.doubled += slow.doubled;
            faults.reordered += slow.reordered;
        }
        faults
    }

    /// Whether no slow reader ever held anything up, as far as the server's counts tell.
    #[must_use]
    pub(super) fn nothing_was_held_up(&self) -> bool {
        let Some(counts) = &self.server_counts else { return false };
        let is_held = |name: &str| counts.get(name).is_some_and(|value| *value > 0.0);
        let closed = self.slow.as_ref().is_none_or(|slow| slow.closed > 0);
        !closed && !is_held("outbox_bytes") && !is_held("subscriptions_behind")
    }
}
