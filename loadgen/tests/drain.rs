//! `loadgen drain`: what it says of a real broker, and of peers that end as they should not.

mod support;

use serde_json::{Value, json};
use support::{Run, loadgen, serve_if_asked, server_program};

/// The brokers of the other tests run in this one, in processes of their own: `loadgen` starts what
/// it ends. Where nobody has asked for that, there is nothing to do.
#[test]
fn a_server_for_the_others() {
    serve_if_asked();
}

/// 60 clients × 2 of 6 topics, 2,000 deliveries a second.
fn run(role: &str, more: &[&str]) -> Run {
    let server = server_program(role, "a_server_for_the_others");
    let load = ["drain", "--connections", "60", "--topics", "6", "--topics-per-connection", "2"];
    let rest = ["--deliveries", "2000", "--warmup", "200ms", "--after", "200ms"];
    let server = ["--server", server.to_str().expect("a plain path")];
    loadgen(&format!("drain_{role}"), &[&load[..], &rest, &server, more].concat())
}

fn sum(counts: &Value) -> u64 {
    counts.as_array().expect("seconds").iter().filter_map(Value::as_u64).sum()
}

fn bad_exits(run: &Run) -> &Value {
    &run.result["faults"]["bad_exits"]
}

#[test]
fn a_broker_ends_well_and_every_client_is_on_the_other_one() {
    for transport in ["json", "msgpack"] {
        let run = run("broker", &["--rounds", "2", "--transport", transport]);
        assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}{}", run.stdout, run.stderr);
        for round in 0..2 {
            let round = run.round(round);
            assert_eq!((&round["exit_code"], &round["retries"]), (&json!(0), &json!(0)), "{round}");
            assert_eq!(sum(&round["closes"]["by_second"]), 60);
            assert_eq!(sum(&round["returns"]["by_second"]), 60);
            assert_eq!(round["window_ms_max"], 200);
            assert!(round["exit_seconds"].as_f64() > Some(0.0), "{round}");
            assert!(round["deliveries"].as_u64() > Some(0), "{round}");
        }
        assert!(run.stdout.contains("until the broker had ended"), "{}", run.stdout);
    }
}

#[test]
fn an_honest_peer_has_no_fault() {
    let run = run("honest", &[]);
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}{}", run.stdout, run.stderr);
    assert_eq!(sum(&run.round(0)["returns"]["by_second"]), 60);
}

#[test]
fn connections_that_are_cut_off_are_abnormal() {
    let run = run("cut", &[]);
    // The publisher's is one too.
    let [lost, doubled, reordered, closed] = run.faults();
    assert_eq!((run.code, closed, doubled, reordered), (Some(1), 61, 0, 0), "{}", run.stdout);
    assert_eq!(sum(&run.round(0)["returns"]["by_second"]), 60, "they come back all the same");
    // What was on its way to them may be lost as well.
    assert!(lost <= 120, "{lost}");
}

#[test]
fn another_code_than_that_of_a_restart_is_abnormal() {
    let run = run("going-away", &[]);
    assert_eq!((run.code, run.faults()), (Some(1), [0, 0, 0, 61]), "{}", run.stdout);
    assert!(run.stdout.contains("1001 come back"), "{}", run.stdout);
}

#[test]
fn messages_that_those_still_connected_do_not_get_are_lost() {
    let run = run("lose", &[]);
    let [lost, rest @ ..] = run.faults();
    assert_eq!((run.code, rest), (Some(1), [0; 3]), "{}{}", run.stdout, run.stderr);
    // Four of five waves miss what comes meanwhile, some ten messages on each topic and wave.
    assert!(lost > 48 * 2, "{}", run.stdout);
}

#[test]
fn another_exit_code_than_0_is_a_fault() {
    let run = run("fail", &[]);
    assert_eq!((run.code, run.faults()), (Some(1), [0; 4]), "{}{}", run.stdout, run.stderr);
    assert_eq!((bad_exits(&run), &run.round(0)["exit_code"]), (&json!(1), &json!(1)));
}

#[test]
fn a_broker_that_does_not_end_is_given_up() {
    let run = run("patient", &["--timeout", "1s"]);
    assert_eq!((run.code, run.faults()), (Some(1), [0; 4]), "{}{}", run.stdout, run.stderr);
    assert_eq!((bad_exits(&run), &run.result["faults"]["not_recovered"]), (&json!(1), &json!(60)));
    assert_eq!(run.round(0)["exit_seconds"], Value::Null);
}

#[test]
fn mistakes_are_told_in_one_line_with_exit_code_2() {
    let server = ["--server", "/bin/false"];
    for (args, expected) in [
        (vec![], "use --server BIN, which starts both"),
        ([&server[..], &["--transport", "raw"]].concat(), "no words for when to come back"),
        ([&server[..], &["--process-connections-max", "9"]].concat(), "which may open"),
        ([&server[..], &["--connections", "3"]].concat(), "3 subscriptions leave some"),
        (server.to_vec(), "printed no line with `listening on`"),
    ] {
        let run = loadgen("drain_mistake", &[&["drain"], &args[..]].concat());
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains(expected), "{expected}: {}", run.stderr);
    }
}
