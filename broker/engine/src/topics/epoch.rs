//! The name of one life of a topic's sequence.

use std::fmt;

use crate::sync::atomic::{AtomicU64, Ordering};

/// Names one life of a topic's sequence. A topic that is forgotten and comes back, or a node that
/// restarts, counts from 1 again under another epoch, so that an old position is never taken for
/// a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

/// 40 bits: eight characters on the wire, and a chance of 10^-12 that two lives share a name.
const EPOCH_BITS: u32 = 40;
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for shift in (0..EPOCH_BITS).step_by(5).rev() {
            let digit = DIGITS[(self.0 >> shift) as usize % DIGITS.len()];
            fmt::Write::write_char(f, char::from(digit))?;
        }
        Ok(())
    }
}

/// Makes epochs that differ within a process and, given a random seed, between processes.
#[derive(Debug)]
pub(super) struct EpochSource(AtomicU64);

impl EpochSource {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(super) fn next(&self) -> Epoch {
        // SplitMix64 (Steele, Lea, Flood 2014): distinct inputs give well-spread outputs.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Epoch((z ^ (z >> 31)) >> (64 - EPOCH_BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_differ_and_are_short() {
        let source = EpochSource::new(1);
        let names: std::collections::HashSet<String> =
            (0..1_000).map(|_| source.next().to_string()).collect();
        assert_eq!(names.len(), 1_000);
        assert!(names.iter().all(|name| name.len() == 8));
        assert_ne!(EpochSource::new(2).next(), EpochSource::new(3).next());
    }
}
