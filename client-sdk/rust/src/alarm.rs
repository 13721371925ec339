//! When a connection must be looked at although nothing happens on it: because the broker has been
//! silent for too long, or because a refused subscription should be tried again.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// What the alarm says when it rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ring {
    /// Nothing yet.
    Early,
    /// Refused subscriptions should be tried again.
    Renew,
    /// The broker has been silent for longer than it may.
    Silent,
}

/// As good as never, and no sum of it and a point in time overflows. The broker says how long it
/// may be silent, so that has to hold for any number.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

/// The timers of one connection on one sleep, which is moved only when it ends.
#[derive(Debug)]
pub(crate) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    silence_max: Duration,
    heard_at: Instant,
    renew_at: Option<Instant>,
    /// The socket is not read, so silence says nothing.
    resting: bool,
}

impl Alarm {
    pub(crate) fn new(silence_max: Duration) -> Self {
        let silence_max = silence_max.min(FAR);
        let heard_at = Instant::now();
        let sleep = Box::pin(tokio::time::sleep(silence_max));
        Self { sleep, silence_max, heard_at, renew_at: None, resting: false }
    }

    /// The broker has said something.
    pub(crate) fn heard(&mut self) {
        self.heard_at = Instant::now();
    }

    /// Whether the socket is being read. Silence counts from when it is read again.
    pub(crate) fn reading(&mut self, reading: bool) {
        if reading && self.resting {
            self.heard();
        }
        self.resting = !reading;
    }

    /// Asks for [`Ring::Renew`] after `delay`, unless it has been asked for already.
    pub(crate) fn renew_after(&mut self, delay: Duration) {
        if self.renew_at.is_none() {
            self.renew_at = Some(Instant::now() + delay.min(FAR));
            self.wind();
        }
    }

    /// Waits until the alarm rings. Cancel safe.
    pub(crate) async fn rings(&mut self) -> Ring {
        self.sleep.as_mut().await;
        let now = Instant::now();
        let ring = if self.renew_at.is_some_and(|at| at <= now) {
            self.renew_at = None;
            Ring::Renew
        } else if !self.resting && self.heard_at + self.silence_max <= now {
            Ring::Silent
        } else {
            Ring::Early
        };
        self.wind();
        ring
    }

    fn wind(&mut self) {
        let since = if self.resting { Instant::now() } else { self.heard_at };
        let silent_at = since + self.silence_max;
        let at = self.renew_at.map_or(silent_at, |renew_at| renew_at.min(silent_at));
        self.sleep.as_mut().reset(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(35);

    async fn rings_after(alarm: &mut Alarm) -> (Ring, Duration) {
        let start = Instant::now();
        loop {
            match alarm.rings().await {
                Ring::Early => {}
                ring => return (ring, start.elapsed()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_what_was_heard_last() {
        let mut alarm = Alarm::new(MAX);
        tokio::time::advance(Duration::from_secs(20)).await;
        alarm.heard();
        let (ring, after) = rings_after(&mut alarm).await;
        assert_eq!((ring, after.as_secs()), (Ring::Silent, 35));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_does_not_count_while_the_socket_rests() {
        let mut alarm = Alarm::new(MAX);
        alarm.reading(false);
        for _ in 0..3 {
            assert_eq!(alarm.rings().await, Ring::Early);
        }
        alarm.reading(true);
        let (ring, after) = rings_after(&mut alarm).await;
        assert_eq!((ring, after.as_secs()), (Ring::Silent, 35));
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_times_are_as_good_as_never() {
        let mut alarm = Alarm::new(Duration::MAX);
        alarm.renew_after(Duration::MAX);
        alarm.heard();
        assert!(tokio::time::timeout(1_000 * MAX, alarm.rings()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_rings_once_and_silence_still_counts() {
        let mut alarm = Alarm::new(MAX);
        alarm.renew_after(Duration::from_secs(5));
        alarm.renew_after(Duration::from_secs(1));
        let (ring, after) = rings_after(&mut alarm).await;
        assert_eq!((ring, after.as_secs()), (Ring::Renew, 5));
        let (ring, after) = rings_after(&mut alarm).await;
        assert_eq!((ring, after.as_secs()), (Ring::Silent, 30));
    }
}
