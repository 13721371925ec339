//! A command's rounds, one after the other, and the document that they make.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::{GeneratorArgs, ServerArgs};
use crate::environment::Environment;
use crate::latency::write_log;
use crate::progress::Progress;
use crate::report::{Document, Faults, Measurement, SCHEMA, command_line, median};

/// The figures of one round.
pub(crate) trait Round: Serialize + DeserializeOwned {
    /// What went wrong in it.
    fn faults(&self) -> Faults;

    /// The measurements whose latencies are written to a file beside the result, by name.
    fn measurements(&self) -> Vec<(&'static str, &Measurement)> {
        Vec::new()
    }
}

/// Writes the latencies of rounds beside a result, `FILE.hlog` beside `FILE.json`.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn write_latencies<'a>(
    result: &Path,
    measurements: impl IntoIterator<Item = (&'a str, &'a Measurement)>,
) -> Result<()> {
    let of = |(name, measurement): (&'a str, &'a Measurement)| {
        (name, &measurement.response, Duration::from_secs_f64(measurement.seconds.max(0.0)))
    };
    let histograms: Vec<_> = measurements.into_iter().map(of).collect();
    if histograms.is_empty() {
        return Ok(());
    }
    write_log(&result.with_extension("hlog"), histograms)
}

/// Measures `count` rounds and writes the document where it is wanted. `measure` gets the round's
/// name for the display.
///
/// # Errors
/// If a round cannot be run or the document cannot be written.
pub(crate) fn run<L: Serialize, R: Round>(
    count: u32,
    ends: (&ServerArgs, &GeneratorArgs),
    load: L,
    measure: impl FnMut(&str, &mut Progress) -> Result<R>,
) -> Result<Document<L, R>> {
    let document = collect(count, ends, load, measure)?;
    if let Some(path) = &ends.1.out {
        document.write(path)?;
        write_latencies(path, document.rounds.iter().flat_map(|round| round.measurements()))?;
    }
    Ok(document)
}

/// Measures `count` rounds as [`run`] does, and writes nothing.
///
/// # Errors
/// If a round cannot be run.
pub(crate) fn collect<L: Serialize, R: Round>(
    count: u32,
    (server, generator): (&ServerArgs, &GeneratorArgs),
    load: L,
    mut measure: impl FnMut(&str, &mut Progress) -> Result<R>,
) -> Result<Document<L, R>> {
    let environment = Environment::read(server.server.as_deref());
    let mut progress = Progress::new();
    let (mut rounds, mut faults) = (Vec::new(), Faults::default());
    for number in 1..=count {
        let round = measure(&format!("round {number}/{count}"), &mut progress)?;
        faults.add(&round.faults());
        rounds.push(round);
    }
    drop(progress);
    Ok(Document {
        schema: SCHEMA,
        name: generator.name.clone(),
        command: command_line(),
        environment,
        load,
        median: median(&rounds)?,
        rounds,
        faults,
    })
}
