//! Who is let in: how many connections the node has, how many it may have, and who was refused.
//!
//! Owns these counts, shared by all shards. How a connection comes in or hears that it may not is
//! in `shard/requests/door.rs`; how many descriptors there are is in `descriptors.rs`.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use fanfare_engine::TopicTable;

use crate::descriptors;

/// Seconds after which whoever was refused may ask again: each is told another number, so that
/// those who came together do not come back together.
const RETRY_AFTER_SECONDS: std::ops::RangeInclusive<u8> = 5..=15;

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The process may not open more files.
    Descriptors,
    /// `limits.connections`.
    Limit,
}

/// Why the system did not hand a connection over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptError {
    /// The process, or the whole machine, has no file descriptor left.
    Descriptors,
    /// The kernel has no memory for it.
    Memory,
    /// Anything else.
    Other,
}

/// The places of a node's connections.
#[derive(Debug)]
pub(crate) struct Admission {
    taken: AtomicUsize,
    connections_max: AtomicUsize,
    /// Whether it is the descriptors that allow no more.
    is_descriptors: AtomicBool,
    /// Connections that were refused, in the order of [`Refusal::ALL`].
    refused: [AtomicU64; Refusal::ALL.len()],
    /// In the order of [`AcceptError::ALL`].
    accept_errors: [AtomicU64; AcceptError::ALL.len()],
}

impl Admission {
    /// As many places as anybody may want, until [`Self::set_limit`] is called.
    pub(crate) fn new() -> Self {
        Self {
            taken: AtomicUsize::new(0),
            connections_max: AtomicUsize::new(usize::MAX),
            is_descriptors: AtomicBool::new(false),
            refused: Default::default(),
            accept_errors: Default::default(),
        }
    }

    /// Sets how many connections there may be: what the operator allows, if that is said, but
    /// never so many that no descriptor is left for anything else.
    pub(crate) fn set_limit(&self, configured: Option<NonZeroUsize>, room: descriptors::Room) {
        let configured = configured.map_or(usize::MAX, NonZeroUsize::get);
        let most = configured.min(room.connections());
        self.is_descriptors.store(most < configured, Ordering::Relaxed);
        self.connections_max.store(most, Ordering::Relaxed);
    }

    /// Most connections that there may be.
    pub(crate) fn connections_max(&self) -> usize {
        self.connections_max.load(Ordering::Relaxed)
    }

    /// Places that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Why no connection is let in now, if none is.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        (self.taken() >= self.connections_max()).then(|| self.refusal_when_full())
    }

    fn refusal_when_full(&self) -> Refusal {
        match self.is_descriptors.load(Ordering::Relaxed) {
            true => Refusal::Descriptors,
            false => Refusal::Limit,
        }
    }

    /// Takes a place for one connection; `false` if none is free. Whoever takes one must
    /// [`Self::give_back`] it.
    pub(crate) fn take(&self) -> bool {
        let most = self.connections_max();
        let one_more = |taken| (taken < most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Gives places back.
    pub(crate) fn give_back(&self, places: usize) {
        if places > 0 {
            self.taken.fetch_sub(places, Ordering::Relaxed);
        }
    }

    /// Counts a connection that is refused.
    pub(crate) fn count_refused(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failure of `accept(2)`.
    pub(crate) fn count_error(&self, error: AcceptError) {
        self.accept_errors[error as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that were refused, by why.
    pub(crate) fn refused(&self) -> [(&'static str, u64); Refusal::ALL.len()] {
        Refusal::ALL.map(|one| (one.name(), self.refused[one as usize].load(Ordering::Relaxed)))
    }

    /// Failures of `accept(2)`, by why.
    pub(crate) fn accept_errors(&self) -> [(&'static str, u64); AcceptError::ALL.len()] {
        let count = |one: AcceptError| self.accept_errors[one as usize].load(Ordering::Relaxed);
        AcceptError::ALL.map(|one| (one.name(), count(one)))
    }
}

/// Keeps the number of places what the system and the configuration allow.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) admission: Arc<Admission>,
    /// Whose limits may change while the node runs.
    pub(crate) topics: Arc<TopicTable>,
    /// Files that the process has open beside connections.
    pub(crate) others: usize,
}

impl Places {
    /// Takes over what is allowed now.
    pub(crate) fn renew(&self) {
        let room = descriptors::Room::beside(self.others, self.topics.mailboxes().len());
        self.admission.set_limit(self.topics.live_limits().connections_max, room);
    }
}

impl Refusal {
    pub(crate) const ALL: [Self; 2] = [Self::Descriptors, Self::Limit];

    fn name(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::Limit => "limit",
        }
    }

    /// What the client is told.
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Self::Descriptors | Self::Limit => {
                "this node has as many connections as it may; try again later, or another node"
            }
        }
    }

    /// When the client may try again, in seconds.
    pub(crate) fn retry_after_seconds() -> u8 {
        fastrand::u8(RETRY_AFTER_SECONDS)
    }
}

impl AcceptError {
    pub(crate) const ALL: [Self; 3] = [Self::Descriptors, Self::Memory, Self::Other];

    fn name(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::Memory => "memory",
            Self::Other => "other",
        }
    }
}

impl From<std::io::Error> for AcceptError {
    fn from(error: std::io::Error) -> Self {
        use rustix::io::Errno;
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE) => Self::Descriptors,
            Some(Errno::NOBUFS | Errno::NOMEM) => Self::Memory,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptors::Room;

    #[test]
    fn there_are_as_many_places_as_are_configured_and_come_free_again() {
        let admission = Admission::new();
        assert!(admission.take(), "any number before a limit is known");
        admission.set_limit(NonZeroUsize::new(2), Room::of(1_000));
        assert!(admission.take() && !admission.take());
        assert_eq!(admission.refusal(), Some(Refusal::Limit));
        admission.give_back(1);
        assert_eq!(admission.refusal(), None);
        assert!(admission.take());
        admission.set_limit(None, Room::of(1_000));
        assert_eq!((admission.refusal(), admission.connections_max()), (None, 1_000));
    }

    #[test]
    fn descriptors_count_where_they_allow_less_than_the_operator() {
        let admission = Admission::new();
        admission.set_limit(NonZeroUsize::new(2), Room::of(0));
        assert!(!admission.take());
        assert_eq!(admission.refusal(), Some(Refusal::Descriptors));
        admission.count_refused(Refusal::Descriptors);
        assert_eq!(admission.refused(), [("descriptors", 1), ("limit", 0)]);
    }

    #[test]
    fn the_system_s_errors_are_told_apart() {
        let error = |errno: rustix::io::Errno| AcceptError::from(std::io::Error::from(errno));
        assert_eq!(error(rustix::io::Errno::NFILE), AcceptError::Descriptors);
        assert_eq!(error(rustix::io::Errno::NOBUFS), AcceptError::Memory);
        assert_eq!(error(rustix::io::Errno::PERM), AcceptError::Other);
    }
}
