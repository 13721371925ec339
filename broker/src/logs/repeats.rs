//! Something that may happen in a storm and must not be a storm of lines: the first time is told
//! at once, then how often it was, at most once in [`INTERVAL_MS`].

use fanfare_engine::Now;

/// How often the same is told at most, in milliseconds: an operator who watches sees that it goes
/// on, and a day of it is no more lines than an editor can hold.
pub(super) const INTERVAL_MS: u64 = 10_000;

/// How often one thing has happened and was not told.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    told: Option<Now>,
    untold: u64,
}

impl Repeats {
    /// Notes that it happened `count` times more. How many to tell, if a line is due.
    pub(super) fn note(&mut self, count: u64, now: Now) -> Option<u64> {
        self.untold = self.untold.saturating_add(count);
        self.due(now)
    }

    /// How many to tell, if there are any and a line is due.
    pub(super) fn due(&mut self, now: Now) -> Option<u64> {
        let is_early = self.told.is_some_and(|told| now.ms() < told.ms() + INTERVAL_MS);
        if self.untold == 0 || is_early {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now::from_ms(ms)
    }

    #[test]
    fn the_first_is_told_at_once_and_the_rest_counted() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.note(1, at(5)), Some(1));
        assert_eq!(repeats.note(3, at(6)), None);
        assert_eq!(repeats.note(4, at(10_004)), None);
        assert_eq!(repeats.note(1, at(10_005)), Some(8));
        assert_eq!(repeats.note(1, at(10_006)), None);
    }

    #[test]
    fn what_was_counted_is_told_also_when_it_has_stopped() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.due(at(0)), None);
        assert_eq!(repeats.note(1, at(0)), Some(1));
        assert_eq!(repeats.note(2, at(1)), None);
        assert_eq!(repeats.due(at(9_999)), None);
        assert_eq!(repeats.due(at(10_000)), Some(2));
        assert_eq!(repeats.due(at(60_000)), None);
        assert_eq!(repeats.note(1, at(60_000)), Some(1));
    }

    #[test]
    fn a_storm_of_an_hour_is_a_line_in_ten_seconds() {
        let mut repeats = Repeats::default();
        let told: Vec<u64> =
            (0..3_600_000).step_by(5).filter_map(|ms| repeats.note(1, at(ms))).collect();
        assert_eq!(told.len(), 360);
        assert_eq!(told[..2], [1, 2_000]);
    }
}
