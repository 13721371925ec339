//! The server's resident memory over time: where it stood, how high it rose, where it ended.
//!
//! Sampled from procfs while a load runs. Says nothing of what the memory is for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::server::{Process, ServerError};

/// How often memory is read; takes some 20 µs.
const INTERVAL: Duration = Duration::from_millis(50);

/// How long memory has to keep still until it counts as settled, and how still.
const STILL_FOR: Duration = Duration::from_millis(500);
const STILL_BYTES: u64 = 64 * 1024;

/// How long it is waited for that.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// Waits until the process no longer gives back what it needed before, and tells its memory. An
/// allocator takes its time for that, and growth counts from here.
///
/// # Errors
/// If it cannot be measured.
pub(crate) fn settled_rss_bytes(process: Process) -> Result<u64, ServerError> {
    let (started, mut moved) = (Instant::now(), Instant::now());
    let mut still_bytes = process.rss_bytes()?;
    while moved.elapsed() < STILL_FOR && started.elapsed() < SETTLE_MAX {
        std::thread::sleep(INTERVAL);
        let now_bytes = process.rss_bytes()?;
        if now_bytes.abs_diff(still_bytes) > STILL_BYTES {
            (still_bytes, moved) = (now_bytes, Instant::now());
        }
    }
    process.rss_bytes()
}

/// What the samples say, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Before the load.
    pub start_bytes: u64,
    /// The most that was seen.
    pub peak_bytes: u64,
    /// After the load.
    pub end_bytes: u64,
    /// From the start to the peak.
    pub growth_bytes: u64,
}

/// A thread that samples until it is stopped.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Memory, ServerError>>,
}

impl MemoryWatch {
    /// Starts from what the process has once it keeps still.
    ///
    /// # Errors
    /// If it cannot be measured.
    pub(crate) fn start(process: Process) -> Result<Self, ServerError> {
        let start_bytes = settled_rss_bytes(process)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut peak_bytes, mut end_bytes) = (start_bytes, start_bytes);
            while !stopped.load(Ordering::Acquire) {
                std::thread::park_timeout(INTERVAL);
                end_bytes = process.rss_bytes()?;
                peak_bytes = peak_bytes.max(end_bytes);
            }
            let growth_bytes = peak_bytes - start_bytes;
            Ok(Memory { start_bytes, peak_bytes, end_bytes, growth_bytes })
        });
        Ok(Self { stop, thread })
    }

    /// Takes the last sample and tells.
    ///
    /// # Errors
    /// If the process could not be measured to the end: it has ended.
    pub(crate) fn stop(self) -> Result<Memory> {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        Ok(self.thread.join().ok().context("the thread that reads memory panicked")??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_and_fall_between_start_and_end_is_seen() {
        let watch = MemoryWatch::start(Process { pid: std::process::id() }).unwrap();
        // Only pages that were written to are resident.
        let rise = vec![1_u8; 96 << 20];
        std::thread::sleep(4 * INTERVAL);
        assert_eq!(rise[rise.len() - 1], 1);
        drop(rise);
        let memory = watch.stop().unwrap();
        assert!(memory.growth_bytes >= 90 << 20, "{memory:?}");
        assert_eq!(memory.peak_bytes, memory.start_bytes + memory.growth_bytes);
        assert!(memory.end_bytes <= memory.peak_bytes);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(MemoryWatch::start(Process { pid: u32::MAX }).is_err());
    }
}
