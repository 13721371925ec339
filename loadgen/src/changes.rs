//! `compare-runs`: what changed between two results, whatever subcommand made them.
//!
//! Owns how figures of two results are matched and what counts as a change. It knows no figure by
//! name: whatever number both results have is compared.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::charts::figure;
use crate::cli::CompareRunsArgs;
use crate::table::Table;

/// Reads a file of JSON.
///
/// # Errors
/// If it cannot be read or is none.
pub(crate) fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}

/// All numbers in a part of a result, each with the names that lead to it, joined by dots. A
/// member of a list goes by its `name`, or else by its place.
#[must_use]
pub(crate) fn figures(value: &Value) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    collect(value, String::new(), &mut found);
    found
}

fn collect(value: &Value, path: String, found: &mut Vec<(String, f64)>) {
    let below = |name: &str| match path.as_str() {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    match value {
        Value::Number(number) => found.extend(number.as_f64().map(|number| (path, number))),
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| collect(value, below(name), found));
        }
        Value::Array(values) => {
            for (place, value) in values.iter().enumerate() {
                let name = value["name"].as_str().map_or_else(|| place.to_string(), str::to_owned);
                collect(value, below(&name), found);
            }
        }
        _ => {}
    }
}

/// One figure of both results.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    path: String,
    before: f64,
    after: f64,
    /// How far it may differ and mean nothing, as a part of one.
    noise: f64,
}

impl Change {
    fn ratio(&self) -> f64 {
        if self.before == self.after { 1.0 } else { self.after / self.before }
    }

    fn is_beyond_noise(&self) -> bool {
        let ratio = self.ratio();
        !ratio.is_finite() || (ratio - 1.0).abs() > self.noise
    }
}

/// Tells what changed.
///
/// # Errors
/// If a file is no result, or the two have nothing in common.
pub(crate) fn run(args: &CompareRunsArgs) -> Result<bool> {
    let (before, after) = (result(&args.before)?, result(&args.after)?);
    let changes = changes(&before, &after, args.noise);
    ensure!(
        !changes.is_empty(),
        "{} and {} have no figure in common; are they of the same subcommand?",
        args.before.display(),
        args.after.display()
    );
    for (name, path, document) in [("A", &args.before, &before), ("B", &args.after, &after)] {
        let of = |name: &str| document["environment"][name].as_str().unwrap_or("?");
        println!("  {name}  {}: commit {}, {}", path.display(), of("commit"), of("date"));
    }
    if before["environment"]["cpu_model"] != after["environment"]["cpu_model"] {
        println!("  note: the machines differ");
    }
    if before["load"] != after["load"] {
        println!("  note: the loads differ");
    }
    print(&changes, args.all);
    Ok(true)
}

fn print(changes: &[Change], all: bool) {
    let mut table = Table::default();
    table.line(["", "A", "B", "ratio", "noise", ""]);
    let is_told = |change: &&Change| all || change.is_beyond_noise();
    for change in changes.iter().filter(is_told) {
        table.line([
            change.path.clone(),
            figure(change.before),
            figure(change.after),
            figure(change.ratio()),
            format!("{:.0} %", change.noise * 100.0),
            if change.is_beyond_noise() { "changed" } else { "" }.to_owned(),
        ]);
    }
    let changed = changes.iter().filter(|change| change.is_beyond_noise()).count();
    println!("\n{table}");
    println!("  {changed} of {} figures changed by more than the noise", changes.len());
}

fn result(path: &Path) -> Result<Value> {
    let document = read(path)?;
    let is_ours = |text: &str| text.starts_with("fanfare-loadgen/");
    ensure!(
        document["schema"].as_str().is_some_and(is_ours),
        "{} is no result of loadgen",
        path.display()
    );
    Ok(document)
}

/// The figures that both have.
fn changes(before: &Value, after: &Value, noise: f64) -> Vec<Change> {
    let (spread_before, spread_after) = (spreads(before), spreads(after));
    let of_after: BTreeMap<String, f64> = figures(&after["median"]).into_iter().collect();
    let change = |(path, before): (String, f64)| {
        let after = *of_after.get(&path)?;
        let spread = |spreads: &BTreeMap<String, f64>| spreads.get(&path).copied();
        let noise = [spread(&spread_before), spread(&spread_after)]
            .into_iter()
            .flatten()
            .fold(noise, f64::max);
        Some(Change { path, before, after, noise })
    };
    figures(&before["median"]).into_iter().filter_map(change).collect()
}

/// How far each figure's rounds lie apart, as a part of their median; none of a single round.
fn spreads(document: &Value) -> BTreeMap<String, f64> {
    let rounds = document["rounds"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rounds.len() < 2 {
        return BTreeMap::new();
    }
    let mut columns: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (path, value) in rounds.iter().flat_map(figures) {
        columns.entry(path).or_default().push(value);
    }
    let spread = |(path, mut values): (String, Vec<f64>)| {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values[values.len() / 2].abs();
        (middle > 0.0).then_some((path, (most - least) / middle))
    };
    columns.into_iter().filter_map(spread).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_of_lists_go_by_their_names() {
        let found = figures(&json!({
            "a": 1,
            "runs": [{ "name": "raw", "bytes": { "head": 2 } }, { "x": 3 }, 4],
            "text": "5",
        }));
        let expected =
            [("a", 1.0), ("runs.raw.bytes.head", 2.0), ("runs.1.x", 3.0), ("runs.2", 4.0)];
        assert_eq!(found, expected.map(|(path, value)| (path.to_owned(), value)));
    }

    #[test]
    fn what_lies_within_the_spread_of_the_rounds_is_no_change() {
        let result = |values: &[f64]| {
            let rounds: Vec<Value> =
                values.iter().map(|v| json!({ "cpu": v, "same": 7 })).collect();
            json!({ "median": rounds[values.len() / 2], "rounds": rounds })
        };
        let quiet = result(&[10.0, 10.0, 10.0]);
        let told = changes(&quiet, &result(&[12.0, 12.0, 12.0]), 0.1);
        assert_eq!(told.iter().map(Change::is_beyond_noise).collect::<Vec<_>>(), [true, false]);
        let told = changes(&quiet, &result(&[9.0, 12.0, 13.0]), 0.1);
        assert!(!told[0].is_beyond_noise(), "{told:?}");
        let told = changes(&result(&[10.0]), &result(&[10.5]), 0.1);
        assert!(!told[0].is_beyond_noise() && (told[0].ratio() - 1.05).abs() < 1e-9);
    }

    #[test]
    fn nothing_that_becomes_something_is_a_change() {
        let change = |before, after| Change { path: String::new(), before, after, noise: 0.1 };
        assert!(change(0.0, 1.0).is_beyond_noise());
        assert!(!change(0.0, 0.0).is_beyond_noise());
        assert!(change(1.0, 0.0).is_beyond_noise());
    }
}
