//! Who is let in: how many connections the node has, how many it may have, whether there is memory
//! for more, and who was refused.
//!
//! Owns this as all shards share it. How a connection comes in or hears that it may not is in
//! `shard/requests/door.rs`; what the system allows is told by `descriptors.rs` and `memory.rs`.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use fanfare_engine::TopicTable;

use crate::memory::{Memory, MemoryWatch};
use crate::{clock, descriptors};

/// Seconds after which whoever was refused may ask again: each is told another number, so that
/// those who came together do not come back together.
const RETRY_AFTER_SECONDS: std::ops::RangeInclusive<u8> = 5..=15;

/// How long a node sheds before it says that it is not ready, in milliseconds: a burst of
/// messages is over sooner.
const UNREADY_AFTER_MS: u64 = 5_000;

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The process may not open more files.
    Descriptors,
    /// `limits.connections`.
    Limit,
    /// `limits.memory`.
    Memory,
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
    /// The last look at the memory, in bytes; no budget is 0.
    memory_budget: AtomicU64,
    memory_used: AtomicU64,
    /// Since when nobody is let in for want of memory, in milliseconds of the clock and one more;
    /// 0 while that is not so.
    shedding_since: AtomicU64,
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
            memory_budget: AtomicU64::new(0),
            memory_used: AtomicU64::new(0),
            shedding_since: AtomicU64::new(0),
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
        if self.is_shedding() {
            return Some(Refusal::Memory);
        }
        (self.taken() >= self.connections_max()).then(|| self.refusal_when_full())
    }

    fn refusal_when_full(&self) -> Refusal {
        match self.is_descriptors.load(Ordering::Relaxed) {
            true => Refusal::Descriptors,
            false => Refusal::Limit,
        }
    }

    /// Takes a place for one connection; `false` if none is free, or there is no memory for more.
    /// Whoever takes one must [`Self::give_back`] it.
    pub(crate) fn take(&self) -> bool {
        if self.is_shedding() {
            return false;
        }
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

    /// Whether nobody is let in for want of memory.
    pub(crate) fn is_shedding(&self) -> bool {
        self.shedding_since.load(Ordering::Relaxed) > 0
    }

    /// Whether that lasts for so long that clients should be sent elsewhere.
    pub(crate) fn sheds_for_long(&self) -> bool {
        let since = self.shedding_since.load(Ordering::Relaxed);
        since > 0 && clock::now().ms() >= since + UNREADY_AFTER_MS
    }

    /// The last look at the memory.
    pub(crate) fn memory(&self) -> Memory {
        let budget = self.memory_budget.load(Ordering::Relaxed);
        let used = self.memory_used.load(Ordering::Relaxed);
        Memory { budget: Some(budget).filter(|budget| *budget > 0), used }
    }

    /// Takes note of the memory, and of how short it is.
    fn note_memory(&self, memory: Memory, shortage: Shortage) {
        self.memory_budget.store(memory.budget.unwrap_or_default(), Ordering::Relaxed);
        self.memory_used.store(memory.used, Ordering::Relaxed);
        let since = match shortage {
            Shortage::None => 0,
            _ if self.is_shedding() => return,
            _ => clock::now().ms() + 1,
        };
        self.shedding_since.store(since, Ordering::Relaxed);
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

/// How short of memory the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortage {
    None,
    /// Nobody is let in.
    Sheds,
    /// And those who are connected have less waiting for them.
    Tightens,
}

impl Shortage {
    /// What follows a look at the memory. Each ends below where it begins, so that a node does not
    /// change its mind with every connection that comes or goes.
    fn after(self, memory: Memory) -> Self {
        let Some(budget) = memory.budget else { return Self::None };
        let percent = memory.used.saturating_mul(100) / budget.max(1);
        match self {
            _ if percent > 110 => Self::Tightens,
            Self::Tightens if percent > 100 => Self::Tightens,
            Self::None if percent <= 100 => Self::None,
            _ if percent < 95 => Self::None,
            _ => Self::Sheds,
        }
    }
}

/// Keeps what is let in what the system and the configuration allow.
#[derive(Debug)]
pub(crate) struct AdmissionWatch {
    admission: Arc<Admission>,
    /// Whose limits may change while the node runs.
    topics: Arc<TopicTable>,
    /// Files that the process has open beside connections.
    others: usize,
    memory: MemoryWatch,
    shortage: Shortage,
}

impl AdmissionWatch {
    /// To be made when the node has opened all that is not a connection; takes over what is
    /// allowed now.
    pub(crate) fn new(admission: Arc<Admission>, topics: Arc<TopicTable>) -> Self {
        let others = descriptors::open().saturating_sub(admission.taken());
        let (memory, shortage) = (MemoryWatch::new(), Shortage::None);
        let mut watch = Self { admission, topics, others, memory, shortage };
        watch.look();
        watch
    }

    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// Takes over what is allowed now.
    pub(crate) fn look(&mut self) {
        let limits = self.topics.live_limits();
        let room = descriptors::Room::beside(self.others, self.topics.mailboxes().len());
        self.admission.set_limit(limits.connections_max, room);
        let memory = self.memory.look(limits.memory);
        self.shortage = self.shortage.after(memory);
        self.admission.note_memory(memory, self.shortage);
        self.topics.set_short_of_memory(self.shortage == Shortage::Tightens);
    }
}

impl Refusal {
    pub(crate) const ALL: [Self; 3] = [Self::Descriptors, Self::Limit, Self::Memory];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::Limit => "limit",
            Self::Memory => "memory",
        }
    }

    /// What the client is told.
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Self::Descriptors | Self::Limit => {
                "this node has as many connections as it may; try again later, or another node"
            }
            Self::Memory => {
                "this node has no memory for more connections; try again later, or another node"
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

impl From<&std::io::Error> for AcceptError {
    fn from(error: &std::io::Error) -> Self {
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
        assert_eq!(admission.refused(), [("descriptors", 1), ("limit", 0), ("memory", 0)]);
    }

    #[test]
    fn a_shortage_ends_below_where_it_began() {
        let memory = |used| Memory { budget: Some(1_000), used };
        let mut shortage = Shortage::None;
        for (used, expected) in [
            (1_000, Shortage::None),
            (1_011, Shortage::Sheds),
            (960, Shortage::Sheds),
            (940, Shortage::None),
            (960, Shortage::None),
            (1_200, Shortage::Tightens),
            (1_050, Shortage::Tightens),
            (1_000, Shortage::Sheds),
            (1_111, Shortage::Tightens),
            (10, Shortage::None),
        ] {
            shortage = shortage.after(memory(used));
            assert_eq!(shortage, expected, "at {used}");
        }
        let none = Memory { budget: None, used: u64::MAX };
        assert_eq!(Shortage::Tightens.after(none), Shortage::None);
    }

    #[test]
    fn while_memory_is_short_nobody_is_let_in() {
        let admission = Admission::new();
        let memory = Memory { budget: Some(10), used: 20 };
        admission.note_memory(memory, Shortage::Sheds);
        assert!(!admission.take() && admission.memory() == memory);
        assert_eq!(admission.refusal(), Some(Refusal::Memory));
        assert!(!admission.sheds_for_long(), "a short while is nothing");
        admission.note_memory(memory, Shortage::None);
        assert!(admission.take());
        assert_eq!(admission.refusal(), None);
    }

    #[test]
    fn the_system_s_errors_are_told_apart() {
        let error = |errno: rustix::io::Errno| AcceptError::from(&std::io::Error::from(errno));
        assert_eq!(error(rustix::io::Errno::NFILE), AcceptError::Descriptors);
        assert_eq!(error(rustix::io::Errno::NOBUFS), AcceptError::Memory);
        assert_eq!(error(rustix::io::Errno::PERM), AcceptError::Other);
    }
}
