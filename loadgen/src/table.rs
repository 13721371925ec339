//! Results as a person reads them: aligned columns, each figure with its unit.

use bytesize::ByteSize;

use crate::latency::Percentiles;
use crate::report::{Faults, Measurement};

/// A table with a label column and right-aligned figures.
#[derive(Debug, Default)]
pub struct Table(Vec<Vec<String>>);

impl Table {
    /// Adds a line; the first cell is its label.
    pub fn line(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.0.push(cells.into_iter().map(Into::into).collect());
    }

    /// Adds an empty line.
    pub fn gap(&mut self) {
        self.0.push(Vec::new());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for line in &self.0 {
            let mut text = String::new();
            for (column, cell) in line.iter().enumerate() {
                let pad = widths[column];
                if column == 0 {
                    text.push_str(&format!("  {cell:<pad$}"));
                } else {
                    text.push_str(&format!("  {cell:>pad$}"));
                }
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// The figures of one round or of the medians: one column for each measurement, and the ratio of
/// the last to the first where there are two.
#[must_use]
pub fn measurements(columns: &[(&str, &Measurement)], ratio: Option<f64>) -> Table {
    let mut table = Table::default();
    let names = columns.iter().map(|(name, _)| (*name).to_owned());
    let ratio_name = ratio.map(|_| "ratio".to_owned());
    table.line(std::iter::once(String::new()).chain(names).chain(ratio_name));
    let mut row = |label: &str, ratio: Option<f64>, figure: &dyn Fn(&Measurement) -> String| {
        let figures = columns.iter().map(|(_, measurement)| figure(measurement));
        let ratio = ratio.map(|ratio| format!("{ratio:.3}"));
        table.line(std::iter::once(label.to_owned()).chain(figures).chain(ratio));
    };
    row("server CPU per delivery", ratio, &|m| or_dash(m.server_cpu_us_per_delivery, us));
    row("server cores busy", None, &|m| or_dash(m.server_cores, |cores| format!("{cores:.2}")));
    row("server memory", None, &|m| or_dash(m.server_rss_bytes, bytes));
    row("server CPU per connection", None, &|m| or_dash(m.server_cpu_us_per_connection, us));
    row("connecting", None, &|m| format!("{:.2} s", m.connect_seconds));
    row("published", None, &|m| count(m.published));
    row("deliveries", None, &|m| count(m.deliveries));
    row("deliveries per second", None, &|m| count(m.deliveries_per_second as u64));
    row("bytes per delivery", None, &|m| format!("{:.1} B", m.bytes_per_delivery));
    row("deliveries per read", None, &|m| format!("{:.2}", m.deliveries_per_read));
    let latencies: [(&str, fn(&Percentiles) -> f64); 5] = [
        ("p50", |p| p.p50),
        ("p90", |p| p.p90),
        ("p99", |p| p.p99),
        ("p99.9", |p| p.p99_9),
        ("max", |p| p.max),
    ];
    for (name, percentile) in latencies {
        row(&format!("latency {name}"), None, &|m| us(percentile(&m.response_us)));
    }
    row("  from the actual send, p99", None, &|m| us(m.service_us.p99));
    row("schedule lag p99", None, &|m| us(m.schedule_lag_us.p99));
    row("schedule lag max", None, &|m| us(m.schedule_lag_us.max));
    row("loadgen CPU per delivery", None, &|m| us(m.loadgen_cpu_us_per_delivery));
    row("loadgen cores busy", None, &|m| format!("{:.2}", m.loadgen_cores));
    table
}

/// The faults of all rounds in one line.
#[must_use]
pub fn faults(faults: &Faults) -> String {
    let counts = [
        ("lost", faults.lost),
        ("doubled", faults.doubled),
        ("reordered", faults.reordered),
        ("connections closed", faults.closed),
    ];
    let counts = counts.map(|(name, number)| format!("{} {name}", count(number))).join(", ");
    match &faults.first_close {
        Some(why) => format!("{counts} (the first: {why})"),
        None => counts,
    }
}

/// A figure or a dash.
pub fn or_dash<T>(figure: Option<T>, text: impl Fn(T) -> String) -> String {
    figure.map_or_else(|| "–".to_owned(), text)
}

/// A time in the unit that fits it.
#[must_use]
pub fn us(us: f64) -> String {
    match us {
        ..1_000.0 => format!("{us:.2} µs"),
        ..1_000_000.0 => format!("{:.2} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

/// A size in the unit that fits it.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// A whole number with its thousands apart.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_readable_units() {
        assert_eq!(us(4.516), "4.52 µs");
        assert_eq!(us(12_345.0), "12.35 ms");
        assert_eq!(us(2_500_000.0), "2.50 s");
        assert_eq!([0, 999, 1_000, 1_234_567].map(count).join(" "), "0 999 1,000 1,234,567");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(or_dash(None, us), "–");
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::default();
        table.line(["", "floor", "broker"]);
        table.line(["latency p50", "1.00 µs", "12.00 µs"]);
        let text = table.to_string();
        let ends: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(ends[0], ends[1], "{text}");
    }

    #[test]
    fn a_ratio_stands_in_its_own_column() {
        let floor = Measurement { server_cpu_us_per_delivery: Some(4.0), ..Default::default() };
        let broker = Measurement { server_cpu_us_per_delivery: Some(4.2), ..Default::default() };
        let text = measurements(&[("floor", &floor), ("broker", &broker)], Some(1.05)).to_string();
        let line = text.lines().find(|line| line.contains("server CPU per delivery")).unwrap();
        assert!(line.ends_with("4.00 µs   4.20 µs  1.050"), "{line:?}");
    }
}
