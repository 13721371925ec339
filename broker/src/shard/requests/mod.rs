//! Connections that speak HTTP: from `accept` on, between requests, and while they wait.
//!
//! Owns what was accepted, until it becomes a connection of the engine. Reads through the shard's
//! one buffer, so an idle poller owns none, and no task and no timer either. What a connection says
//! and may do is in `http::Exchange`.

mod door;
mod timers;
mod writing;

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::rc::Rc;

use door::Door;
pub(crate) use door::REFUSALS_MAX;
use fanfare_engine::{Now, WaiterKey};
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use slab::Slab;
use timers::Timers;

use crate::admission::Refusal;
use crate::http::{Exchange, HttpContext, Step, Taken};

/// Set in the tokens of connections that are still here.
const REQUEST_BIT: usize = 1 << (usize::BITS - 2);

/// Where the tokens of the listener and the waker begin.
const TOKENS_END: usize = usize::MAX - 2;

/// Reads of one connection in a row before others get their turn.
const READS_PER_TURN: usize = 4;

/// Bytes of one read. A head fits, and a pipeline of requests is not taken in for long.
const READ_BYTES: usize = 64 * 1_024;

/// Waiting requests that are answered in a row: some two milliseconds.
const ANSWERS_PER_TURN: usize = 512;

pub(super) struct Requests {
    door: Door,
    registry: Registry,
    context: Rc<HttpContext>,
    clients: Slab<Client>,
    accepted: u64,
    timers: Timers,
    /// Who waits for a message.
    waiting: HashMap<WaiterKey, usize>,
    /// Those whose wait is over, and others that have more to do.
    ready: VecDeque<(usize, u64)>,
    /// Those who publish once the node has caught up.
    congested: VecDeque<(usize, u64)>,
    /// Replies to the connection at hand.
    out: Vec<u8>,
    /// Bytes of replies that sockets did not take, and how many they may be.
    unsent_bytes: usize,
    unsent_bytes_max: usize,
}

struct Client {
    stream: TcpStream,
    serial: u64,
    exchange: Exchange,
    /// Replies that the socket did not take.
    unsent: Vec<u8>,
    /// When it last took some of them.
    sent: Now,
    /// Whether more may have come than was read.
    has_more: bool,
    end: End,
}

/// Whether a connection is to be ended once its replies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    No,
    AtOnce,
    /// When the peer has read them, as far as that can be known.
    Lingering,
    /// The end is told, and what still comes is thrown away.
    Told,
}

impl Requests {
    pub(super) fn new(listener: TcpListener, registry: Registry, context: Rc<HttpContext>) -> Self {
        let shards = context.topics.mailboxes().len();
        let unsent_bytes_max = context.topics.limits().outbox_total_bytes_max / shards;
        Self {
            door: Door::new(listener),
            registry,
            context,
            clients: Slab::new(),
            accepted: 0,
            timers: Timers::default(),
            waiting: HashMap::new(),
            ready: VecDeque::new(),
            congested: VecDeque::new(),
            out: Vec::new(),
            unsent_bytes: 0,
            unsent_bytes_max,
        }
    }

    /// Whether an event with this token is about the listener.
    pub(super) fn is_listener(token: Token) -> bool {
        Door::is_token(token)
    }

    /// The connection that an event is about, if it is one of those here.
    pub(super) fn index(token: Token) -> Option<usize> {
        let is_here = token.0 & REQUEST_BIT != 0 && token.0 < TOKENS_END;
        is_here.then_some(token.0 & !REQUEST_BIT)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Whether some have something to do that no event will announce.
    pub(super) fn has_work(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether some wait until the node has caught up.
    pub(super) fn is_congested(&self) -> bool {
        !self.congested.is_empty()
    }

    /// Takes in a connection, perhaps only to refuse what it asks. `false`: it cannot be watched,
    /// and is dropped.
    fn admit(
        &mut self,
        mut stream: TcpStream,
        peer: IpAddr,
        refusal: Option<Refusal>,
        now: Now,
    ) -> bool {
        let index = self.clients.vacant_key();
        if self.registry.register(&mut stream, token(index), Interest::READABLE).is_err() {
            return false;
        }
        self.accepted += 1;
        self.context.shard_counters.accepted.add(1);
        self.clients.insert(Client {
            stream,
            serial: self.accepted,
            exchange: Exchange::new(peer, refusal, now),
            unsent: Vec::new(),
            sent: now,
            has_more: false,
            end: End::No,
        });
        self.context.counters.connections.set(self.clients.len() as u64);
        self.set_timer(index);
        true
    }

    /// Reads and writes what an event announces.
    pub(super) fn handle_event(
        &mut self,
        index: usize,
        event: &Event,
        scratch: &mut [u8],
        now: Now,
    ) {
        let Some(client) = self.clients.get_mut(index) else { return };
        if event.is_writable() && !client.unsent.is_empty() {
            self.flush(index, now);
        }
        let Some(client) = self.clients.get_mut(index) else { return };
        let is_over = event.is_read_closed() || event.is_error();
        client.has_more |= event.is_readable() || is_over;
        self.read(index, scratch, is_over, now);
        // Nobody is left to be answered, whether the end came before the request was read or after.
        let waits = |client: &Client| client.exchange.waits_for().is_some();
        if is_over && self.clients.get(index).is_some_and(waits) {
            self.remove(index, now);
        }
    }

    /// Reads a connection, unless its replies or what it waits for come first.
    fn read(&mut self, index: usize, scratch: &mut [u8], to_end: bool, now: Now) {
        for _ in 0..READS_PER_TURN {
            let Some(client) = self.clients.get_mut(index) else { return };
            if !client.has_more || !client.unsent.is_empty() || !client.exchange.wants_input() {
                return;
            }
            let scratch = &mut scratch[..READ_BYTES];
            match client.stream.read(scratch) {
                Ok(0) => return self.abandoned(index, now),
                Ok(n) => {
                    client.has_more = n == scratch.len() || to_end;
                    if client.end == End::No {
                        self.receive(index, &scratch[..n], now);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => client.has_more = false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.abandoned(index, now),
            }
        }
        self.make_ready(index);
    }

    /// The client has left.
    fn abandoned(&mut self, index: usize, now: Now) {
        if self.clients.get(index).is_some_and(|client| !client.exchange.has_served()) {
            self.context.shard_counters.handshakes_abandoned.add(1);
        }
        self.remove(index, now);
    }

    fn receive(&mut self, index: usize, input: &[u8], now: Now) {
        let Some(client) = self.clients.get_mut(index) else { return };
        let bytes_before = client.exchange.body_bytes();
        let mut step = client.exchange.receive(input, &mut self.out, &self.context, now);
        if self.context.shard_counters.unfinished_bytes.get() + client.exchange.body_bytes() as u64
            > self.context.topics.limits().unfinished_bytes_max as u64
            && client.exchange.body_bytes() > bytes_before
        {
            step = client.exchange.give_body_up(&mut self.out, &self.context, now);
        }
        self.count_body(index, bytes_before);
        self.go_on(index, step, now);
    }

    /// Keeps the count of bytes of unfinished bodies.
    fn count_body(&self, index: usize, before: usize) {
        let after = self.clients.get(index).map_or(0, |client| client.exchange.body_bytes());
        let change = (after as u64).wrapping_sub(before as u64);
        self.context.shard_counters.unfinished_bytes.add(change);
    }

    /// Writes the replies in `out` and does what the connection needs next.
    fn go_on(&mut self, index: usize, step: Step, now: Now) {
        if !self.write(index, now) {
            return self.remove(index, now);
        }
        let Some(client) = self.clients.get_mut(index) else { return };
        match step {
            Step::Read => {}
            Step::Flush => self.make_ready(index),
            Step::Wait => {
                if let Some(key) = client.exchange.waits_for() {
                    self.waiting.insert(key, index);
                }
            }
            Step::CatchUp => self.congested.push_back((index, client.serial)),
            Step::TakeOver(taken) => return self.hand_over(index, *taken),
            Step::End { lingers } => {
                client.end = if lingers { End::Lingering } else { End::AtOnce };
                self.end_if_written(index, now);
            }
        }
        self.set_timer(index);
    }

    /// Hands a connection to the engine, unless replies to requests before are still unsent: who
    /// does not read them has no use for more.
    fn hand_over(&mut self, index: usize, taken: Taken) {
        self.timers.forget(index);
        let client = self.clients.remove(index);
        self.context.counters.connections.set(self.clients.len() as u64);
        if client.unsent.is_empty() {
            // Fails only if the system cannot watch the socket; dropping it tells the client.
            let _ = self.context.local.open(client.stream, taken);
        }
    }

    fn make_ready(&mut self, index: usize) {
        if let Some(client) = self.clients.get(index) {
            self.ready.push_back((index, client.serial));
        }
    }

    /// Notes that a wait is over.
    pub(super) fn wake(&mut self, key: WaiterKey) {
        if let Some(index) = self.waiting.remove(&key) {
            self.make_ready(index);
        }
    }

    /// Answers those whose wait is over, and goes on with those that have more to do.
    pub(super) fn handle_ready(&mut self, scratch: &mut [u8], now: Now) {
        for _ in 0..self.ready.len().min(ANSWERS_PER_TURN) {
            let Some((index, serial)) = self.ready.pop_front() else { return };
            let Some(client) = self.clients.get_mut(index) else { continue };
            if client.serial != serial {
                continue;
            }
            if let Some(key) = client.exchange.waits_for() {
                if !self.waiting.contains_key(&key) {
                    self.resume(index, now);
                }
            } else if client.unsent.is_empty() && client.exchange.has_unread() {
                self.receive(index, &[], now);
            }
            self.read(index, scratch, true, now);
        }
    }

    /// Publishes what waited for the node to catch up, if it has.
    pub(super) fn handle_congested(&mut self, scratch: &mut [u8], now: Now) {
        for _ in 0..self.congested.len() {
            if self.context.topics.is_congested() {
                return;
            }
            let Some((index, serial)) = self.congested.pop_front() else { return };
            if self.clients.get(index).is_some_and(|client| client.serial == serial) {
                self.resume(index, now);
                self.read(index, scratch, true, now);
            }
        }
    }

    fn resume(&mut self, index: usize, now: Now) {
        let Some(client) = self.clients.get_mut(index) else { return };
        if let Some(key) = client.exchange.waits_for() {
            self.waiting.remove(&key);
            self.context.local.stop_waiting(key, now);
        }
        let step = client.exchange.resume(&mut self.out, &self.context, now);
        self.go_on(index, step, now);
    }

    fn set_timer(&mut self, index: usize) {
        let Some(client) = self.clients.get(index) else { return };
        let limits = self.context.topics.limits();
        let due_ms = if client.unsent.is_empty() {
            client.exchange.due_ms(limits)
        } else {
            client.sent.ms() + limits.stall_timeout_ms
        };
        self.timers.set(index, client.serial, due_ms);
    }

    /// Ends what has lasted too long.
    pub(super) fn handle_timeouts(&mut self, now: Now) {
        while let Some((index, serial)) = self.timers.pop_due(now.ms()) {
            let Some(client) = self.clients.get_mut(index) else { continue };
            if client.serial != serial {
                continue;
            }
            if !client.unsent.is_empty() {
                // Who takes nothing for so long cannot be told why.
                self.remove(index, now);
                continue;
            }
            let bytes_before = client.exchange.body_bytes();
            if let Some(key) = client.exchange.waits_for() {
                self.waiting.remove(&key);
                self.context.local.stop_waiting(key, now);
            }
            let step = client.exchange.handle_timeout(&mut self.out, &self.context, now);
            self.count_body(index, bytes_before);
            self.go_on(index, step, now);
            self.make_ready(index);
        }
    }

    /// Cuts what is still here.
    pub(super) fn abandon(&mut self) {
        self.clients.clear();
        self.door.refused = 0;
    }

    /// Stops accepting, answers who waits, and ends what has not begun anything.
    pub(super) fn stop(&mut self, now: Now) {
        self.door.close();
        self.context.is_stopping.set(true);
        let indices: Vec<usize> = self.clients.iter().map(|(index, _)| index).collect();
        for index in indices {
            let Some(client) = self.clients.get_mut(index) else { continue };
            if let Some(key) = client.exchange.waits_for() {
                self.waiting.remove(&key);
                self.context.local.stop_waiting(key, now);
            }
            let step = client.exchange.stop(&mut self.out, &self.context, now);
            self.go_on(index, step, now);
        }
    }

    fn remove(&mut self, index: usize, now: Now) {
        let Some(client) = self.clients.try_remove(index) else { return };
        self.unsent_bytes -= client.unsent.len();
        self.door.refused -= usize::from(client.exchange.is_refused());
        self.context.counters.connections.set(self.clients.len() as u64);
        self.timers.forget(index);
        self.out.clear();
        let bytes = client.exchange.body_bytes();
        self.context.shard_counters.unfinished_bytes.sub(bytes as u64);
        if let Some(key) = client.exchange.waits_for() {
            self.waiting.remove(&key);
            self.context.local.stop_waiting(key, now);
        }
    }
}

fn token(index: usize) -> Token {
    Token(index | REQUEST_BIT)
}
