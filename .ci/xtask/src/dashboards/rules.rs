//! Recording and alert rules: what promtool says of them, that their metrics exist, and that each
//! alert has its section in the runbook and the other way round.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::lint::names;
use super::prometheus::{CONFIG, Prometheus};
use crate::command::{output, program};
use crate::counted::Checks;
use crate::stage::Context;

const RUNBOOK: &str = "broker/docs/OPERATIONS.md";

/// Checks the rules as text: every alert is explained, every metric is in the lists.
pub(super) fn check_texts(context: &Context, metrics: &BTreeSet<String>, checks: &mut Checks) {
    checks.one("every alert has its section in the runbook", alerts_are_explained(context));
    checks.one("every metric of the rules exists", metrics_exist(context, metrics));
}

fn alerts_are_explained(context: &Context) -> anyhow::Result<()> {
    let rules = fs::read_to_string(context.root.join(CONFIG).join("rules.yml"))?;
    let runbook = fs::read_to_string(context.root.join(RUNBOOK)).context(RUNBOOK)?;
    let behind = |prefix: &'static str| {
        move |line: &str| line.trim().strip_prefix(prefix).map(|rest| rest.trim().to_owned())
    };
    let alerts: BTreeSet<String> = rules.lines().filter_map(behind("- alert:")).collect();
    let sections: BTreeSet<String> = runbook
        .lines()
        .filter_map(behind("### "))
        .filter(|title| title.starts_with("Fanfare"))
        .collect();
    ensure!(!alerts.is_empty(), "there is no alert");
    if let Some(one) = alerts.symmetric_difference(&sections).next() {
        bail!("{one} is not both an alert and a section of {RUNBOOK}");
    }
    for alert in &alerts {
        let url = format!("runbook_url: {RUNBOOK}#{}", alert.to_lowercase());
        ensure!(rules.contains(&url), "{alert} lacks {url}");
    }
    Ok(())
}

fn metrics_exist(context: &Context, metrics: &BTreeSet<String>) -> anyhow::Result<()> {
    let rules = fs::read_to_string(context.root.join(CONFIG).join("rules.yml"))?;
    let recorded: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    let ours = words.filter(|word| word.starts_with("fanfare_") || word.starts_with("process_"));
    for name in ours {
        let found = names(name).iter().all(|name| {
            let base = name.strip_suffix("_bucket").unwrap_or(name);
            metrics.contains(base) || recorded.contains(base)
        });
        ensure!(found, "there is no metric {name}");
    }
    Ok(())
}

/// Has promtool check the configuration and the rules, and run the rules' own tests.
pub(super) fn check_with_promtool(context: &Context, checks: &mut Checks) {
    for arguments in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "rules.yml"],
        ["test", "rules", "rules_test.yml"],
    ] {
        let mut promtool = program(context, "promtool");
        promtool.args(arguments).current_dir(context.root.join(CONFIG));
        let result = output(&mut promtool).map(|said| print!("{said}"));
        checks.one(&format!("promtool {}", arguments.join(" ")), result);
    }
}

/// Checks that Prometheus evaluates each rule without an error, and that records have values.
pub(super) fn check_live(prometheus: &Prometheus, checks: &mut Checks) {
    let groups = match prometheus.rule_groups() {
        Ok(groups) => groups,
        Err(error) => return checks.one("rules are loaded", Err(error)),
    };
    for rule in groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten()) {
        let name = rule["name"].as_str().unwrap_or_default();
        checks.one(&format!("rule {name}"), check_rule(prometheus, rule, name));
    }
}

fn check_rule(prometheus: &Prometheus, rule: &Value, name: &str) -> anyhow::Result<()> {
    ensure!(rule["health"] == "ok", "its health is {}", rule["health"]);
    match rule["type"].as_str() {
        Some("recording") => {
            ensure!(!prometheus.query(name)?.is_empty(), "it records nothing");
        }
        _ => ensure!(rule["state"] != "firing", "it fires, and nothing is wrong"),
    }
    Ok(())
}
