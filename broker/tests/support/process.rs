//! The program in a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::SOON;

/// A broker process that is ended with the test.
pub(crate) struct Broker {
    pub(crate) child: Child,
    pub(crate) url: String,
    pub(crate) admin: String,
    /// What it has printed after the addresses, errors too.
    printed: Arc<Mutex<String>>,
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
        Self::start_command(&mut fanfare(&[arguments, &addresses].concat()))
    }

    /// Starts a command that prints its addresses as `serve` does.
    pub(crate) fn start_command(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a broker");
        let printed = Arc::default();
        collect(BufReader::new(child.stderr.take().unwrap()), &printed);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut address = |prefix: &str| {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            let address = line.trim().strip_prefix(prefix).map(str::to_owned);
            address.unwrap_or_else(|| panic!("{line:?}\n{}", printed.lock().unwrap()))
        };
        let url = format!("ws://{}", address("fanfare: listening on http://"));
        let admin = address("fanfare: admin on http://");
        collect(lines, &printed);
        Self { child, url, admin, printed }
    }

    pub(crate) fn metrics(&self) -> String {
        request(&self.admin, "GET /metrics", &[])
    }

    /// Waits until the broker has printed this; all that it has printed then.
    pub(crate) fn wait_for_print(&self, part: &str) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            let printed = self.printed.lock().unwrap().clone();
            if printed.contains(part) {
                return printed;
            }
            assert!(Instant::now() < deadline, "never: {part}\n{printed}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the log has an event that `is_it`; the first one.
    pub(crate) fn wait_for_event(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let events = self.events();
            if let Some(event) = events.iter().find(|event| is_it(event)) {
                return event.clone();
            }
            assert!(Instant::now() < deadline, "not among {events:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The log so far. What else is printed is passed over.
    pub(crate) fn events(&self) -> Vec<Value> {
        let printed = self.printed.lock().unwrap().clone();
        printed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
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
        signal(&self.child, name);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(process: &Child, name: &str) {
    let pid = process.id().to_string();
    let kill = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
    assert!(kill.success());
}

/// Reads on, so that the broker never waits for us.
fn collect(lines: impl BufRead + Send + 'static, printed: &Arc<Mutex<String>>) {
    let printed = printed.clone();
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            let mut printed = printed.lock().unwrap();
            printed.push_str(&line);
            printed.push('\n');
        }
    });
}

/// One HTTP request without a body; the whole answer.
pub(crate) fn request(addr: &str, start: &str, headers: &[&str]) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    let headers = [&["Host: a", "Connection: close"], headers, &["", ""]].concat().join("\r\n");
    stream.write_all(format!("{start} HTTP/1.1\r\n{headers}").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

pub(crate) fn fails_with_one_line(output: &Output, code: i32, says: &str) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains(says), "{error}");
    if matches!(code, 1 | 78) {
        assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    }
    assert_eq!(text(&output.stdout), "");
}

/// Waits until the broker counts this many subscriptions.
pub(crate) fn wait_for_subscriptions(broker: &Broker, expected: usize) {
    broker.wait_for(&format!("fanfare_subscriptions {expected}"));
}
