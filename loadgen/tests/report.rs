//! `loadgen report` and `loadgen compare-runs` on results that `loadgen` itself has just written.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fanfare::{Server, ServerConfig};
use serde_json::{Value, json};
use support::{loadgen, scratch_file};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen")).args(args).output().expect("loadgen runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An empty folder of this name.
fn folder(name: &str) -> PathBuf {
    let folder = scratch_file(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("room for it");
    folder
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A comparison and a fan-out, measured at once and briefly.
fn results(folder: &Path) {
    let server = Server::start(ServerConfig::default_for_tests()).expect("a broker");
    let (url, pid) = (server.url(), std::process::id().to_string());
    let ends = ["--url", &url, "--server-pid", &pid, "--duration", "300ms", "--warmup", "100ms"];
    let compare = ["compare", "--clients", "5", "--rate", "20", "--interval", "100ms"];
    let parts = ["--parts", "transports,headers,use-cases", "--use-case-clients", "5,10"];
    let transports = ["--transports", "poll-kept,sse,raw", "--presets", "articles"];
    let name = ["--name", "a <b> & \"c\""];
    let load =
        loadgen("report_compare", &[&compare[..], &parts, &transports, &name, &ends].concat());
    assert_eq!(load.code, Some(0), "{}", load.stderr);
    fs::write(folder.join("compare.json"), load.result.to_string()).expect("room for it");
    let fanout = loadgen("report_fanout", &[&["fanout", "--connections", "5"][..], &ends].concat());
    assert_eq!(fanout.code, Some(0), "{}", fanout.stderr);
    fs::write(folder.join("fanout.json"), fanout.result.to_string()).expect("room for it");
}

#[test]
fn a_folder_of_results_becomes_a_page_charts_and_a_summary() {
    let folder = folder("report_folder");
    results(&folder);
    fs::write(folder.join("other.json"), "{\"schema\":\"of others\"}").expect("room for it");
    let report = run(&["report", plain(&folder)]);
    assert_eq!(report.status.code(), Some(0), "{}", text(&report.stderr));
    assert!(text(&report.stderr).contains("other.json is no result of loadgen"));

    let page = fs::read_to_string(folder.join("report.html")).expect("a page");
    assert!(page.contains("<h2>a &lt;b&gt; &amp; &quot;c&quot;</h2>"), "names are text");
    assert!(page.contains("prefers-color-scheme:dark") && page.contains("2 bytes of framing"));
    let from_elsewhere = ["src=", "href=", "url(", "@import", "<script", "https://", "<link"];
    for part in from_elsewhere {
        assert!(!page.contains(part), "{part} in the page");
    }
    for chart in ["bytes", "traffic", "latency", "cpu"] {
        let svg = fs::read_to_string(folder.join(format!("compare-{chart}.svg"))).expect(chart);
        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"), "{chart}");
        assert!(page.contains(svg.trim_end()), "{chart} stands in the page");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
    let summary = fs::read_to_string(folder.join("summary.md")).expect("a summary");
    for expected in [
        "![Traffic against clients](compare-traffic.svg)",
        "### The articles' table, three ways",
        "| C | 100,000 | 665 : 1.53 = 436 |",
        "10, computed",
        "response_us.p99 | ",
    ] {
        assert!(summary.contains(expected), "{expected} in {summary}");
    }
}

#[test]
fn folders_without_results_are_told_with_exit_code_2() {
    let empty = folder("report_empty");
    let of = |path: &Path| run(&["report", plain(path)]);
    let report = of(&empty);
    assert_eq!(report.status.code(), Some(2));
    assert!(text(&report.stderr).contains("loadgen writes one with --out FILE.json"));
    fs::write(empty.join("broken.json"), "{").expect("room for it");
    let report = of(&empty);
    assert_eq!(report.status.code(), Some(2));
    assert!(text(&report.stderr).contains("broken.json is no JSON"), "{}", text(&report.stderr));
    let report = of(&empty.join("nowhere"));
    assert!(text(&report.stderr).contains("nowhere cannot be read"));
    let old = json!({ "schema": "fanfare-loadgen/1", "articles": 1, "median": { "runs": [] } });
    fs::write(empty.join("broken.json"), old.to_string()).expect("room for it");
    assert!(text(&of(&empty).stderr).contains("is of another version of loadgen"));
}

fn document(name: &str, cpu: f64, rounds: &[f64]) -> PathBuf {
    let round = |cpu: &f64| json!({ "cpu": cpu, "runs": [{ "name": "raw", "bytes": 66 }] });
    let rounds: Vec<Value> = rounds.iter().map(round).collect();
    let environment = json!({ "commit": name, "date": "2026-11-20", "cpu_model": "x" });
    let document = json!({
        "schema": "fanfare-loadgen/1", "environment": environment, "load": {},
        "median": round(&cpu), "rounds": rounds,
    });
    let path = scratch_file(&format!("{name}.json"));
    fs::write(&path, document.to_string()).expect("room for it");
    path
}

#[test]
fn two_results_are_compared_figure_by_figure() {
    let before = document("runs_before", 4.0, &[4.0]);
    let after = document("runs_after", 5.0, &[5.0]);
    let noisy = document("runs_noisy", 5.0, &[4.0, 5.0, 6.0]);
    let told = |after: &Path, more: &[&str]| {
        let output = run(&[&["compare-runs", plain(&before), plain(after)][..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let changed = told(&after, &[]);
    let line = changed.lines().find(|line| line.contains("cpu")).expect("a line of it");
    assert!(line.contains("1.25") && line.ends_with("changed"), "{line}");
    assert!(changed.contains("1 of 2 figures changed"), "{changed}");
    assert!(!changed.contains("runs.raw.bytes"), "{changed}");
    assert!(told(&after, &["--all"]).contains("runs.raw.bytes"));
    assert!(told(&after, &["--noise", "30%"]).contains("0 of 2 figures changed"));
    assert!(told(&noisy, &[]).contains("0 of 2 figures changed"), "rounds lie 40 % apart");

    let other = scratch_file("runs_other.json");
    fs::write(&other, "{\"schema\":\"fanfare-loadgen/1\",\"median\":{}}").expect("room for it");
    let nothing = run(&["compare-runs", plain(&before), plain(&other)]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(text(&nothing.stderr).contains("have no figure in common"));
    let missing = run(&["compare-runs", plain(&before), "/nowhere.json"]);
    assert!(text(&missing.stderr).contains("/nowhere.json cannot be read"));
}
