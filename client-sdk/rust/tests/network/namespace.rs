//! A network of a test's own: a user and network namespace in which the test runs again, and an
//! address in it whose packets an nft rule drops. Only so does a peer vanish as real ones do, with
//! neither FIN nor RST.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// The address over which clients that may vanish reach the broker.
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Set for a test that runs in its namespace.
const INSIDE: &str = "FANFARE_INSIDE_NAMESPACE";

/// Both directions, where packets arrive: like a cable that is pulled, so nobody is told.
const TABLE: &str = "table inet fanfare {
    chain far { type filter hook input priority 0; policy accept; }
}";

/// Runs `scenario` with a network of its own. `name` is the test's name.
pub(crate) fn alone(name: &str, scenario: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_none() {
        return run_again(name);
    }
    done("ip", &["link", "set", "lo", "up"]);
    done("nft", &[TABLE]);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().expect("a runtime").block_on(scenario);
}

/// Runs the test of this name in a namespace. Anything that is missing for it is a failure: a test
/// that has not run must not look like one that has.
fn run_again(name: &str) {
    let mut test = Command::new("unshare");
    test.args(["--user", "--map-root-user", "--net", "--"]);
    test.arg(std::env::current_exe().expect("a program")).args(["--exact", name, "--nocapture"]);
    // What it says itself is not passed on, or its results would be counted twice.
    let ran = test.env(INSIDE, "1").stderr(Stdio::inherit()).output();
    let ran = ran.expect("this test needs unshare (util-linux)");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{name} failed in its namespace: {}", ran.status);
    assert!(said.contains("1 passed"), "{name} is not the name of this test");
}

/// From now on nothing passes between the broker and [`FAR`].
pub(crate) fn cut() {
    for side in ["saddr", "daddr"] {
        done(
            "nft",
            &["add", "rule", "inet", "fanfare", "far", "ip", side, &FAR.to_string(), "drop"],
        );
    }
}

/// Everything passes again.
pub(crate) fn mend() {
    done("nft", &["flush", "chain", "inet", "fanfare", "far"]);
}

/// Runs a program of the system to its end. Their folders are not on everybody's path.
fn done(program: &str, arguments: &[&str]) {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let ran = Command::new(program).args(arguments).env("PATH", path).output();
    let ran = ran.unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{program} {}: {said}", arguments.join(" "));
}
