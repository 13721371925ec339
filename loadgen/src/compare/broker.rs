//! The broker that is compared, where the command line names none: the one that is built beside
//! this program, built first if Cargo runs this program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cli::ServerArgs;

/// Its package and its program.
const NAME: &str = "fanfare";

/// The server arguments with a program to start, if they name no server.
///
/// # Errors
/// If there is no program beside this one, or it cannot be built.
pub(super) fn found(args: &ServerArgs) -> Result<ServerArgs> {
    let mut args = args.clone();
    if args.server.is_none() && args.url.is_none() {
        let own = std::env::current_exe().context("the own program is not known")?;
        args.server = Some(beside(&own)?);
    }
    Ok(args)
}

fn beside(own: &Path) -> Result<PathBuf> {
    let program = own.with_file_name(NAME);
    // Cargo sets these for programs that it runs.
    if let (Some(cargo), Some(package)) =
        (std::env::var_os("CARGO"), std::env::var_os("CARGO_MANIFEST_DIR"))
    {
        eprintln!("building the broker");
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--package", NAME]).current_dir(package);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let status = build.stdin(Stdio::null()).status().context("cargo cannot be run")?;
        ensure!(status.success(), "the broker cannot be built");
    }
    ensure!(
        program.is_file(),
        "there is no broker at {}; build it (cargo build --release -p {NAME}), or name one with \
         --server BIN or --url",
        program.display()
    );
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_named_is_taken_as_it_is() {
        let named =
            ServerArgs { url: Some("ws://127.0.0.1:9".to_owned()), ..ServerArgs::default() };
        assert_eq!(found(&named).unwrap().server, None);
    }
}
