//! Faults of a peer are counted exactly, and the exit code tells.

mod support;

use support::{Fault, Peer, Run, loadgen};

/// Runs 6 subscribers of 2 of 3 topics: 4 subscribers a topic, 60 messages, so 40 messages reach
/// each subscriber, of which the 7th, 14th, … 35th (5 of them) are meddled with.
fn run(name: &str, fault: Fault, more: &[&str]) -> Run {
    let peer = Peer::start(fault);
    let load = [
        "fanout",
        "--connections",
        "6",
        "--topics",
        "3",
        "--topics-per-connection",
        "2",
        "--rate",
        "150",
        "--duration",
        "300ms",
        "--warmup",
        "100ms",
        "--drain-timeout",
        "400ms",
        "--url",
        &peer.url(),
    ];
    loadgen(name, &[&load, more].concat())
}

#[test]
fn an_honest_peer_has_no_fault() {
    for (name, transport) in [("honest_json", "json"), ("honest_msgpack", "msgpack")] {
        let run = run(name, Fault::None, &["--transport", transport]);
        assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}", run.stderr);
        assert_eq!(run.round(0)["server"]["deliveries"], 45 * 4);
    }
}

#[test]
fn lost_messages_are_counted() {
    let run = run("drop", Fault::Drop, &[]);
    assert_eq!((run.code, run.faults()), (Some(1), [6 * 5, 0, 0, 0]), "{}", run.stderr);
}

#[test]
fn doubled_messages_are_counted() {
    let run = run("double", Fault::Double, &[]);
    assert_eq!((run.code, run.faults()), (Some(1), [0, 6 * 5, 0, 0]), "{}", run.stderr);
    assert_eq!(run.round(0)["server"]["deliveries"], 45 * 4, "a doubled message is no delivery");
}

#[test]
fn swapped_messages_are_counted_where_their_order_is_promised() {
    // With one topic each, neighbours are of the same sequence: all 60 messages reach all 6.
    let one_topic = ["--topics", "1", "--topics-per-connection", "1"];
    let peer = Peer::start(Fault::Swap);
    let url = peer.url();
    let load = ["fanout", "--connections", "6", "--rate", "150", "--duration", "300ms"];
    let rest = ["--warmup", "100ms", "--drain-timeout", "400ms", "--url", &url];
    let run = loadgen("swap", &[&load[..], &rest, &one_topic].concat());
    assert_eq!((run.code, run.faults()), (Some(1), [0, 0, 6 * 8, 0]), "{}", run.stderr);
}

#[test]
fn faults_are_counted_in_worker_processes_too() {
    let run = run("drop_in_workers", Fault::Drop, &["--process-connections-max", "2"]);
    assert_eq!((run.code, run.faults()), (Some(1), [6 * 5, 0, 0, 0]), "{}", run.stderr);
}

#[test]
fn connections_that_the_server_closes_are_counted() {
    let run = run("close", Fault::Close, &[]);
    // Each got 6 of its 40 messages.
    assert_eq!((run.code, run.faults()), (Some(1), [6 * 34, 0, 0, 6]), "{}", run.stderr);
    assert!(run.stdout.contains("6 connections closed (the first: the server closed it"));
}

#[test]
fn a_refused_subscription_is_told_in_the_servers_words() {
    let run = run("refuse", Fault::Refuse, &[]);
    assert_eq!(run.code, Some(2));
    let told = "6 of 6 connections failed: the server refused a command: no room for you";
    assert!(run.stderr.contains(told), "{}", run.stderr);
}

#[test]
fn each_process_has_its_own_source_address() {
    let peer = Peer::start(Fault::None);
    let url = peer.url();
    let run = loadgen(
        "sources",
        &[
            "fanout",
            "--connections",
            "6",
            "--rate",
            "50",
            "--duration",
            "200ms",
            "--warmup",
            "0s",
            "--process-connections-max",
            "2",
            "--url",
            &url,
        ],
    );
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}", run.stderr);
    let count =
        |ip: &str| peer.addresses().iter().filter(|address| address.ip().to_string() == ip).count();
    // The publisher comes from the first address as well.
    assert_eq!((count("127.0.0.1"), count("127.0.0.2"), count("127.0.0.3")), (3, 2, 2));
}
