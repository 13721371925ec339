//! How many files the process may have open, and so how many connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::logs::target;

/// Kept free for the admin port, the configuration and whatever else opens a file for a moment.
const RESERVED: u64 = 32;

/// Below this a note says how to have more.
const FEW: u64 = 10_000;

/// The limit of open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// Most that may be open; `None` if there is no limit.
    limit: Option<u64>,
    /// What it was before it was raised.
    raised_from: Option<u64>,
}

/// Raises the soft limit to the hard one: the soft one is low for the sake of old programs that
/// use `select(2)`. Where the system refuses, the limit stays as it is.
pub(crate) fn raise() -> Descriptors {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return Descriptors { limit: current, raised_from: None };
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => Descriptors { limit: maximum, raised_from: current },
        Err(_) => Descriptors { limit: current, raised_from: None },
    }
}

impl Descriptors {
    /// Connections for which there is room beside what is open now.
    pub(crate) fn room(self) -> Room {
        // Where the system does not tell, what is open is little.
        let open = std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
        Room { descriptors: self, open }
    }
}

/// For how many connections there is room.
pub(crate) struct Room {
    descriptors: Descriptors,
    open: u64,
}

impl Room {
    /// Most connections beside what is open now; `None` if only memory limits them.
    fn connections_max(&self) -> Option<u64> {
        Some(self.descriptors.limit?.saturating_sub(self.open + RESERVED))
    }

    /// Tells it in the log, and how to have more where it is little.
    pub(crate) fn tell(&self) {
        let Descriptors { limit: open_files_max, raised_from } = self.descriptors;
        let connections_max = self.connections_max();
        if connections_max.is_some_and(|most| most < FEW) {
            let how = "ulimit -Hn, LimitNOFILE= in systemd";
            warn!(
                target: target::NODE,
                connections_max, open_files_max, raised_from, how,
                "there is room for few connections; raise the hard limit of open files"
            );
        } else {
            let what = "room for connections";
            info!(target: target::NODE, connections_max, open_files_max, raised_from, "{what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_and_reserved_leaves_no_room_for_connections() {
        let most = |limit| {
            Room { descriptors: Descriptors { limit, raised_from: None }, open: 20 }
                .connections_max()
        };
        assert_eq!(most(Some(1_048_576)), Some(1_048_524));
        assert_eq!(most(Some(40)), Some(0));
        assert_eq!(most(None), None);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let raised = raise();
        let now = getrlimit(Resource::Nofile);
        assert_eq!((now.current, raised.limit), (now.maximum, now.maximum));
        assert_eq!(raise().raised_from, None);
    }
}
