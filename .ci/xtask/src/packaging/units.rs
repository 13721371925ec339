//! The units, as systemd reads them, and how much of the system a broker under them can reach.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::{FOLDER, fanfare, scratch};
use crate::command::{output, program};
use crate::counted::Checks;
use crate::stage::Context;

const UNITS: [&str; 2] = ["fanfare.service", "fanfare.socket"];

/// Where the service expects the program.
const PROGRAM: &str = "/usr/bin/fanfare";

/// What `systemd-analyze security` may count in tenths, from 0 (can reach nothing) to 100. A
/// network server comes to 12: it needs sockets, and the system that it runs in.
const EXPOSURE_MAX: &str = "15";

/// Has systemd read the units and judge the service.
pub(super) fn check(context: &Context, analyze: &Path, checks: &mut Checks) {
    checks.one("systemd reads the units without a word", are_read(context, analyze));
    checks.one("systemd finds a misspelt key", is_found(context, analyze));
    let service = context.root.join(FOLDER).join("systemd/fanfare.service");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let mut security = program(context, analyze);
    security.args(["security", "--offline=true", "--no-pager", &threshold]).arg(service);
    let last = |said: String| println!("{}", said.trim_end().lines().last().unwrap_or_default());
    checks.one("the service can reach little", output(&mut security).map(last));
}

fn are_read(context: &Context, analyze: &Path) -> anyhow::Result<()> {
    let complaints = complaints(context, analyze, "units", |text| text)?;
    ensure!(complaints.is_empty(), "{complaints}");
    Ok(())
}

/// Or the check above would pass whatever the units say.
fn is_found(context: &Context, analyze: &Path) -> anyhow::Result<()> {
    let misspelt = |text: String| text.replace("ProtectHome=", "ProtectHom=");
    let complaints = complaints(context, analyze, "misspelt-units", misspelt)?;
    ensure!(complaints.contains("ProtectHom"), "it said: {complaints}");
    Ok(())
}

/// What systemd says of the units, of which nothing is changed but the place of the program.
fn complaints(
    context: &Context,
    analyze: &Path,
    folder: &str,
    change: impl Fn(String) -> String,
) -> anyhow::Result<String> {
    let folder = scratch(context)?.join(folder);
    fs::create_dir_all(&folder)?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for unit in UNITS {
        let path = context.root.join(FOLDER).join("systemd").join(unit);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let text = text.replace(PROGRAM, &fanfare(context).to_string_lossy());
        let copy = folder.join(unit);
        fs::write(&copy, change(text))?;
        paths.push(copy);
    }
    let mut verify = program(context, analyze);
    // Its exit code is 0 also where it has left out what it did not understand.
    let said = verify.args(["verify", "--man=no"]).args(&paths).output()?;
    let stderr = String::from_utf8_lossy(&said.stderr).trim().to_owned();
    ensure!(said.status.success() || !stderr.is_empty(), "it ended with {}", said.status);
    Ok(stderr)
}
