//! What the system says about this process, under the names that Prometheus' own clients use.
//! Finer than theirs: CPU time of a delivery is told in microseconds, not in seconds.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// This process at one moment. `None` where the system does not tell.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: Option<f64>,
    pub(super) virtual_bytes: Option<f64>,
    pub(super) open_fds: Option<f64>,
    /// `None` also where there is no limit.
    pub(super) max_fds: Option<f64>,
    pub(super) threads: Option<f64>,
}

impl Process {
    pub(super) fn read() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let memory = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let page = rustix::param::page_size() as f64;
        let pages = |place: usize| memory.split(' ').nth(place)?.parse::<f64>().ok();
        Self {
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            virtual_bytes: pages(0).map(|pages| pages * page),
            resident_bytes: pages(1).map(|pages| pages * page),
            open_fds: entries("/proc/self/fd"),
            max_fds: getrlimit(Resource::Nofile).current.map(|max| max as f64),
            threads: entries("/proc/self/task"),
        }
    }
}

/// Entries of a folder of procfs. Since Linux 6.2 that of descriptors tells their number as its
/// size, which spares a scrape milliseconds where there are tens of thousands.
fn entries(folder: &str) -> Option<f64> {
    if let Ok(told @ 1..) = fs::metadata(folder).map(|folder| folder.len()) {
        return Some(told as f64);
    }
    fs::read_dir(folder).ok().map(|entries| entries.count() as f64)
}
