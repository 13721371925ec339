//! The one place that reads the clock for the engine.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fanfare_engine::Now;

/// Microseconds since the first call in this process.
pub(crate) fn now() -> Now {
    Now { us: start().elapsed().as_micros() as u64 }
}

/// The moment `ms` milliseconds after the engine's time began.
pub(crate) fn instant(ms: u64) -> tokio::time::Instant {
    (start() + Duration::from_millis(ms)).into()
}

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}
