//! The turns of one shard: sockets, mail, writes, time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fanfare_engine::{Key, ReadOutcome, Shard};
use mio::Events;
use mio::net::TcpListener;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::WAKE;
use super::drain::Drain;
use super::questions::Question;
use super::requests::Requests;
use super::socket::DataSocket;
use crate::clock;
use crate::http::HttpContext;
use crate::logs::Journal;

/// How often time is told to the engine.
pub(super) const TICK_MS: u64 = 50;

/// Bytes of the buffer that all connections of a shard are read through.
const SCRATCH_BYTES: usize = 256 * 1_024;

/// Socket events taken at once.
const EVENTS: usize = 1_024;

/// Connections written to before the clock is read again.
const FLUSH_STEP: usize = 64;

/// Steps before the sockets are looked at again: 512 writes are about two milliseconds.
const FLUSH_STEPS: usize = 8;

/// How often the mailboxes of others are looked at while publishers here wait for them.
const CONGESTION_RETRY: Duration = Duration::from_millis(1);

/// Messages taken from the mailbox for each step.
const MAIL_STEP: usize = 64;

pub(super) struct EventLoop {
    poll: AsyncFd<mio::Poll>,
    events: Events,
    shard: Rc<RefCell<Shard<DataSocket>>>,
    requests: Requests,
    /// Whether connections may be waiting that no event will announce again.
    accept_again: bool,
    scratch: Vec<u8>,
    unread: Unread,
    stop: watch::Receiver<bool>,
    questions: mpsc::Receiver<Question>,
    next_tick: Instant,
    busy: BusyMeter,
    journal: Arc<Journal>,
    /// How connections are closed, once the broker stops.
    drain: Option<Drain>,
}

impl EventLoop {
    pub(super) fn new(
        poll: mio::Poll,
        listener: TcpListener,
        context: Rc<HttpContext>,
        stop: watch::Receiver<bool>,
        questions: mpsc::Receiver<Question>,
    ) -> io::Result<Self> {
        let registry = poll.registry().try_clone()?;
        let shard = context.local.shard.clone();
        let journal = context.journal.clone();
        let requests = Requests::new(listener, registry, context);
        #[expect(
            deprecated,
            reason = "the new constructor is unsafe because a type may change or close its \
                      descriptor while it is watched; a poll never does, and it is owned here"
        )]
        let poll = AsyncFd::with_interest(poll, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            shard,
            requests,
            // The first turn puts the listener into the poll.
            accept_again: true,
            scratch: vec![0; SCRATCH_BYTES],
            unread: Unread::default(),
            stop,
            questions,
            next_tick: Instant::now(),
            busy: BusyMeter::default(),
            journal,
            drain: None,
        })
    }

    /// Runs until the broker stops and every connection is closed.
    pub(super) async fn run(mut self) {
        loop {
            self.turn();
            // Not left to the sleep alone, which a busy shard may not come to for long.
            if Instant::now() >= self.next_tick {
                self.handle_tick();
            }
            // Nor this: a shard that always has work must stop as well.
            if self.drain.is_none() && self.must_stop() {
                self.begin_to_stop();
            }
            if self.is_done() {
                return;
            }
            if self.has_work() || !self.shard.borrow().mailbox().try_sleep() {
                tokio::task::yield_now().await;
                continue;
            }
            self.sleep().await;
            self.shard.borrow().mailbox().stay_awake();
        }
    }

    /// Whether the broker stops, or did not come to start.
    fn must_stop(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }

    /// Begins to say goodbye to everyone.
    fn begin_to_stop(&mut self) {
        self.requests.stop(clock::now());
        let mut shard = self.shard.borrow_mut();
        let drain = Drain::new(&shard);
        drain.close_wave(&mut shard);
        self.drain = Some(drain);
    }

    /// Whether the broker stops and nobody is left. The engine cuts its own connections in time.
    fn is_done(&mut self) -> bool {
        let Some(drain) = &self.drain else { return false };
        if drain.is_over() {
            self.requests.abandon();
        }
        self.requests.is_empty() && self.shard.borrow().connection_count() == 0
    }

    /// Sleeps until a socket is ready, another thread has sent mail, or some time has come.
    async fn sleep(&mut self) {
        let release = self.shard.borrow().next_release_ms().map(clock::instant);
        let wake_at = release.map_or(self.next_tick, |release| release.min(self.next_tick));
        tokio::select! {
            biased;
            ready = self.poll.readable() => {
                // Cleared before the events are taken: one that comes in between wakes again.
                if let Ok(mut ready) = ready {
                    ready.clear_ready();
                }
            }
            () = tokio::time::sleep_until(wake_at) => {}
            // Nobody tells when another shard has caught up.
            () = tokio::time::sleep(CONGESTION_RETRY), if self.is_congested() => {}
            _ = self.stop.wait_for(|stop| *stop), if self.drain.is_none() => {}
        }
    }

    fn is_congested(&self) -> bool {
        !self.unread.congested.is_empty() || self.requests.is_congested()
    }

    fn has_work(&self) -> bool {
        let shard = self.shard.borrow();
        !self.unread.backlog.is_empty()
            || self.accept_again
            || self.requests.has_work()
            || shard.has_pending_writes()
            || !shard.mailbox().is_empty()
    }

    fn turn(&mut self) {
        self.handle_sockets();
        self.resume_reading();
        let mut shard = self.shard.borrow_mut();
        shard.release_tiers(clock::now());
        for _ in 0..FLUSH_STEPS {
            shard.drain_mailbox(MAIL_STEP, clock::now());
            if !shard.flush(FLUSH_STEP, clock::now()) && shard.mailbox().is_empty() {
                break;
            }
        }
        while let Some(key) = shard.next_woken() {
            self.requests.wake(key);
        }
        drop(shard);
        self.requests.handle_ready(&mut self.scratch, clock::now());
    }

    fn handle_sockets(&mut self) {
        // A poll without a time limit to wait for fails only when interrupted; the next turn
        // comes soon enough.
        if self.poll.get_mut().poll(&mut self.events, Some(Duration::ZERO)).is_err() {
            return;
        }
        let now = clock::now();
        for event in self.events.iter().filter(|event| event.token() != WAKE) {
            if Requests::is_listener(event.token()) {
                self.accept_again = true;
                continue;
            }
            if let Some(index) = Requests::index(event.token()) {
                self.requests.handle_event(index, event, &mut self.scratch, now);
                continue;
            }
            let mut shard = self.shard.borrow_mut();
            let key = Key(event.token().0 as u32);
            if event.is_writable() && shard.is_waiting(key) {
                shard.handle_writable(key, now);
            }
            let is_readable = event.is_readable() || event.is_read_closed() || event.is_error();
            // More bytes must not bring the turn of one that waits for it forward.
            if is_readable && !shard.socket_mut(key).is_some_and(|socket| socket.awaits_turn) {
                let to_end = event.is_read_closed() || event.is_error();
                let outcome = shard.handle_readable(key, &mut self.scratch, to_end, now);
                self.unread.note(outcome, key, &mut shard);
            }
        }
        if self.accept_again {
            self.accept_again = self.requests.accept(now);
        }
    }

    fn resume_reading(&mut self) {
        self.requests.handle_congested(&mut self.scratch, clock::now());
        let mut shard = self.shard.borrow_mut();
        let now = clock::now();
        for key in std::mem::take(&mut self.unread.backlog) {
            let outcome = shard.handle_readable(key, &mut self.scratch, true, now);
            self.unread.note(outcome, key, &mut shard);
        }
        for _ in 0..self.unread.congested.len() {
            if shard.topics().is_congested() {
                break;
            }
            let Some(key) = self.unread.congested.pop_front() else { break };
            let outcome = shard.handle_readable(key, &mut self.scratch, true, now);
            self.unread.note(outcome, key, &mut shard);
        }
    }

    fn handle_tick(&mut self) {
        self.next_tick = Instant::now() + Duration::from_millis(TICK_MS);
        let now = clock::now();
        self.accept_again = self.requests.look_at_door(now);
        self.requests.handle_timeouts(now);
        let mut shard = self.shard.borrow_mut();
        shard.handle_timeouts(now, TICK_MS);
        if let Some(drain) = &self.drain {
            drain.close_wave(&mut shard);
        }
        for closed in shard.take_closed() {
            self.journal.closed(&closed, now);
        }
        shard.topics().sweep(now);
        shard.topics().tell_presence(now);
        while let Ok(question) = self.questions.try_recv() {
            question.answer(&mut shard, now);
        }
        self.busy.update(shard.counters());
    }
}

/// Connections that have more to read and wait for their turn, each in one list at most.
#[derive(Default)]
struct Unread {
    /// Those with more than their last turn allowed.
    backlog: Vec<Key>,
    /// Those that are not read until the node has caught up with what they published.
    congested: VecDeque<Key>,
}

impl Unread {
    /// Remembers a connection that was read, if it has more.
    fn note(&mut self, outcome: ReadOutcome, key: Key, shard: &mut Shard<DataSocket>) {
        match outcome {
            ReadOutcome::More => self.backlog.push(key),
            ReadOutcome::Congested => self.congested.push_back(key),
            ReadOutcome::Drained | ReadOutcome::Gone => {}
        }
        if let Some(socket) = shard.socket_mut(key) {
            socket.awaits_turn = matches!(outcome, ReadOutcome::More | ReadOutcome::Congested);
        }
    }
}

/// How much of its time this thread works, all tasks included.
#[derive(Default)]
struct BusyMeter {
    last: Option<(Instant, Duration)>,
}

impl BusyMeter {
    const WINDOW: Duration = Duration::from_secs(1);

    fn update(&mut self, counters: &fanfare_engine::ShardCounters) {
        let now = Instant::now();
        let busy = tokio::runtime::Handle::current().metrics().worker_total_busy_duration(0);
        counters.busy_ns.set(busy.as_nanos() as u64);
        let (since, busy_then) = *self.last.get_or_insert((now, busy));
        let passed = now - since;
        if passed >= Self::WINDOW {
            let ratio = busy.saturating_sub(busy_then).as_secs_f64() / passed.as_secs_f64();
            counters.busy_ratio_millionths.set((ratio.min(1.0) * 1e6) as u64);
            self.last = Some((now, busy));
        }
    }
}
