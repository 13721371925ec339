//! Latency histograms (HDR, three significant digits) and the percentiles that are reported.
//!
//! Histograms of several threads and processes are merged before percentiles are taken: an average
//! of percentiles would be no percentile.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer, V2Serializer};
use serde::{Deserialize, Serialize};

/// Longest latency that is told apart, in ns: one hour. Longer ones count as this.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

const SIGNIFICANT_DIGITS: u8 = 3;

/// A histogram of nanoseconds. In JSON it is the standard V2 encoding in base64.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS);
        Self(histogram.expect("constant bounds with low * 2 <= high and at most five digits"))
    }
}

impl Latencies {
    /// Counts one latency in ns.
    #[inline]
    pub(crate) fn record(&mut self, latency_ns: u64) {
        self.0.saturating_record(latency_ns);
    }

    /// Adds all that `other` holds.
    pub(crate) fn merge(&mut self, other: &Self) {
        // Adding fails only where the other's bounds are wider; all of ours are the same.
        let added = self.0.add(&other.0);
        debug_assert!(added.is_ok(), "histograms of different bounds: {added:?}");
    }

    /// The latency in µs that this part of all did not exceed, 0 to 1; 0 where nothing was counted.
    #[must_use]
    pub(crate) fn at_us(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1_000.0
    }

    /// The percentiles that a report tells.
    #[must_use]
    pub(crate) fn percentiles(&self) -> Percentiles {
        Percentiles {
            p50: self.at_us(0.5),
            p90: self.at_us(0.9),
            p99: self.at_us(0.99),
            p99_9: self.at_us(0.999),
            max: self.0.max() as f64 / 1_000.0,
        }
    }
}

/// Percentiles in µs; all 0 where nothing was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    /// Half of all were at most this.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p99_9: f64,
    /// The longest.
    pub max: f64,
}

impl Percentiles {
    /// All of them, from the lowest to the highest.
    pub(crate) fn all(&self) -> [f64; 5] {
        [self.p50, self.p90, self.p99, self.p99_9, self.max]
    }
}

/// Writes histograms to a file in the log format of HdrHistogram (version 1.3, each histogram as
/// compressed V2), tagged with their names. Values are nanoseconds.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn write_log<'a>(
    path: &Path,
    histograms: impl IntoIterator<Item = (&'a str, &'a Latencies, Duration)>,
) -> Result<()> {
    let unwritten = || format!("{} cannot be written", path.display());
    let mut text = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("latencies in nanoseconds, by fanfare-loadgen")
        .with_max_value_divisor(1e6)
        .begin_log_with(&mut text, &mut serializer)
        .with_context(unwritten)?;
    let mut start = Duration::ZERO;
    for (name, latencies, duration) in histograms {
        // A tag ends at a comma or a space.
        let name: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let written = log.write_histogram(&latencies.0, start, duration, Tag::new(&name));
        written.map_err(|error| anyhow!("{}: {error:?}", path.display()))?;
        start += duration;
    }
    drop(log);
    std::fs::write(path, text).with_context(unwritten)
}

impl Serialize for Latencies {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&self.0, &mut bytes).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        let read = Deserializer::new().deserialize(&mut bytes.as_slice());
        read.map(Self).map_err(|error| D::Error::custom(format!("{error:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_merged_histograms_are_those_of_all_values() {
        let (mut low, mut high) = (Latencies::default(), Latencies::default());
        (1..=500).for_each(|us| low.record(us * 1_000));
        (501..=1_000).for_each(|us| high.record(us * 1_000));
        let text = serde_json::to_string(&high).unwrap();
        low.merge(&serde_json::from_str(&text).unwrap());
        let told = low.percentiles();
        for (value, expected) in
            [(told.p50, 500.0), (told.p90, 900.0), (told.p99, 990.0), (told.p99_9, 999.0)]
        {
            assert!((value - expected).abs() / expected < 0.002, "{value} for {expected}");
        }
        assert!((told.max - 1_000.0).abs() < 1.0);
        assert_eq!(low.0.len(), 1_000);
    }

    #[test]
    fn latencies_beyond_the_bounds_count_as_the_bound() {
        let mut latencies = Latencies::default();
        latencies.record(u64::MAX);
        latencies.record(0);
        assert_eq!(latencies.0.len(), 2);
        assert!(latencies.percentiles().max >= 3.6e9);
    }

    #[test]
    fn a_log_is_read_back_by_its_tags() {
        use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
        let path = std::env::temp_dir().join(format!("loadgen-{}.hlog", std::process::id()));
        let mut some = Latencies::default();
        some.record(5_000_000);
        let duration = Duration::from_secs(2);
        write_log(&path, [("a, 2 b", &some, duration), ("c", &some, duration)]).unwrap();
        let text = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut tags = Vec::new();
        for entry in IntervalLogIterator::new(&text) {
            let LogEntry::Interval(interval) = entry.unwrap() else { continue };
            tags.push(interval.tag().unwrap().as_str().to_owned());
            let bytes = STANDARD.decode(interval.encoded_histogram()).unwrap();
            let read: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            assert_eq!(read, some.0);
        }
        assert_eq!(tags, ["a--2-b", "c"]);
    }

    #[test]
    fn an_empty_histogram_has_zeros() {
        assert_eq!(Latencies::default().percentiles(), Percentiles::default());
    }
}
