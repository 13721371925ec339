//! `cargo test` and other runners of tests, their output passed on as it comes, and the results of
//! all of them summed.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::command::{cargo, shown};
use crate::stage::Context;

/// Tests so far, over every binary and every documented example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tests: {} passed, {} failed", self.passed, self.failed)
    }
}

impl Counts {
    /// Adds what a line of a test binary or of Node's test runner tells, if it is one that tells.
    fn add(&mut self, line: &str) {
        self.add_of_node(line);
        let Some((_, results)) = line.split_once("test result: ") else { return };
        let number = |label: &str| -> u64 {
            let before = results.split(label).next().unwrap_or_default();
            let digits = before.rsplit(' ').next().unwrap_or_default();
            digits.parse().unwrap_or(0)
        };
        self.passed += number(" passed");
        self.failed += number(" failed");
    }

    /// Node ends with a line for each result, as `ℹ pass 12`. A cancelled test has not passed.
    fn add_of_node(&mut self, line: &str) {
        let Some((label, number)) = line.strip_prefix("ℹ ").and_then(|line| line.split_once(' '))
        else {
            return;
        };
        let number = number.parse().unwrap_or(0);
        match label {
            "pass" => self.passed += number,
            "fail" | "cancelled" => self.failed += number,
            _ => {}
        }
    }
}

/// Multiplies the executions of each search through the models.
const MODELS_FACTOR: &str = "FANFARE_MODELS_FACTOR";

/// Runs the tests of the whole workspace that `selection` names.
pub(crate) fn run(context: &mut Context, selection: &[&str]) -> anyhow::Result<()> {
    let mut test = cargo(context);
    test.args(["test", "--workspace", "--locked", "--no-fail-fast"]).args(selection);
    count(context, test)
}

/// Runs the engine's models under the checker, `factor` times as long as usual. A long search is
/// worth an optimized build.
pub(crate) fn run_models(context: &mut Context, factor: u32) -> anyhow::Result<()> {
    let mut test = cargo(context);
    test.args(["test", "--package", "fanfare-engine", "--features", "shuttle", "--lib"]);
    test.args(["--locked", "--no-fail-fast"]).env(MODELS_FACTOR, factor.to_string());
    if factor > 1 {
        test.arg("--release");
    }
    test.args(["--", "models::"]);
    count(context, test)
}

/// Runs tests and counts them; failing ones do not stop it.
pub(crate) fn count(context: &mut Context, mut test: Command) -> anyhow::Result<()> {
    let mut child = test.stdout(Stdio::piped()).spawn().context("cannot start the tests")?;
    let stdout = child.stdout.take().context("the tests have no output")?;
    let mut terminal = std::io::stdout();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        context.counts.add(&String::from_utf8_lossy(&line));
        terminal.write_all(&line)?;
        terminal.write_all(b"\n")?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} ended with {status}", shown(&test));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_binaries_are_summed() {
        let mut counts = Counts::default();
        for line in [
            "running 12 tests",
            "test a ... ok",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; 0.01s",
            "test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; 1s",
            "a test that prints 5 passed; 5 failed counts for nothing",
        ] {
            counts.add(line);
        }
        assert_eq!(counts.to_string(), "tests: 19 passed, 2 failed");
    }

    #[test]
    fn results_of_node_are_summed() {
        let mut counts = Counts::default();
        for line in [
            "✔ a test (12.5ms)",
            "ℹ tests 15",
            "ℹ pass 12",
            "ℹ fail 2",
            "ℹ cancelled 1",
            "ℹ skipped 0",
            "the text ℹ pass 9 within a line counts for nothing",
        ] {
            counts.add(line);
        }
        assert_eq!(counts.to_string(), "tests: 12 passed, 3 failed");
    }
}
