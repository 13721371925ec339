//! Tests whose network vanishes: they make network namespaces of their own and drop packets in
//! them. The tests themselves are in `client-sdk/rust/tests/network`.

use anyhow::Context as _;

use crate::command::{cargo, program, run as run_command};
use crate::debian;
use crate::stage::{Context, Outcome, left_out};
use crate::suite;

/// The tests, which nothing runs that does not name them. As arguments of cargo.
pub(crate) const TESTS: [&str; 3] = ["--workspace", "--test", "network"];

/// What the tests start, and Debian's packages that have it.
const PROGRAMS: [(&str, &str); 3] =
    [("unshare", "util-linux"), ("ip", "iproute2"), ("nft", "nftables")];

/// Runs the tests.
pub(crate) fn test(context: &mut Context) -> anyhow::Result<Outcome> {
    if let Err(reason) = find_or_install(context) {
        return left_out(context, format!("{reason:#}"));
    }
    let mut test = cargo(context);
    test.args(["test", "--locked", "--no-fail-fast"]).args(TESTS);
    suite::count(context, test)?;
    Ok(Outcome::Passed)
}

/// Makes sure that the programs are there, and that a namespace can be made.
fn find_or_install(context: &Context) -> anyhow::Result<()> {
    for (name, package) in PROGRAMS {
        debian::find_or_install(context, &[name], package)?;
    }
    let namespace = ["--user", "--map-root-user", "--net", "nft", "list", "ruleset"];
    run_command(program(context, "unshare").args(namespace))
        .context("no network namespace with a packet filter can be made here")
}
