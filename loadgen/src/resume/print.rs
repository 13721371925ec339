//! The table of `resume`.

use std::time::Duration;

use super::{Asked, Round};
use crate::report::Document;
use crate::table::{self, Table};

pub(super) fn print(document: &Document<Asked, Round>) {
    let (asked, round) = (&document.load, &document.median);
    let habit = match asked.trickle_bytes_per_second {
        Some(bytes) => format!("reads {}/s", table::bytes(bytes as u64)),
        None => "does not read".to_owned(),
    };
    println!(
        "\nresume: a reader of {} topics in mode latest, {} msg/s, {}-byte payloads, {}",
        table::count(asked.topics.into()),
        table::count(asked.rate as u64),
        asked.payload_bytes,
        asked.transport.name(),
    );
    let stalled = Duration::from_secs_f64(asked.stall_seconds);
    let rounds = table::rounds(document.rounds.len() as u32, stalled);
    println!("{rounds} in which it {habit}\n");
    print!("{}", lines(asked, round));
    table::print_verdict(&document.faults, 0, document.environment.build);
    if round.held.outbox_bytes.is_none() {
        println!("  note: the broker did not tell what its outbox held; 64 KiB were allowed for");
    }
    if round.held.unsent_bytes == 0 && round.closed.is_none() {
        println!("  note: the reader was not held up: the kernel took all; stall it for longer");
    }
}

fn lines(asked: &Asked, round: &Round) -> Table {
    let (held, summary) = (&round.held, &round.summary);
    let of_topics =
        |number: u64, of: u64| format!("{} of {}", table::count(number), table::count(of));
    let (topics, owed) = (u64::from(asked.topics), summary.topics_owed);
    let mut lines = Table::default();
    lines.line(["published in all".to_owned(), table::count(round.published)]);
    lines.line(["on its way when it read again".to_owned(), String::new()]);
    lines.line(["  in the kernel, server's side".to_owned(), table::bytes(held.unsent_bytes)]);
    lines.line(["  in the kernel, reader's side".to_owned(), table::bytes(held.unread_bytes)]);
    let outbox = table::or_dash(held.outbox_bytes, table::bytes);
    lines.line(["  in the broker's outbox".to_owned(), outbox]);
    lines.line(["  messages in these".to_owned(), table::count(summary.held_messages)]);
    lines.line(["topics with newer messages than these".to_owned(), of_topics(owed, topics)]);
    lines.line([
        "  the first behind these was the newest".to_owned(),
        of_topics(summary.newest_first, owed),
    ]);
    lines.line([
        "  messages behind these, older than the newest".to_owned(),
        table::count(summary.older_behind),
    ]);
    lines.line(["these were read after".to_owned(), table::us(summary.drained_after_us)]);
    lines.line([
        "  newest values of all topics after that".to_owned(),
        table::us(summary.newest_after_drained_us),
    ]);
    let after = &summary.newest_after_us;
    lines.line(["newest value after the first read, p50".to_owned(), table::us(after.p50)]);
    lines.line(["  p99".to_owned(), table::us(after.p99)]);
    lines.line(["  of the last topic".to_owned(), table::us(after.max)]);
    lines.line([
        "  bytes behind what was on its way".to_owned(),
        table::bytes(summary.bytes_until_newest),
    ]);
    lines.line([
        "last message of all was there in the end".to_owned(),
        of_topics(topics - summary.last_missing.min(topics), topics),
    ]);
    lines
}
