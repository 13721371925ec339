//! Connections between `accept` and the end of their first request.
//!
//! Owns the listener and what it has accepted. A handshake that comes whole in the first read
//! becomes a connection of the shard at once; anything else is handed to the HTTP server with
//! the bytes that were read. Nothing here outlives the first read or the handshake's time limit.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use fanfare_engine::{Now, ShardCounters};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use slab::Slab;

use crate::http::{self, Upgrade};

/// The token of the listener in each shard's poll.
const LISTENER: Token = Token(usize::MAX - 1);

/// Set in the tokens of connections that are still here.
const HANDSHAKE_BIT: usize = 1 << (usize::BITS - 2);

/// Connections accepted in a row before established ones get their turn.
const ACCEPTS_PER_TURN: usize = 64;

pub(super) struct Handshakes {
    listener: Option<TcpListener>,
    registry: Registry,
    waiting: Slab<Waiting>,
    /// Waiting connections in the order in which their time runs out.
    deadlines: VecDeque<(u64, usize, u64)>,
    accepted: u64,
    timeout_ms: u64,
    counters: Arc<ShardCounters>,
}

struct Waiting {
    stream: TcpStream,
    serial: u64,
    since: Now,
}

/// What became of a connection that has sent something.
pub(super) enum Outcome {
    /// Nothing yet, or the end.
    Nothing,
    /// A WebSocket connection; `read` minus `used` bytes of the scratch buffer are its first.
    Upgraded { stream: TcpStream, upgrade: Upgrade, used: usize, read: usize },
    /// Something for the HTTP server, which has this long to make a request of it.
    Http { stream: TcpStream, read: usize, timeout: Duration },
}

impl Handshakes {
    pub(super) fn new(
        mut listener: TcpListener,
        registry: Registry,
        timeout_ms: u64,
        counters: Arc<ShardCounters>,
    ) -> io::Result<Self> {
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            listener: Some(listener),
            registry,
            waiting: Slab::new(),
            deadlines: VecDeque::new(),
            accepted: 0,
            timeout_ms,
            counters,
        })
    }

    /// Whether an event with this token is about the listener.
    pub(super) fn is_listener(token: Token) -> bool {
        token == LISTENER
    }

    /// The connection that an event is about, if it is one of those here.
    pub(super) fn index(token: Token) -> Option<usize> {
        let is_here = token.0 & HANDSHAKE_BIT != 0 && token.0 < LISTENER.0 - 1;
        is_here.then_some(token.0 & !HANDSHAKE_BIT)
    }

    /// Accepts what waits. Whether more may be waiting. An error such as running out of
    /// descriptors ends the turn; the next tick tries again, so that it does not spin.
    pub(super) fn accept(&mut self, now: Now) -> bool {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &self.listener else { return false };
            match listener.accept() {
                Ok((stream, _)) => self.admit(stream, now),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => {
                    self.counters.accept_errors.add(1);
                    return false;
                }
            }
        }
        true
    }

    fn admit(&mut self, mut stream: TcpStream, now: Now) {
        self.counters.accepted.add(1);
        // Most have become something long before their time runs out; what is not kept of them
        // costs no memory after a wave.
        while self.deadlines.front().is_some_and(|deadline| !self.is_waiting(deadline)) {
            self.deadlines.pop_front();
        }
        let entry = self.waiting.vacant_entry();
        let index = entry.key();
        let token = Token(index | HANDSHAKE_BIT);
        if self.registry.register(&mut stream, token, Interest::READABLE).is_ok() {
            self.accepted += 1;
            entry.insert(Waiting { stream, serial: self.accepted, since: now });
            self.deadlines.push_back((now.ms() + self.timeout_ms, index, self.accepted));
        }
    }

    /// Reads the first bytes of a connection into `scratch`.
    pub(super) fn handle_readable(
        &mut self,
        index: usize,
        scratch: &mut [u8],
        allowed_origins: &[String],
        now: Now,
    ) -> Outcome {
        let Some(waiting) = self.waiting.get_mut(index) else { return Outcome::Nothing };
        let read = match waiting.stream.read(&mut scratch[..http::HEAD_BYTES_MAX]) {
            Ok(read @ 1..) => read,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Outcome::Nothing;
            }
            Ok(0) | Err(_) => {
                self.counters.handshakes_abandoned.add(1);
                self.waiting.remove(index);
                return Outcome::Nothing;
            }
        };
        let Waiting { mut stream, since, .. } = self.waiting.remove(index);
        let Some((upgrade, used)) = http::quick_handshake(&scratch[..read], allowed_origins) else {
            // Hyper's runtime watches it from now on.
            let _ = self.registry.deregister(&mut stream);
            let waited_ms = now.ms() - since.ms();
            let timeout =
                Duration::from_millis(self.timeout_ms.saturating_sub(waited_ms).max(1_000));
            return Outcome::Http { stream, read, timeout };
        };
        let reply = upgrade.reply_bytes();
        match stream.write(&reply) {
            Ok(n) if n == reply.len() => Outcome::Upgraded { stream, upgrade, used, read },
            // A socket that cannot take its first 200 bytes is broken.
            _ => Outcome::Nothing,
        }
    }

    /// Ends connections that have sent nothing in time, with `farewell`.
    pub(super) fn handle_timeouts(&mut self, now: Now, farewell: impl Fn() -> Vec<u8>) {
        while let Some(&deadline) = self.deadlines.front() {
            let (due_ms, index, _) = deadline;
            if due_ms > now.ms() {
                return;
            }
            self.deadlines.pop_front();
            if self.is_waiting(&deadline) {
                self.counters.handshakes_timed_out.add(1);
                let mut waiting = self.waiting.remove(index);
                // Best effort: whoever opened a connection to say nothing may not listen either.
                let _ = waiting.stream.write(&farewell());
            }
        }
    }

    fn is_waiting(&self, &(_, index, serial): &(u64, usize, u64)) -> bool {
        self.waiting.get(index).is_some_and(|waiting| waiting.serial == serial)
    }

    /// Stops accepting and ends what has not become anything yet.
    pub(super) fn stop(&mut self) {
        self.listener = None;
        self.waiting.clear();
        self.deadlines.clear();
    }
}
