//! `loadgen exhaust`: what it says of a real broker that is full, and of one that never is.

mod support;

use std::num::NonZeroUsize;

use fanfare::{Server, ServerConfig};
use support::loadgen;

const LOAD: [&str; 13] = [
    "exhaust",
    "--connections",
    "20",
    "--deliveries",
    "2000",
    "--duration",
    "1500ms",
    "--warmup",
    "200ms",
    "--openers",
    "20",
    "--pause",
    "20ms",
];

fn broker(connections_max: usize) -> Server {
    let mut config = ServerConfig::default_for_tests();
    config.limits.connections_max = NonZeroUsize::new(connections_max);
    config.limits.close_timeout_ms = 300;
    Server::start(config).expect("a broker")
}

#[test]
fn a_crowd_is_refused_and_let_in_again_and_nothing_is_lost_meanwhile() {
    let server = broker(60);
    let (url, pid) = (server.url(), std::process::id().to_string());
    let run = loadgen("exhaust", &[&LOAD[..], &["--url", &url, "--server-pid", &pid]].concat());
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}{}", run.stdout, run.stderr);
    for phase in ["without", "with"] {
        assert_eq!(run.median(&format!("{phase}.deliveries")).as_u64(), Some(3_000));
    }
    // The publisher has a place as well. Those of the phase before may still have theirs when this
    // one connects.
    assert_eq!(run.median("kept").as_u64(), Some(39), "{}", run.stdout);
    assert!(run.median("attempts.refused").as_u64() > Some(0), "{}", run.stdout);
    assert_eq!(run.median("attempts.opened").as_u64(), Some(0), "{}", run.stdout);
    assert!(run.median("accepting_again_ms").as_f64() > Some(0.0), "{}", run.stdout);
    for text in ["server cores busy", "ratio", "refused", "until the next was let in"] {
        assert!(run.stdout.contains(text), "{text}: {}", run.stdout);
    }
}

#[test]
fn too_few_places_for_the_subscribers_are_told() {
    let server = broker(10);
    let run = loadgen("exhaust_few", &[&LOAD[..], &["--url", &server.url()]].concat());
    assert_eq!(run.code, Some(2), "{}", run.stdout);
    assert!(run.stderr.contains("503"), "{}", run.stderr);
}
