//! The stages of `cargo xtask test`: their names, their order, and the report at the end.
//! What each stage does is in the module of its own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::suite::{self, Counts};
use crate::{autobahn, checks, dashboards, dependencies, fuzz, network, packaging, page};

/// How long each fuzz target runs within `test`.
const FUZZ_SECONDS: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Format,
    Clippy,
    Dependencies,
    Fuzz,
    Autobahn,
    DocTests,
    Models,
    Page,
    Dashboards,
    Network,
    Packaging,
    Tests,
}

/// Where everything is, and what has been counted so far.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) is_ci: bool,
    pub(crate) counts: Counts,
}

/// How a stage that did not fail ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// It cannot run here, for this reason.
    LeftOut(String),
}

impl Context {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let manifest = std::env::var("CARGO_MANIFEST_DIR")
            .unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
        let root = PathBuf::from(manifest).join("../..").canonicalize()?;
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(target) => std::path::absolute(target)?,
            None => root.join("target"),
        };
        let is_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        Ok(Self { root, target, is_ci, counts: Counts::default() })
    }
}

impl Stage {
    /// Every stage, the quick ones first and the tests last.
    pub(crate) const ALL: [Self; 12] = [
        Self::Format,
        Self::Clippy,
        Self::Dependencies,
        Self::Fuzz,
        Self::Autobahn,
        Self::DocTests,
        Self::Models,
        Self::Page,
        Self::Dashboards,
        Self::Network,
        Self::Packaging,
        Self::Tests,
    ];

    pub(crate) fn named(name: &str) -> anyhow::Result<Self> {
        let names = Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|stage| stage.name() == name)
            .with_context(|| format!("no stage {name:?}; the stages are {names}"))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Clippy => "clippy",
            Self::Dependencies => "dependencies",
            Self::Fuzz => "fuzz",
            Self::Autobahn => "autobahn",
            Self::DocTests => "doc-tests",
            Self::Models => "models",
            Self::Page => "page",
            Self::Dashboards => "dashboards",
            Self::Network => "network",
            Self::Packaging => "packaging",
            Self::Tests => "tests",
        }
    }

    fn run(self, context: &mut Context) -> anyhow::Result<Outcome> {
        match self {
            Self::Format => checks::format(context)?,
            Self::Clippy => checks::clippy(context)?,
            Self::Dependencies => return dependencies::run(context),
            Self::Fuzz => fuzz::run(context, FUZZ_SECONDS, fuzz::Lock::IsFixed)?,
            Self::Autobahn => return autobahn::run(context),
            Self::DocTests => suite::run(context, &["--doc"])?,
            Self::Models => suite::run_models(context, 1)?,
            Self::Page => return page::test(context),
            Self::Dashboards => return dashboards::test(context),
            Self::Network => return network::test(context),
            Self::Packaging => return packaging::test(context),
            Self::Tests => suite::run(context, &["--lib", "--bins", "--tests"])?,
        }
        Ok(Outcome::Passed)
    }
}

/// Runs all `stages`, the ones after a failure too, and reports. False if any has failed.
pub(crate) fn run_all(stages: &[Stage], context: &mut Context) -> bool {
    let started = Instant::now();
    let mut lines = Vec::new();
    let mut failures = Vec::new();
    for &stage in stages {
        println!("\n==== {} ====", stage.name());
        let began = Instant::now();
        let failed_before = context.counts.failed;
        let result = stage.run(context);
        let line = match &result {
            Ok(Outcome::Passed) => "passed".to_owned(),
            Ok(Outcome::LeftOut(reason)) => format!("left out: {reason}"),
            Err(error) => format!("FAILED: {error:#}"),
        };
        println!("---- {}: {line} ({})", stage.name(), seconds(began.elapsed()));
        lines.push(format!("{:<13} {:>9}  {line}", stage.name(), seconds(began.elapsed())));
        if result.is_err() {
            failures.push(stage);
            if context.counts.failed == failed_before {
                context.counts.failed += 1;
            }
        }
    }
    println!("\n==== {} in {} ====", verdict(&failures), seconds(started.elapsed()));
    lines.iter().for_each(|line| println!("{line}"));
    for stage in &failures {
        println!("repeat with: cargo xtask test --only {}", stage.name());
    }
    println!("{}", context.counts);
    failures.is_empty()
}

fn verdict(failures: &[Stage]) -> String {
    match failures {
        [] => "everything passed".to_owned(),
        [one] => format!("the stage {} failed", one.name()),
        several => format!("{} stages failed", several.len()),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// What a stage that needs something of its surroundings does where that is missing: it is left
/// out, except in CI, where it must run.
pub(crate) fn left_out(context: &Context, reason: String) -> anyhow::Result<Outcome> {
    if context.is_ci {
        bail!("{reason}; with CI=true it must run");
    }
    Ok(Outcome::LeftOut(reason))
}
