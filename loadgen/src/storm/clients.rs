//! The clients of a storm: one thread that holds, drops and opens all their connections.
//!
//! Owns their sockets and attempts; what they have and get is `returning`'s.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fanfare_protocol::Codec;
use mio::{Events, Poll};

use super::returning::Returning;
use crate::connect::{ConnectReport, Opened};
use crate::opening::{ConnectError, SILENCE_MAX};
use crate::openings::Openings;
use crate::plan::{Plan, Share};
use crate::receiver::{Extent, Receiver};
use crate::stamp::now_ns;

/// Connections under way at once while clients connect for the first time.
const FIRST_UNDER_WAY_MAX: usize = 256;

/// Connections that are started before the sockets are looked at again.
const STARTS_PER_TURN: usize = 32;

/// Until a connection that failed is tried again: 50 to 150 ms.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_SPREAD: Duration = Duration::from_millis(100);

const POLL_MAX: Duration = Duration::from_millis(5);

/// How one storm went.
#[derive(Clone, Debug, Default)]
pub(super) struct Return {
    /// When the first connection was started, in ns of [`now_ns`].
    pub start_ns: u64,
    /// When the last one became live; 0 if none did.
    pub connected_ns: u64,
    /// How many became live.
    pub connected: usize,
    /// How many clients had not recovered in time.
    pub late: usize,
    /// Attempts that failed and were made again.
    pub retries: u64,
    /// Why the first of them failed.
    pub first_error: Option<String>,
}

/// All clients.
#[derive(Debug)]
pub(super) struct Clients {
    pub receiver: Receiver<Returning>,
    plan: Plan,
    share: Share,
    openings: Openings,
    /// When to try which place again.
    retries: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl Clients {
    /// Connects the subscribers of `plan`, all in this thread.
    ///
    /// # Errors
    /// If one of them does not become live.
    pub(super) fn connect(plan: Plan, codec: Codec) -> Result<Self> {
        let share = Share { first: 0, count: plan.shape.connections, source: None };
        let opened = Opened {
            poll: Poll::new()?,
            connections: (0..share.count).map(|_| None).collect(),
            report: ConnectReport::default(),
        };
        let returning = Returning::new(&plan, share, codec);
        let receiver = Receiver::new(&plan, share, opened, returning);
        let (openings, retries) = (Openings::default(), BinaryHeap::new());
        let mut clients = Self { receiver, plan, share, openings, retries };
        let mut first = Return { start_ns: now_ns(), ..Return::default() };
        let mut next = 0;
        while first.connected < clients.receiver.len() {
            while next < clients.receiver.len() && clients.openings.len() < FIRST_UNDER_WAY_MAX {
                clients.start(next, &mut first);
                next += 1;
            }
            clients.turn(POLL_MAX, &mut first)?;
            clients.give_up_silent(&mut first);
            let error = first.first_error.as_deref().unwrap_or_default();
            ensure!(first.retries == 0, "a client could not connect: {error}");
        }
        Ok(clients)
    }

    /// Reads until so many messages have come in all.
    ///
    /// # Errors
    /// If polling fails, or nothing comes for `patience`.
    pub(super) fn read_until(&mut self, received: u64, patience: Duration) -> Result<()> {
        let (mut so_far, mut moved) = (0, Instant::now());
        while so_far < received {
            self.turn(POLL_MAX, &mut Return::default())?;
            let now = self.receiver.sink.record.received();
            if now > so_far {
                (so_far, moved) = (now, Instant::now());
            }
            ensure!(
                moved.elapsed() < patience,
                "of {received} messages before the storm only {so_far} came"
            );
        }
        Ok(())
    }

    /// Cuts all connections off, without a goodbye.
    pub(super) fn cut(&mut self) {
        (0..self.receiver.len()).for_each(|place| self.receiver.cut(place));
    }

    /// Opens all connections at once and reads until every client has what it missed, or until
    /// `timeout`.
    ///
    /// # Errors
    /// If polling fails. A connection that fails is tried again.
    pub(super) fn storm(&mut self, timeout: Duration) -> Result<Return> {
        let (started, count) = (Instant::now(), self.receiver.len());
        let mut storm = Return { start_ns: now_ns(), ..Return::default() };
        for place in 0..count {
            self.start(place, &mut storm);
            if place % STARTS_PER_TURN == STARTS_PER_TURN - 1 {
                self.turn(Duration::ZERO, &mut storm)?;
            }
        }
        while self.receiver.sink.recovered < count && started.elapsed() < timeout {
            self.turn(POLL_MAX, &mut storm)?;
            self.give_up_silent(&mut storm);
            self.start_again(&mut storm);
        }
        storm.late = count - self.receiver.sink.recovered;
        Ok(storm)
    }

    /// Reads for so long.
    ///
    /// # Errors
    /// If polling fails.
    pub(super) fn read_for(&mut self, duration: Duration) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < duration {
            self.turn(POLL_MAX, &mut Return::default())?;
        }
        Ok(())
    }

    /// Reads until all that was published is there, or nothing comes any more.
    ///
    /// # Errors
    /// If polling fails.
    pub(super) fn read_the_rest(
        &mut self,
        published: &[Vec<u32>],
        drain_timeout: Duration,
    ) -> Result<()> {
        let mut moved = Instant::now();
        while !self.receiver.sink.record.is_complete(published) && moved.elapsed() < drain_timeout {
            if self.turn(POLL_MAX, &mut Return::default())? {
                moved = Instant::now();
            }
        }
        Ok(())
    }

    /// Polls once and does what can be done; whether anything could.
    fn turn(&mut self, patience: Duration, storm: &mut Return) -> Result<bool> {
        let mut events = Events::with_capacity(1_024);
        match self.receiver.poll.poll(&mut events, Some(patience)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            polled => polled.context("the clients cannot be polled")?,
        }
        for event in &events {
            let place = event.token().0;
            if self.openings.contains(place) {
                self.advance(place, storm);
            } else if event.is_readable() {
                self.receiver.read(place, Extent::of(event));
            }
        }
        Ok(!events.is_empty())
    }

    fn start(&mut self, place: usize, storm: &mut Return) {
        let since = match self.receiver.sink.has_left() {
            true => self.receiver.sink.positions(place),
            false => &[],
        };
        let poll = &self.receiver.poll;
        if let Err(error) = self.openings.start(&self.plan, self.share, (place, since), poll) {
            self.failed(place, &error, storm);
        }
    }

    fn advance(&mut self, place: usize, storm: &mut Return) {
        match self.openings.advance(place) {
            Some(Ok(arrived)) => {
                storm.connected += 1;
                storm.connected_ns = now_ns();
                self.receiver.sink.subscribed(place, arrived.subscribed);
                self.receiver.replace(place, arrived.live);
            }
            Some(Err(error)) => self.failed(place, &error, storm),
            None => {}
        }
    }

    fn failed(&mut self, place: usize, error: &ConnectError, storm: &mut Return) {
        storm.retries += 1;
        storm.first_error.get_or_insert_with(|| error.to_string());
        let delay = RETRY_MIN + RETRY_SPREAD.mul_f64(fastrand::f64());
        self.retries.push(Reverse((Instant::now() + delay, place)));
    }

    fn give_up_silent(&mut self, storm: &mut Return) {
        for place in self.openings.give_up(SILENCE_MAX) {
            self.failed(place, &ConnectError::Silent, storm);
        }
    }

    fn start_again(&mut self, storm: &mut Return) {
        let now = Instant::now();
        while let Some(&Reverse((due, place))) = self.retries.peek()
            && due <= now
        {
            self.retries.pop();
            self.start(place, storm);
        }
    }
}
