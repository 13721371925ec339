//! How much memory the node may use and how much it does.
//!
//! Owns reading both from the system. What follows from them is in `admission.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use fanfare_engine::MemoryBudget;

/// Part of what a control group allows that is the budget where the operator sets none, in
/// percent. The rest is for what those who are connected may still be sent.
const CGROUP_PERCENT: u64 = 85;

/// Where control groups are, version 2 of them.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The memory of one moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// What there may be; `None` if there is no budget.
    pub(crate) budget: Option<u64>,
    /// What is compared with it. Without a budget, what the process has resident.
    pub(crate) used: u64,
}

/// Looks at the memory.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    cgroup: Option<Cgroup>,
}

impl MemoryWatch {
    pub(crate) fn new() -> Self {
        let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self { cgroup: Cgroup::with_limit(Path::new(CGROUPS), &membership) }
    }

    /// The memory as it is now.
    pub(crate) fn look(&self, budget: MemoryBudget) -> Memory {
        match (budget, &self.cgroup) {
            (MemoryBudget::Auto, Some(cgroup)) if let Some(memory) = cgroup.memory() => memory,
            (MemoryBudget::Auto | MemoryBudget::None, _) => {
                Memory { budget: None, used: resident_bytes() }
            }
            (MemoryBudget::Bytes(bytes), _) => {
                Memory { budget: Some(bytes), used: resident_bytes() }
            }
        }
    }
}

/// What the process has in RAM; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    resident.unwrap_or_default() * rustix::param::page_size() as u64
}

/// The control group whose limit ends this process first (`cgroups(7)`, version 2).
#[derive(Debug, PartialEq, Eq)]
struct Cgroup(PathBuf);

impl Cgroup {
    /// The one with the lowest limit among that of the process and those around it; `None` if none
    /// has one. `membership` is what `/proc/self/cgroup` says.
    fn with_limit(root: &Path, membership: &str) -> Option<Self> {
        let path = membership.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let own = root.join(path);
        let groups = own.ancestors().take_while(|group| group.starts_with(root));
        let limited = groups.filter_map(|group| Some((limit(group)?, group)));
        limited.min_by_key(|(limit, _)| *limit).map(|(_, group)| Self(group.to_owned()))
    }

    /// What the group may use and what it does, sockets and the kernel's records of them included.
    /// Files do not count: the kernel drops them from memory before it ends a process.
    fn memory(&self) -> Option<Memory> {
        let limit = limit(&self.0)?;
        let current: u64 = read(&self.0, "memory.current")?.trim().parse().ok()?;
        let stat = read(&self.0, "memory.stat")?;
        let files = stat.lines().filter_map(|line| {
            let (name, bytes) = line.split_once(' ')?;
            matches!(name, "inactive_file" | "active_file").then(|| bytes.parse::<u64>().ok())?
        });
        let used = current.saturating_sub(files.sum());
        Some(Memory { budget: Some(limit / 100 * CGROUP_PERCENT), used })
    }
}

/// A group's limit in bytes; `None` if it is `max`.
fn limit(group: &Path) -> Option<u64> {
    read(group, "memory.max")?.trim().parse().ok()
}

fn read(group: &Path, file: &str) -> Option<String> {
    fs::read_to_string(group.join(file)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Control groups as files of a folder of this test, gone at the end.
    struct Groups(PathBuf);

    impl Groups {
        fn new(name: &str) -> Self {
            let name = format!("fanfare-{name}-{}", std::process::id());
            let root = std::env::temp_dir().join(name);
            fs::create_dir_all(root.join("pod/broker")).unwrap();
            Self(root)
        }

        fn write(&self, file: &str, content: &str) {
            fs::write(self.0.join(file), content).unwrap();
        }
    }

    impl Drop for Groups {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_lowest_limit_around_the_process_is_what_counts() {
        let groups = Groups::new("limits");
        let find = || Cgroup::with_limit(&groups.0, "1:cpu:/elsewhere\n0::/pod/broker\n");
        assert_eq!(find(), None);
        groups.write("pod/broker/memory.max", "max\n");
        assert_eq!(find(), None);
        groups.write("pod/memory.max", "1000000\n");
        assert_eq!(find(), Some(Cgroup(groups.0.join("pod"))));
        groups.write("pod/broker/memory.max", "400000\n");
        assert_eq!(find(), Some(Cgroup(groups.0.join("pod/broker"))));
        assert_eq!(Cgroup::with_limit(&groups.0, "4:memory:/pod\n"), None, "version 1");
    }

    #[test]
    fn files_in_memory_do_not_count_and_a_part_of_the_limit_is_left() {
        let groups = Groups::new("usage");
        groups.write("pod/memory.max", "100000\n");
        groups.write("pod/memory.current", "70000\n");
        groups.write("pod/memory.stat", "anon 5\nfile 60000\ninactive_file 20000\nactive_file 9\n");
        let watch = MemoryWatch { cgroup: Some(Cgroup(groups.0.join("pod"))) };
        let memory = watch.look(MemoryBudget::Auto);
        assert_eq!(memory, Memory { budget: Some(85_000), used: 49_991 });
        assert_eq!(watch.look(MemoryBudget::None).budget, None);
    }

    #[test]
    fn a_budget_in_bytes_is_compared_with_what_is_resident() {
        let watch = MemoryWatch { cgroup: None };
        let memory = watch.look(MemoryBudget::Bytes(77));
        assert!(memory.budget == Some(77) && memory.used > 100_000, "{memory:?}");
        assert_eq!(watch.look(MemoryBudget::Auto).budget, None);
    }
}
