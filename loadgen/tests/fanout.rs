//! `loadgen fanout` against `loadgen floor`, end to end.

mod support;

use serde_json::Value;
use support::{Floor, loadgen};

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// 50 connections × 2 of 5 topics, 20 subscribers each, 400 messages: 8,000 deliveries.
const LOAD: [&str; 14] = [
    "fanout",
    "--connections",
    "50",
    "--topics",
    "5",
    "--topics-per-connection",
    "2",
    "--rate",
    "400",
    "--duration",
    "1s",
    "--warmup",
    "200ms",
    "--url",
];

fn assert_all_arrived(run: &support::Run) {
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert_eq!(run.faults(), [0; 4]);
    let server = &run.round(0)["server"];
    assert_eq!((&server["published"], &server["deliveries"]), (&400.into(), &8_000.into()));
}

#[test]
fn every_delivery_arrives_and_is_measured() {
    let floor = Floor::start();
    let run =
        loadgen("measured", &[&LOAD[..], &[&floor.url, "--server-pid", &floor.pid()]].concat());
    assert_all_arrived(&run);
    let server = &run.round(0)["server"];
    // 128 bytes of payload, {"topic":"load.0000","offset":1,"data":} and a header of 4 bytes.
    let bytes = number(&server["bytes_per_delivery"]);
    assert!((171.0..175.0).contains(&bytes), "{bytes}");
    assert!(number(&server["server_cpu_us_per_delivery"]) > 0.1);
    assert!(number(&server["loadgen_cpu_us_per_delivery"]) > 0.1);
    assert!(number(&server["server_rss_bytes"]) > 100_000.0);
    let latency = &server["response_us"];
    let percentiles = ["p50", "p90", "p99", "p99_9", "max"].map(|name| number(&latency[name]));
    assert!(percentiles.is_sorted() && percentiles[0] > 0.0, "{percentiles:?}");
    assert!(number(&server["service_us"]["max"]) <= percentiles[4]);
    assert_eq!(run.result["load"]["loop"], "open");
    let log = std::fs::read_to_string(support::scratch_file("measured.hlog")).expect("histograms");
    assert!(log.contains("Tag=server"), "{log:.300}");
    assert_eq!(run.result["median"]["server"]["deliveries"], 8_000);
    assert!(run.stdout.contains("0 lost, 0 doubled, 0 reordered"), "{}", run.stdout);
}

#[test]
fn every_transport_carries_the_stamps() {
    let floor = Floor::start();
    let msgpack = [&LOAD[..], &[&floor.url, "--transport", "msgpack"]].concat();
    assert_all_arrived(&loadgen("msgpack", &msgpack));
    let raw = [
        "fanout",
        "--connections",
        "20",
        "--topics",
        "4",
        "--rate",
        "200",
        "--duration",
        "500ms",
        "--warmup",
        "0s",
        "--transport",
        "raw",
        "--url",
        &floor.url,
    ];
    let run = loadgen("raw", &raw);
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}", run.stderr);
    assert_eq!(run.round(0)["server"]["deliveries"], 500);
    assert_eq!(number(&run.round(0)["server"]["bytes_per_delivery"]), 132.0);
}

#[test]
fn several_processes_threads_and_publishers_count_like_one() {
    let floor = Floor::start();
    let more = ["--process-connections-max", "20", "--receivers", "2", "--publishers", "3"];
    let run = loadgen("processes", &[&LOAD[..], &[&floor.url], &more].concat());
    assert_all_arrived(&run);
    assert!(number(&run.round(0)["server"]["response_us"]["p50"]) > 0.0);
    assert!(number(&run.round(0)["server"]["connect_latency_us"]["p50"]) > 0.0);
}

#[test]
fn a_closed_loop_goes_on_when_all_have_received() {
    let floor = Floor::start();
    let run = loadgen(
        "closed",
        &[
            "fanout",
            "--connections",
            "30",
            "--topics",
            "3",
            "--in-flight",
            "4",
            "--duration",
            "500ms",
            "--warmup",
            "100ms",
            "--url",
            &floor.url,
        ],
    );
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}", run.stderr);
    let server = &run.round(0)["server"];
    assert_eq!(number(&server["deliveries"]), number(&server["published"]) * 10.0);
    assert!(number(&server["published"]) > 100.0, "the loop came to a stop: {server}");
    assert_eq!(run.result["load"]["loop"], "closed");
    assert!(
        run.stdout.contains("closed loop, 4 in flight (latency from the send)"),
        "{}",
        run.stdout
    );
}

#[test]
fn the_floor_runs_beside_the_server_in_each_round() {
    let floor = Floor::start();
    let more = ["--floor", "--rounds", "2", "--server-pid", &floor.pid()];
    let run = loadgen("beside", &[&LOAD[..], &[&floor.url], &more].concat());
    assert_all_arrived(&run);
    assert_eq!(run.result["rounds"].as_array().map(Vec::len), Some(2));
    for round in 0..2 {
        let round = run.round(round);
        let ratio = number(&round["server"]["server_cpu_us_per_delivery"])
            / number(&round["floor"]["server_cpu_us_per_delivery"]);
        assert!((number(&round["ratio_to_floor"]) - ratio).abs() < 1e-9);
        assert_eq!(
            round["floor"]["bytes_per_delivery"],
            run.round(0)["floor"]["bytes_per_delivery"]
        );
    }
    assert!(run.stdout.contains("medians of 2 rounds"), "{}", run.stdout);
}

#[test]
fn mistakes_are_told_in_one_line_with_exit_code_2() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = format!("ws://{nobody}");
    for (args, expected) in [
        (vec!["--url", gone.as_str(), "--connections", "3"], "3 of 3 connections failed: "),
        (vec!["--size", "10"], "--size 10 is too small"),
        (vec!["--rate", "0"], "--rate must be a positive number"),
        (
            vec!["--in-flight", "2", "--publishers", "2"],
            "a closed loop (--in-flight) has one publisher",
        ),
        (
            vec!["--in-flight", "2", "--process-connections-max", "9"],
            "a closed loop runs in one process, which may open 9",
        ),
        (vec!["--topics", "2", "--topics-per-connection", "3"], "3 topics per connection; 1 to 2"),
        (
            vec!["--transport", "raw", "--topics", "2", "--topics-per-connection", "2"],
            "a raw stream carries one topic",
        ),
        (vec!["--topics", "2000"], "1000 subscriptions leave some of 2000 topics"),
        (vec!["--url", "wss://host:1"], "\"wss://host:1\" is no target"),
        (vec!["--server", "/nowhere/fanfare"], "/nowhere/fanfare cannot be started"),
    ] {
        let run = loadgen("mistake", &[vec!["fanout"], args].concat());
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        let told = format!("loadgen: {expected}");
        let lines: Vec<&str> = run.stderr.lines().filter(|l| l.starts_with("loadgen:")).collect();
        assert!(lines.len() == 1 && lines[0].starts_with(&told), "{told}: {}", run.stderr);
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    }
    let usage = loadgen("usage", &["fanout", "--rate", "1", "--in-flight", "1"]);
    assert_eq!(usage.code, Some(2), "clap's own usage errors have the same code");
}
