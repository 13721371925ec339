//! One thread's clients: when each connects and asks, and which time each byte belongs to.
//!
//! Follows the phases and the time-table. What happens on a socket is in `sockets`, what is said
//! and heard is a talk's.

mod sockets;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fanfare_kernel::{Segments, segments};
use mio::net::TcpStream;
use mio::{Events, Poll};

use super::controls::{Controls, Phase};
use super::talk::{Setup, Talk};
use super::tally::{ANY, Book, Tally};
use super::way::Rhythm;
use crate::plan::Share;
use crate::stamp::now_ns;

/// Connections that are opened at once until all clients follow the topic.
const UNDER_WAY_MAX: usize = 256;

const EVENTS_PER_POLL: usize = 1_024;

const SCRATCH_BYTES: usize = 64 * 1024;

/// How soon a crew sees that a new phase begins.
const POLL_MAX: Duration = Duration::from_millis(5);

/// One client.
#[derive(Debug)]
struct Client {
    talk: Box<dyn Talk>,
    stream: Option<TcpStream>,
    is_connected: bool,
    output: Vec<u8>,
    /// What was read and not understood yet.
    input: Vec<u8>,
    /// The sequence number that comes next.
    next: u32,
    is_live: bool,
    /// When its open question was due, in ns; `None` while there is none.
    asked_ns: Option<u64>,
    /// What its open question, or else its connection, is booked on.
    book: Book,
    /// The connection's packets that are counted already.
    counted: Segments,
    /// When its next question is due, in ns.
    due_ns: u64,
}

impl Client {
    fn new(setup: &Setup) -> Self {
        Self {
            talk: setup.talk(),
            stream: None,
            is_connected: false,
            output: Vec::new(),
            input: Vec::new(),
            next: ANY,
            is_live: false,
            asked_ns: None,
            book: Book::Opening,
            counted: Segments::default(),
            due_ns: 0,
        }
    }
}

/// All clients of one thread.
#[derive(Debug)]
pub(super) struct Crew<'a> {
    setup: &'a Setup,
    share: Share,
    controls: &'a Controls,
    poll: Poll,
    clients: Vec<Client>,
    /// When which client asks.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    tally: Tally,
    phase: Phase,
    /// When measuring began, and when it ended, in ns. A poll is measured if it was due between,
    /// even where it could be asked only later.
    measured_ns: (u64, u64),
    /// Clients that have begun to connect.
    begun: usize,
    /// Clients that follow the topic.
    live: usize,
    /// Questions without an answer.
    open: usize,
    scratch: Vec<u8>,
}

impl<'a> Crew<'a> {
    /// The clients of `share`, none of them connected.
    ///
    /// # Errors
    /// If the poll cannot be set up.
    pub(super) fn new(setup: &'a Setup, share: Share, controls: &'a Controls) -> io::Result<Self> {
        Ok(Self {
            setup,
            share,
            controls,
            poll: Poll::new()?,
            clients: (0..share.count).map(|_| Client::new(setup)).collect(),
            due: BinaryHeap::new(),
            tally: Tally::default(),
            phase: Phase::Opening,
            measured_ns: (u64::MAX, u64::MAX),
            begun: 0,
            live: 0,
            open: 0,
            scratch: vec![0; SCRATCH_BYTES],
        })
    }

    /// Follows the phases to the last one; what was counted.
    ///
    /// # Errors
    /// Only if polling itself fails.
    pub(super) fn run(mut self) -> io::Result<Tally> {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        loop {
            self.follow();
            if self.phase == Phase::Over {
                return Ok(self.finish());
            }
            self.begin_some();
            let now_ns = now_ns();
            self.ask_due(now_ns);
            let next_ns = self.due.peek().map(|Reverse((due_ns, _))| due_ns.saturating_sub(now_ns));
            let patience = next_ns.map_or(POLL_MAX, |ns| POLL_MAX.min(Duration::from_nanos(ns)));
            match self.poll.poll(&mut events, Some(patience)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                self.advance(event);
            }
            self.controls.received.store(self.tally.received, Ordering::Release);
            self.controls.failed.store(self.tally.failed, Ordering::Relaxed);
        }
    }

    /// Judges what never came, where every message should have.
    fn finish(mut self) -> Tally {
        let published = self.controls.published.load(Ordering::Acquire);
        if self.setup.way.rhythm() != Rhythm::Interval {
            let next = |client: &Client| if client.next == ANY { 0 } else { client.next };
            let missing = |client: &Client| u64::from(published.saturating_sub(next(client)));
            self.tally.counts.lost += self.clients.iter().map(missing).sum::<u64>();
        }
        self.tally
    }

    /// Takes up the phase that was called, and says when it is in it.
    fn follow(&mut self) {
        let called = self.controls.called();
        let is_interval = self.setup.way.rhythm() == Rhythm::Interval;
        if called != self.phase {
            self.phase = called;
            match called {
                Phase::Asking if is_interval => self.schedule(),
                Phase::Asking if self.setup.way.rhythm() == Rhythm::Held => {
                    let now_ns = now_ns();
                    self.due.extend((0..self.clients.len()).map(|place| Reverse((now_ns, place))));
                }
                Phase::Measuring => {
                    self.measured_ns.0 = now_ns();
                    self.count_segments(false);
                }
                Phase::Finishing if is_interval => self.measured_ns.1 = now_ns(),
                Phase::Finishing => self.count_segments(true),
                _ => {}
            }
        }
        let is_there = match called {
            Phase::Finishing if is_interval => self.open == 0 && !self.has_due(),
            _ => true,
        };
        if is_there && self.controls.reached() != called {
            if called == Phase::Finishing && is_interval {
                self.count_segments(true);
            }
            self.controls.reach(called);
        }
    }

    /// Spreads the polls of all clients evenly over the interval.
    fn schedule(&mut self) {
        let (start_ns, interval) = (now_ns(), u128::from(self.setup.interval_ns));
        for place in 0..self.clients.len() {
            let number = u128::from(self.share.first) + place as u128;
            let offset = interval * number / u128::from(self.setup.clients.max(1));
            self.clients[place].due_ns = start_ns + offset as u64;
            self.due.push(Reverse((self.clients[place].due_ns, place)));
        }
    }

    /// Begins to count the packets of all connections, or counts those since then.
    fn count_segments(&mut self, add: bool) {
        for client in &mut self.clients {
            let Some(now) = client.stream.as_ref().and_then(|stream| segments(stream).ok()) else {
                continue;
            };
            if add {
                self.tally.running.add_segments(client.counted, now);
            }
            client.counted = now;
        }
    }

    fn begin_some(&mut self) {
        while self.begun < self.clients.len() && self.begun - self.live < UNDER_WAY_MAX {
            let place = self.begun;
            self.begun += 1;
            self.ask(place, now_ns(), Book::Opening);
        }
    }

    /// The book of what begins now.
    fn book(&self) -> Book {
        if self.phase == Phase::Measuring { Book::Running } else { Book::Aside }
    }

    /// Whether a poll that is measured is still to be asked.
    fn has_due(&self) -> bool {
        self.due.peek().is_some_and(|Reverse((due_ns, _))| *due_ns < self.measured_ns.1)
    }

    fn ask_due(&mut self, now_ns: u64) {
        while let Some(&Reverse((due_ns, place))) = self.due.peek() {
            if due_ns > now_ns {
                return;
            }
            self.due.pop();
            if self.setup.way.rhythm() != Rhythm::Interval {
                self.ask(place, due_ns, self.book());
                continue;
            }
            let (from_ns, to_ns) = self.measured_ns;
            if due_ns >= to_ns {
                continue;
            }
            let book = if due_ns >= from_ns { Book::Running } else { Book::Aside };
            if book == Book::Running && now_ns - due_ns > self.setup.interval_ns / 10 {
                self.tally.counts.late += 1;
            }
            self.ask(place, due_ns, book);
        }
    }
}
