//! The table of `drain`.

use super::{Asked, Round};
use crate::report::Document;
use crate::table::{self, RoundLines, Table};

pub(super) fn print(document: &Document<Asked, Round>) {
    let asked = &document.load;
    println!(
        "\ndrain: {} clients × {} of {} topics, {} deliveries/s, then SIGTERM to their broker",
        table::count(asked.connections.into()),
        asked.topics_per_connection,
        table::count(asked.topics.into()),
        table::count(asked.deliveries as u64),
    );
    println!("{}-byte payloads, {}", asked.payload_bytes, asked.transport.name());
    match document.rounds.len() {
        1 => println!("one round\n"),
        count => println!("medians of {count} rounds, and the largest of each\n"),
    }
    print!("{}", lines(&document.median, &document.rounds));
    for (number, round) in (1..).zip(&document.rounds) {
        println!("\n  round {number}, second by second");
        println!("    closed    {}", seconds(&round.closes.by_second));
        println!("    returned  {}", seconds(&round.returns.by_second));
    }
    if let Some(error) = document.rounds.iter().find_map(|round| round.first_error.as_ref()) {
        println!("\n  the first attempt that failed: {error}");
    }
    table::print_verdict(&document.faults, 0, document.environment.build);
}

fn seconds(counts: &[u64]) -> String {
    counts.iter().map(|count| count.to_string()).collect::<Vec<_>>().join(" ")
}

fn lines(median: &Round, rounds: &[Round]) -> Table {
    let mut lines = RoundLines::new(median, rounds);
    let mut row = |label: &str, figure: &dyn Fn(&Round) -> f64, text: &dyn Fn(f64) -> String| {
        lines.row(label, figure, text);
    };
    let seconds = |seconds: f64| format!("{seconds:.3} s");
    let ratio = |ratio: f64| format!("{ratio:.2}");
    let count = |number: f64| table::count(number as u64);
    // A process that did not end is told below, as a fault.
    row("until the broker had ended", &|r| r.exit_seconds.unwrap_or(f64::NAN), &seconds);
    row("  its exit code", &|r| r.exit_code.map_or(f64::NAN, f64::from), &|code| code.to_string());
    row("until the first close", &|r| r.first_close_seconds, &seconds);
    row("from the first close to the last", &|r| r.closes.seconds, &seconds);
    row("  the fullest second to the mean", &|r| r.closes.max_to_mean, &ratio);
    row("from the first return to the last", &|r| r.returns.seconds, &seconds);
    row("  the fullest second to the mean", &|r| r.returns.max_to_mean, &ratio);
    row("away from a broker, p50", &|r| r.away_us.p50, &table::us);
    row("  99 %", &|r| r.away_us.p99, &table::us);
    row("  the longest", &|r| r.away_us.max, &table::us);
    row("told to spread the return over", &|r| r.window_ms_max as f64, &|ms| format!("{ms} ms"));
    row("attempts that failed and were made again", &|r| r.retries as f64, &count);
    row("until the publisher was closed", &|r| r.publisher_seconds, &seconds);
    row("deliveries per second meanwhile", &|r| r.deliveries_per_second, &count);
    row("  latency p99", &|r| r.response_us.p99, &table::us);
    lines.table
}
