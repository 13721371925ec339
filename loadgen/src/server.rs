//! The process under test: starting it, stopping it, and what it costs, read from procfs.
//!
//! CPU times are the scheduler's own (`schedstat`, in ns), not the tick-sampled `utime`.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use rustix::time::{ClockId, clock_gettime};

/// How long a server may take to tell its admin port after its data port.
const ADMIN_PATIENCE: Duration = Duration::from_secs(2);

/// How long a server may take until it says where it listens, and until it has ended.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why a server cannot be started or measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
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
pub(crate) struct Process {
    /// Its id.
    pub pid: u32,
}

/// What the scheduler gave a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuTime {
    /// Time on a CPU, in ns.
    pub run_ns: u64,
    /// Time ready to run while others had the CPU, in ns. Much of it means that the machine was
    /// too busy for a good measurement.
    pub wait_ns: u64,
}

impl std::ops::AddAssign for CpuTime {
    fn add_assign(&mut self, other: Self) {
        self.run_ns += other.run_ns;
        self.wait_ns += other.wait_ns;
    }
}

impl CpuTime {
    /// What came since `before`.
    #[must_use]
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            run_ns: self.run_ns.saturating_sub(before.run_ns),
            wait_ns: self.wait_ns.saturating_sub(before.wait_ns),
        }
    }
}

/// The CPU time of this process; that of its ended threads is in `run_ns` too.
///
/// # Errors
/// Only if procfs is not there.
pub(crate) fn own_cpu() -> Result<CpuTime, ServerError> {
    let living = Process { pid: std::process::id() }.cpu()?;
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let run_ns = used.tv_sec as u64 * 1_000_000_000 + used.tv_nsec as u64;
    Ok(CpuTime { run_ns, ..living })
}

impl Process {
    /// The CPU time of all its living threads.
    ///
    /// # Errors
    /// [`ServerError::Unmeasurable`] if it has ended or belongs to someone else.
    pub(crate) fn cpu(self) -> Result<CpuTime, ServerError> {
        let failed = |source| ServerError::Unmeasurable { pid: self.pid, source };
        let mut total = CpuTime::default();
        for task in std::fs::read_dir(format!("/proc/{}/task", self.pid)).map_err(failed)? {
            let path = task.map_err(failed)?.path().join("schedstat");
            // A thread may end between the listing and the reading.
            let Ok(text) = std::fs::read_to_string(path) else { continue };
            let mut fields = text.split_whitespace().map_while(|field| field.parse().ok());
            let (run_ns, wait_ns) = (fields.next(), fields.next());
            total += CpuTime {
                run_ns: run_ns.unwrap_or_default(),
                wait_ns: wait_ns.unwrap_or_default(),
            };
        }
        Ok(total)
    }

    /// Sets how many files it may have open, once and for all.
    ///
    /// # Errors
    /// [`ServerError::Unmeasurable`] if it has ended, is someone else's or may not have as many.
    pub(crate) fn limit_descriptors(self, most: u64) -> Result<(), ServerError> {
        let failed =
            |error: Errno| ServerError::Unmeasurable { pid: self.pid, source: error.into() };
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH);
        let pid = Some(pid.map_err(failed)?);
        // The hard one as well, or the process could raise its own again.
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        prlimit(pid, Resource::Nofile, limit).map_err(failed)?;
        Ok(())
    }

    /// Resident memory, in bytes.
    ///
    /// # Errors
    /// [`ServerError::Unmeasurable`] if it has ended.
    pub(crate) fn rss_bytes(self) -> Result<u64, ServerError> {
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
pub(crate) struct SpawnedServer {
    child: Child,
    /// Where its data port is.
    pub address: SocketAddr,
    admin: mpsc::Receiver<SocketAddr>,
}

impl SpawnedServer {
    /// Starts `program` and waits until it prints `listening on SCHEME://ADDRESS`.
    ///
    /// # Errors
    /// [`ServerError`] if it cannot be started or does not say so in time.
    pub(crate) fn start(
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
        let (listening, admin) = match child.stdout.take() {
            Some(stdout) => watch_addresses(stdout),
            None => (mpsc::channel().1, mpsc::channel().1),
        };
        let Ok(address) = listening.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            let detail = child.stderr.take().map(last_line).unwrap_or_default();
            let _ = child.wait();
            return Err(ServerError::NotListening { program: name, detail });
        };
        if let Some(stderr) = child.stderr.take() {
            pass_on(stderr);
        }
        Ok(Self { child, address, admin })
    }

    /// Where its admin port is, if it tells of one (`admin on SCHEME://ADDRESS`).
    #[must_use]
    pub(crate) fn admin(&self) -> Option<SocketAddr> {
        self.admin.recv_timeout(ADMIN_PATIENCE).ok()
    }

    /// The process.
    #[must_use]
    pub(crate) fn process(&self) -> Process {
        Process { pid: self.child.id() }
    }

    /// Asks it to end, as its supervisor would: SIGTERM. Not once it is known to have ended.
    pub(crate) fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // It may have ended just now.
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    /// Only if the system does not tell.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }
}

impl Drop for SpawnedServer {
    /// SIGTERM, so that it can drain; SIGKILL where it does not end in time.
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.ended() {
            return;
        }
        self.terminate();
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

/// Reads a server's output to its end, so that its pipe never fills; tells the addresses of its
/// data and of its admin port.
fn watch_addresses(
    stdout: impl Read + Send + 'static,
) -> (mpsc::Receiver<SocketAddr>, mpsc::Receiver<SocketAddr>) {
    let (data_sender, data) = mpsc::channel();
    let (admin_sender, admin) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let told = [("listening on ", &data_sender), ("admin on ", &admin_sender)];
            for (before, sender) in told {
                // Nobody listens any more if the caller gave up.
                let _ = address_behind(before, &line).map(|address| sender.send(address));
            }
        }
    });
    (data, admin)
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
fn address_behind(before: &str, line: &str) -> Option<SocketAddr> {
    let (_, url) = line.split_once(before)?;
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', ' ']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_what_servers_print() {
        let address = "127.0.0.1:8080".parse().ok();
        let listening = |line| address_behind("listening on ", line);
        assert_eq!(listening("fanfare: listening on http://127.0.0.1:8080"), address);
        assert_eq!(listening("floor: listening on ws://127.0.0.1:8080/floor"), address);
        assert_eq!(listening("fanfare: admin on http://127.0.0.1:8081"), None);
        assert_eq!(listening("listening on nowhere"), None);
        let admin = address_behind("admin on ", "fanfare: admin on http://127.0.0.1:8080/x");
        assert_eq!(admin, address);
    }

    /// Of a child with one thread: in this process threads of other tests end, and their time
    /// with them.
    #[test]
    fn cpu_time_and_memory_of_a_process_are_read() {
        let mut busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let process = Process { pid: busy.id() };
        let until = Instant::now() + Duration::from_secs(30);
        while process.cpu().unwrap().run_ns < 5_000_000 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        let (cpu, rss_bytes) = (process.cpu(), process.rss_bytes());
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(cpu.unwrap().run_ns >= 5_000_000);
        assert!(rss_bytes.unwrap() > 100_000);
    }

    #[test]
    fn own_cpu_time_grows_while_this_thread_is_busy() {
        let before = own_cpu().unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while own_cpu().unwrap().since(before).run_ns < 5_000_000 {
            assert!(Instant::now() < until, "no time on a CPU within 30 s of computing");
        }
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
        assert!(Process { pid: u32::MAX }.cpu().is_err());
    }
}
