//! Histograms with fixed buckets, written by one thread and read by any.

use crate::counters::SharedCounter;

/// Counts of values by bucket. One thread records, any may read; a reader may see a value in the
/// sum before it sees it in its bucket.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    buckets: Box<[SharedCounter]>,
    sum: SharedCounter,
}

/// What a histogram held at one moment; of several, the sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Counts for values up to each bound, not cumulative; the last one for all above.
    pub buckets: Vec<u64>,
    /// All values added up.
    pub sum: u64,
}

impl Histogram {
    /// Inclusive upper bounds for times in microseconds, 50 µs to 10 s.
    pub const LATENCY_US: &'static [u64] = &[
        50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
        1_000_000, 2_000_000, 5_000_000, 10_000_000,
    ];

    /// Inclusive upper bounds for numbers of subscribers.
    pub const FANOUT: &'static [u64] =
        &[0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000];

    /// An empty histogram with these inclusive upper bounds, in rising order.
    #[must_use]
    pub fn new(bounds: &'static [u64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| SharedCounter::default()).collect();
        Self { bounds, buckets, sum: SharedCounter::default() }
    }

    /// Counts one value. Only the owning thread may call this.
    pub fn record(&self, value: u64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.buckets[bucket].add(1);
        self.sum.add(value);
    }

    /// The inclusive upper bounds of all buckets but the last.
    #[must_use]
    pub fn bounds(&self) -> &'static [u64] {
        self.bounds
    }

    /// Adds what this histogram holds to `snapshot`.
    pub fn add_to(&self, snapshot: &mut HistogramSnapshot) {
        snapshot.buckets.resize(self.buckets.len(), 0);
        for (sum, bucket) in snapshot.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.get();
        }
        snapshot.sum += self.sum.get();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_bucket_whose_bound_it_does_not_pass() {
        let histogram = Histogram::new(&[10, 20]);
        for value in [0, 10, 11, 20, 21, 1_000] {
            histogram.record(value);
        }
        let mut snapshot = HistogramSnapshot::default();
        histogram.add_to(&mut snapshot);
        histogram.add_to(&mut snapshot);
        assert_eq!(snapshot, HistogramSnapshot { buckets: vec![4, 4, 4], sum: 2 * 1_062 });
    }
}
