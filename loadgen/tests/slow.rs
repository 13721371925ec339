//! `loadgen slow`: what it says of a real broker, and of peers that serve slow readers wrongly.

mod support;

use fanfare::{Server, ServerConfig};
use support::{Fault, Peer, Run, loadgen};

/// 40 connections, 4 of them slow, with 20 messages of warm-up and 150 of the load: 2.4 MB for
/// each, many times what kernel and broker hold for one of them.
const LOAD: [&str; 17] = [
    "slow",
    "--connections",
    "40",
    "--slow",
    "10%",
    "--rate",
    "100",
    "--size",
    "16KiB",
    "--duration",
    "1500ms",
    "--warmup",
    "200ms",
    "--fill",
    "5",
    "--drain-timeout",
    "5s",
];

fn number(run: &Run, path: &str) -> u64 {
    run.median(path).as_u64().unwrap_or_else(|| panic!("{path}: {}", run.median(path)))
}

#[test]
fn slow_readers_of_a_broker_are_told_of_gaps_and_disturb_nobody() {
    let server = Server::start(ServerConfig::default_for_tests()).expect("a broker");
    let (url, admin, pid) = (server.url(), server.admin_url(), std::process::id().to_string());
    let ends = ["--url", &url, "--admin-url", &admin, "--server-pid", &pid];
    let run = loadgen("slow_all", &[&LOAD[..], &["--mode", "all"], &ends].concat());
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}{}", run.stdout, run.stderr);
    for phase in ["without", "with"] {
        assert_eq!(number(&run, &format!("{phase}.quick.deliveries")), 36 * 150);
        assert!(number(&run, &format!("{phase}.memory.peak_bytes")) > 1 << 20);
    }
    assert_eq!(run.round(0)["without"]["slow"], serde_json::Value::Null);
    let told = number(&run, "with.slow.gap_messages");
    assert!(told > 0, "the broker's history is shorter than the load: {}", run.stdout);
    assert_eq!(number(&run, "with.slow.messages") + told, 4 * 170);
    let counts = &run.round(0)["with"]["server_counts"];
    assert_eq!(counts["subscriptions_behind"], 4.0, "{counts}");
    for text in ["ratio", "4 of them do not read", "in gaps", "closed by the server: 0"] {
        assert!(run.stdout.contains(text), "{text}: {}", run.stdout);
    }
}

#[test]
fn slow_readers_of_newest_values_end_with_the_newest() {
    let server = Server::start(ServerConfig::default_for_tests()).expect("a broker");
    let url = server.url();
    for (transport, name) in [("json", "slow_json"), ("raw", "slow_raw")] {
        let more = ["--mode", "latest", "--transport", transport, "--url", &url];
        let run = loadgen(name, &[&LOAD[..], &more].concat());
        assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}{}", run.stdout, run.stderr);
        let passed_over = number(&run, "with.slow.passed_over");
        assert!(passed_over > 0, "{}", run.stdout);
        assert_eq!(number(&run, "with.slow.messages") + passed_over, 4 * 170);
        assert_eq!(number(&run, "with.slow.gap_messages"), 0);
    }
}

#[test]
fn a_trickle_is_read_meanwhile() {
    let server = Server::start(ServerConfig::default_for_tests()).expect("a broker");
    let url = server.url();
    let more = ["--mode", "latest", "--trickle", "64KiB", "--url", &url];
    let run = loadgen("slow_trickle", &[&LOAD[..], &more].concat());
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("4 of them read 64.0 KiB/s"), "{}", run.stdout);
}

#[test]
fn memory_of_slow_readers_alone_is_compared_between_durations() {
    let server = Server::start(ServerConfig::default_for_tests()).expect("a broker");
    let (url, pid) = (server.url(), std::process::id().to_string());
    let run = loadgen(
        "slow_only",
        &[
            &["slow", "--slow-only", "--mode", "latest", "--connections", "6", "--topics", "3"][..],
            &["--topics-per-connection", "3", "--rate", "300", "--size", "16KiB", "--fill", "2"],
            &["--durations", "300ms,600ms", "--rounds", "2", "--url", &url, "--server-pid", &pid],
        ]
        .concat(),
    );
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}{}", run.stdout, run.stderr);
    for (load, published) in [(0, 90), (1, 180)] {
        let load = &run.median("loads")[load];
        assert_eq!(load["quick"]["published"], published);
        assert!(load["memory"]["start_bytes"].as_u64() > Some(1 << 20));
        let slow = &load["slow"];
        let all = slow["messages"].as_u64().zip(slow["passed_over"].as_u64());
        assert_eq!(all.map(|(came, passed)| came + passed), Some(6 * published), "{slow}");
    }
    assert!(run.stdout.contains("the last as a multiple of the first"), "{}", run.stdout);
}

/// 9 quick and 1 slow reader at a peer, which gets all connections one after the other: 9 of the
/// run without slow readers, then 9 quick ones and the slow one.
fn with_peer(name: &str, fault: Fault, more: &[&str]) -> Run {
    let peer = Peer::start(fault);
    let load = ["slow", "--connections", "10", "--slow", "1", "--rate", "50", "--size", "16KiB"];
    let rest = ["--duration", "1s", "--warmup", "0s", "--fill", "0", "--drain-timeout", "600ms"];
    loadgen(name, &[&load[..], &rest, more, &["--url", &peer.url()]].concat())
}

#[test]
fn a_peer_that_serves_slow_readers_from_a_queue_has_no_fault() {
    let run = with_peer("slow_honest", Fault::None, &[]);
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}{}", run.stdout, run.stderr);
    assert_eq!(number(&run, "with.slow.messages"), 50);
}

#[test]
fn a_peer_that_lets_everybody_wait_for_the_slow_one_is_seen() {
    let run = with_peer("slow_hold_up", Fault::HoldUp, &[]);
    let [lost, doubled, reordered, closed] = run.faults();
    assert!(lost > 0, "what came only once the slow one read again is lost: {}", run.stdout);
    assert_eq!((run.code, doubled + reordered + closed), (Some(1), 0), "{}", run.stderr);
    assert_eq!(run.round(0)["without"]["quick"]["faults"]["lost"], 0);
}

#[test]
fn messages_that_a_slow_reader_never_gets_and_no_gap_tells_of_are_lost() {
    let run = with_peer("slow_drop", Fault::DropBeyond(18), &[]);
    // Every seventh of 50.
    assert_eq!((run.code, run.faults()), (Some(1), [7, 0, 0, 0]), "{}", run.stderr);
    assert_eq!(number(&run, "with.slow.lost"), 7);
}

#[test]
fn a_slow_reader_that_is_cut_off_comes_back_or_stays_away() {
    let run = with_peer("slow_return", Fault::CutBeyond(18), &[]);
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}{}", run.stdout, run.stderr);
    assert!(number(&run, "with.slow.closed") >= 1, "{}", run.stdout);
    assert!(number(&run, "with.slow.returned") >= 1, "{}", run.stdout);
    let run = with_peer("slow_away", Fault::CutBeyond(18), &["--when-closed", "stay-away"]);
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}{}", run.stdout, run.stderr);
    assert_eq!((number(&run, "with.slow.closed"), number(&run, "with.slow.returned")), (1, 0));
    assert!(run.stdout.contains("closed by the server: 1, stayed away"), "{}", run.stdout);
}

#[test]
fn mistakes_are_told_in_one_line_with_exit_code_2() {
    for (args, expected) in [
        (vec!["--slow", "0%"], "write a share such as 1%"),
        (vec!["--connections", "10", "--slow", "1%"], "0 of 10 connections would be slow"),
        (vec!["--connections", "10", "--slow", "10"], "10 of 10 connections would be slow"),
        (vec!["--durations", "1s,2s"], "--slow-only"),
        (vec!["--slow-only", "--slow", "2"], "cannot be used with"),
        (vec!["--mode", "some"], "[possible values: all, latest]"),
        (vec!["--deliveries", "0"], "write a positive number"),
        (vec!["--url", "ws://127.0.0.1:1/floor"], "slow readers need a broker"),
        (vec!["--admin-url", "nowhere", "--url", "ws://127.0.0.1:1"], "--admin-url nowhere"),
    ] {
        let run = loadgen("slow_mistake", &[vec!["slow"], args].concat());
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains(expected), "{expected}: {}", run.stderr);
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    }
}
