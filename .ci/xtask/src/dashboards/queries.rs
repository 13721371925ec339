//! Every query of every panel, with its variables filled in, asked of Prometheus.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::lint::Panel;
use super::prometheus::Prometheus;
use crate::counted::Checks;

/// What Grafana would fill in for a scrape interval of five seconds: four of them.
const RATE_INTERVAL: &str = "20s";

/// How long the first rates may take: some scrapes.
const DATA_TIMEOUT: Duration = Duration::from_secs(120);

/// What must be there before anything is asked: two scrapes at least of both targets, and readers
/// that do not read.
const SIGNS: [&str; 4] = [
    "rate(fanfare_messages_out_total[20s]) > 0",
    "rate(loadgen_deliveries_total[20s]) > 0",
    r#"fanfare_connection_states{state=~"blocked|lagging|stalled"} > 0"#,
    "instance:fanfare_delivery_seconds:p99 > 0",
];

/// Waits until Prometheus has what panels are drawn from.
pub(super) fn wait_for_data(prometheus: &Prometheus) -> anyhow::Result<()> {
    let deadline = Instant::now() + DATA_TIMEOUT;
    for sign in SIGNS {
        while prometheus.query(sign)?.is_empty() {
            ensure!(Instant::now() < deadline, "there is never anything in {sign}");
            thread::sleep(Duration::from_millis(500));
        }
    }
    Ok(())
}

/// Asks everything that a dashboard asks; each query is a check.
pub(super) fn check(prometheus: &Prometheus, name: &str, dashboard: &Value, checks: &mut Checks) {
    let variables = match variables(prometheus, dashboard) {
        Ok(variables) => variables,
        Err(error) => return checks.one(&format!("{name}: its variables"), Err(error)),
    };
    for panel in Panel::all(dashboard) {
        for query in panel.queries() {
            let expr = filled(query, &variables);
            let what = format!("{name}, {:?}, {expr}", panel.title);
            checks.one(&what, has_data(prometheus, &expr));
        }
    }
}

/// The values that Grafana would put in place of a dashboard's variables with all selected.
fn variables(
    prometheus: &Prometheus,
    dashboard: &Value,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for variable in dashboard["templating"]["list"].as_array().context("there are no variables")? {
        let name = variable["name"].as_str().context("a variable without a name")?;
        let value = match variable["type"].as_str() {
            Some("query") => {
                let query = variable["query"]["query"].as_str().context("it has no query")?;
                let query = filled(query, &values);
                let found = label_values(prometheus, &query)?;
                ensure!(!found.is_empty(), "${name} has no values: {query}");
                // A list is put into a regular expression.
                format!("({})", found.join("|").replace('.', "\\\\."))
            }
            Some("custom") => {
                variable["current"]["value"].as_str().context("nothing is selected")?.to_owned()
            }
            Some("datasource") => continue,
            other => bail!("${name} is of the type {other:?}"),
        };
        values.insert(name.to_owned(), value);
    }
    Ok(values)
}

/// What `label_values(SELECTOR, LABEL)` gives.
fn label_values(prometheus: &Prometheus, query: &str) -> anyhow::Result<Vec<String>> {
    let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
    let (selector, label) =
        inner.and_then(|inner| inner.rsplit_once(", ")).context("what is it?")?;
    prometheus.label_values(selector, label)
}

/// An expression with its variables replaced, the longest names first.
fn filled(expr: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expr = expr.replace("$__rate_interval", RATE_INTERVAL);
    for (name, value) in variables.iter().rev() {
        expr = expr.replace(&format!("${name}"), value);
    }
    expr
}

fn has_data(prometheus: &Prometheus, expr: &str) -> anyhow::Result<()> {
    ensure!(!expr.contains('$'), "a variable is not filled in");
    let series = prometheus.query(expr)?;
    ensure!(!series.is_empty(), "no series");
    let number = |one: &Value| one["value"][1].as_str().and_then(|value| value.parse::<f64>().ok());
    let has_number = series.iter().filter_map(number).any(f64::is_finite);
    ensure!(has_number, "no number: {}", series[0]);
    Ok(())
}
