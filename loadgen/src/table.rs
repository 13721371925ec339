//! Results as a person reads them: aligned columns, each figure with its unit.

use std::time::Duration;

use bytesize::ByteSize;

use crate::report::{Faults, Measurement};

/// A table with a label column and right-aligned figures.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    /// Adds a line; the first cell is its label.
    pub(crate) fn line(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.0.push(cells.into_iter().map(Into::into).collect());
    }
}

/// Figures of rounds, each in a line: its median, and the largest where there are several.
#[derive(Debug)]
pub(crate) struct RoundLines<'a, R> {
    pub(crate) table: Table,
    median: &'a R,
    rounds: &'a [R],
}

impl<'a, R> RoundLines<'a, R> {
    pub(crate) fn new(median: &'a R, rounds: &'a [R]) -> Self {
        let mut table = Table::default();
        if rounds.len() > 1 {
            table.line(["", "median", "largest"]);
        }
        Self { table, median, rounds }
    }

    /// Adds the figure with its unit.
    pub(crate) fn row(
        &mut self,
        label: &str,
        figure: &dyn Fn(&R) -> f64,
        text: &dyn Fn(f64) -> String,
    ) {
        let largest = self.rounds.iter().map(figure).max_by(f64::total_cmp);
        let largest = largest.filter(|_| self.rounds.len() > 1).map(text).unwrap_or_default();
        self.table.line([label.to_owned(), text(figure(self.median)), largest]);
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
pub(crate) fn measurements(columns: &[(&str, &Measurement)], ratio: Option<f64>) -> Table {
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
    row("server cores busy", None, &|m| or_dash(m.server_cores, cores));
    row("  waited for", None, &|m| or_dash(m.server_cores_waited_for, cores));
    row("server memory", None, &|m| or_dash(m.server_rss_bytes, bytes));
    row("server CPU per connection", None, &|m| or_dash(m.server_cpu_us_per_connection, us));
    row("connecting", None, &|m| format!("{:.2} s", m.connect_seconds));
    row("published", None, &|m| count(m.published));
    row("deliveries", None, &|m| count(m.deliveries));
    row("deliveries per second", None, &|m| count(m.deliveries_per_second as u64));
    row("bytes per delivery", None, &|m| format!("{:.1} B", m.bytes_per_delivery));
    row("deliveries per read", None, &|m| format!("{:.2}", m.deliveries_per_read));
    let names = ["p50", "p90", "p99", "p99.9", "max"];
    for (place, name) in names.into_iter().enumerate() {
        row(&format!("latency {name}"), None, &|m| us(m.response_us.all()[place]));
    }
    row("  from the actual send, p99", None, &|m| us(m.service_us.p99));
    // A closed loop has no schedule.
    let lag = |m: &Measurement, lag: f64| or_dash((m.schedule_lag_us.max > 0.0).then_some(lag), us);
    row("schedule lag p99", None, &|m| lag(m, m.schedule_lag_us.p99));
    row("schedule lag max", None, &|m| lag(m, m.schedule_lag_us.max));
    row("loadgen CPU per delivery", None, &|m| us(m.loadgen_cpu_us_per_delivery));
    row("loadgen cores busy", None, &|m| cores(m.loadgen_cores));
    row("  waited for", None, &|m| cores(m.loadgen_cores_waited_for));
    table
}

/// The faults of all rounds in one line.
fn faults(faults: &Faults) -> String {
    // The first four are always told.
    let counts = faults.counts().into_iter().enumerate();
    let told = counts.filter(|(place, (_, number))| *place < 4 || *number > 0);
    let told = told.map(|(_, (name, number))| format!("{} {name}", count(number)));
    let counts = told.collect::<Vec<_>>().join(", ");
    match &faults.first_close {
        Some(why) => format!("{counts} (the first: {why})"),
        None => counts,
    }
}

/// What the figures above are made of.
#[must_use]
pub(crate) fn rounds(rounds: u32, duration: Duration) -> String {
    let duration = humantime::format_duration(duration);
    match rounds {
        1 => format!("one round of {duration}"),
        _ => format!("medians of {rounds} rounds of {duration}"),
    }
}

/// Prints the faults of all rounds, and what makes the figures doubtful.
pub(crate) fn print_verdict(all: &Faults, foreign: u64, build: &str) {
    println!("\n  {}", faults(all));
    if foreign > 0 {
        println!("  note: {} frames came from others on these topics", count(foreign));
    }
    if build == "debug" {
        println!("  note: this is a debug build; its own CPU and latencies are of no worth");
    }
}

/// A figure or a dash.
pub(crate) fn or_dash<T>(figure: Option<T>, text: impl Fn(T) -> String) -> String {
    figure.map_or_else(|| "–".to_owned(), text)
}

/// A number of cores.
#[must_use]
pub(crate) fn cores(cores: f64) -> String {
    format!("{cores:.2}")
}

/// A time in the unit that fits it.
#[must_use]
pub(crate) fn us(us: f64) -> String {
    match us {
        ..1_000.0 => format!("{us:.2} µs"),
        ..1_000_000.0 => format!("{:.2} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

/// A size in the unit that fits it.
#[must_use]
pub(crate) fn bytes(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// A whole number with its thousands apart.
#[must_use]
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
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
        assert!(line.ends_with("4.00 µs  4.20 µs  1.050"), "{line:?}");
    }
}
