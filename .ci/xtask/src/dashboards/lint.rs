//! What every dashboard must be like, judged on the JSON that Grafana reads.

use std::collections::BTreeSet;

use serde_json::Value;

/// Series that are not of Fanfare's own lists: Prometheus makes them for each target and alert.
const OF_PROMETHEUS: [&str; 4] =
    ["up", "ALERTS", "scrape_duration_seconds", "scrape_samples_scraped"];

/// What the expression language itself is written with.
const WORDS: [&str; 18] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "or",
    "and",
    "unless",
    "bool",
    "offset",
    "sum",
    "max",
    "min",
    "avg",
    "count",
    "topk",
    "inf",
];

/// Units in use, each looked up in Grafana's own list (12.x). Grafana shows an unknown one as it is
/// written, so that a slip is not seen.
const UNITS: [&str; 9] =
    ["Bps", "bytes", "cps", "mps", "none", "percentunit", "reqps", "s", "short"];

/// One panel that shows something.
#[derive(Debug)]
pub(super) struct Panel<'a> {
    pub(super) title: &'a str,
    json: &'a Value,
}

impl<'a> Panel<'a> {
    /// The panels of a dashboard, those in collapsed rows too.
    pub(super) fn all(dashboard: &'a Value) -> Vec<Self> {
        let top = list(&dashboard["panels"]);
        let panels =
            top.iter().flat_map(|panel| [std::slice::from_ref(panel), list(&panel["panels"])]);
        let shown = panels.flatten().filter(|panel| panel["type"] != "row");
        shown.map(|json| Self { title: text(&json["title"]), json }).collect()
    }

    /// Its queries as they are written.
    pub(super) fn queries(&self) -> impl Iterator<Item = &'a str> {
        list(&self.json["targets"]).iter().map(|target| text(&target["expr"]))
    }

    fn complaints(&self, metrics: &BTreeSet<String>, variables: &BTreeSet<&str>) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.title.trim().is_empty() {
            wrong.push("it has no title".to_owned());
        }
        match text(&self.json["fieldConfig"]["defaults"]["unit"]) {
            "" => wrong.push("it has no unit".to_owned()),
            unit if !UNITS.contains(&unit) => wrong.push(format!("{unit} may be no unit")),
            _ => {}
        }
        let targets = list(&self.json["targets"]);
        if targets.is_empty() {
            wrong.push("it has no query".to_owned());
        }
        for target in targets {
            if text(&target["legendFormat"]).is_empty() {
                wrong.push("a query has no legend".to_owned());
            }
            let expr = text(&target["expr"]);
            for name in names(expr) {
                if !metrics.contains(base(&name)) && !OF_PROMETHEUS.contains(&name.as_str()) {
                    wrong.push(format!("there is no metric {name}"));
                }
            }
            for name in variables_in(expr).filter(|name| !variables.contains(name.as_str())) {
                wrong.push(format!("there is no variable ${name}"));
            }
            let has_range = expr.contains("rate(") || expr.contains("increase(");
            if has_range && !expr.contains("[$__rate_interval]") {
                wrong.push("a rate is not over $__rate_interval".to_owned());
            }
        }
        wrong
    }
}

/// What is wrong with one dashboard. `metrics`: every name in Fanfare's lists.
pub(super) fn complaints(dashboard: &Value, metrics: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for field in ["uid", "title", "description"] {
        if text(&dashboard[field]).is_empty() {
            wrong.push(format!("the dashboard has no {field}"));
        }
    }
    if text(&dashboard["uid"]).len() > 40 {
        wrong.push("Grafana takes uids of up to 40 characters".to_owned());
    }
    if !dashboard["id"].is_null() {
        wrong.push("its id is of one Grafana only; it must be null".to_owned());
    }
    wrong.extend(fixed_sources(dashboard));
    let variables: BTreeSet<&str> =
        list(&dashboard["templating"]["list"]).iter().map(|one| text(&one["name"])).collect();
    let panels = Panel::all(dashboard);
    let mut titles = BTreeSet::new();
    for panel in &panels {
        let about = |what| format!("panel {:?}: {what}", panel.title);
        wrong.extend(panel.complaints(metrics, &variables).into_iter().map(about));
        if !titles.insert(panel.title) {
            wrong.push(about("another panel has the same title".to_owned()));
        }
    }
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel.json["id"].as_u64()).collect();
    if ids.len() != panels.len() {
        wrong.push("each panel needs an id of its own".to_owned());
    }
    if panels.is_empty() {
        wrong.push("it shows nothing".to_owned());
    }
    wrong
}

/// Data sources that are not the variable, anywhere in the dashboard.
fn fixed_sources(json: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some(source) = json.get("datasource")
        && source["uid"] != "${datasource}"
    {
        wrong.push(format!("a data source is written down: {source}"));
    }
    let inner: Vec<&Value> = match json {
        Value::Object(members) => members.values().collect(),
        Value::Array(items) => items.iter().collect(),
        _ => Vec::new(),
    };
    wrong.extend(inner.into_iter().flat_map(fixed_sources));
    wrong
}

/// The names of metrics in an expression.
pub(super) fn names(expr: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let bare = without_details(expr);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':' || c == '$';
    let mut rest = bare.as_str();
    while let Some(start) = rest.find(is_name) {
        let end = rest[start..].find(|c| !is_name(c)).map_or(rest.len(), |len| start + len);
        let (word, after) = (&rest[start..end], rest[end..].trim_start());
        let is_number = word.starts_with(|c: char| c.is_ascii_digit() || c == '$');
        let is_call = after.starts_with('(');
        if !is_number && !is_call && !WORDS.contains(&word) {
            names.insert(word.to_owned());
        }
        rest = &rest[end..];
    }
    names
}

/// An expression without what stands in braces, brackets and quotes, and without the lists of
/// labels behind `by` and its like.
fn without_details(expr: &str) -> String {
    let (mut bare, mut depth, mut quoted) = (String::new(), 0, false);
    for c in expr.chars() {
        match c {
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth -= 1,
            c if !quoted && depth == 0 => bare.push(c),
            _ => {}
        }
    }
    for word in ["by", "without", "on", "ignoring", "group_left", "group_right"] {
        let opening = format!("{word} (");
        while let Some(start) = bare.find(&opening) {
            let end = bare[start..].find(')').map_or(bare.len(), |len| start + len + 1);
            bare.replace_range(start..end, "");
        }
    }
    bare
}

/// The metric that a series of a histogram belongs to.
fn base(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name)
}

/// The dashboard's own variables in an expression.
fn variables_in(expr: &str) -> impl Iterator<Item = String> {
    let parts = expr.split('$').skip(1).map(|part| {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len());
        part[..end].to_owned()
    });
    parts.filter(|name| !name.starts_with("__"))
}

fn list(json: &Value) -> &[Value] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn text(json: &Value) -> &str {
    json.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metrics() -> BTreeSet<String> {
        ["fanfare_a_total", "fanfare_b_seconds"].map(str::to_owned).into()
    }

    fn dashboard(panel: Value) -> Value {
        json!({
            "uid": "u", "title": "t", "description": "d", "id": null, "panels": [panel],
            "templating": { "list": [{ "name": "job" }] },
        })
    }

    fn panel() -> Value {
        json!({
            "id": 1, "title": "p", "type": "stat", "datasource": { "uid": "${datasource}" },
            "fieldConfig": { "defaults": { "unit": "s" } },
            "targets": [{
                "expr": "sum(rate(fanfare_a_total{job=~\"$job\"}[$__rate_interval]))",
                "legendFormat": "a",
            }],
        })
    }

    #[test]
    fn what_is_right_is_not_complained_about() {
        assert_eq!(complaints(&dashboard(panel()), &metrics()), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_named() {
        for (at, value, expected) in [
            ("/title", json!(""), "no title"),
            ("/fieldConfig/defaults/unit", json!(""), "no unit"),
            ("/fieldConfig/defaults/unit", json!("msgs"), "may be no unit"),
            ("/datasource/uid", json!("P1809F7CD0C75ACF3"), "written down"),
            ("/targets/0/legendFormat", json!(""), "no legend"),
            ("/targets/0/expr", json!("fanfare_c"), "no metric fanfare_c"),
            ("/targets/0/expr", json!("fanfare_a_total{x=\"$node\"}"), "no variable $node"),
            ("/targets/0/expr", json!("rate(fanfare_a_total[5m])"), "not over $__rate_interval"),
            ("/targets", json!([]), "no query"),
        ] {
            let mut panel = panel();
            *panel.pointer_mut(at).unwrap() = value;
            let found = complaints(&dashboard(panel), &metrics()).join("; ");
            assert!(found.contains(expected), "{at}: {found:?}");
        }
    }

    #[test]
    fn names_are_found_in_expressions() {
        let expr = "histogram_quantile($quantile, sum by (le, job) (rate(\
                    fanfare_b_seconds_bucket{job=~\"a|up\"}[1m]))) / on (job) group_left () \
                    (fanfare_a_total > 0) or vector(0)";
        let expected = ["fanfare_a_total", "fanfare_b_seconds_bucket"].map(str::to_owned);
        assert_eq!(names(expr), expected.into());
    }
}
