//! A look at the node once a second, from a thread that no shard can hold up: which shards hang,
//! what has been counted and not told, whether the time of a log level is over.

use std::sync::Arc;
use std::time::Duration;

use fanfare_engine::Now;
use tracing::{error, info};

use super::target::SHARDS;
use super::{Journal, LogControl};
use crate::clock;
use crate::server::AllCounters;

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// A shard that has not looked at its timers for so long hangs; it does so 20 times a second.
const HANG_MS: u64 = 3_000;

/// Looks at one node.
pub(crate) struct Watch {
    pub(crate) logs: LogControl,
    pub(crate) journal: Arc<Journal>,
    /// The shards' come first.
    pub(crate) counters: AllCounters,
    pub(crate) shard_count: usize,
}

impl Watch {
    /// Looks again and again.
    pub(crate) async fn run(self) {
        let mut hangs = Hangs::default();
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let now = clock::now();
            self.logs.expire(now);
            self.journal.tell_due(now);
            let ticked = {
                let counters = self.counters.read();
                let shards = counters.iter().take(self.shard_count);
                shards.map(|shard| shard.ticked_ms.get()).collect::<Vec<_>>()
            };
            for change in hangs.look(&ticked, now) {
                change.tell();
            }
        }
    }
}

/// Which shards hang.
#[derive(Debug, Default)]
struct Hangs {
    looked: Option<Now>,
    /// Since when, in milliseconds; by shard.
    hung_since: Vec<Option<u64>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Hangs { shard: usize, tick_age_ms: u64 },
    GoesOn { shard: usize, hung_ms: u64 },
}

impl Hangs {
    /// What has changed, by when each shard last looked at its timers.
    fn look(&mut self, ticked_ms: &[u64], now: Now) -> Vec<Change> {
        let before = self.looked.replace(now);
        self.hung_since.resize(ticked_ms.len(), None);
        // Whoever has slept as long, as in a machine that was stopped, cannot judge others.
        let has_slept = before.is_none_or(|before| now.ms() - before.ms() >= HANG_MS);
        let mut changes = Vec::new();
        for (shard, (ticked, since)) in ticked_ms.iter().zip(&mut self.hung_since).enumerate() {
            let tick_age_ms = now.ms().saturating_sub(*ticked);
            match *since {
                None if tick_age_ms >= HANG_MS && !has_slept => {
                    *since = Some(*ticked);
                    changes.push(Change::Hangs { shard, tick_age_ms });
                }
                Some(hung_since) if tick_age_ms < HANG_MS => {
                    *since = None;
                    let hung_ms = ticked.saturating_sub(hung_since);
                    changes.push(Change::GoesOn { shard, hung_ms });
                }
                _ => {}
            }
        }
        changes
    }
}

impl Change {
    fn tell(&self) {
        match *self {
            Self::Hangs { shard, tick_age_ms } => {
                let what = "a shard hangs; its connections get nothing";
                error!(target: SHARDS, shard, tick_age_ms, "{what}");
            }
            Self::GoesOn { shard, hung_ms } => {
                info!(target: SHARDS, shard, hung_ms, "a shard goes on");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now::from_ms(ms)
    }

    #[test]
    fn a_shard_that_hangs_is_told_once_and_that_it_goes_on_too() {
        let mut hangs = Hangs::default();
        assert_eq!(hangs.look(&[1_000, 1_000], at(1_010)), []);
        assert_eq!(hangs.look(&[1_000, 2_000], at(2_010)), []);
        assert_eq!(hangs.look(&[1_000, 3_000], at(3_010)), []);
        let told = Change::Hangs { shard: 0, tick_age_ms: 3_010 };
        assert_eq!(hangs.look(&[1_000, 4_000], at(4_010)), [told]);
        assert_eq!(hangs.look(&[1_000, 5_000], at(5_010)), []);
        let told = Change::GoesOn { shard: 0, hung_ms: 5_000 };
        assert_eq!(hangs.look(&[6_000, 6_000], at(6_010)), [told]);
        assert_eq!(hangs.look(&[7_000, 7_000], at(7_010)), []);
    }

    #[test]
    fn a_machine_that_was_stopped_is_no_shard_that_hangs() {
        let mut hangs = Hangs::default();
        assert_eq!(hangs.look(&[1_000], at(1_010)), []);
        assert_eq!(hangs.look(&[1_000], at(90_000)), []);
        assert_eq!(hangs.look(&[90_050], at(91_000)), []);
    }
}
