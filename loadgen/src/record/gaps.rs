//! Sequence numbers that did not come in their turn. Owns which; why is `record`'s.

use std::collections::HashMap;
use std::ops::Range;

/// Sequence numbers that were passed over and have not come yet, for each slot that has any.
#[derive(Debug, Default)]
pub(crate) struct Gaps(HashMap<usize, Vec<Range<u32>>>);

impl Gaps {
    /// Notes that these have not come.
    pub(crate) fn open(&mut self, slot: usize, missing: Range<u32>) {
        self.0.entry(slot).or_default().push(missing);
    }

    /// Takes `sequence` out of the gaps; false if it was in none.
    pub(crate) fn fill(&mut self, slot: usize, sequence: u32) -> bool {
        let Some(ranges) = self.0.get_mut(&slot) else { return false };
        let Some(at) = ranges.iter().position(|range| range.contains(&sequence)) else {
            return false;
        };
        let range = ranges.swap_remove(at);
        let parts = [range.start..sequence, sequence + 1..range.end];
        ranges.extend(parts.into_iter().filter(|part| !part.is_empty()));
        true
    }

    /// How many have not come.
    #[must_use]
    pub(crate) fn missing(&self) -> u64 {
        self.0.values().flatten().map(|range| range.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_a_gap_is_missing_no_longer() {
        let mut gaps = Gaps::default();
        gaps.open(3, 5..9);
        gaps.open(4, 5..6);
        assert!(gaps.fill(3, 6) && !gaps.fill(3, 6) && !gaps.fill(3, 9));
        assert_eq!(gaps.missing(), 4);
        assert!(gaps.fill(4, 5) && gaps.fill(3, 5) && gaps.fill(3, 7) && gaps.fill(3, 8));
        assert_eq!(gaps.missing(), 0);
    }
}
