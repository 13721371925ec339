//! How many files the process may have open, and so how many connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::logs::target;
use crate::shard::REFUSALS_MAX;

/// Kept free for the admin port, the configuration and whatever else opens a file for a moment.
const RESERVED: usize = 32;

/// Below this a note says how to have more.
const FEW: usize = 10_000;

/// Raises the soft limit to the hard one: the soft one is low for the sake of old programs that
/// use `select(2)`. Where the system refuses, the limit stays as it is. What it was before, if it
/// was raised.
pub(crate) fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return None;
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).ok().and(current)
}

/// Files that are open now. Where the system does not tell, they are taken to be few.
pub(crate) fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count())
}

/// For how many connections there are descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room(Option<usize>);

impl Room {
    /// What the limit as it is now leaves to connections, beside so many other files and what the
    /// shards need to tell those who find no place.
    pub(crate) fn beside(others: usize, shards: usize) -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Self(limit.map(|limit| limit.saturating_sub(others + RESERVED + shards * REFUSALS_MAX)))
    }

    /// Connections for which there is room.
    pub(crate) fn connections(self) -> usize {
        self.0.unwrap_or(usize::MAX)
    }

    #[cfg(test)]
    pub(crate) fn of(connections: usize) -> Self {
        Self(Some(connections))
    }
}

/// Tells in the log how many connections there may be at most, what the limit of open files is and
/// was before it was raised, and how to have more where it is little.
pub(crate) fn tell(connections_max: usize, raised_from: Option<u64>) {
    let open_files_max = getrlimit(Resource::Nofile).current;
    // With neither limit memory alone bounds them.
    let connections_max = Some(connections_max).filter(|most| *most < usize::MAX);
    if connections_max.is_some_and(|most| most < FEW) {
        let how = "ulimit -Hn, LimitNOFILE= in systemd, or limits.connections if it is set";
        warn!(
            target: target::NODE,
            connections_max, open_files_max, raised_from, how,
            "there is room for few connections"
        );
    } else {
        let what = "room for connections";
        info!(target: target::NODE, connections_max, open_files_max, raised_from, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        raise();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
        assert_eq!(raise(), None);
    }

    #[test]
    fn connections_have_what_others_leave() {
        let limit = getrlimit(Resource::Nofile).current.map(|limit| limit as usize);
        let left = Room::beside(20, 2).connections();
        assert_eq!(left, limit.map_or(usize::MAX, |limit| limit - 20 - RESERVED - 32));
        assert_eq!(Room::beside(usize::MAX / 2, 2).connections(), limit.map_or(usize::MAX, |_| 0));
    }
}
