//! Time as an argument: the engine never asks for it.

/// A moment on a clock that never goes back, in microseconds since some start that all parts of
/// one process share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Microseconds since the shared start.
    pub us: u64,
}

impl Now {
    /// The moment `ms` milliseconds after the start.
    #[must_use]
    pub fn from_ms(ms: u64) -> Self {
        Self { us: ms * 1_000 }
    }

    /// Whole milliseconds since the start.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.us / 1_000
    }
}
