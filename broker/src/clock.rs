//! The one place that reads the clock for the engine.

use std::sync::OnceLock;
use std::time::Instant;

use fanfare_engine::Now;

/// Microseconds since the first call in this process.
pub(crate) fn now() -> Now {
    static START: OnceLock<Instant> = OnceLock::new();
    Now { us: START.get_or_init(Instant::now).elapsed().as_micros() as u64 }
}
