//! What is shipped for systemd, containers and Kubernetes, judged by the tools of those who will
//! run it. Owns the order; each check counts as one test. What can be told without these tools is
//! in `broker/tests/deploy.rs`.

mod chart;
mod image;
mod tools;
mod units;

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::command::{cargo, run as run_command};
use crate::counted::Checks;
use crate::stage::{Context, Outcome, left_out};

/// What is shipped.
const FOLDER: &str = "broker/deploy";

/// Runs every check whose tool is here or can be had.
pub(crate) fn test(context: &mut Context) -> anyhow::Result<Outcome> {
    run_command(cargo(context).args(["build", "--locked", "--package", "fanfare"]))?;
    let mut checks = Checks::default();
    let mut missing = Vec::new();
    match tools::systemd_analyze(context) {
        Ok(analyze) => units::check(context, &analyze, &mut checks),
        Err(reason) => missing.push(reason),
    }
    match tools::helm(context) {
        Ok(helm) => chart::check(context, &helm, &mut checks),
        Err(reason) => missing.push(reason),
    }
    match tools::hadolint(context) {
        Ok(hadolint) => image::check(context, &hadolint, &mut checks),
        Err(reason) => missing.push(reason),
    }
    image::check_compose(context, &mut checks);
    checks.finish("packaging", context)?;
    if missing.is_empty() {
        return Ok(Outcome::Passed);
    }
    let reasons: Vec<String> = missing.iter().map(|reason| format!("{reason:#}")).collect();
    left_out(context, format!("not everything could be checked: {}", reasons.join("; ")))
}

/// The broker that was just built.
fn fanfare(context: &Context) -> PathBuf {
    context.target.join("debug/fanfare")
}

/// A folder for what the checks write.
fn scratch(context: &Context) -> anyhow::Result<PathBuf> {
    let folder = context.target.join("packaging");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}
