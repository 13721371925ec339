//! `slow --slow-only`: the server's memory while nobody reads, for loads of different lengths.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::load::{self, Figures, Load};
use super::print;
use crate::cli::SlowArgs;
use crate::progress::Progress;
use crate::report::Faults;
use crate::rounds;

/// One round: a load of each length.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Round {
    /// In the order of the durations.
    pub loads: Vec<Figures>,
    /// Growth of the server's memory during the last load as a multiple of that during the first;
    /// missing with one load, or where memory was not measured.
    pub growth_ratio: Option<f64>,
    /// The same of the growth from before anybody connected, which is all that they cost.
    pub growth_in_all_ratio: Option<f64>,
}

impl rounds::Round for Round {
    fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        self.loads.iter().for_each(|load| faults.add(&load.faults()));
        faults
    }
}

/// Runs all rounds and tells the result; true if everybody got what is promised.
///
/// # Errors
/// If a round cannot be run.
pub(super) fn run(args: &SlowArgs) -> Result<bool> {
    let one = [args.duration];
    let durations = if args.durations.is_empty() { &one[..] } else { &args.durations };
    let ends = (&args.server, &args.generator);
    let asked = args.asked(durations);
    let document = rounds::run(args.audience.topics.rounds, ends, asked, |label, progress| {
        round(args, durations, label, progress)
    })?;
    print::slow_only(&document);
    Ok(document.faults.none())
}

fn round(
    args: &SlowArgs,
    durations: &[Duration],
    label: &str,
    progress: &mut Progress,
) -> Result<Round> {
    let mut loads = Vec::new();
    for &duration in durations {
        let (slow, rate, warmup) = (args.slow_readers(), args.rate(), Duration::ZERO);
        let load = Load { quick: 0, slow, rate, warmup, duration };
        let label = format!("{label}, {}", humantime::format_duration(duration));
        loads.push(load::measure(args, load, &label, progress)?);
    }
    let ratio = |growth: fn(&Figures) -> Option<u64>| {
        let ends = loads.first().and_then(growth).zip(loads.last().and_then(growth));
        let ends = ends.filter(|(first, _)| durations.len() > 1 && *first > 0);
        ends.map(|(first, last)| last as f64 / first as f64)
    };
    let growth_ratio = ratio(Figures::growth);
    let growth_in_all_ratio = ratio(Figures::growth_in_all);
    Ok(Round { loads, growth_ratio, growth_in_all_ratio })
}
