//! `resume`: a reader of newest values that stops reading for a while, and what it gets then.
//!
//! It subscribes to all topics in mode `latest`. A witness, another subscriber that always reads,
//! says what the newest message of each topic was when the reader went on.

mod judge;
mod print;
mod queues;
mod reader;
mod tap;

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fanfare_protocol::Mode;
use serde::{Deserialize, Serialize};

use crate::cli::ResumeArgs;
use crate::feed::{Steady, padding};
use crate::plan::{Peer, Plan, Shape, Transport};
use crate::progress::Progress;
use crate::report::Faults;
use crate::rounds;
use crate::session::{Pace, Session};
use crate::under_test::UnderTest;

use judge::{Summary, TopicFate};
use reader::{Habits, Held, Observed};
use tap::Tap;

/// What may have been in the outbox of a broker that does not tell: one write of it.
const OUTBOX_ALLOWANCE_BYTES: u64 = 64 * 1024;

/// What was asked for, as the result file tells it.
#[derive(Debug, Serialize)]
struct Asked {
    topics: u32,
    transport: Transport,
    rate: f64,
    payload_bytes: usize,
    warmup_seconds: f64,
    stall_seconds: f64,
    after_seconds: f64,
    receive_buffer_bytes: usize,
    trickle_bytes_per_second: Option<usize>,
}

/// One round's figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Round {
    /// Messages of all topics, from beginning to end.
    published: u64,
    /// What was on its way to the reader when it read again.
    held: Held,
    #[serde(flatten)]
    summary: Summary,
    /// Why the reader's connection ended, if it did.
    closed: Option<String>,
    /// Messages that the witness did not get.
    witness_lost: u64,
}

impl rounds::Round for Round {
    fn faults(&self) -> Faults {
        Faults {
            lost: self.summary.last_missing + self.witness_lost,
            stale: self.summary.older_behind,
            doubled: self.summary.doubled,
            reordered: self.summary.reordered,
            closed: u64::from(self.closed.is_some()),
            first_close: self.closed.clone(),
            ..Faults::default()
        }
    }
}

/// Runs all rounds and tells the result; true if newest values came, and nothing older.
///
/// # Errors
/// If the arguments do not fit together, or a round cannot be run.
pub(crate) fn run(args: &ResumeArgs) -> Result<bool> {
    args.payload.bytes()?;
    ensure!(
        args.topics.transport.codec().is_some(),
        "a raw stream carries one topic; use --transport json or msgpack"
    );
    let shape = Shape {
        connections: 1,
        topics: args.topics.names()?,
        topics_per_connection: args.topics.topics,
    };
    shape.check()?;
    let ends = (&args.server, &args.generator);
    let mut per_topic = Vec::new();
    let document = rounds::run(args.topics.rounds, ends, asked(args), |label, progress| {
        let (round, fates) = round(args, &shape, label, progress)?;
        per_topic.push(fates);
        Ok(round)
    })?;
    if let Some(path) = &args.per_topic {
        write_per_topic(path, &shape, &per_topic)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    print::print(&document);
    Ok(document.faults.none())
}

fn round(
    args: &ResumeArgs,
    shape: &Shape,
    label: &str,
    progress: &mut Progress,
) -> Result<(Round, Vec<TopicFate>)> {
    let mut under_test = UnderTest::from_args(&args.server)?;
    ensure!(under_test.target.peer == Peer::Broker, "newest values need a broker, not the floor");
    let witness_plan = Plan::new(under_test.target, args.topics.transport, shape.clone());
    let reader_plan = Plan {
        mode: Some(Mode::Latest),
        receive_buffer_bytes: Some(args.stall.receive_buffer),
        ..witness_plan.clone()
    };
    let publisher_plan = Plan { shape: Shape { connections: 0, ..shape.clone() }, ..witness_plan };
    progress.phase(format!("{label}: connecting"));
    let (witness, reader) = (Tap::connect(&witness_plan)?, Tap::connect(&reader_plan)?);
    let mut session =
        Session::open(publisher_plan, args.generator.means(), None, under_test.process, progress)?;
    session.connect_publishers()?;
    progress.phase(format!("{label}: publishing, while the reader reads, stops and goes on"));
    let (witness, observed, published) =
        publish(args, (witness, reader), &mut session, &mut under_test, progress)?;
    let fates = judge::judge(shape.topics.len(), &observed.log, &witness.log, observed.moments);
    let published_total = published.iter().map(|&count| u64::from(count)).sum::<u64>();
    let round = Round {
        published: published_total,
        held: observed.held,
        summary: Summary::of(&fates, &published, observed.moments),
        closed: observed.closed,
        witness_lost: published_total.saturating_sub(witness.log.len() as u64),
    };
    Ok((round, fates))
}

/// Runs the publisher, the witness and the reader side by side.
fn publish(
    args: &ResumeArgs,
    (witness, reader): (Tap, Tap),
    session: &mut Session,
    under_test: &mut UnderTest,
    progress: &mut Progress,
) -> Result<(Tap, Observed, Vec<u32>)> {
    let drain_timeout = args.generator.drain_timeout;
    let habits = Habits {
        stall_at: args.warmup,
        resume_at: args.warmup + args.stall_for,
        trickle: args.stall.trickle,
        drain_timeout,
    };
    let feed = feed(args, habits.resume_at + args.after);
    let (to_witness, for_witness) = mpsc::channel();
    let (to_reader, for_reader) = mpsc::channel();
    std::thread::scope(|scope| {
        let witness = scope.spawn(move || reader::witness(witness, &for_witness, drain_timeout));
        let reader = scope.spawn(move || {
            reader::stop_and_go(reader, under_test, habits, OUTBOX_ALLOWANCE_BYTES, &for_reader)
        });
        let sent = session.publish(vec![feed], Pace::Open, progress);
        let published = session.published().pop().unwrap_or_default();
        // One that has failed says so below.
        let _ = to_witness.send(published.clone());
        let _ = to_reader.send(published.clone());
        let witness = witness.join().ok().context("the witness panicked")??;
        let observed = reader.join().ok().context("the reader panicked")??;
        sent?;
        Ok((witness, observed, published))
    })
}

fn feed(args: &ResumeArgs, duration: Duration) -> Steady {
    Steady {
        rate: args.rate,
        burst: 1,
        topics: args.topics.topics,
        messages: (args.rate * duration.as_secs_f64()).round() as u64,
        next: 0,
        publishers: 1,
        tail: padding(args.payload.size),
    }
}

fn asked(args: &ResumeArgs) -> Asked {
    Asked {
        topics: args.topics.topics,
        transport: args.topics.transport,
        rate: args.rate,
        payload_bytes: args.payload.size,
        warmup_seconds: args.warmup.as_secs_f64(),
        stall_seconds: args.stall_for.as_secs_f64(),
        after_seconds: args.after.as_secs_f64(),
        receive_buffer_bytes: args.stall.receive_buffer,
        trickle_bytes_per_second: args.stall.trickle,
    }
}

/// A line for each topic of each round; numbers are places in the topic's sequence, from 0.
fn write_per_topic(path: &Path, shape: &Shape, rounds: &[Vec<TopicFate>]) -> Result<()> {
    let mut out = csv::Writer::from_path(path)?;
    out.write_record([
        "round",
        "topic",
        "held",
        "held_newest",
        "newest",
        "first_behind",
        "older_behind",
        "newest_after_us",
        "last",
    ])?;
    let text = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
    for (round, fates) in (1..).zip(rounds) {
        for (topic, fate) in shape.topics.iter().zip(fates) {
            let after_us = fate.newest_after_ns.map(|ns| (ns as f64 / 1e3).to_string());
            out.write_record([
                round.to_string(),
                topic.clone(),
                fate.held.to_string(),
                text(fate.held_newest),
                text(fate.newest),
                text(fate.first_behind),
                fate.older_behind.to_string(),
                after_us.unwrap_or_default(),
                text(fate.last),
            ])?;
        }
    }
    Ok(out.flush()?)
}
