//! The fuzz targets, built and run on the stable toolchain: coverage instrumentation comes from
//! plain compiler options, and libFuzzer from its crate. No nightly, no cargo-fuzz.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, bail, ensure};

use crate::command::{cargo, output, program, run as run_command, shown};
use crate::stage::Context;

pub(crate) const MANIFEST: &str = "broker/engine/fuzz/Cargo.toml";

/// What cargo-fuzz gives to rustc, less the sanitizer that only nightly has.
const RUSTFLAGS: &str = "--cfg fuzzing \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Whether the fuzz crate's `Cargo.lock` may be brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    IsFixed,
    MayChange,
}

/// Builds every target and runs each for `seconds`. An input that breaks one is kept and named.
pub(crate) fn run(context: &Context, seconds: u32, lock: Lock) -> anyhow::Result<()> {
    let binaries = build(context, lock)?;
    let mut failed = Vec::new();
    for target in targets(context)? {
        if let Err(error) = run_target(context, &binaries, &target, seconds) {
            println!("{target}: {error:#}");
            failed.push(target);
        }
    }
    ensure!(failed.is_empty(), "{} failed", failed.join(", "));
    Ok(())
}

/// Builds all targets and gives the folder that they are in.
fn build(context: &Context, lock: Lock) -> anyhow::Result<PathBuf> {
    let host = host(context)?;
    let target_dir = context.target.join("fuzz");
    let mut build = cargo(context);
    // With a `--target`, cargo leaves build scripts and procedural macros without the flags.
    build.args(["build", "--release", "--manifest-path", MANIFEST, "--target", &host]);
    build.arg("--target-dir").arg(&target_dir).env("RUSTFLAGS", RUSTFLAGS);
    build.env_remove("CARGO_ENCODED_RUSTFLAGS");
    if lock == Lock::IsFixed {
        build.arg("--locked");
    }
    run_command(&mut build)?;
    Ok(target_dir.join(host).join("release"))
}

fn host(context: &Context) -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    output(program(context, rustc).arg("-vV"))?
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("`rustc -vV` names no host")
}

/// The names of all targets: one file each.
fn targets(context: &Context) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(context.root.join("broker/engine/fuzz/fuzz_targets"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    ensure!(!names.is_empty(), "there are no fuzz targets");
    Ok(names)
}

fn run_target(
    context: &Context,
    binaries: &Path,
    target: &str,
    seconds: u32,
) -> anyhow::Result<()> {
    let kept = context.target.join("fuzz");
    let corpus = kept.join("corpus").join(target);
    let artifacts = kept.join("artifacts");
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let mut fuzzer = program(context, binaries.join(target));
    fuzzer.arg(&corpus);
    let seeds = context.root.join("broker/engine/fuzz/seeds").join(target);
    if seeds.is_dir() {
        fuzzer.arg(&seeds);
    }
    fuzzer.arg(format!("-max_total_time={seconds}"));
    fuzzer.args(["-rss_limit_mb=512", "-max_len=65536", "-timeout=10", "-print_final_stats=1"]);
    fuzzer.arg(format!("-artifact_prefix={}/{target}-", artifacts.display()));
    let output = fuzzer.env("RUST_BACKTRACE", "1").output()?;
    let line = judge(&fuzzer, &output)?;
    println!("{target}: {line}");
    Ok(())
}

/// One line of what a fuzzer did, or all that it said when it found something.
fn judge(fuzzer: &Command, output: &Output) -> anyhow::Result<String> {
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        // A line that begins with a number sign only tells of progress.
        let told: Vec<&str> = log.lines().filter(|line| !line.starts_with('#')).collect();
        bail!("{} ended with {}\n{}", shown(fuzzer), output.status, told.join("\n"));
    }
    // Without counters libFuzzer would only guess at random, and pass.
    ensure!(log.contains("inline 8-bit counters"), "the build is not instrumented");
    let runs = after(&log, "stat::number_of_executed_units:").unwrap_or("?");
    let coverage = log.rsplit(" cov: ").next().and_then(|rest| rest.split(' ').next());
    Ok(format!("{runs} runs, coverage {}", coverage.unwrap_or("?")))
}

fn after<'a>(log: &'a str, label: &str) -> Option<&'a str> {
    log.lines().find_map(|line| line.strip_prefix(label)).map(str::trim)
}
