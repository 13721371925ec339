//! `loadgen resume`: what it says of a real broker, and of peers that are no brokers of newest
//! values.

mod support;

use fanfare::{Server, ServerConfig};
use support::{Fault, Peer, Run, loadgen, scratch_file};

/// 20 topics with 20 messages a second each; 2.4 MB while the reader stops, many times what
/// kernel and broker hold for it.
fn run(name: &str, url: &str, more: &[&str]) -> Run {
    let load = ["resume", "--topics", "20", "--rate", "400", "--size", "4KiB", "--url", url];
    let times = ["--stall-for", "1500ms", "--warmup", "200ms", "--after", "300ms"];
    loadgen(name, &[&load[..], &times, more].concat())
}

#[test]
fn a_broker_sends_the_newest_values_and_nothing_older_behind_what_was_held() {
    let server = Server::start(ServerConfig::default_for_tests()).expect("a broker");
    let (url, admin, file) = (server.url(), server.admin_url(), scratch_file("per_topic.csv"));
    let file_name = file.to_str().expect("a plain path");
    let run = run(
        "resume_broker",
        &url,
        &["--admin-url", &admin, "--per-topic", file_name, "--rounds", "2"],
    );
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}{}", run.stdout, run.stderr);
    for round in 0..2 {
        let round = run.round(round);
        assert_eq!((&round["topics_owed"], &round["newest_first"]), (&20.into(), &20.into()));
        assert_eq!((&round["older_behind"], &round["last_missing"]), (&0.into(), &0.into()));
        assert!(round["held"]["unsent_bytes"].as_u64() > Some(0), "{round}");
        assert!(round["held"]["outbox_bytes"].is_u64(), "{round}");
        assert!(round["held_messages"].as_u64() > Some(0), "{round}");
        assert_eq!(round["published"], 800);
    }
    let lines = std::fs::read_to_string(&file).expect("a file for each topic");
    assert_eq!(lines.lines().count(), 1 + 2 * 20, "{lines}");
    assert!(lines.starts_with("round,topic,held,held_newest,newest,first_behind,"), "{lines}");
    assert!(run.stdout.contains("20 of 20"), "{}", run.stdout);
}

#[test]
fn what_the_outbox_holds_is_allowed_for_where_the_broker_does_not_tell() {
    let server = Server::start(ServerConfig::default_for_tests()).expect("a broker");
    let run = run("resume_no_admin", &server.url(), &["--transport", "msgpack"]);
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}{}", run.stdout, run.stderr);
    assert!(run.median("held.outbox_bytes").is_null());
    assert!(run.stdout.contains("64 KiB were allowed for"), "{}", run.stdout);
}

#[test]
fn a_peer_that_queues_everything_sends_stale_messages() {
    let peer = Peer::start(Fault::None);
    let run = run("resume_stale", &peer.url(), &[]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    let stale = run.result["faults"]["stale"].as_u64().expect("a count");
    // Most of what came meanwhile: all but the newest, what was held, and the allowance.
    assert!((200..780).contains(&stale), "{}", run.stdout);
    assert_eq!((run.faults(), run.median("last_missing")), ([0; 4], &0.into()), "{}", run.stdout);
    assert!(run.stdout.contains(&format!("{stale} stale")), "{}", run.stdout);
}

#[test]
fn newest_values_that_never_come_are_lost() {
    // The witness subscribes first.
    let peer = Peer::start(Fault::FallSilentBeyond(1, 30));
    let run = run("resume_silent", &peer.url(), &["--drain-timeout", "500ms"]);
    assert_eq!((run.code, run.faults()), (Some(1), [20, 0, 0, 0]), "{}", run.stderr);
    assert_eq!(run.median("newest_missing"), 20);
    assert!(run.stdout.contains("0 of 20"), "{}", run.stdout);
}

#[test]
fn a_reader_that_is_cut_off_is_told() {
    let peer = Peer::start(Fault::CutBeyond(1));
    let run = run("resume_cut", &peer.url(), &["--drain-timeout", "500ms"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    assert_eq!(run.faults()[3], 1, "{}", run.stdout);
    assert!(run.stdout.contains("1 connections closed (the first: "), "{}", run.stdout);
}

#[test]
fn mistakes_are_told_in_one_line_with_exit_code_2() {
    for (args, expected) in [
        (vec!["--transport", "raw"], "a raw stream carries one topic"),
        (vec!["--size", "10"], "--size 10 is too small"),
        (vec!["--rate", "0"], "positive number"),
        (vec!["--url", "ws://127.0.0.1:1/floor"], "newest values need a broker"),
    ] {
        let run = loadgen("resume_mistake", &[vec!["resume"], args].concat());
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains(expected), "{expected}: {}", run.stderr);
    }
}
