//! How evenly things that happen many times are spread over time.

use serde::{Deserialize, Serialize};

/// How often something happened in each second from when it first did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    /// Each of those seconds.
    pub by_second: Vec<u64>,
    /// From the first to the last time.
    pub seconds: f64,
    /// The fullest second as a multiple of the mean; 1 where all of it took less than a second.
    pub max_to_mean: f64,
}

impl Spread {
    /// Of these moments, in ns, in any order.
    #[must_use]
    pub(super) fn of(moments_ns: &[u64]) -> Self {
        let (Some(first), Some(last)) = (moments_ns.iter().min(), moments_ns.iter().max()) else {
            return Self::default();
        };
        let second = |ns: u64| ((ns - first) / 1_000_000_000) as usize;
        let mut by_second = vec![0; second(*last) + 1];
        moments_ns.iter().for_each(|ns| by_second[second(*ns)] += 1);
        let seconds = (last - first) as f64 / 1e9;
        let mean = moments_ns.len() as f64 / seconds.max(1.0);
        let max = by_second.iter().max().copied().unwrap_or_default();
        Self { by_second, seconds, max_to_mean: max as f64 / mean }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_even_whatever_the_last_second_holds() {
        let moments: Vec<u64> = (0..=250).map(|i| 7 + i * 10_000_000).collect();
        let spread = Spread::of(&moments);
        assert_eq!(spread.by_second, [100, 100, 51]);
        assert!((spread.max_to_mean - 1.0).abs() < 0.01, "{spread:?}");
    }

    #[test]
    fn a_crowd_in_one_second_is_seen() {
        let mut moments: Vec<u64> = (0..=300).map(|i| i * 10_000_000).collect();
        moments.extend([1_500_000_000; 100]);
        let spread = Spread::of(&moments);
        assert_eq!(spread.by_second, [100, 200, 100, 1]);
        assert!((spread.max_to_mean - 1.5).abs() < 0.01, "{spread:?}");
    }

    #[test]
    fn what_takes_no_second_has_no_unevenness() {
        assert_eq!(Spread::of(&[5, 9, 9]).max_to_mean, 1.0);
        assert_eq!(Spread::of(&[]), Spread::default());
    }
}
