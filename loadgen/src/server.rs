//! The process under test: starting it, stopping it, and what it costs, read from procfs.
//!
//! CPU is the scheduler's own run time (`schedstat`, in ns), not the tick-sampled `utime`.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};

/// How long a server may take until it says where it listens, and until it has ended.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why a server cannot be started or measured.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The program cannot be run; the caller's fault, mostly.
    #[error("{program} cannot be started: {source}")]
    Start {
        /// What was to be run.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The program ended or fell silent before it said where it listens.
    #[error("{program} printed no line with `listening on`{detail}")]
    NotListening {
        /// What was run.
        program: String,
        /// What it said on standard error.
        detail: String,
    },
    /// No such process, or one of another user.
    #[error("process {pid} cannot be measured: {source}")]
    Unmeasurable {
        /// The process.
        pid: u32,
        /// What procfs said.
        source: io::Error,
    },
}

/// A process whose cost is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
}

/// Time on a CPU of all threads that this process ever had, in ns.
#[must_use]
pub fn own_cpu_ns() -> u64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as u64 * 1_000_000_000 + used.tv_nsec as u64
}

impl Process {
    /// Time on a CPU of all its living threads, in ns.
    ///
    /// # Errors
    /// [`ServerError::Unmeasurable`] if it has ended or belongs to someone else.
    pub fn cpu_ns(self) -> Result<u64, ServerError> {
        let failed = |source| ServerError::Unmeasurable { pid: self.pid, source };
        let mut total = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.pid)).map_err(failed)? {
            let path = task.map_err(failed)?.path().join("schedstat");
            // A thread may end between the listing and the reading.
            let Ok(text) = std::fs::read_to_string(path) else { continue };
            let run_ns = text.split_whitespace().next().and_then(|first| first.parse().ok());
            total += run_ns.unwrap_or(0_u64);
        }
        Ok(total)
    }

    /// Resident memory, in bytes.
    ///
    /// # Errors
    /// [`ServerError::Unmeasurable`] if it has ended.
    pub fn rss_bytes(self) -> Result<u64, ServerError> {
        let failed = |source| ServerError::Unmeasurable { pid: self.pid, source };
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        let status = status.map_err(failed)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        Ok(kib.unwrap_or_default() * 1024)
    }
}

/// A server that this program has started; ended when dropped.
#[derive(Debug)]
pub struct SpawnedServer {
    child: Child,
    /// Where its data port is.
    pub address: SocketAddr,
}

impl SpawnedServer {
    /// Starts `program` and waits until it prints `listening on SCHEME://ADDRESS`.
    ///
    /// # Errors
    /// [`ServerError`] if it cannot be started or does not say so in time.
    pub fn start(
        program: &OsStr,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Self, ServerError> {
        let name = program.to_string_lossy().into_owned();
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| ServerError::Start { program: name.clone(), source })?;
        let addresses = child.stdout.take().map(watch_addresses);
        let address = addresses.and_then(|addresses| addresses.recv_timeout(PATIENCE).ok());
        let Some(address) = address else {
            let _ = child.kill();
            let detail = child.stderr.take().map(last_line).unwrap_or_default();
            let _ = child.wait();
            return Err(ServerError::NotListening { program: name, detail });
        };
        if let Some(stderr) = child.stderr.take() {
            pass_on(stderr);
        }
        Ok(Self { child, address })
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> Process {
        Process { pid: self.child.id() }
    }
}

impl Drop for SpawnedServer {
    /// SIGTERM, so that it can drain; SIGKILL where it does not end in time.
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                _ => return,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a server's output to its end, so that its pipe never fills; tells the first address.
fn watch_addresses(stdout: impl Read + Send + 'static) -> mpsc::Receiver<SocketAddr> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        if let Some(address) = lines.find_map(|line| listening_address(&line)) {
            // Nobody listens any more if the caller gave up.
            let _ = sender.send(address);
        }
        lines.for_each(drop);
    });
    receiver
}

fn pass_on(mut stderr: impl Read + Send + 'static) {
    std::thread::spawn(move || io::copy(&mut stderr, &mut io::stderr()));
}

fn last_line(mut stderr: impl Read) -> String {
    let mut text = String::new();
    // What could be read before an error is still worth telling.
    let _ = stderr.read_to_string(&mut text);
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    last.map(|line| format!("; it said: {line}")).unwrap_or_default()
}

/// The address in a line like `fanfare: listening on http://127.0.0.1:8080`.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, url) = line.split_once("listening on ")?;
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', ' ']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_what_servers_print() {
        let address = "127.0.0.1:8080".parse().ok();
        assert_eq!(listening_address("fanfare: listening on http://127.0.0.1:8080"), address);
        assert_eq!(listening_address("floor: listening on ws://127.0.0.1:8080/floor"), address);
        assert_eq!(listening_address("fanfare: admin on http://127.0.0.1:8081"), None);
        assert_eq!(listening_address("listening on nowhere"), None);
    }

    #[test]
    fn cpu_time_and_memory_of_a_process_are_read() {
        let own = Process { pid: std::process::id() };
        let before = (own.cpu_ns().unwrap(), own_cpu_ns());
        let until = Instant::now() + Duration::from_millis(60);
        while Instant::now() < until {}
        assert!(own.cpu_ns().unwrap() >= before.0 + 5_000_000);
        assert!(own_cpu_ns() >= before.1 + 5_000_000);
        assert!(own.rss_bytes().unwrap() > 100_000);
    }

    #[test]
    fn a_program_that_does_not_listen_is_told_with_its_words() {
        let shell = OsStr::new("sh");
        let error = SpawnedServer::start(shell, ["-c", "echo no such port >&2"]).unwrap_err();
        assert!(error.to_string().ends_with("it said: no such port"), "{error}");
        let missing = SpawnedServer::start(OsStr::new("/nowhere/at/all"), [""; 0]).unwrap_err();
        assert!(matches!(missing, ServerError::Start { .. }), "{missing}");
    }

    #[test]
    fn a_process_that_is_gone_cannot_be_measured() {
        assert!(Process { pid: u32::MAX }.cpu_ns().is_err());
    }
}
