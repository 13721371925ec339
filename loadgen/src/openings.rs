//! Connections on their way to being live, by their places in a share.
//!
//! Owns who is under way; the steps of each are `opening`'s, and what becomes of it afterwards is
//! its caller's.

use std::collections::HashMap;
use std::time::Duration;

use fanfare_protocol::{Position, Subscribed};
use mio::Poll;

use crate::connect::Live;
use crate::opening::{ConnectError, Opening};
use crate::plan::{Plan, Share};
use crate::stamp::now_ns;

/// Those under way.
#[derive(Debug, Default)]
pub(crate) struct Openings(HashMap<usize, Opening>);

/// A connection that has just become live.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// The connection.
    pub live: Live,
    /// What was said to its subscriptions.
    pub subscribed: Vec<Subscribed>,
    /// When its first SYN was sent, in ns of [`now_ns`].
    pub started_ns: u64,
}

impl Openings {
    /// Starts the connection at `place`, registered with `poll` under it. It comes back to the
    /// positions of its topics, if there are any.
    ///
    /// # Errors
    /// [`ConnectError::Socket`] if it fails at once.
    pub(crate) fn start(
        &mut self,
        plan: &Plan,
        share: Share,
        (place, since): (usize, &[Position]),
        poll: &Poll,
    ) -> Result<(), ConnectError> {
        let opening = Opening::start(plan, share, (place, since), poll)?;
        self.0.insert(place, opening);
        Ok(())
    }

    /// Whether the connection at `place` is under way.
    #[must_use]
    pub(crate) fn contains(&self, place: usize) -> bool {
        self.0.contains_key(&place)
    }

    /// How many are under way.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Does what can be done now at `place`; tells how it ended, if it has.
    pub(crate) fn advance(&mut self, place: usize) -> Option<Result<Arrived, ConnectError>> {
        let advanced = self.0.get_mut(&place)?.advance();
        if matches!(advanced, Ok(false)) {
            return None;
        }
        let opening = self.0.remove(&place)?;
        Some(advanced.map(|_| {
            let started_ns = opening.started_ns;
            let (live, subscribed) = opening.into_live();
            Arrived { live, subscribed, started_ns }
        }))
    }

    /// Gives up those that were started at least so long ago; their places.
    pub(crate) fn give_up(&mut self, age_min: Duration) -> Vec<usize> {
        let now_ns = now_ns();
        let is_old =
            |opening: &Opening| u128::from(now_ns - opening.started_ns) >= age_min.as_nanos();
        self.0.extract_if(|_, opening| is_old(opening)).map(|(place, _)| place).collect()
    }
}
