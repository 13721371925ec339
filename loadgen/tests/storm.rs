//! `loadgen storm`: what it says of a real broker, and of peers that recover their clients wrongly.

mod support;

use fanfare::{Server, ServerConfig};
use serde_json::json;
use support::{Fault, Peer, Run, loadgen};

/// 60 clients × 2 of 6 topics that miss 20 messages on each: 120 subscriptions.
fn run(name: &str, url: &str, more: &[&str]) -> Run {
    let load = ["storm", "--connections", "60", "--topics", "6", "--topics-per-connection", "2"];
    let rest = ["--seen", "3", "--rate", "2000", "--live-rate", "100", "--live-after", "200ms"];
    loadgen(name, &[&load[..], &rest, &["--url", url], more].concat())
}

#[test]
fn every_client_of_a_broker_recovers_every_message_while_live_ones_go_on() {
    let server = Server::start(ServerConfig::default_for_tests()).expect("a broker");
    let (url, admin, pid) = (server.url(), server.admin_url(), std::process::id().to_string());
    let ends = ["--admin-url", &admin, "--server-pid", &pid];
    for (transport, name) in [("json", "storm_json"), ("msgpack", "storm_msgpack")] {
        let more = ["--missed", "20", "--rounds", "2", "--transport", transport];
        let run = run(name, &url, &[&more[..], &ends].concat());
        assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}{}", run.stdout, run.stderr);
        for round in 0..2 {
            let round = run.round(round);
            assert_eq!((&round["recovered"], &round["retries"]), (&json!(60), &json!(0)));
            assert_eq!(round["recovered_messages"], 120 * 20);
            assert!(round["live_published"].as_u64() > Some(0), "{round}");
            assert!(round["memory"]["growth_bytes"].is_u64(), "{round}");
            assert!(round["recovered_seconds"].as_f64() > Some(0.0), "{round}");
            assert!(round["server_counts"]["messages_out_total"].as_f64() >= Some(2_400.0));
        }
        assert!(run.stdout.contains("60 of 60"), "{}", run.stdout);
    }
}

#[test]
fn clients_that_missed_more_than_the_broker_keeps_are_not_recovered() {
    let server = Server::start(ServerConfig::default_for_tests()).expect("a broker");
    let run = run("storm_too_late", &server.url(), &["--missed", "150", "--timeout", "1s"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    // Each subscription was told so, and each client had not recovered in time.
    assert_eq!(run.result["faults"]["not_recovered"], 120 + 60, "{}", run.stdout);
    assert!(run.stdout.contains("180 not recovered"), "{}", run.stdout);
    assert!(run.faults()[0] > 0);
}

fn with_peer(name: &str, fault: Fault) -> Run {
    let peer = Peer::start(fault);
    run(name, &peer.url(), &["--missed", "20", "--timeout", "2s", "--drain-timeout", "500ms"])
}

#[test]
fn an_honest_peer_has_no_fault() {
    let run = with_peer("storm_honest", Fault::None);
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}{}", run.stdout, run.stderr);
    assert_eq!(run.result["faults"]["not_recovered"], 0);
}

#[test]
fn one_missed_message_that_does_not_come_is_lost() {
    let run = with_peer("storm_lose", Fault::LoseMissed);
    assert_eq!((run.code, run.faults()), (Some(1), [120, 0, 0, 0]), "{}", run.stderr);
    assert_eq!(run.round(0)["recovered"], 0);
    assert_eq!(run.round(0)["recovered_messages"], 120 * 19);
}

#[test]
fn one_missed_message_that_comes_twice_is_doubled() {
    let run = with_peer("storm_double", Fault::DoubleMissed);
    assert_eq!((run.code, run.faults()), (Some(1), [0, 120, 0, 0]), "{}", run.stderr);
    assert_eq!(run.round(0)["recovered"], 60);
}

#[test]
fn a_peer_that_does_not_say_recovered_is_at_fault_although_all_comes() {
    let run = with_peer("storm_deny", Fault::DenyRecovery);
    assert_eq!((run.code, run.faults()), (Some(1), [0; 4]), "{}", run.stderr);
    assert_eq!(run.result["faults"]["not_recovered"], 120);
}

#[test]
fn attempts_that_fail_are_made_again_and_counted() {
    let run = with_peer("storm_cut", Fault::CutReturning(5));
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}{}", run.stdout, run.stderr);
    assert_eq!((&run.round(0)["retries"], &run.round(0)["recovered"]), (&json!(5), &json!(60)));
    assert!(run.stdout.contains("the first attempt that failed: the server closed"));
}

#[test]
fn mistakes_are_told_in_one_line_with_exit_code_2() {
    for (args, expected) in [
        (vec!["--transport", "raw"], "a raw stream has no epoch"),
        (vec!["--process-connections-max", "9"], "a storm is made by one process, which may open"),
        (vec!["--connections", "3"], "3 subscriptions leave some of 50 topics"),
        (vec!["--url", "ws://127.0.0.1:1/floor"], "recovery needs a broker"),
        (vec!["--missed", "0"], "0 is not in 1.."),
    ] {
        let run = loadgen("storm_mistake", &[vec!["storm"], args].concat());
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains(expected), "{expected}: {}", run.stderr);
    }
}
