//! Readers that do not read: a thread that holds their connections.
//!
//! They read like anyone until they are told to stall, and again after they are released. While
//! they stall they send pongs unasked, as a client does whose network lives, so that nothing but
//! their not reading counts against them; such a pong also finds out that the server has closed
//! the connection. Owns their connections and coming back; what they got is the receiver's.

use std::io::{self, Write};
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::Events;
use serde::{Deserialize, Serialize};
use socket2::SockRef;

use crate::cli::{StallArgs, WhenClosed};
use crate::connect::ConnectReport;
use crate::frame;
use crate::opening::{ConnectError, SILENCE_MAX};
use crate::openings::Openings;
use crate::plan::{Plan, Share};
use crate::receiver::{Extent, Receiver};
use crate::record::{Record, Totals};

/// How often a stalled reader shows that it lives.
const PONG_INTERVAL: Duration = Duration::from_secs(2);

/// How often a trickle is read.
const TRICKLE_INTERVAL: Duration = Duration::from_millis(250);

/// How long nothing may come until all that was owed before the stall has been read.
const QUIET: Duration = Duration::from_millis(300);

const POLL_MAX: Duration = Duration::from_millis(20);

/// Receive buffer once a reader reads again.
const RELEASED_BUFFER_BYTES: usize = 256 * 1024;

/// How slow readers behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// Bytes that each reads in a second nevertheless.
    pub trickle: Option<usize>,
    /// What one does that was closed.
    pub when_closed: WhenClosed,
}

impl Habits {
    /// Those of the command line.
    #[must_use]
    pub(crate) fn new(stall: &StallArgs, when_closed: WhenClosed) -> Self {
        Self { trickle: stall.trickle, when_closed }
    }
}

/// What became of the slow readers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SlowFigures {
    /// How many there were.
    pub readers: u32,
    /// Connections that the server ended.
    pub closed: u64,
    /// Why the first of them was ended, as far as the reader can see.
    pub first_close: Option<String>,
    /// How often one came back.
    pub returned: u64,
    /// How often one that wanted to come back failed.
    pub return_failures: u64,
    /// Messages that they got, before, during and after the stall.
    pub messages: u64,
    /// Messages that mode `latest` left out for newer ones.
    pub passed_over: u64,
    /// Messages that never came, as the server had told by gaps.
    pub gap_messages: u64,
    /// Messages that came although a gap had told that they would not.
    pub false_gap_messages: u64,
    /// Messages that never came and of which no gap told; in mode `latest`, newest values.
    pub lost: u64,
    /// Messages that came again.
    pub doubled: u64,
    /// Messages that came after a later one.
    pub reordered: u64,
}

#[derive(Debug)]
enum Order {
    Stall,
    /// This is what was published; nothing may come for so long until the rest counts as lost.
    Release(Vec<Vec<u32>>, Duration),
}

/// The thread of all slow readers.
#[derive(Debug)]
pub(crate) struct SlowReaders {
    orders: mpsc::Sender<Order>,
    stalled: mpsc::Receiver<()>,
    thread: JoinHandle<Result<SlowFigures>>,
}

impl SlowReaders {
    /// Connects the subscribers of `plan`, all in this process.
    ///
    /// # Errors
    /// If one of them does not become live.
    pub(crate) fn connect(plan: Plan, habits: Habits) -> Result<Self> {
        let share = Share { first: 0, count: plan.shape.connections, source: None };
        let (receiver, report) = Receiver::open(&plan, share, &AtomicU32::new(0), None)?;
        if report.failed > 0 {
            bail!("{} of {} slow readers failed: {}", report.failed, share.count, why(&report));
        }
        let (orders, taken) = mpsc::channel();
        let (sender, stalled) = mpsc::channel();
        let figures = SlowFigures { readers: share.count, ..SlowFigures::default() };
        let openings = Openings::default();
        let readers = Readers { receiver, plan, share, habits, openings, figures };
        let thread = std::thread::spawn(move || readers.run(&taken, &sender));
        Ok(Self { orders, stalled, thread })
    }

    /// Returns once they have read what they were owed and read no more.
    ///
    /// # Errors
    /// If their thread has ended.
    pub(crate) fn stall(&self) -> Result<()> {
        self.orders.send(Order::Stall).ok().context("the slow readers are gone")?;
        self.stalled.recv().context("the slow readers have failed")
    }

    /// Lets them read all that is owed to them, and tells what they got. `published[p][t]` is how
    /// many messages publisher `p` sent to topic `t`.
    ///
    /// # Errors
    /// If their thread failed.
    pub(crate) fn finish(
        self,
        published: Vec<Vec<u32>>,
        drain_timeout: Duration,
    ) -> Result<SlowFigures> {
        let order = Order::Release(published, drain_timeout);
        self.orders.send(order).ok().context("the slow readers are gone")?;
        self.thread.join().ok().context("the thread of the slow readers panicked")?
    }
}

fn why(report: &ConnectReport) -> &str {
    report.first_error.as_deref().unwrap_or("no reason is known")
}

/// The thread's own end.
struct Readers {
    receiver: Receiver<Record>,
    plan: Plan,
    share: Share,
    habits: Habits,
    /// Those on their way back.
    openings: Openings,
    figures: SlowFigures,
}

impl Readers {
    fn run(
        mut self,
        orders: &mpsc::Receiver<Order>,
        stalled: &mpsc::Sender<()>,
    ) -> Result<SlowFigures> {
        self.receiver.sink.set_measuring(true);
        if !matches!(self.read_until_told(orders)?, Some(Order::Stall)) {
            bail!("the slow readers were not told to stall");
        }
        self.read_until_quiet()?;
        // Nobody waits any more if the run was given up.
        let _ = stalled.send(());
        let Some(Order::Release(published, drain_timeout)) = self.stall(orders)? else {
            bail!("the slow readers were not released");
        };
        self.read_the_rest(&published, drain_timeout)?;
        Ok(self.figures.with(self.receiver.sink.finish(&published)))
    }

    fn read_until_told(&mut self, orders: &mpsc::Receiver<Order>) -> Result<Option<Order>> {
        loop {
            self.read_what_comes(POLL_MAX)?;
            match orders.try_recv() {
                Ok(order) => return Ok(Some(order)),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(None),
            }
        }
    }

    fn read_until_quiet(&mut self) -> Result<()> {
        let mut moved = Instant::now();
        while moved.elapsed() < QUIET {
            if self.read_what_comes(POLL_MAX)? {
                moved = Instant::now();
            }
        }
        Ok(())
    }

    /// Polls once and reads; whether anything happened.
    fn read_what_comes(&mut self, patience: Duration) -> Result<bool> {
        let mut events = Events::with_capacity(1_024);
        self.poll(&mut events, patience)?;
        for event in &events {
            let place = event.token().0;
            if self.openings.contains(place) {
                self.advance(place);
            } else if event.is_readable() {
                self.read(place, Extent::of(event));
            }
        }
        Ok(events.iter().any(mio::event::Event::is_readable))
    }

    /// Reads a connection. What one that has ended was still owed cannot be judged.
    fn read(&mut self, place: usize, extent: Extent) {
        self.receiver.read(place, extent);
        if self.receiver.stream(place).is_none() {
            self.receiver.sink.abandon(place);
        }
    }

    fn poll(&mut self, events: &mut Events, patience: Duration) -> io::Result<()> {
        match self.receiver.poll.poll(events, Some(patience)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled,
        }
    }

    /// Reads nothing, or a trickle, until told to go on.
    fn stall(&mut self, orders: &mpsc::Receiver<Order>) -> Result<Option<Order>> {
        let mut events = Events::with_capacity(1_024);
        let (mut ponged, mut trickled) = (Instant::now(), Instant::now());
        loop {
            self.poll(&mut events, POLL_MAX)?;
            for event in &events {
                self.look(event);
            }
            if ponged.elapsed() >= PONG_INTERVAL {
                ponged = Instant::now();
                self.each(Self::pong);
                self.give_up_silent();
            }
            if trickled.elapsed() >= TRICKLE_INTERVAL {
                trickled += TRICKLE_INTERVAL;
                self.each(Self::trickle);
            }
            match orders.recv_timeout(Duration::ZERO) {
                Ok(order) => return Ok(Some(order)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    fn each(&mut self, action: fn(&mut Self, usize)) {
        for place in 0..self.receiver.len() {
            if self.receiver.stream(place).is_some() {
                action(self, place);
            }
        }
    }

    /// What an edge means to a reader that does not read.
    fn look(&mut self, event: &mio::event::Event) {
        let place = event.token().0;
        if self.openings.contains(place) {
            self.advance(place);
        } else if event.is_read_closed() || event.is_error() {
            self.closed(place);
        }
    }

    /// The server has ended the connection. What is left of it is read, for its close frame.
    fn closed(&mut self, place: usize) {
        self.read(place, Extent::ToTheEnd);
        if self.receiver.stream(place).is_none() && self.habits.when_closed == WhenClosed::Return {
            self.open(place);
        }
    }

    fn open(&mut self, place: usize) {
        let poll = &self.receiver.poll;
        if let Err(error) = self.openings.start(&self.plan, self.share, (place, &[]), poll) {
            self.not_opened(&error);
        }
    }

    fn advance(&mut self, place: usize) {
        match self.openings.advance(place) {
            Some(Ok(arrived)) => {
                self.receiver.sink.restart(place);
                self.receiver.replace(place, arrived.live);
                self.figures.returned += 1;
            }
            Some(Err(error)) => self.not_opened(&error),
            None => {}
        }
    }

    /// One that cannot come back stays away; the figures tell.
    fn not_opened(&mut self, error: &ConnectError) {
        self.figures.return_failures += 1;
        self.figures.first_close.get_or_insert_with(|| error.to_string());
    }

    fn give_up_silent(&mut self) {
        let silent = self.openings.give_up(SILENCE_MAX).len();
        (0..silent).for_each(|_| self.not_opened(&ConnectError::Silent));
    }

    fn pong(&mut self, place: usize) {
        let mut pong = Vec::new();
        frame::write_masked(&mut pong, frame::PONG, b"");
        let sent = self.receiver.stream(place).map(|stream| stream.write_all(&pong));
        if matches!(sent, Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock) {
            self.closed(place);
        }
    }

    fn trickle(&mut self, place: usize) {
        let Some(bytes_per_second) = self.habits.trickle else { return };
        let bytes = (bytes_per_second as f64 * TRICKLE_INTERVAL.as_secs_f64()).ceil() as usize;
        self.read(place, Extent::AtMost(bytes.max(1)));
        if self.receiver.stream(place).is_none() {
            self.closed(place);
        }
    }

    /// Reads until all has come that can be expected, or nothing comes any more.
    fn read_the_rest(&mut self, published: &[Vec<u32>], drain_timeout: Duration) -> Result<()> {
        for place in 0..self.receiver.len() {
            if let Some(stream) = self.receiver.stream(place) {
                SockRef::from(&*stream).set_recv_buffer_size(RELEASED_BUFFER_BYTES)?;
            }
        }
        (0..self.receiver.len()).for_each(|place| self.read(place, Extent::ToTheEnd));
        let mut moved = Instant::now();
        while moved.elapsed() < drain_timeout && !self.receiver.sink.is_complete(published) {
            if self.read_what_comes(POLL_MAX)? {
                moved = Instant::now();
            }
        }
        Ok(())
    }
}

impl SlowFigures {
    fn with(self, totals: Totals) -> Self {
        Self {
            closed: totals.closed.into(),
            first_close: self.first_close.or(totals.first_close),
            messages: totals.messages,
            passed_over: totals.passed_over,
            gap_messages: totals.gap_messages,
            false_gap_messages: totals.false_gap_messages,
            lost: totals.lost,
            doubled: totals.doubled,
            reordered: totals.reordered,
            ..self
        }
    }
}
