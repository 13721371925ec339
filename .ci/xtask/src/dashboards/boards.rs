//! Grafana's dashboards, made from the short files in `dashboards/boards`: places, ids, variables
//! and looks are the same everywhere, so that a panel there is its title, its unit and its queries.

mod looks;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::stage::Context;
use looks::{looks, thresholds};

/// Where the short files are.
const SOURCES: &str = "dashboards/boards";

/// Where Grafana reads.
pub(super) const BOARDS: &str = "dashboards/grafana/dashboards";

/// The version of the classic model that is written; Grafana converts older ones when it loads.
const SCHEMA_VERSION: u32 = 39;

/// Columns of Grafana's grid.
const COLUMNS: u32 = 24;

/// What short queries say in place of the selection of nodes or of load generators.
const SELECTIONS: [(&str, &str); 2] = [
    ("BROKER", r#"job=~"$job",instance=~"$instance""#),
    ("LOADGEN", r#"job=~"$loadgen_job",instance=~"$loadgen""#),
];

/// Where variables have their values from.
const JOBS: &str = "label_values(fanfare_build_info, job)";
const INSTANCES: &str = r#"label_values(fanfare_build_info{job=~"$job"}, instance)"#;
const SHARDS: &str =
    r#"label_values(fanfare_shard_busy_ratio{job=~"$job",instance=~"$instance"}, shard)"#;
const GENERATOR_JOBS: &str = "label_values(loadgen_connections, job)";
const GENERATORS: &str = r#"label_values(loadgen_connections{job=~"$loadgen_job"}, instance)"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Board {
    uid: String,
    title: String,
    description: String,
    variables: Vec<Variables>,
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Variables {
    Broker,
    Shard,
    Loadgen,
    Quantile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    title: String,
    #[serde(default)]
    collapsed: bool,
    panels: Vec<Panel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Panel {
    title: String,
    #[serde(default)]
    description: String,
    kind: Kind,
    /// One of Grafana's ids of units.
    unit: String,
    /// Columns of 24.
    width: u32,
    height: Option<u32>,
    #[serde(default)]
    stack: bool,
    max: Option<f64>,
    /// From here on it is orange.
    warn: Option<f64>,
    /// From here on it is red.
    bad: Option<f64>,
    queries: Vec<Query>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Stat,
    Timeseries,
    Heatmap,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    legend: String,
    expr: String,
}

/// Writes every dashboard anew.
pub(crate) fn write(context: &Context) -> anyhow::Result<()> {
    for (path, text) in all(context)? {
        fs::write(&path, text)?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Every dashboard as it should be: its path and its text.
pub(super) fn all(context: &Context) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut boards = Vec::new();
    for source in super::files(&context.root.join(SOURCES), "toml")? {
        let board = read(&source).with_context(|| source.display().to_string())?;
        let name = source.with_extension("json");
        let name = name.file_name().context("a file has a name")?;
        let text = serde_json::to_string_pretty(&board)? + "\n";
        boards.push((context.root.join(BOARDS).join(name), text));
    }
    ensure!(!boards.is_empty(), "{SOURCES} holds no board");
    Ok(boards)
}

fn read(source: &Path) -> anyhow::Result<Value> {
    let board: Board = toml::from_str(&fs::read_to_string(source)?)?;
    Ok(dashboard(&board))
}

fn dashboard(board: &Board) -> Value {
    json!({
        "annotations": { "list": [] },
        "description": board.description,
        "editable": true,
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "id": null,
        "links": [{
            "asDropdown": false, "icon": "external link", "includeVars": true, "keepTime": true,
            "tags": ["fanfare"], "targetBlank": false, "title": "Fanfare", "tooltip": "",
            "type": "dashboards", "url": "",
        }],
        "panels": Layout::default().rows(&board.rows),
        "refresh": "10s",
        "schemaVersion": SCHEMA_VERSION,
        "tags": ["fanfare"],
        "templating": { "list": templating(&board.variables) },
        "time": { "from": "now-30m", "to": "now" },
        "timepicker": {},
        "timezone": "browser",
        "title": board.title,
        "uid": board.uid,
        "version": 1,
        "weekStart": "",
    })
}

fn templating(asked: &[Variables]) -> Vec<Value> {
    let mut list = vec![json!({
        "hide": 0, "label": "Data source", "name": "datasource", "query": "prometheus",
        "refresh": 1, "type": "datasource", "includeAll": false, "multi": false,
    })];
    for one in asked {
        list.extend(match one {
            Variables::Broker => {
                vec![from_labels("job", "Job", JOBS), from_labels("instance", "Node", INSTANCES)]
            }
            Variables::Shard => vec![from_labels("shard", "Shard", SHARDS)],
            Variables::Loadgen => vec![
                from_labels("loadgen_job", "Generator's job", GENERATOR_JOBS),
                from_labels("loadgen", "Generator", GENERATORS),
            ],
            Variables::Quantile => vec![quantile()],
        });
    }
    list
}

/// A variable that offers the values of a label, all of them unless told otherwise.
fn from_labels(name: &str, label: &str, query: &str) -> Value {
    json!({
        "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
        "datasource": datasource(), "hide": 0, "includeAll": true,
        "label": label, "multi": true, "name": name, "options": [],
        "query": { "query": query, "refId": name, "qryType": 1 },
        "refresh": 2, "regex": "", "sort": 1, "type": "query",
    })
}

fn quantile() -> Value {
    let values = ["0.5", "0.9", "0.99", "0.999"];
    let option =
        |value: &str| json!({ "selected": value == "0.99", "text": value, "value": value });
    json!({
        "current": option("0.99"), "hide": 0, "includeAll": false, "label": "Quantile",
        "multi": false, "name": "quantile", "options": values.map(option),
        "query": values.join(","), "type": "custom",
    })
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// Puts panels from left to right and rows below each other.
#[derive(Debug, Default)]
struct Layout {
    x: u32,
    y: u32,
    /// Height of the panels that stand side by side.
    line: u32,
    id: u32,
}

impl Layout {
    fn rows(&mut self, rows: &[Row]) -> Vec<Value> {
        let mut all = Vec::new();
        for row in rows {
            self.end_line();
            let mut head = json!({
                "collapsed": row.collapsed, "gridPos": self.place(COLUMNS, 1), "id": self.id,
                "panels": [], "title": row.title, "type": "row",
            });
            self.end_line();
            let panels: Vec<Value> = row.panels.iter().map(|panel| self.panel(panel)).collect();
            if row.collapsed {
                head["panels"] = panels.into();
                all.push(head);
            } else {
                all.push(head);
                all.extend(panels);
            }
        }
        all
    }

    fn panel(&mut self, panel: &Panel) -> Value {
        let usual = if panel.kind == Kind::Stat { 4 } else { 8 };
        let place = self.place(panel.width, panel.height.unwrap_or(usual));
        let queries = panel.queries.iter().zip('A'..);
        let targets: Vec<Value> =
            queries.map(|(query, id)| target(panel.kind, query, id)).collect();
        let (kind, custom, options) = looks(panel);
        let color = if panel.kind == Kind::Stat { "thresholds" } else { "palette-classic" };
        let mut defaults = json!({
            "color": { "mode": color }, "custom": custom, "min": 0, "unit": panel.unit,
            "thresholds": { "mode": "absolute", "steps": thresholds(panel) },
        });
        if let Some(max) = panel.max {
            defaults["max"] = max.into();
        }
        json!({
            "datasource": datasource(), "description": panel.description, "gridPos": place,
            "id": self.id, "targets": targets, "title": panel.title, "type": kind,
            "fieldConfig": { "defaults": defaults, "overrides": [] }, "options": options,
        })
    }

    fn place(&mut self, width: u32, height: u32) -> Value {
        if self.x + width > COLUMNS {
            self.end_line();
        }
        let place = json!({ "h": height, "w": width, "x": self.x, "y": self.y });
        self.x += width;
        self.line = self.line.max(height);
        self.id += 1;
        place
    }

    fn end_line(&mut self) {
        (self.x, self.y, self.line) = (0, self.y + self.line, 0);
    }
}

fn target(kind: Kind, query: &Query, id: char) -> Value {
    let mut expr = query.expr.clone();
    for (short, long) in SELECTIONS {
        expr = expr.replace(short, long);
    }
    json!({
        "datasource": datasource(), "editorMode": "code", "expr": expr,
        "format": if kind == Kind::Heatmap { "heatmap" } else { "time_series" },
        "instant": kind == Kind::Stat, "legendFormat": query.legend,
        "range": kind != Kind::Stat, "refId": id.to_string(),
    })
}
