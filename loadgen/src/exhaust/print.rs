//! The table of `exhaust`.

use std::time::Duration;

use super::{Asked, Round};
use crate::report::{Document, Measurement};
use crate::table::{self, Table};

pub(super) fn print(document: &Document<Asked, Round>) {
    let (asked, round) = (&document.load, &document.median);
    let files = asked.descriptors.map(|most| format!(", {} files", table::count(most)));
    println!(
        "\nexhaust: {} connections × {} of {} topics{}; {} more want in, all the time",
        table::count(asked.connections.into()),
        asked.topics_per_connection,
        table::count(asked.topics.into()),
        files.unwrap_or_default(),
        table::count(asked.openers.into()),
    );
    println!(
        "{}-byte payloads, {}, open loop, {:.1} msg/s = {} deliveries/s",
        asked.payload_bytes,
        asked.transport.name(),
        asked.rate,
        table::count(asked.deliveries_per_second as u64),
    );
    let duration = Duration::from_secs_f64(asked.duration_seconds);
    println!("{}\n", table::rounds(document.rounds.len() as u32, duration));
    print!("{}", lines(round));
    println!();
    let seconds = asked.duration_seconds;
    let per_second = |attempts: u64| table::count((attempts as f64 / seconds) as u64);
    let attempts = round.attempts;
    println!("  the crowd had {} connections; a second it was", table::count(round.kept));
    println!(
        "  refused {} times, left without an answer {}, cut off {}",
        per_second(attempts.refused),
        per_second(attempts.unanswered),
        per_second(attempts.failed)
    );
    let again = document.rounds.iter().map(|round| round.accepting_again_ms);
    let worst = again.reduce(|a, b| Some(a?.max(b?))).flatten();
    let ms = |ms| table::or_dash(ms, |ms: f64| format!("{ms:.0} ms"));
    println!(
        "  from their release until the next was let in: {} (worst {})",
        ms(round.accepting_again_ms),
        ms(worst)
    );
    let foreign = round.without.foreign + round.with.foreign;
    table::print_verdict(&document.faults, foreign, document.environment.build);
}

fn lines(round: &Round) -> Table {
    let mut lines = Table::default();
    lines.line(["", "without", "with", "ratio"]);
    let mut row = |label: &str, figure: &dyn Fn(&Measurement) -> String, ratio: Option<f64>| {
        let ratio = ratio.map(|ratio| format!("{ratio:.3}")).unwrap_or_default();
        lines.line([label.to_owned(), figure(&round.without), figure(&round.with), ratio]);
    };
    let cores = |m: &Measurement| table::or_dash(m.server_cores, table::cores);
    let waited = |m: &Measurement| table::or_dash(m.server_cores_waited_for, table::cores);
    row("server cores busy", &cores, round.cpu_ratio);
    row("  waited for", &waited, None);
    row("latency p50", &|m| table::us(m.response_us.p50), Some(round.p50_ratio));
    row("latency p99", &|m| table::us(m.response_us.p99), Some(round.p99_ratio));
    row("latency p99.9", &|m| table::us(m.response_us.p99_9), None);
    row("latency max", &|m| table::us(m.response_us.max), None);
    row("deliveries per second", &|m| table::count(m.deliveries_per_second as u64), None);
    row("schedule lag p99", &|m| table::us(m.schedule_lag_us.p99), None);
    row("loadgen cores busy", &|m| table::cores(m.loadgen_cores), None);
    row("  waited for", &|m| table::cores(m.loadgen_cores_waited_for), None);
    lines
}
