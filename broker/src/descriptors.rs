//! How many files the process may have open, and so how many connections.

use std::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(limit) = self.descriptors.limit else {
            return f.write_str("no limit of open files, so none of connections but memory");
        };
        let room = limit.saturating_sub(self.open + RESERVED);
        write!(f, "room for {room} connections, because {limit} files may be open")?;
        if let Some(before) = self.descriptors.raised_from {
            write!(f, " (raised from {before})")?;
        }
        if room < FEW {
            f.write_str("; for more raise the hard limit: `ulimit -Hn`, LimitNOFILE= in systemd")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_connections_come_with_a_note_and_many_do_not() {
        let room = |limit, raised_from| {
            Room { descriptors: Descriptors { limit, raised_from }, open: 20 }.to_string()
        };
        assert_eq!(
            room(Some(1_048_576), Some(1_024)),
            "room for 1048524 connections, because 1048576 files may be open (raised from 1024)"
        );
        let few = room(Some(40), None);
        assert!(few.starts_with("room for 0 connections") && few.contains("LimitNOFILE="), "{few}");
        assert!(room(None, None).starts_with("no limit"));
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let raised = raise();
        let now = getrlimit(Resource::Nofile);
        assert_eq!((now.current, raised.limit), (now.maximum, now.maximum));
        assert_eq!(raise().raised_from, None);
    }
}
