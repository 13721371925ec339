//! Dashboards, alert rules and scrape configuration, checked against a real Prometheus that
//! scrapes a real broker under load. Owns the order of the checks; each counts as one test.

mod boards;
mod lint;
mod prometheus;
mod queries;
mod rules;
mod under_load;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::Value;

pub(crate) use boards::write;
use prometheus::Prometheus;
use under_load::UnderLoad;

use crate::command::{cargo, run as run_command};
use crate::counted::Checks;
use crate::debian;
use crate::stage::{Context, Outcome, left_out};

/// The pages that list every metric of the broker and of loadgen, one table row for each.
const LISTS: [&str; 2] = ["broker/docs/METRICS.md", "loadgen/README.md"];

/// A dashboard as Grafana reads it.
struct Dashboard {
    name: String,
    json: Value,
}

/// Runs every check that does not need Prometheus, and then those that do.
pub(crate) fn test(context: &mut Context) -> anyhow::Result<Outcome> {
    let mut checks = Checks::default();
    let metrics = listed_metrics(context)?;
    let dashboards = dashboards(context)?;
    checks.one("dashboards are those that their sources make", are_current(context));
    for Dashboard { name, json } in &dashboards {
        let wrong = lint::complaints(json, &metrics);
        let result = if wrong.is_empty() { Ok(()) } else { Err(anyhow::anyhow!(wrong.join("; "))) };
        checks.one(&format!("{name} keeps the rules"), result);
    }
    rules::check_texts(context, &metrics, &mut checks);
    let has_prometheus = ["prometheus", "promtool"].iter().try_for_each(|program| {
        debian::find_or_install(context, &[program], "prometheus").map(drop)
    });
    if let Err(reason) = has_prometheus {
        checks.finish("dashboards", context)?;
        return left_out(context, format!("without Prometheus: {reason:#}"));
    }
    rules::check_with_promtool(context, &mut checks);
    let asked = with_prometheus(context, &dashboards, &mut checks);
    checks.one("Prometheus scrapes a broker under load", asked);
    checks.finish("dashboards", context)?;
    Ok(Outcome::Passed)
}

/// Asks a Prometheus that scrapes a broker under load everything that the panels ask.
fn with_prometheus(
    context: &Context,
    dashboards: &[Dashboard],
    checks: &mut Checks,
) -> anyhow::Result<()> {
    let packages = ["--package", "fanfare", "--package", "fanfare-loadgen"];
    run_command(cargo(context).args(["build", "--locked"]).args(packages))?;
    let load = UnderLoad::start(context)?;
    let prometheus = Prometheus::start(context, &load.targets())?;
    queries::wait_for_data(&prometheus).with_context(|| load.said())?;
    for Dashboard { name, json } in dashboards {
        queries::check(&prometheus, name, json, checks);
    }
    rules::check_live(&prometheus, checks);
    Ok(())
}

fn are_current(context: &Context) -> anyhow::Result<()> {
    let expected = boards::all(context)?;
    for (path, text) in &expected {
        let written = fs::read_to_string(path).unwrap_or_default();
        ensure!(written == *text, "{} is old: run cargo xtask dashboards", path.display());
    }
    let there = files(&context.root.join(boards::BOARDS), "json")?;
    ensure!(there.len() == expected.len(), "a dashboard has no source");
    Ok(())
}

fn dashboards(context: &Context) -> anyhow::Result<Vec<Dashboard>> {
    let mut dashboards = Vec::new();
    for path in files(&context.root.join(boards::BOARDS), "json")? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let json = serde_json::from_str(&fs::read_to_string(&path)?);
        dashboards.push(Dashboard { json: json.with_context(|| name.clone())?, name });
    }
    ensure!(!dashboards.is_empty(), "there is no dashboard");
    Ok(dashboards)
}

/// The names in the lists of metrics.
fn listed_metrics(context: &Context) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for list in LISTS {
        let page = fs::read_to_string(context.root.join(list)).context(list)?;
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let of_type = rows.filter(|(_, rest)| {
            ["counter |", "gauge |", "histogram |"].iter().any(|kind| rest.starts_with(kind))
        });
        let before = names.len();
        names.extend(of_type.map(|(name, _)| name.to_owned()));
        ensure!(names.len() > before, "{list} lists no metric");
    }
    Ok(names)
}

/// The files of a folder with this ending, by name.
fn files(folder: &Path, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<std::io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == ending));
    paths.sort();
    Ok(paths)
}
