//! What the tests share: running `loadgen`, the floor, and a peer that can misbehave.

#![allow(dead_code, unused_imports, reason = "each test file uses a part of this")]

mod draining;
mod peer;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};

use serde_json::Value;

pub(crate) use draining::{serve_if_asked, server_program};
pub(crate) use peer::{Fault, Peer};

/// What a run left behind.
pub(crate) struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// The result file, if one was written.
    pub result: Value,
}

impl Run {
    /// Faults of all rounds: lost, doubled, reordered, closed.
    pub(crate) fn faults(&self) -> [u64; 4] {
        ["lost", "doubled", "reordered", "closed"]
            .map(|name| self.result["faults"][name].as_u64().expect(name))
    }

    /// A figure of the medians, by its path such as `with.quick.deliveries`.
    pub(crate) fn median(&self, path: &str) -> &Value {
        path.split('.').fold(&self.result["median"], |value, name| &value[name])
    }

    pub(crate) fn round(&self, number: usize) -> &Value {
        &self.result["rounds"][number]
    }
}

/// Runs `loadgen` with these arguments and reads its result file.
pub(crate) fn loadgen(name: &str, args: &[&str]) -> Run {
    let out = scratch_file(&format!("{name}.json"));
    let _ = std::fs::remove_file(&out);
    let output = Process::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(args)
        .arg("--out")
        .arg(&out)
        .output()
        .expect("loadgen runs");
    let result = std::fs::read_to_string(&out).unwrap_or_else(|_| "null".to_owned());
    Run {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        result: serde_json::from_str(&result).expect("the result is JSON"),
    }
}

/// A file of this name that this run of the tests may write.
pub(crate) fn scratch_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// `loadgen floor` in a process of its own, ended when dropped.
pub(crate) struct Floor {
    child: Child,
    pub url: String,
}

impl Floor {
    pub(crate) fn start() -> Self {
        let mut child = Process::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["floor", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the floor starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the floor says where it is");
        let (_, url) = line.trim().split_once("listening on ").expect("a line with the URL");
        Self { child, url: url.to_owned() }
    }

    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
