//! Where a measurement ran: without it a figure means nothing. Read once, at the start of a run.

use std::process::Command;
use std::time::SystemTime;

use rustix::process::{Resource, getrlimit};
use serde::Serialize;

/// The machine, the system and the programs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Environment {
    /// When the run began, UTC.
    pub date: String,
    /// The kernel's release.
    pub kernel: String,
    /// The processor's name.
    pub cpu_model: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// Most open files of this process.
    pub open_files_max: Option<u64>,
    /// This program's version.
    pub loadgen_version: &'static str,
    /// Optimised, or with debug assertions: figures of the latter are worthless.
    pub build: &'static str,
    /// The commit that is checked out where this ran; `-dirty` with changes on top.
    pub commit: Option<String>,
    /// What `BIN --version` says, if this program started the server.
    pub server_version: Option<String>,
}

impl Environment {
    /// Reads it; `server` is the server's program, if this program starts it.
    #[must_use]
    pub(crate) fn read(server: Option<&std::path::Path>) -> Self {
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu_model: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: memory_bytes(),
            open_files_max: getrlimit(Resource::Nofile).current,
            loadgen_version: env!("CARGO_PKG_VERSION"),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            commit: output(Command::new("git").args(["describe", "--always", "--dirty"])),
            server_version: server.and_then(|bin| output(Command::new(bin).arg("--version"))),
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first line `name : value`.
fn field(path: &str, name: &str) -> String {
    let text = read(path);
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let found = fields.find(|(key, _)| key.trim() == name);
    found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

fn memory_bytes() -> u64 {
    let kib = field("/proc/meminfo", "MemTotal");
    let kib = kib.strip_suffix("kB").and_then(|number| number.trim().parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(std::process::Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_named() {
        let environment = Environment::read(None);
        assert!(!environment.kernel.is_empty());
        assert!(environment.cores > 0);
        assert!(environment.memory_bytes > 1 << 20);
        assert_eq!(environment.server_version, None);
    }
}
