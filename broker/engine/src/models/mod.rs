//! Models of what threads of a node share, run under the checker shuttle: it decides at every
//! lock, queue operation and atomic which thread goes on, and tries many ways to decide.
//!
//! The code that runs is the engine's own; only the primitives of `sync.rs` are the checker's. It
//! takes every atomic for sequentially consistent, so what these models prove is the order of
//! steps, not the memory orderings.

mod mailbox;
mod shards;
mod snapshots;
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, Runner};

use crate::fault::{Fault, with_fault};

/// Executions of each search. Some seconds for all models together.
const EXECUTIONS: usize = 1_000;

/// Multiplies [`EXECUTIONS`] for a longer search.
const FACTOR: &str = "FANFARE_MODELS_FACTOR";

const SEED: u64 = 1;

/// Most preemptions that the search by priorities (PCT) places.
const PREEMPTIONS: usize = 3;

/// Searches the model for an execution that breaks it: all of them in order as far as they go,
/// then by random priorities, then at random. Panics with the schedule of the one that it finds.
fn check(model: impl Fn() + Send + Sync + 'static) {
    let factor = std::env::var(FACTOR).map_or(1, |text| text.parse().expect("a whole number"));
    search(EXECUTIONS * factor, Arc::new(model));
}

/// Proves that [`check`] would find this fault, by the check whose message holds `expected`.
fn check_finds(fault: Fault, expected: &str, model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    let found = caught(|| with_fault(fault, || search(EXECUTIONS, model)));
    assert!(found.as_ref().is_some_and(|what| what.contains(expected)), "{fault:?}: {found:?}");
}

/// What `body` panicked with, if it did.
fn caught(body: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(body)).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
}

fn search(executions: usize, model: Arc<impl Fn() + Send + Sync + 'static>) {
    run(DfsScheduler::new(Some(executions), false), model.clone());
    run(PctScheduler::new_from_seed(SEED, PREEMPTIONS, executions), model.clone());
    run(RandomScheduler::new_from_seed(SEED, executions), model);
}

fn run(scheduler: impl Scheduler + 'static, model: Arc<impl Fn() + Send + Sync + 'static>) {
    let mut config = Config::new();
    config.stack_size = 256 * 1_024;
    config.failure_persistence = FailurePersistence::Print;
    Runner::new(scheduler, config).run(move || model());
}
