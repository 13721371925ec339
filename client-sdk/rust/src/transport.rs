//! The transports that a client may use, and which of them an attempt to connect tries. Knows no
//! socket: it is told what worked and what did not.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

/// How a client and its broker talk. The order is that of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Transport {
    /// One WebSocket for everything.
    WebSocket,
    /// Messages come as server-sent events, commands go as HTTP requests. For networks that
    /// refuse or cut WebSockets. No presence.
    Sse,
    /// Messages come as answers to HTTP requests that the broker holds until there is something
    /// new, commands go as HTTP requests. For networks that hold back responses until they end.
    /// No presence and no patterns.
    LongPoll,
}

impl Transport {
    /// All of them, the preferred one first.
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::Sse, Self::LongPoll];

    /// Its name: `websocket`, `sse` or `long-poll`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::LongPoll => "long-poll",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a transport is websocket, sse or long-poll")]
pub struct UnknownTransport;

impl FromStr for Transport {
    type Err = UnknownTransport;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|one| one.name() == text).ok_or(UnknownTransport)
    }
}

/// A connection that is cut sooner than this, without a close code, was not worth much.
const SHORT_LIFE: Duration = Duration::from_secs(10);

/// So many failed attempts or short lives in a row end the trust in a transport that has worked.
const FAILURES_MAX: u32 = 3;

/// The longest time for which a better transport is not tried.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(3_600);

/// Which transports the next attempt tries.
#[derive(Debug)]
pub(crate) struct Choice {
    /// The allowed ones, the preferred one first; at least one.
    allowed: Vec<Transport>,
    /// The place of the one that worked last, or that is tried first.
    current: usize,
    /// It has carried a session.
    is_proven: bool,
    /// Attempts in a row in which nothing got through.
    failures: u32,
    /// Lives in a row that were short.
    short_lives: u32,
    /// When a better one may be tried again.
    retry_at: Option<Instant>,
    retry_wait_min: Duration,
    retry_wait: Duration,
}

impl Choice {
    /// Of `allowed`, which holds at least one. After a better transport has failed it is tried
    /// again at the first reconnect `retry_wait` later, and twice as long after each failure.
    pub(crate) fn new(allowed: Vec<Transport>, retry_wait: Duration) -> Self {
        let retry_wait_min = retry_wait.min(RETRY_WAIT_MAX);
        Self {
            allowed,
            current: 0,
            is_proven: false,
            failures: 0,
            short_lives: 0,
            retry_at: None,
            retry_wait_min,
            retry_wait: retry_wait_min,
        }
    }

    /// The transports that an attempt at the time `now` tries, one after the other.
    pub(crate) fn order(&self, now: Instant) -> Vec<Transport> {
        if self.short_lives >= FAILURES_MAX {
            let (to_current, behind) = self.allowed.split_at(self.current + 1);
            return [behind, to_current].concat();
        }
        let retries = self.retry_at.is_some_and(|at| at <= now);
        let first = if retries { 0 } else { self.current };
        let trusts_current = self.is_proven && self.failures < FAILURES_MAX;
        let end = if trusts_current { self.current + 1 } else { self.allowed.len() };
        self.allowed[first..end].to_vec()
    }

    /// A session was opened over `transport`.
    pub(crate) fn opened(&mut self, transport: Transport, now: Instant) {
        let place = self.allowed.iter().position(|one| *one == transport).unwrap_or(0);
        if place != self.current {
            self.short_lives = 0;
        }
        if place == 0 {
            self.retry_at = None;
            self.retry_wait = self.retry_wait_min;
        } else if place != self.current || self.retry_at.is_none_or(|at| at <= now) {
            self.retry_at = Some(now + self.retry_wait);
            self.retry_wait = (2 * self.retry_wait).min(RETRY_WAIT_MAX);
        }
        self.current = place;
        self.is_proven = true;
        self.failures = 0;
    }

    /// An attempt has failed although the host could be reached.
    pub(crate) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_MAX {
            // All were tried; begin with the best.
            self.retry_at = None;
            self.current = 0;
            self.short_lives = 0;
        }
    }

    /// A session has ended after `lifetime`; whether the broker itself ended it.
    pub(crate) fn lost(&mut self, lifetime: Duration, by_broker: bool) {
        let was_short = lifetime < SHORT_LIFE && !by_broker;
        self.short_lives = if was_short { self.short_lives.saturating_add(1) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::Transport::{LongPoll, Sse, WebSocket};
    use super::*;

    const RETRY: Duration = Duration::from_secs(60);
    const LONG: Duration = Duration::from_secs(3_600);

    fn choice() -> Choice {
        Choice::new(Transport::ALL.to_vec(), RETRY)
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for transport in Transport::ALL {
            assert_eq!(transport.to_string().parse(), Ok(transport));
        }
        assert_eq!("WebSocket".parse::<Transport>(), Err(UnknownTransport));
    }

    #[test]
    fn the_first_attempt_tries_all_and_later_ones_keep_what_worked() {
        let mut choice = choice();
        let now = Instant::now();
        assert_eq!(choice.order(now), [WebSocket, Sse, LongPoll]);
        choice.opened(Sse, now);
        choice.lost(LONG, false);
        assert_eq!(choice.order(now), [Sse]);
    }

    #[test]
    fn a_better_one_is_tried_again_later_and_ever_less_often() {
        let mut choice = choice();
        let mut now = Instant::now();
        choice.opened(LongPoll, now);
        for wait in [RETRY, 2 * RETRY, 4 * RETRY] {
            assert_eq!(choice.order(now + wait - Duration::from_millis(1)), [LongPoll]);
            now += wait;
            assert_eq!(choice.order(now), [WebSocket, Sse, LongPoll]);
            choice.opened(LongPoll, now);
        }
        now += LONG;
        choice.opened(WebSocket, now);
        assert_eq!(choice.order(now + LONG), [WebSocket]);
    }

    #[test]
    fn reconnecting_in_between_does_not_put_the_retry_off() {
        let mut choice = choice();
        let now = Instant::now();
        choice.opened(Sse, now);
        choice.opened(Sse, now + RETRY / 2);
        assert_eq!(choice.order(now + RETRY), [WebSocket, Sse]);
    }

    #[test]
    fn what_has_worked_is_given_up_only_after_several_failures() {
        let mut choice = choice();
        let now = Instant::now();
        choice.opened(WebSocket, now);
        for _ in 0..FAILURES_MAX {
            assert_eq!(choice.order(now), [WebSocket]);
            choice.failed();
        }
        assert_eq!(choice.order(now), [WebSocket, Sse, LongPoll]);
    }

    #[test]
    fn what_is_cut_again_and_again_is_tried_last() {
        let mut choice = choice();
        let now = Instant::now();
        for _ in 0..FAILURES_MAX {
            assert_eq!(choice.order(now)[0], WebSocket);
            choice.opened(WebSocket, now);
            choice.lost(Duration::from_secs(1), false);
        }
        assert_eq!(choice.order(now), [Sse, LongPoll, WebSocket]);
        choice.opened(Sse, now);
        assert_eq!(choice.order(now), [Sse]);
    }

    #[test]
    fn a_broker_that_closes_is_no_reason_to_change() {
        let mut choice = choice();
        let now = Instant::now();
        for _ in 0..2 * FAILURES_MAX {
            choice.opened(WebSocket, now);
            choice.lost(Duration::ZERO, true);
        }
        assert_eq!(choice.order(now), [WebSocket]);
    }

    #[test]
    fn only_what_is_allowed_is_tried() {
        let mut choice = Choice::new(vec![LongPoll, WebSocket], RETRY);
        let now = Instant::now();
        assert_eq!(choice.order(now), [LongPoll, WebSocket]);
        choice.opened(WebSocket, now);
        assert_eq!(choice.order(now + RETRY), [LongPoll, WebSocket]);
        let only = Choice::new(vec![Sse], RETRY);
        assert_eq!(only.order(now), [Sse]);
    }
}
