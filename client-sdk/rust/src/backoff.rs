//! How long to wait before the next attempt to connect. Owns the count of failures, no clock.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderMap, RETRY_AFTER};

/// The longest time that a broker may ask for with `Retry-After`.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// How long a broker that is too busy asks to be left alone, if it does. A date in place of seconds,
/// which no broker sends, is passed over (RFC 9110 section 10.2.3).
pub(crate) fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// The waits of a [`Client`](crate::Client) that has lost its connection, for programs that hold
/// connections of their own and want to come back as it does.
///
/// Exponential backoff with full jitter: the n-th wait in a row is drawn evenly from `min` to
/// `min * 2^n`, never over `max`. Jitter keeps the clients of a restarted broker from coming back
/// in one instant. The default is 500 ms to 20 s.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(20))
    }
}

impl Backoff {
    /// Waits from `min` to `max`; a `max` under `min` counts as `min`.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), failures: 0 }
    }

    /// The wait before the next attempt. `drain_window` is the time over which the broker has asked
    /// its clients to spread their return, if it has done so since the last attempt: then it is
    /// any moment of that, each as likely.
    pub fn wait(&mut self, drain_window: Option<Duration>) -> Duration {
        match drain_window {
            Some(window) => window.mul_f64(fastrand::f64()),
            None => self.next(),
        }
    }

    fn next(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let ceiling = 2u32
            .checked_pow(self.failures)
            .and_then(|factor| self.min.checked_mul(factor))
            .map_or(self.max, |ceiling| ceiling.min(self.max));
        self.min + (ceiling - self.min).mul_f64(fastrand::f64())
    }

    /// Tells that a connection lived for `lifetime`. Only one that outlived the longest wait
    /// clears the count, so that a broker that fails soon after accepting is not hammered.
    pub fn connection_lived(&mut self, lifetime: Duration) {
        if lifetime >= self.max {
            self.failures = 0;
        }
    }

    /// The longest wait.
    pub(crate) fn max(&self) -> Duration {
        self.max
    }

    /// The number of the next attempt since the last stable connection, from 1.
    pub(crate) fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(500);
    const MAX: Duration = Duration::from_secs(20);

    #[test]
    fn waits_grow_and_stay_between_min_and_max() {
        for _ in 0..200 {
            let mut backoff = Backoff::new(MIN, MAX);
            for n in 1..=40u32 {
                let ceiling = MIN.saturating_mul(2u32.saturating_pow(n)).min(MAX);
                let wait = backoff.wait(None);
                assert!((MIN..=ceiling).contains(&wait), "wait {n} is {wait:?}");
            }
        }
    }

    #[test]
    fn waits_are_spread_over_the_whole_range() {
        let waits: Vec<_> = (0..1_000).map(|_| Backoff::new(MIN, MAX).wait(None)).collect();
        let in_lower_half = waits.iter().filter(|&&wait| wait < MIN.mul_f64(1.5)).count();
        assert!((350..650).contains(&in_lower_half), "{in_lower_half} of 1000");
    }

    #[test]
    fn a_return_after_a_drain_is_spread_over_the_whole_window() {
        let waits: Vec<_> = (0..1_000).map(|_| Backoff::new(MIN, MIN).wait(Some(MAX))).collect();
        assert!(waits.iter().all(|wait| *wait <= MAX));
        for quarter in 0..4 {
            let (from, to) = (MAX / 4 * quarter, MAX / 4 * (quarter + 1));
            let within = waits.iter().filter(|&&wait| (from..to).contains(&wait)).count();
            assert!((180..320).contains(&within), "{within} of 1000 in quarter {quarter}");
        }
    }

    #[test]
    fn only_a_stable_connection_clears_the_count() {
        let mut backoff = Backoff::new(MIN, MAX);
        let waits = (0..8).map(|_| backoff.wait(None));
        assert!(waits.count() == 8 && backoff.attempt() == 9);
        backoff.connection_lived(MAX - Duration::from_millis(1));
        assert_eq!(backoff.attempt(), 9);
        backoff.connection_lived(MAX);
        assert_eq!(backoff.attempt(), 1);
        assert!(backoff.wait(None) <= 2 * MIN);
    }

    #[test]
    fn only_a_busy_broker_says_when_to_come_back_and_not_for_hours() {
        let asked = |status, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            retry_after(status, &headers).map(|wait| wait.as_secs())
        };
        let busy = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(asked(busy, "7"), Some(7));
        assert_eq!(asked(StatusCode::TOO_MANY_REQUESTS, "0"), Some(0));
        assert_eq!(asked(busy, "86400"), Some(60));
        assert_eq!(asked(busy, "Fri, 31 Dec 1999 23:59:59 GMT"), None);
        assert_eq!(asked(StatusCode::FORBIDDEN, "7"), None);
        assert_eq!(retry_after(busy, &HeaderMap::new()), None);
    }

    #[test]
    fn a_max_below_min_counts_as_min() {
        assert_eq!(Backoff::new(MAX, MIN).wait(None), MAX);
    }
}
