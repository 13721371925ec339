//! The search through worlds, and that it would find what it is to find.

use super::*;

const SEEDS: u64 = 200;

#[test]
fn promises_hold_in_every_world() {
    let mut total = Summary::default();
    for seed in 0..SEEDS {
        match simulate(seed) {
            Ok(summary) => total += summary,
            Err(failure) => panic!("\n{failure}"),
        }
    }
    println!("{total}");
}
