//! The program in a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::SOON;

/// A broker process that is ended with the test.
pub(crate) struct Broker {
    pub(crate) child: Child,
    pub(crate) url: String,
    pub(crate) admin: String,
}

pub(crate) fn fanfare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    command.args(arguments).env_remove("FANFARE_SERVER").stdin(Stdio::null());
    command
}

impl Broker {
    pub(crate) fn start(subcommand: &str) -> Self {
        Self::start_with(&[subcommand])
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let addresses = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let mut child = fanfare(&[arguments, &addresses].concat())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a broker");
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut address = |prefix: &str| {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            line.trim().strip_prefix(prefix).expect(&line).to_owned()
        };
        let url = format!("ws://{}", address("fanfare: listening on http://"));
        let admin = address("fanfare: admin on http://");
        // Read on, so that the broker never waits for us.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Self { child, url, admin }
    }

    pub(crate) fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// Waits until the metrics hold this line.
    pub(crate) fn wait_for(&self, line: &str) {
        let deadline = Instant::now() + SOON;
        while !self.metrics().lines().any(|l| l == line) {
            assert!(Instant::now() < deadline, "never: {line}\n{}", self.metrics());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(kill.success());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

pub(crate) fn fails_with_one_line(output: &Output, code: i32, says: &str) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains(says), "{error}");
    if code == 1 {
        assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    }
    assert_eq!(text(&output.stdout), "");
}

/// Waits until the broker counts this many subscriptions.
pub(crate) fn wait_for_subscriptions(broker: &Broker, expected: usize) {
    broker.wait_for(&format!("fanfare_subscriptions {expected}"));
}
