//! The reference page of all metrics, written from the list, and what their names must be like.

use super::list::{self, Kind, Metric, SECTIONS};

const INTRODUCTION: &str = "\
# Metrics

The admin port serves these at `/metrics` (`http://127.0.0.1:8081/metrics` unless told otherwise)
in Prometheus' text format. Counters only grow while the process lives; take `rate()` of them. No
label ever names a topic, a user or an address, so the number of series does not grow with load.
Dashboards and alert rules over them are in [`dashboards/`](../../dashboards/README.md); what to do
when an alert fires is in [OPERATIONS.md](OPERATIONS.md).

This page is generated from the list in `broker/src/admin/metrics/list`. After a change there:
`UPDATE_DOCS=1 cargo test --package fanfare --lib metrics`.
";

/// The text of `broker/docs/METRICS.md`.
fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in SECTIONS {
        page += &format!("\n## {}\n\n", section.question);
        page += "| Metric | Type | Unit | Labels | What it tells |\n|---|---|---|---|---|\n";
        page.extend(section.metrics.iter().map(row));
    }
    page
}

fn row(metric: &Metric) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let Metric { name, unit, help, .. } = metric;
    format!("| `{name}` | {} | {unit} | {} | {help} |\n", kind(metric.kind), labels.join(", "))
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

#[test]
fn the_reference_page_is_what_the_list_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page(),
        "renew it: UPDATE_DOCS=1 cargo test --package fanfare --lib metrics"
    );
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    let mut names = Vec::new();
    for Metric { name, kind, unit, .. } in list::all() {
        assert!(name.starts_with("fanfare_") || name.starts_with("process_"), "{name}");
        let is_plain = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(name.chars().all(is_plain), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        let base = name.trim_end_matches("_total");
        for suffix in ["seconds", "bytes", "ratio"] {
            assert_eq!(base.ends_with(suffix), *unit == suffix, "{name} is in {unit}");
        }
        for other in ["_ms", "_us", "_millis", "_kib", "_percent", "_count", "_sum", "_bucket"] {
            assert!(!base.ends_with(other), "{name} is in no base unit, or taken");
        }
        names.push(*name);
    }
    let listed = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), listed, "each name stands once");
    assert!(names.contains(&"fanfare_build_info"));
}

#[test]
fn help_texts_are_sentences_and_labels_are_bounded() {
    const BOUNDED: [&str; 10] = [
        "code",
        "direction",
        "namespace",
        "part",
        "reason",
        "shard",
        "state",
        "status",
        "transport",
        "version",
    ];
    for Metric { name, help, labels, .. } in list::all() {
        assert!(help.len() > 5 && help.ends_with('.'), "{name}: {help:?}");
        assert!(!help.contains('|') && !help.contains('\n'), "{name}: it goes into a table");
        for label in *labels {
            assert!(BOUNDED.contains(label), "{name}: how many values may {label:?} have?");
        }
    }
}
