//! What the dependencies are allowed to be, checked by cargo-deny on the rules of
//! `.config/deny.toml`. Installs the pinned cargo-deny where it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::command::{cargo, output, program, run as run_command, run_within};
use crate::stage::{Context, Outcome};

const VERSION: &str = "0.20.2";
const RULES: &str = ".config/deny.toml";

/// A database that does not come in this time counts as out of reach.
const FETCH_TIMEOUT: Duration = Duration::from_secs(90);

pub(crate) fn run(context: &Context) -> anyhow::Result<Outcome> {
    let deny = installed(context)?;
    check(context, &deny, &["licenses", "sources", "bans"])?;
    // Fetched apart from the check, so that a database out of reach is not taken for a finding.
    let mut fetch = deny_command(context, &deny);
    fetch.args(["fetch", "db"]).env("GIT_TERMINAL_PROMPT", "0");
    match run_within(&mut fetch, FETCH_TIMEOUT) {
        Ok(()) => check(context, &deny, &["advisories"])?,
        Err(why) => {
            println!("advisories were left out: their database could not be reached ({why})");
        }
    }
    Ok(Outcome::Passed)
}

fn check(context: &Context, deny: &Path, checks: &[&str]) -> anyhow::Result<()> {
    run_command(deny_command(context, deny).args(["--locked", "check"]).args(checks))
}

fn deny_command(context: &Context, deny: &Path) -> Command {
    let mut command = program(context, deny);
    command.args(["--config", RULES]);
    command
}

/// The path of cargo-deny at [`VERSION`], which is kept outside the checkout for the next one.
fn installed(context: &Context) -> anyhow::Result<PathBuf> {
    let place = cache()?.join("fanfare/tools/cargo-deny");
    let binary = place.join("bin").join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
    let found = output(program(context, &binary).arg("--version")).unwrap_or_default();
    if found.trim() != format!("cargo-deny {VERSION}") {
        println!("installing cargo-deny {VERSION}");
        let mut install = cargo(context);
        install.args(["install", "cargo-deny", "--locked", "--version", VERSION, "--root"]);
        run_command(install.arg(&place))?;
    }
    Ok(binary)
}

/// Where tools are kept for the next checkout.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME says where tools may be kept")
}
