//! From how much unsent on a connection on what happens, and how that tightens while the whole
//! node is short of room.

use crate::fault::{Fault, planted};
use crate::limits::Limits;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The marks of a shard's connections, in bytes of `buffered_amount`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    /// From here on a connection is lagging.
    pub(super) high_bytes: usize,
    /// Up to here it no longer is.
    pub(super) low_bytes: usize,
    /// From here on it is closed.
    pub(super) max_bytes: usize,
    /// How often the marks have been halved.
    pressure: u32,
}

/// Halving further would leave no room for a few messages.
const PRESSURE_MAX: u32 = 4;

impl Marks {
    pub(super) fn new(limits: &Limits) -> Self {
        Self::under(limits, 0)
    }

    /// Halves the marks while all outboxes together are over the node's budget, or the node is
    /// short of memory, which meets those with the most unsent first, and doubles them once there
    /// is room again.
    pub(super) fn adapt(&mut self, limits: &Limits, total: OutboxTotal) {
        let budget = limits.outbox_total_bytes_max;
        let pressure = if total.bytes > budget || total.is_short_of_memory {
            (self.pressure + 1).min(PRESSURE_MAX)
        } else if total.bytes < budget / 4 * 3 {
            self.pressure.saturating_sub(u32::from(!planted(Fault::KeepLowMarks)))
        } else {
            self.pressure
        };
        if pressure != self.pressure {
            *self = Self::under(limits, pressure);
        }
    }

    /// Takes the marks from limits that have changed.
    pub(super) fn renew(&mut self, limits: &Limits) {
        *self = Self::under(limits, self.pressure);
    }

    /// How often the marks are halved now.
    pub(super) fn pressure(&self) -> u32 {
        self.pressure
    }

    /// Whether the marks are below the configured ones.
    pub(super) fn are_tightened(&self) -> bool {
        self.pressure > 0
    }

    fn under(limits: &Limits, pressure: u32) -> Self {
        Self {
            high_bytes: limits.outbox_high_water_bytes >> pressure,
            low_bytes: limits.outbox_low_water_bytes >> pressure,
            max_bytes: limits.outbox_bytes_max >> pressure,
            pressure,
        }
    }
}

/// What the shards share about their outboxes.
#[derive(Debug)]
pub(crate) struct OutboxTotals {
    /// Bytes in the outboxes of each shard, as each last told.
    bytes: Box<[AtomicUsize]>,
    is_short_of_memory: AtomicBool,
}

/// What all outboxes of the node have together.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutboxTotal {
    bytes: usize,
    /// Whether even less would be too much.
    is_short_of_memory: bool,
}

impl OutboxTotals {
    pub(crate) fn new(shards: usize) -> Self {
        let bytes = (0..shards).map(|_| AtomicUsize::new(0)).collect();
        Self { bytes, is_short_of_memory: AtomicBool::new(false) }
    }

    /// Tells what one shard has; what all have together.
    pub(super) fn report(&self, shard: usize, bytes: usize) -> OutboxTotal {
        self.bytes[shard].store(bytes, Ordering::Relaxed);
        OutboxTotal {
            bytes: self.bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum(),
            is_short_of_memory: self.is_short_of_memory.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn set_short_of_memory(&self, is_short: bool) {
        self.is_short_of_memory.store(is_short, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_tighten_over_the_budget_and_recover_below_it() {
        let limits = Limits { outbox_total_bytes_max: 1_000, ..Limits::default() };
        let bytes = |bytes| OutboxTotal { bytes, is_short_of_memory: false };
        let mut marks = Marks::new(&limits);
        assert!(!marks.are_tightened());
        marks.adapt(&limits, bytes(1_001));
        assert_eq!(marks.high_bytes, limits.outbox_high_water_bytes / 2);
        marks.adapt(&limits, bytes(900));
        assert_eq!(marks.max_bytes, limits.outbox_bytes_max / 2, "nearly full: no change");
        (0..10).for_each(|_| marks.adapt(&limits, bytes(5_000)));
        assert_eq!(marks.high_bytes, limits.outbox_high_water_bytes / 16);
        (0..10).for_each(|_| marks.adapt(&limits, bytes(100)));
        assert_eq!(marks.low_bytes, limits.outbox_low_water_bytes);
        assert!(!marks.are_tightened());
    }

    #[test]
    fn marks_tighten_while_memory_is_short_however_little_waits() {
        let limits = Limits::default();
        let totals = OutboxTotals::new(2);
        let mut marks = Marks::new(&limits);
        totals.set_short_of_memory(true);
        (0..3).for_each(|_| marks.adapt(&limits, totals.report(0, 0)));
        assert_eq!(marks.high_bytes, limits.outbox_high_water_bytes / 8);
        totals.set_short_of_memory(false);
        (0..3).for_each(|_| marks.adapt(&limits, totals.report(1, 0)));
        assert!(!marks.are_tightened());
    }
}
