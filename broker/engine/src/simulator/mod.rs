//! A whole node in one thread: shards, clients and the network between them, without a socket or
//! a clock. One seed decides everything, so whatever goes wrong can be repeated.
//!
//! The shards, the topic table and the mailboxes are the engine's own. The simulation takes the
//! place of the event loop, in steps of any order; it knows what was published, and judges each
//! byte that a client reads by the promises of the design.

mod asked;
mod budget;
mod client;
mod event_loop;
mod intake;
mod keys;
mod pages;
mod panics;
mod plan;
mod presence;
pub(crate) mod random;
mod record;
mod session;
mod settle;
mod snapshots;
mod stream;
mod summary;
mod tiers;
mod trace;
mod track;
mod turns;
mod ways;
pub(crate) mod wire;
mod wish;
mod world;

use std::fmt;

pub use summary::Summary;
use trace::Trace;
use world::World;

/// A broken promise, and how to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed of the world in which it was broken.
    pub seed: u64,
    /// What was found.
    pub what: String,
    /// What happened last, oldest first.
    pub steps: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        writeln!(f, "seed {}: {}", self.seed, self.what)?;
        write!(
            f,
            "repeat with: cargo run --release -p fanfare-engine --features simulator \
             --example simulate -- --seed {}",
            self.seed
        )
    }
}

impl std::error::Error for Failure {}

/// Lives the world of one seed to its end.
///
/// # Errors
/// [`Failure`]: a promise was broken, or the engine panicked.
pub fn simulate(seed: u64) -> Result<Summary, Failure> {
    let trace = Trace::default();
    let world = || World::new(seed, trace.clone()).run();
    panics::catch(world).map_err(|what| Failure { seed, what, steps: trace.steps() })
}

#[cfg(test)]
mod tests;
