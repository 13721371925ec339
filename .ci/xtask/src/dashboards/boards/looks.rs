//! How panels look: the same for all of one kind.

use serde_json::{Value, json};

use super::{Kind, Panel};

/// The type of a panel, the settings of its fields and its options.
pub(super) fn looks(panel: &Panel) -> (&'static str, Value, Value) {
    match panel.kind {
        Kind::Stat => ("stat", json!({}), stat(panel)),
        Kind::Timeseries => ("timeseries", lines(panel), time_series()),
        Kind::Heatmap => ("heatmap", json!({}), heatmap(panel)),
    }
}

fn stat(panel: &Panel) -> Value {
    let names_series = panel.queries.iter().any(|query| query.legend.contains("{{"));
    json!({
        "colorMode": "value", "graphMode": "area", "justifyMode": "auto",
        "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
        "textMode": if names_series { "value_and_name" } else { "value" },
    })
}

fn lines(panel: &Panel) -> Value {
    json!({
        "drawStyle": "line", "fillOpacity": if panel.stack { 40 } else { 8 },
        "lineWidth": 1, "showPoints": "never", "spanNulls": false,
        "stacking": { "group": "A", "mode": if panel.stack { "normal" } else { "none" } },
        "thresholdsStyle": { "mode": if panel.bad.is_some() { "dashed" } else { "off" } },
    })
}

fn time_series() -> Value {
    json!({
        "legend": {
            "calcs": ["lastNotNull"], "displayMode": "list", "placement": "bottom",
            "showLegend": true,
        },
        "tooltip": { "mode": "multi", "sort": "desc" },
    })
}

fn heatmap(panel: &Panel) -> Value {
    json!({
        "calculate": false, "cellGap": 1, "legend": { "show": true },
        "color": { "mode": "scheme", "scheme": "Blues", "steps": 64 },
        "tooltip": { "mode": "single", "yHistogram": true }, "yAxis": { "unit": panel.unit },
    })
}

/// Green, and from where on it is orange and red.
pub(super) fn thresholds(panel: &Panel) -> Vec<Value> {
    let step = |color: &str, value: Option<f64>| json!({ "color": color, "value": value });
    let mut steps = vec![step("green", None)];
    steps.extend(panel.warn.map(|value| step("orange", Some(value))));
    steps.extend(panel.bad.map(|value| step("red", Some(value))));
    steps
}
