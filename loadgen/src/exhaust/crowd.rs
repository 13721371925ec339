//! Those who want in: threads that open connections, keep each that they get, and after a refusal
//! pause and try again.
//!
//! Owns what became of each attempt, and when one succeeds after all kept ones were released.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::handshake::{HandshakeError, UpgradeRequest};

/// How long an opener waits for the answer to its handshake: a browser waits longer, but those who
/// wait take nothing from the broker, and this is to be a crowd that asks.
const PATIENCE: Duration = Duration::from_secs(2);

/// The crowd has filled the broker once nobody got in for so long and somebody was turned away.
const FULL_AFTER: Duration = Duration::from_secs(1);

/// How long filling the broker may take.
const FILLING_MAX: Duration = Duration::from_secs(30);

/// How long the first connection after a release is waited for.
const RETURN_MAX: Duration = Duration::from_secs(10);

/// An opener needs little.
const STACK_BYTES: usize = 128 * 1024;

/// Openers at work; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Crowd {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What became of the attempts so far.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Attempts {
    /// Connections that were kept.
    pub opened: u64,
    /// Handshakes that were answered with an error.
    pub refused: u64,
    /// Handshakes that were not answered within two seconds.
    pub unanswered: u64,
    /// Connections that could not be made, or were cut.
    pub failed: u64,
}

impl Attempts {
    /// Those since `before`.
    #[must_use]
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            opened: self.opened - before.opened,
            refused: self.refused - before.refused,
            unanswered: self.unanswered - before.unanswered,
            failed: self.failed - before.failed,
        }
    }

    /// Those that did not get in.
    #[must_use]
    pub(super) fn turned_away(self) -> u64 {
        self.refused + self.unanswered + self.failed
    }
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    path: String,
    pause: Duration,
    is_over: AtomicBool,
    kept: Mutex<Vec<TcpStream>>,
    opened: AtomicU64,
    refused: AtomicU64,
    unanswered: AtomicU64,
    failed: AtomicU64,
    released: OnceLock<Instant>,
    /// When the first connection after the release was open.
    returned: OnceLock<Instant>,
}

enum Outcome {
    Open(TcpStream),
    Refused,
    Unanswered,
    Failed,
}

impl Crowd {
    /// Starts `openers` threads that want `path` of the broker at `address`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn start(
        address: SocketAddr,
        path: String,
        openers: u32,
        pause: Duration,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            address,
            path,
            pause,
            is_over: AtomicBool::new(false),
            kept: Mutex::default(),
            opened: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            released: OnceLock::new(),
            returned: OnceLock::new(),
        });
        let mut crowd = Self { shared: shared.clone(), threads: Vec::new() };
        for _ in 0..openers {
            let shared = shared.clone();
            let opener = thread::Builder::new().stack_size(STACK_BYTES);
            crowd.threads.push(opener.spawn(move || shared.keep_opening())?);
        }
        Ok(crowd)
    }

    /// Waits until nobody gets in any more.
    ///
    /// # Errors
    /// If the broker takes everybody.
    pub(super) fn fill(&self) -> Result<()> {
        let began = Instant::now();
        let (mut opened, mut grown) = (0, began);
        while began.elapsed() < FILLING_MAX {
            thread::sleep(Duration::from_millis(20));
            let attempts = self.attempts();
            if attempts.opened > opened {
                (opened, grown) = (attempts.opened, Instant::now());
            }
            if attempts.turned_away() > 0 && grown.elapsed() > FULL_AFTER {
                return Ok(());
            }
        }
        bail!("the server took {opened} connections and was not full after {FILLING_MAX:?}")
    }

    /// What became of the attempts so far.
    #[must_use]
    pub(super) fn attempts(&self) -> Attempts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Attempts {
            opened: get(&self.shared.opened),
            refused: get(&self.shared.refused),
            unanswered: get(&self.shared.unanswered),
            failed: get(&self.shared.failed),
        }
    }

    /// Releases every connection that was kept; how long it took until one of those who still
    /// want in was let in, or `None` if none was.
    #[must_use]
    pub(super) fn release(&self) -> Option<Duration> {
        let released = *self.shared.released.get_or_init(Instant::now);
        drop(std::mem::take(&mut *lock(&self.shared.kept)));
        while released.elapsed() < RETURN_MAX {
            if let Some(returned) = self.shared.returned.get() {
                return Some(returned.duration_since(released));
            }
            thread::sleep(Duration::from_millis(1));
        }
        None
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn keep_opening(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            let count = match self.open() {
                Outcome::Open(stream) => {
                    if self.released.get().is_some() {
                        let _ = self.returned.set(Instant::now());
                    }
                    lock(&self.kept).push(stream);
                    self.opened.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Outcome::Refused => &self.refused,
                Outcome::Unanswered => &self.unanswered,
                Outcome::Failed => &self.failed,
            };
            count.fetch_add(1, Ordering::Relaxed);
            thread::sleep(self.pause);
        }
    }

    fn open(&self) -> Outcome {
        let request = UpgradeRequest::new(&self.address.to_string(), &self.path, None);
        let connected = TcpStream::connect_timeout(&self.address, PATIENCE);
        let Ok(mut stream) = connected else { return Outcome::Failed };
        let is_sent = stream.set_read_timeout(Some(PATIENCE)).is_ok()
            && stream.write_all(request.bytes()).is_ok();
        if !is_sent {
            return Outcome::Failed;
        }
        let (mut answer, mut filled) = ([0; 4_096], 0);
        loop {
            match stream.read(&mut answer[filled..]) {
                Ok(0) => return Outcome::Failed,
                Ok(read) => filled += read,
                Err(error) if is_timeout(&error) => return Outcome::Unanswered,
                Err(_) => return Outcome::Failed,
            }
            match request.read_answer(&answer[..filled]) {
                Ok(Some(_)) => return Outcome::Open(stream),
                Ok(None) => {}
                Err(HandshakeError::Refused { .. }) => return Outcome::Refused,
                Err(_) => return Outcome::Failed,
            }
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// What is under the lock is whole at any time.
fn lock(kept: &Mutex<Vec<TcpStream>>) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
