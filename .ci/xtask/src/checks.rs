//! The checks that the toolchain itself brings: format and clippy.

use std::process::Stdio;

use crate::command::{cargo, program, run};
use crate::fuzz::MANIFEST;
use crate::network;
use crate::stage::Context;

pub(crate) fn format(context: &Context) -> anyhow::Result<()> {
    ensure_component(context, "fmt", "rustfmt")?;
    run(cargo(context).args(["fmt", "--all", "--check"]))?;
    run(cargo(context).args(["fmt", "--check", "--manifest-path", MANIFEST]))
}

pub(crate) fn clippy(context: &Context) -> anyhow::Result<()> {
    ensure_component(context, "clippy", "clippy")?;
    // The features are all of one package, and change what its tests are built of.
    let with_features = ["--package", "fanfare-engine", "--all-features", "--all-targets"];
    for selection in [&["--workspace", "--all-targets"][..], &with_features, &network::TESTS] {
        let mut clippy = cargo(context);
        clippy.arg("clippy").args(selection);
        run(clippy.args(["--locked", "--", "-D", "warnings"]))?;
    }
    Ok(())
}

/// Installs a component that a minimal toolchain leaves out.
fn ensure_component(context: &Context, subcommand: &str, component: &str) -> anyhow::Result<()> {
    let mut probe = cargo(context);
    probe.args([subcommand, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if probe.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    run(program(context, "rustup").args(["component", "add", component]))
}
