//! One thread's clients: their sockets, when each connects and asks, and which time each byte
//! belongs to. What is said and heard is a talk's.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

use fanfare_kernel::{Segments, segments};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::controls::{Controls, Phase};
use super::talk::{Fault, Heard, Notes, Setup, Talk};
use super::tally::{ANY, Book, Tally};
use super::way::Rhythm;
use crate::opening::connect;
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
                Phase::Measuring => self.count_segments(false),
                Phase::Finishing if !is_interval => self.count_segments(true),
                _ => {}
            }
        }
        let is_there = match called {
            Phase::Finishing if is_interval => self.open == 0,
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

    fn ask_due(&mut self, now_ns: u64) {
        while let Some(&Reverse((due_ns, place))) = self.due.peek() {
            if due_ns > now_ns {
                return;
            }
            self.due.pop();
            let is_interval = self.setup.way.rhythm() == Rhythm::Interval;
            if is_interval && matches!(self.phase, Phase::Finishing | Phase::Over) {
                continue;
            }
            let book = self.book();
            if is_interval && book == Book::Running {
                let late = now_ns - due_ns > self.setup.interval_ns / 10;
                self.tally.counts.late += u64::from(late);
            }
            self.ask(place, due_ns, book);
        }
    }

    /// Lets a client ask, on a new connection if it has none.
    fn ask(&mut self, place: usize, due_ns: u64, book: Book) {
        if self.setup.way.is_fresh() {
            self.hang_up(place);
        }
        let client = &mut self.clients[place];
        (client.asked_ns, client.book) = (Some(due_ns), book);
        self.open += 1;
        if client.stream.is_some() {
            self.say(place);
            return;
        }
        self.tally.meter_of(book).connections += 1;
        (client.is_connected, client.counted) = (false, Segments::default());
        client.input.clear();
        client.output.clear();
        match self.open_socket(place) {
            Ok(stream) => self.clients[place].stream = Some(stream),
            Err(error) => self.failed(place, &error.into()),
        }
    }

    fn open_socket(&self, place: usize) -> io::Result<TcpStream> {
        let mut stream = connect(self.setup.address, self.share.source, None)?;
        let interests = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(place), interests)?;
        Ok(stream)
    }

    fn say(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let meter = self.tally.meter_of(client.book);
        client.talk.ask(self.setup, meter, &mut client.output);
        if let Err(fault) = self.flush(place) {
            self.failed(place, &fault);
        }
    }

    fn flush(&mut self, place: usize) -> Result<(), Fault> {
        let client = &mut self.clients[place];
        let Some(stream) = client.stream.as_mut() else { return Ok(()) };
        while !client.output.is_empty() {
            match stream.write(&client.output) {
                Ok(sent) => drop(client.output.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn advance(&mut self, event: &Event) {
        let place = event.token().0;
        if let Err(fault) = self.try_advance(place, event) {
            self.failed(place, &fault);
        }
    }

    fn try_advance(&mut self, place: usize, event: &Event) -> Result<(), Fault> {
        let client = &mut self.clients[place];
        let Some(stream) = client.stream.as_ref() else { return Ok(()) };
        if !client.is_connected {
            if let Some(error) = stream.take_error()? {
                return Err(error.into());
            }
            match stream.peer_addr() {
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                address => drop(address?),
            }
            client.is_connected = true;
            self.say(place);
        }
        if event.is_writable() {
            self.flush(place)?;
        }
        if event.is_readable() { self.read(place) } else { Ok(()) }
    }

    /// Reads all there is.
    fn read(&mut self, place: usize) -> Result<(), Fault> {
        loop {
            let client = &mut self.clients[place];
            let Some(stream) = client.stream.as_mut() else { return Ok(()) };
            match stream.read(&mut self.scratch) {
                Ok(0) => return self.ended(place),
                Ok(read) => client.input.extend_from_slice(&self.scratch[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            self.hear(place)?;
        }
    }

    /// Takes all that has come whole.
    fn hear(&mut self, place: usize) -> Result<(), Fault> {
        let now_ns = now_ns();
        let mut input = std::mem::take(&mut self.clients[place].input);
        let mut used = 0;
        while used < input.len() {
            let book = self.book_of(place);
            let client = &mut self.clients[place];
            self.tally.book = book;
            let (setup, tally, next) = (self.setup, &mut self.tally, &mut client.next);
            let mut notes = Notes { setup, tally, next, now_ns };
            match client.talk.hear(&input[used..], &mut notes, &mut client.output)? {
                Heard::Nothing => break,
                Heard::Part(length) => used += length,
                Heard::Live(length) => {
                    used += length;
                    (client.asked_ns, self.open) = (None, self.open - 1);
                    self.is_live(place);
                }
                Heard::Answer(length) => {
                    used += length;
                    self.answered(place, now_ns);
                }
            }
        }
        input.drain(..used);
        self.clients[place].input = input;
        self.flush(place)
    }

    /// What bytes that come now are booked on: a poll's with the poll, others by the moment.
    fn book_of(&self, place: usize) -> Book {
        let client = &self.clients[place];
        let by_question = self.setup.way.rhythm() == Rhythm::Interval || !client.is_live;
        if by_question { client.book } else { self.book() }
    }

    fn is_live(&mut self, place: usize) {
        let client = &mut self.clients[place];
        if client.is_live {
            return;
        }
        client.is_live = true;
        self.live += 1;
        if let Some(now) = client.stream.as_ref().and_then(|stream| segments(stream).ok()) {
            self.tally.opening.add_segments(client.counted, now);
            client.counted = now;
        }
        self.controls.live.store(self.live as u32, Ordering::Release);
    }

    fn answered(&mut self, place: usize, now_ns: u64) {
        let client = &mut self.clients[place];
        let Some(asked_ns) = client.asked_ns.take() else { return };
        self.open -= 1;
        if client.book == Book::Running {
            self.tally.answer.record(now_ns - asked_ns + 2 * self.setup.one_way_ns);
        }
        match self.setup.way.rhythm() {
            Rhythm::Interval if client.is_live => self.ask_later(place),
            Rhythm::Held if client.is_live => {
                // What was read now would have come one way later, and the next question would
                // reach the server another one later.
                self.due.push(Reverse((now_ns + 2 * self.setup.one_way_ns, place)));
            }
            _ if self.setup.way.is_fresh() => {}
            _ => self.is_live(place),
        }
    }

    /// Plans the next poll of the time-table, which does not wait for answers.
    fn ask_later(&mut self, place: usize) {
        let client = &mut self.clients[place];
        client.due_ns += self.setup.interval_ns;
        self.due.push(Reverse((client.due_ns, place)));
    }

    /// The server sends no more.
    fn ended(&mut self, place: usize) -> Result<(), Fault> {
        if self.clients[place].asked_ns.is_some() || self.setup.way.rhythm() == Rhythm::Once {
            return Err(Fault::Closed("without a word".to_owned()));
        }
        self.hang_up(place);
        if self.setup.way.is_fresh() && !self.clients[place].is_live {
            self.is_live(place);
        }
        Ok(())
    }

    /// Ends a connection from this side and counts its packets.
    fn hang_up(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let Some(stream) = client.stream.take() else { return };
        // On loopback the server's acknowledgement is there when this returns.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        if let Ok(now) = segments(&stream) {
            self.tally.meter_of(client.book).add_segments(client.counted, now);
        }
    }

    /// Gives a connection up. A poller asks again when it is due; others are gone.
    fn failed(&mut self, place: usize, fault: &Fault) {
        self.tally.fault(fault);
        self.hang_up(place);
        let client = &mut self.clients[place];
        if client.asked_ns.take().is_some() {
            self.open -= 1;
        }
        if self.setup.way.rhythm() == Rhythm::Interval && client.is_live {
            self.ask_later(place);
        }
    }
}
