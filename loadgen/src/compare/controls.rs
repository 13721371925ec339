//! How a crew's thread is told what to do, and tells how far it is.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// What all clients do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Connect and follow the topic; pollers ask once.
    Opening,
    /// Pollers ask by their time-table; nothing is measured.
    Asking,
    /// Everything is measured.
    Measuring,
    /// Pollers wait for their answers and ask no more.
    Finishing,
    /// End.
    Over,
}

const PHASES: [Phase; 5] =
    [Phase::Opening, Phase::Asking, Phase::Measuring, Phase::Finishing, Phase::Over];

/// Shared by a crew and whoever leads it.
#[derive(Debug, Default)]
pub(super) struct Controls {
    called: AtomicU8,
    reached: AtomicU8,
    /// Clients that follow the topic.
    pub live: AtomicU32,
    /// Messages that came for the first time.
    pub received: AtomicU64,
    /// Messages that were published; told before the end.
    pub published: AtomicU32,
    /// Clients or polls that failed.
    pub failed: AtomicU64,
}

impl Controls {
    /// Calls a phase.
    pub(super) fn call(&self, phase: Phase) {
        self.called.store(phase as u8, Ordering::Release);
    }

    /// The phase that was called.
    #[must_use]
    pub(super) fn called(&self) -> Phase {
        PHASES[usize::from(self.called.load(Ordering::Acquire))]
    }

    /// Says that a phase is reached.
    pub(super) fn reach(&self, phase: Phase) {
        self.reached.store(phase as u8, Ordering::Release);
    }

    /// The phase that was reached.
    #[must_use]
    pub(super) fn reached(&self) -> Phase {
        PHASES[usize::from(self.reached.load(Ordering::Acquire))]
    }
}
