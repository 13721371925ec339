//! The clients of a drain: one thread that holds their connections and opens new ones elsewhere.
//!
//! Owns sockets, and when to come back: by the rule of the Rust client. What clients have and get
//! is `moving`'s.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fanfare_client::Backoff;
use fanfare_protocol::Codec;
use mio::{Events, Poll};

use super::moving::{LEAVING, Moving, STAYING};
use crate::accepted::Accepted;
use crate::connect::{ConnectReport, Opened};
use crate::opening::{ConnectError, SILENCE_MAX};
use crate::openings::Openings;
use crate::plan::{Plan, Share};
use crate::progress::Progress;
use crate::receiver::{Extent, Receiver};
use crate::server::SpawnedServer;
use crate::stamp::now_ns;

/// Connections under way at once while clients connect for the first time.
const FIRST_UNDER_WAY_MAX: usize = 256;

const EVENTS_PER_POLL: usize = 1_024;

const POLL_MAX: Duration = Duration::from_millis(5);

/// How the broker that was to end did so.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drained {
    /// When it was told to, in ns of [`now_ns`].
    pub start_ns: u64,
    /// When it had ended, and with which code; `None` in time.
    pub exit: Option<(u64, Option<i32>)>,
    /// When everybody was elsewhere, or given up.
    pub end_ns: u64,
}

/// All clients.
#[derive(Debug)]
pub(super) struct Clients {
    pub receiver: Receiver<Moving>,
    /// Attempts that failed and were made again.
    pub retries: u64,
    /// Why the first of them failed.
    pub first_error: Option<String>,
    plans: [Plan; 2],
    share: Share,
    openings: Openings,
    backoffs: Vec<Backoff>,
    /// When which client comes back.
    returns: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Whether the last poll reported all that there was.
    was_complete: bool,
}

impl Clients {
    /// Connects the subscribers of the first of `plans`, all in this thread.
    ///
    /// # Errors
    /// If one of them does not become live.
    pub(super) fn connect(
        plans: [Plan; 2],
        codec: Codec,
        accepted: &Arc<Accepted>,
    ) -> Result<Self> {
        let share = Share { first: 0, count: plans[LEAVING].shape.connections, source: None };
        let opened = Opened {
            poll: Poll::new()?,
            connections: (0..share.count).map(|_| None).collect(),
            report: ConnectReport::default(),
        };
        let moving = Moving::new(&plans, share, codec, accepted);
        let mut clients = Self {
            receiver: Receiver::new(&plans[LEAVING], share, opened, moving),
            retries: 0,
            first_error: None,
            plans,
            share,
            openings: Openings::default(),
            backoffs: vec![Backoff::default(); share.count as usize],
            returns: BinaryHeap::new(),
            was_complete: false,
        };
        let mut next = 0;
        while next < clients.receiver.len() || clients.openings.len() > 0 {
            while next < clients.receiver.len() && clients.openings.len() < FIRST_UNDER_WAY_MAX {
                clients.start(next);
                next += 1;
            }
            clients.turn()?;
            let error = clients.first_error.as_deref().unwrap_or_default();
            ensure!(clients.retries == 0, "a client could not connect: {error}");
        }
        Ok(clients)
    }

    /// Reads for so long.
    ///
    /// # Errors
    /// If polling fails.
    pub(super) fn read_for(&mut self, duration: Duration) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < duration {
            self.turn()?;
        }
        Ok(())
    }

    /// Tells the first broker to end, and goes on until it has and everybody is on the second one,
    /// or until `timeout`.
    ///
    /// # Errors
    /// If polling fails. A connection that fails is tried again.
    pub(super) fn drain(
        &mut self,
        broker: &mut SpawnedServer,
        timeout: Duration,
        progress: &mut Progress,
    ) -> Result<Drained> {
        let (started, count) = (Instant::now(), self.receiver.len());
        let mut drained = Drained { start_ns: now_ns(), ..Drained::default() };
        self.receiver.sink.may_close = true;
        self.receiver.sink.records.iter_mut().for_each(|record| record.set_measuring(true));
        broker.terminate();
        while started.elapsed() < timeout {
            self.turn()?;
            if drained.exit.is_none() {
                let exit = broker.ended().context("how the broker ended is not known")?;
                drained.exit = exit.map(|status| (now_ns(), status.code()));
            }
            let returned = self.receiver.sink.returned();
            if drained.exit.is_some() && returned == count {
                break;
            }
            progress.update(|| format!("{returned} of {count} are on the other broker"));
        }
        self.receiver.sink.records.iter_mut().for_each(|record| record.set_measuring(false));
        drained.end_ns = now_ns();
        Ok(drained)
    }

    /// Reads until all that the second broker was given is there, or nothing comes any more.
    ///
    /// # Errors
    /// If polling fails.
    pub(super) fn read_the_rest(&mut self, published: &[u32], patience: Duration) -> Result<()> {
        let (published, mut moved) = ([published.to_vec()], Instant::now());
        let mut received = 0;
        while !self.receiver.sink.records[STAYING].is_complete(&published)
            && moved.elapsed() < patience
        {
            self.turn()?;
            let now = self.receiver.sink.records[STAYING].received();
            if now > received {
                (received, moved) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Polls once and does what can be done.
    fn turn(&mut self) -> Result<()> {
        self.receiver.sink.heads.poll_begins(self.was_complete);
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        match self.receiver.poll.poll(&mut events, Some(POLL_MAX)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.was_complete = false;
                return Ok(());
            }
            polled => polled.context("the clients cannot be polled")?,
        }
        self.was_complete = events.iter().count() < EVENTS_PER_POLL;
        for event in &events {
            let place = event.token().0;
            if self.openings.contains(place) {
                self.advance(place);
            } else if event.is_readable() {
                self.receiver.read(place, Extent::of(event));
            }
        }
        self.receiver.sink.records.iter_mut().for_each(crate::record::Record::tell_live);
        self.plan_returns();
        for place in self.openings.give_up(SILENCE_MAX) {
            self.failed(place, &ConnectError::Silent);
        }
        self.start_due();
        Ok(())
    }

    fn plan_returns(&mut self) {
        let now = Instant::now();
        for place in std::mem::take(&mut self.receiver.sink.ended) {
            let window = self.receiver.sink.clients[place].window;
            self.returns.push(Reverse((now + self.backoffs[place].wait(window), place)));
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((due, place))) = self.returns.peek()
            && due <= now
        {
            self.returns.pop();
            self.start(place);
        }
    }

    fn start(&mut self, place: usize) {
        let client = &self.receiver.sink.clients[place];
        let (plan, poll) = (&self.plans[client.on], &self.receiver.poll);
        let started = self.openings.start(plan, self.share, (place, &client.since), poll);
        started.unwrap_or_else(|error| self.failed(place, &error));
    }

    fn advance(&mut self, place: usize) {
        match self.openings.advance(place) {
            Some(Ok(arrived)) => {
                self.receiver.sink.joined(place, arrived.subscribed);
                self.receiver.replace(place, arrived.live);
            }
            Some(Err(error)) => self.failed(place, &error),
            None => {}
        }
    }

    fn failed(&mut self, place: usize, error: &ConnectError) {
        self.retries += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
        self.returns.push(Reverse((Instant::now() + self.backoffs[place].wait(None), place)));
    }
}
