//! The reader that stops and goes on, and the witness that reads throughout.
//!
//! Owns what each does when. What was on the reader's way is measured just before it reads again,
//! while nothing moves.

use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::judge::Moments;
use super::queues::Queues;
use super::tap::{Arrival, Tap};
use crate::stamp::now_ns;
use crate::under_test::UnderTest;

/// How often a stalled reader shows that it lives.
const PONG_INTERVAL: Duration = Duration::from_secs(2);

/// How often a trickle is read.
const TRICKLE_INTERVAL: Duration = Duration::from_millis(250);

/// What the reader does, counted from the start of publishing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    /// When it stops.
    pub stall_at: Duration,
    /// When it reads again.
    pub resume_at: Duration,
    /// Bytes that it reads in a second meanwhile.
    pub trickle: Option<usize>,
    /// How long nothing may come at the end until the rest counts as lost.
    pub drain_timeout: Duration,
}

/// What was on its way to the reader when it read again, in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Held {
    /// In the kernel, on the server's side of the connection.
    pub unsent_bytes: u64,
    /// In the kernel, on the reader's side.
    pub unread_bytes: u64,
    /// In the broker's outboxes; missing if it did not tell.
    pub outbox_bytes: Option<u64>,
}

/// What the reader saw.
#[derive(Debug)]
pub(super) struct Observed {
    pub log: Vec<Arrival>,
    pub held: Held,
    pub moments: Moments,
    pub closed: Option<String>,
}

/// Reads, stops, reads again, and at last until each topic's last message is there, once
/// `published` tells how many each has got.
///
/// # Errors
/// If what was on the way cannot be looked up, or polling fails.
pub(super) fn stop_and_go(
    mut tap: Tap,
    under_test: &mut UnderTest,
    habits: Habits,
    outbox_allowance: u64,
    published: &mpsc::Receiver<Vec<u32>>,
) -> Result<Observed> {
    let started = Instant::now();
    while started.elapsed() < habits.stall_at {
        tap.read()?;
    }
    stall(&mut tap, started, habits);
    let held = look_up(&tap, under_test)?;
    let read_until = tap.read_bytes;
    let outbox_bytes = held.outbox_bytes.unwrap_or(outbox_allowance);
    let held_until = read_until + held.unsent_bytes + held.unread_bytes + outbox_bytes;
    let moments = Moments { resumed_ns: now_ns(), read_until, held_until };
    read_to_the_last(&mut tap, published, habits.drain_timeout)?;
    Ok(Observed { log: tap.log, held, moments, closed: tap.closed })
}

fn stall(tap: &mut Tap, started: Instant, habits: Habits) {
    let trickle = habits.trickle.map(|bytes| {
        let share = bytes as f64 * TRICKLE_INTERVAL.as_secs_f64();
        (share.ceil() as usize).max(1)
    });
    let mut ponged = Instant::now();
    while started.elapsed() < habits.resume_at {
        let left = habits.resume_at.saturating_sub(started.elapsed());
        std::thread::sleep(left.min(TRICKLE_INTERVAL));
        if let Some(bytes) = trickle {
            tap.read_some(bytes);
        }
        if ponged.elapsed() >= PONG_INTERVAL {
            ponged = Instant::now();
            tap.pong(b"");
        }
    }
}

/// A connection that has ended holds nothing.
fn look_up(tap: &Tap, under_test: &mut UnderTest) -> Result<Held> {
    let counts = under_test.counts()?;
    let outbox_bytes = counts.map(|counts| counts.get("outbox_bytes") as u64);
    if tap.closed.is_some() {
        return Ok(Held { outbox_bytes, ..Held::default() });
    }
    let (reader, server) = tap.addresses()?;
    let Queues { unsent_bytes, unread_bytes } = Queues::look_up_at_rest(reader, server)?;
    Ok(Held { unsent_bytes, unread_bytes, outbox_bytes })
}

/// Reads until the last message of each topic is there, or nothing comes any more.
fn read_to_the_last(
    tap: &mut Tap,
    published: &mpsc::Receiver<Vec<u32>>,
    drain_timeout: Duration,
) -> Result<()> {
    let published = loop {
        tap.read()?;
        match published.try_recv() {
            Ok(published) => break published,
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
    };
    let mut last = vec![0; published.len()];
    let (mut seen, mut moved) = (0, Instant::now());
    loop {
        for arrival in &tap.log[seen..] {
            let count = last.get_mut(arrival.topic as usize).context("no such topic")?;
            *count = (arrival.sequence + 1).max(*count);
        }
        if tap.log.len() > seen {
            (seen, moved) = (tap.log.len(), Instant::now());
        }
        if last == published || moved.elapsed() > drain_timeout || tap.closed.is_some() {
            return Ok(());
        }
        tap.read()?;
    }
}

/// Reads throughout, to the last message of each topic.
///
/// # Errors
/// If polling fails.
pub(super) fn witness(
    mut tap: Tap,
    published: &mpsc::Receiver<Vec<u32>>,
    drain_timeout: Duration,
) -> Result<Tap> {
    read_to_the_last(&mut tap, published, drain_timeout)?;
    Ok(tap)
}
