//! The table of `storm`.

use super::{Asked, Round};
use crate::memory::Memory;
use crate::report::Document;
use crate::table::{self, RoundLines, Table};

pub(super) fn print(document: &Document<Asked, Round>) {
    let asked = &document.load;
    println!(
        "\nstorm: {} clients × {} of {} topics come back at once, {} messages missed on each",
        table::count(asked.connections.into()),
        asked.topics_per_connection,
        table::count(asked.topics.into()),
        table::count(asked.missed.into()),
    );
    println!(
        "{}-byte payloads, {}, {} msg/s go on meanwhile",
        asked.payload_bytes,
        asked.transport.name(),
        asked.live_rate,
    );
    match document.rounds.len() {
        1 => println!("one round\n"),
        count => println!("medians of {count} rounds, and the largest of each\n"),
    }
    print!("{}", lines(asked, &document.median, &document.rounds));
    if let Some(error) = document.rounds.iter().find_map(|round| round.first_error.as_ref()) {
        println!("\n  the first attempt that failed: {error}");
    }
    table::print_verdict(&document.faults, 0, document.environment.build);
}

fn lines(asked: &Asked, median: &Round, rounds: &[Round]) -> Table {
    let mut lines = RoundLines::new(median, rounds);
    let mut row = |label: &str, figure: &dyn Fn(&Round) -> f64, text: &dyn Fn(f64) -> String| {
        lines.row(label, figure, text);
    };
    let seconds = |seconds: f64| format!("{seconds:.3} s");
    let count = |number: f64| table::count(number as u64);
    let least = rounds.iter().map(|round| round.recovered).min().unwrap_or_default();
    row("until the last client had recovered", &|r| r.recovered_seconds, &seconds);
    row("  half of all", &|r| r.recovered_after_us.p50 / 1e6, &seconds);
    row("  99 %", &|r| r.recovered_after_us.p99 / 1e6, &seconds);
    row("until the last client was subscribed", &|r| r.connected_seconds, &seconds);
    row("attempts that failed and were made again", &|r| r.retries as f64, &count);
    row("missed messages recovered", &|r| r.recovered_messages as f64, &count);
    row("live messages meanwhile and shortly after", &|r| r.live_published as f64, &count);
    row("  latency p99 to those who stayed", &|r| r.live_response_us.p99, &table::us);
    row("server cores busy", &|r| r.server_cores.unwrap_or_default(), &table::cores);
    row("loadgen cores busy", &|r| r.loadgen_cores, &table::cores);
    if median.memory.is_some() {
        let bytes = |bytes: f64| table::bytes(bytes as u64);
        let memory = |pick: fn(Memory) -> u64| {
            move |round: &Round| round.memory.map(pick).unwrap_or_default() as f64
        };
        let connected = |r: &Round| r.connected_rss_bytes.unwrap_or_default() as f64;
        row("server memory with all connected", &connected, &bytes);
        row("  with all gone, before the storm", &memory(|memory| memory.start_bytes), &bytes);
        row("  at its peak", &memory(|memory| memory.peak_bytes), &bytes);
        row("  growth from before the storm to it", &memory(|memory| memory.growth_bytes), &bytes);
    }
    let all = u64::from(asked.connections);
    let recovered = format!("{} of {}", table::count(least), table::count(all));
    lines.table.line(["clients that recovered, in the worst round".to_owned(), recovered]);
    lines.table
}
