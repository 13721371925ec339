//! The live page in a real Chromium: sets up what its tests need, and runs them against a broker
//! that was just built. The tests themselves are in `broker/tests/page`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::command::{cargo, program, run as run_command};
use crate::stage::{Context, Outcome, left_out};
use crate::suite;

const FOLDER: &str = "broker/tests/page";

/// The names under which systems install the browser.
const BROWSERS: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// What the tests need of the machine.
struct Tools {
    node: PathBuf,
    npm: PathBuf,
    browser: PathBuf,
}

/// Runs the tests of the page.
pub(crate) fn test(context: &mut Context) -> anyhow::Result<Outcome> {
    let tools = match Tools::find_or_install(context) {
        Ok(tools) => tools,
        Err(reason) => return left_out(context, format!("{reason:#}")),
    };
    let mut node = tools.node(context)?;
    node.args(["--test", "--test-reporter=spec"]);
    suite::count(context, node)?;
    Ok(Outcome::Passed)
}

/// Renews the picture of the page that the README shows.
pub(crate) fn screenshot(context: &Context) -> anyhow::Result<()> {
    let tools = Tools::find_or_install(context)?;
    let picture = context.root.join("broker/docs/live-page.png");
    run_command(tools.node(context)?.arg("screenshot.js").arg(picture))
}

impl Tools {
    fn find_or_install(context: &Context) -> anyhow::Result<Self> {
        Ok(Self {
            node: find_or_install(context, &["node"], "nodejs")?,
            npm: find_or_install(context, &["npm"], "npm")?,
            browser: find_or_install(context, &BROWSERS, "chromium")?,
        })
    }

    /// Node in the folder of the tests, which have their packages and a broker to start.
    fn node(&self, context: &Context) -> anyhow::Result<Command> {
        let folder = context.root.join(FOLDER);
        if installed(&folder)? != pinned(&folder)? {
            run_command(
                Command::new(&self.npm).args(["ci", "--ignore-scripts"]).current_dir(&folder),
            )?;
        }
        run_command(cargo(context).args(["build", "--locked", "--package", "fanfare"]))?;
        let mut node = Command::new(&self.node);
        node.current_dir(folder)
            .env("FANFARE", context.target.join("debug/fanfare"))
            .env("CHROMIUM", &self.browser);
        Ok(node)
    }
}

/// The first of these programs that is on the path; if none is, Debian's package is installed
/// where that is permitted.
fn find_or_install(context: &Context, names: &[&str], package: &str) -> anyhow::Result<PathBuf> {
    if let Some(found) = find(names) {
        return Ok(found);
    }
    println!("{} is not on the path; trying to install Debian's {package}", names[0]);
    let install = ["install", "--yes", "--no-install-recommends", package];
    let mut apt = program(context, "apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    let is_installed = run_command(apt.args(install)).or_else(|_| {
        // The list of packages may be empty or old.
        run_command(program(context, "apt-get").arg("update"))?;
        run_command(&mut apt)
    });
    let found = is_installed.ok().and_then(|()| find(names));
    found.with_context(|| {
        format!(
            "the page's tests need {}, which could not be installed: put it on the path",
            names[0]
        )
    })
}

fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let candidates = names.iter().flat_map(|name| folders.iter().map(move |at| at.join(name)));
    candidates.into_iter().find(|candidate| candidate.is_file())
}

/// The packages that the lock file pins, with their versions.
fn pinned(folder: &Path) -> anyhow::Result<Value> {
    let packages = packages(&folder.join("package-lock.json"))?;
    ensure!(packages.as_object().is_some_and(|packages| !packages.is_empty()), "nothing is pinned");
    Ok(packages)
}

/// The packages that npm has installed; nothing if it has not.
fn installed(folder: &Path) -> anyhow::Result<Value> {
    let lock = folder.join("node_modules/.package-lock.json");
    if lock.is_file() { packages(&lock) } else { Ok(Value::Null) }
}

/// The packages of a lock file without the one that it belongs to.
fn packages(lock: &Path) -> anyhow::Result<Value> {
    let text = fs::read_to_string(lock).with_context(|| lock.display().to_string())?;
    let mut lock: Value = serde_json::from_str(&text)?;
    let mut packages = lock["packages"].take();
    if let Some(packages) = packages.as_object_mut() {
        packages.remove("");
    }
    Ok(packages)
}
