//! Programs of other projects that a stage needs: found on the path, or installed as Debian's
//! package where that is permitted.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::command::{program, run};
use crate::stage::Context;

/// The first of these programs that is on the path, after an attempt to install `package` if none
/// is.
pub(crate) fn find_or_install(
    context: &Context,
    names: &[&str],
    package: &str,
) -> anyhow::Result<PathBuf> {
    if let Some(found) = find(names) {
        return Ok(found);
    }
    println!("{} is not on the path; trying to install Debian's {package}", names[0]);
    let install = ["install", "--yes", "--no-install-recommends", package];
    let mut apt = program(context, "apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").args(install);
    let is_installed = run(&mut apt).or_else(|_| {
        // The list of packages may be empty or old.
        run(program(context, "apt-get").arg("update"))?;
        run(&mut apt)
    });
    is_installed
        .ok()
        .and_then(|()| find(names))
        .with_context(|| format!("{} is not on the path and could not be installed", names[0]))
}

fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut candidates = names.iter().flat_map(|name| folders.iter().map(move |at| at.join(name)));
    candidates.find(|candidate| candidate.is_file())
}
