//! Searches simulated worlds for a broken promise: `--seeds N` from `--from M` on, or `--seed N`.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fanfare_engine::simulator::{Failure, Summary, simulate};

const USAGE: &str = "usage: simulate [--seeds COUNT] [--from SEED] | --seed SEED";
const SEEDS_USUAL: u64 = 1_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((first, count)) = seeds(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let (total, failures) = search(first, count);
    println!("{total}");
    for failure in &failures {
        println!("\n{failure}");
    }
    println!("\n{} of {count} worlds broke a promise", failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first seed and how many there are.
fn seeds(arguments: &[String]) -> Option<(u64, u64)> {
    let (mut first, mut count) = (0, SEEDS_USUAL);
    for pair in arguments.chunks(2) {
        let [name, value] = pair else { return None };
        let value = value.parse().ok()?;
        match name.as_str() {
            "--seeds" => count = value,
            "--from" => first = value,
            "--seed" => (first, count) = (value, 1),
            _ => return None,
        }
    }
    Some((first, count))
}

/// Looks at every world, with all the cores there are; failures in the order of their seeds.
fn search(first: u64, count: u64) -> (Summary, Vec<Failure>) {
    let next = AtomicU64::new(first);
    let work = || {
        let (mut total, mut failures) = (Summary::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed - first >= count {
                return (total, failures);
            }
            match simulate(seed) {
                Ok(summary) => total += summary,
                Err(failure) => failures.push(failure),
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let (mut total, mut failures) = (Summary::default(), Vec::new());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            let (summary, found) = thread.join().expect("a panic is caught with its world");
            total += summary;
            failures.extend(found);
        }
    });
    failures.sort_by_key(|failure| failure.seed);
    (total, failures)
}
