//! The tables of `slow`.

use std::time::Duration;

use super::load::Figures;
use super::{Asked, Round, only};
use crate::cli::WhenClosed;
use crate::memory::Memory;
use crate::report::Document;
use crate::table::{self, Table};

/// What the rounds with and without slow readers found out.
pub(super) fn compared(document: &Document<Asked, Round>) {
    let (asked, round) = (&document.load, &document.median);
    println!("\nslow: {}", describe(asked));
    println!("{}\n", table::rounds(document.rounds.len() as u32, duration(asked, 0)));
    let mut lines = Table::default();
    lines.line(["", "without", "with", "ratio"]);
    let (without, with) = (&round.without, &round.with);
    let names = ["p50", "p90", "p99", "p99.9", "max"];
    let ratio = round.latency_ratio;
    let ratios = [Some(ratio.p50), None, Some(ratio.p99), Some(ratio.p99_9), None];
    for (place, name) in names.into_iter().enumerate() {
        let latency = |f: &Figures| table::us(f.quick.response_us.all()[place]);
        let ratio = ratios[place].map(|ratio| format!("{ratio:.3}")).unwrap_or_default();
        lines.line([
            format!("latency of the others {name}"),
            latency(without),
            latency(with),
            ratio,
        ]);
    }
    let mut row = |label: &str, figure: &dyn Fn(&Figures) -> String| {
        lines.line([label.to_owned(), figure(without), figure(with)]);
    };
    row("deliveries to them per second", &|f| table::count(f.quick.deliveries_per_second as u64));
    common_rows(&mut row);
    print!("{lines}");
    println!();
    let grown = round.growth_bytes_per_slow_reader;
    let grown = table::or_dash(grown, |bytes| format!("{:.1} KiB", bytes / 1024.0));
    println!("  memory that each slow reader adds to the growth: {grown}");
    fate(asked, with);
    let foreign = without.quick.foreign + with.quick.foreign;
    table::print_verdict(&document.faults, foreign, document.environment.build);
    if document.rounds.iter().any(|round| round.with.nothing_was_held_up()) {
        println!("  note: no slow reader ever held anything up: the kernel took all that it was");
        println!("        owed; use a larger --size, --deliveries or --duration");
    }
}

/// What the rounds of slow readers alone found out.
pub(super) fn slow_only(document: &Document<Asked, only::Round>) {
    let (asked, round) = (&document.load, &document.median);
    println!("\nslow: {}", describe(asked));
    let seconds = |at: usize| humantime::format_duration(duration(asked, at)).to_string();
    let count = document.rounds.len();
    let what =
        if count == 1 { "one round".to_owned() } else { format!("medians of {count} rounds") };
    println!("{what}\n");
    let mut lines = Table::default();
    let names = (0..round.loads.len()).map(seconds);
    lines.line(std::iter::once(String::new()).chain(names));
    let mut row = |label: &str, figure: &dyn Fn(&Figures) -> String| {
        lines.line(std::iter::once(label.to_owned()).chain(round.loads.iter().map(figure)));
    };
    row("published", &|f| table::count(f.quick.published));
    common_rows(&mut row);
    row("growth per slow reader", &|f| {
        let growth = f.growth().map(|bytes| bytes as f64 / f64::from(asked.slow));
        table::or_dash(growth, |bytes| format!("{:.1} KiB", bytes / 1024.0))
    });
    print!("{lines}");
    let ratio = |ratio| table::or_dash(ratio, |ratio: f64| format!("{ratio:.3}"));
    println!("\n  the last as a multiple of the first:");
    println!("    growth to the peak: {}", ratio(round.growth_ratio));
    println!("    growth from before anybody connected: {}", ratio(round.growth_in_all_ratio));
    if let Some(last) = round.loads.last() {
        fate(asked, last);
    }
    table::print_verdict(&document.faults, 0, document.environment.build);
}

fn describe(asked: &Asked) -> String {
    let habit = match asked.trickle_bytes_per_second {
        Some(bytes) => format!("read {}/s", table::bytes(bytes as u64)),
        None => "do not read".to_owned(),
    };
    format!(
        "{} connections × {} of {} topics, {} of them {habit}\n\
         mode {}, {}-byte payloads, {}, open loop, {:.1} msg/s = {} deliveries/s",
        table::count(asked.connections.into()),
        asked.topics_per_connection,
        table::count(asked.topics.into()),
        table::count(asked.slow.into()),
        asked.mode.name(),
        asked.payload_bytes,
        asked.transport.name(),
        asked.rate,
        table::count(asked.deliveries_per_second as u64),
    )
}

fn duration(asked: &Asked, at: usize) -> Duration {
    Duration::from_secs_f64(asked.durations_seconds.get(at).copied().unwrap_or_default())
}

/// Adds a row: its label, and the figure of each column.
type AddRow<'a> = dyn FnMut(&str, &dyn Fn(&Figures) -> String) + 'a;

/// Rows that stand in both tables.
fn common_rows(row: &mut AddRow<'_>) {
    let memory = |pick: fn(Memory) -> u64| {
        move |f: &Figures| table::or_dash(f.memory.map(pick), table::bytes)
    };
    row("server memory before anybody connected", &|f| {
        table::or_dash(f.before_bytes, table::bytes)
    });
    row("  at the start of the load", &memory(|memory| memory.start_bytes));
    row("  at its peak", &memory(|memory| memory.peak_bytes));
    row("  growth from the start to the peak", &memory(|memory| memory.growth_bytes));
    row("  growth from before to the peak", &|f| table::or_dash(f.growth_in_all(), table::bytes));
    row("  at the end", &memory(|memory| memory.end_bytes));
    row("server cores busy", &|f| table::or_dash(f.quick.server_cores, table::cores));
    row("  waited for", &|f| table::or_dash(f.quick.server_cores_waited_for, table::cores));
    row("schedule lag p99", &|f| table::us(f.quick.schedule_lag_us.p99));
    row("loadgen cores busy", &|f| table::cores(f.quick.loadgen_cores));
    row("  waited for", &|f| table::cores(f.quick.loadgen_cores_waited_for));
    let counted = |name: &'static str| {
        move |f: &Figures| {
            let counts = f.server_counts.as_ref();
            let value = counts.map(|counts| counts.get(name).copied().unwrap_or_default());
            table::or_dash(value, |value| table::count(value as u64))
        }
    };
    row("bytes in its outboxes at the end", &counted("outbox_bytes"));
    row("subscriptions behind at the end", &counted("subscriptions_behind"));
}

/// What became of the slow readers.
fn fate(asked: &Asked, figures: &Figures) {
    let Some(slow) = &figures.slow else { return };
    let closes = figures.server_counts.iter().flatten();
    let closes = closes.filter_map(|(name, count)| {
        let code = name.strip_prefix("connections_closed_total{code=\"")?;
        Some(format!("{} {}", table::count(*count as u64), code.trim_end_matches("\"}")))
    });
    let closes: Vec<String> = closes.collect();
    let then = match asked.when_closed {
        WhenClosed::Return => format!("{} came back", table::count(slow.returned)),
        WhenClosed::StayAway => "stayed away".to_owned(),
    };
    println!("  closed by the server: {}, {then}", table::count(slow.closed));
    if let Some(why) = &slow.first_close {
        println!("    the first, as its reader saw it: {why}");
    }
    if !closes.is_empty() {
        println!("    by the server's own count: {}", closes.join(", "));
    }
    if slow.return_failures > 0 {
        println!("    failed to come back: {}", table::count(slow.return_failures));
    }
    println!(
        "  when they read again: {} messages in all, {} passed over for newer ones, {} in gaps",
        table::count(slow.messages),
        table::count(slow.passed_over),
        table::count(slow.gap_messages)
    );
}
