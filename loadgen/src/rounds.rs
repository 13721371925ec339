//! A command's rounds, one after the other, and the document that they make.

use anyhow::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::{GeneratorArgs, ServerArgs};
use crate::environment::Environment;
use crate::progress::Progress;
use crate::report::{Document, Faults, SCHEMA, command_line, median};

/// The figures of one round.
pub(crate) trait Round: Serialize + DeserializeOwned {
    /// What went wrong in it.
    fn faults(&self) -> Faults;
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
    ends.1.out.as_ref().map_or(Ok(()), |path| document.write(path))?;
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
