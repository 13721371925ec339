//! The comparison as a person reads it.

use super::articles::{Pair, UseCase};
use super::figures::{Figures, Part};
use super::{Compared, Round};
use crate::table::{Table, count, or_dash, print_verdict, us};

pub(super) fn print(compared: &Compared) {
    let document = &compared.document;
    let asked = &document.load;
    println!(
        "one topic ({}), {} clients of each transport, {} messages/s of {} bytes, polls each {} s, \
         headers {}",
        asked.topic,
        count(asked.clients.into()),
        asked.rate,
        asked.payload_bytes,
        asked.interval_seconds,
        asked.headers
    );
    for part in [Part::Transports, Part::Headers, Part::Quiet, Part::UseCases, Part::Distance] {
        print_part(part, &document.median);
    }
    if !compared.articles.use_cases.is_empty() {
        println!("\nthe articles' use cases, Mbit/s of 2^20 bits, polling : WebSocket\n");
        print!("{}", use_cases(&compared.articles.use_cases));
    }
    println!();
    for finding in &compared.findings {
        println!("  {} [{}]\n    {}", finding.claim, finding.holds, finding.found);
    }
    print_verdict(&document.faults, 0, document.environment.build);
}

fn print_part(part: Part, round: &Round) {
    let runs: Vec<&Figures> = round.runs.iter().filter(|run| run.part == part).collect();
    if runs.is_empty() {
        return;
    }
    let title = match part {
        Part::Transports => "transports: bytes for each message, both ways",
        Part::Headers => "headers",
        Part::Quiet => "a publisher slower than the polls",
        Part::UseCases => "the articles' use cases",
        Part::Distance => "clients far away (emulated)",
    };
    println!("\n{title}\n");
    print!("{}", table(&runs));
}

fn table(runs: &[&Figures]) -> Table {
    let mut table = Table::default();
    table.line([
        "",
        "heads",
        "framing",
        "envelope",
        "payload",
        "total",
        "packets",
        "+TCP/IP*",
        "+TLS*",
        "missed",
        "p50",
        "p99",
        "CPU/client/s",
    ]);
    for run in runs {
        let message = run.per_message;
        let bytes = |bytes: f64| format!("{bytes:.1}");
        let all = (run.counts.missed + run.counts.messages).max(1);
        let missed = 100.0 * run.counts.missed as f64 / all as f64;
        table.line([
            run.name.clone(),
            bytes(message.head),
            bytes(message.framing),
            bytes(message.envelope),
            bytes(message.payload),
            bytes(message.total),
            bytes(message.packets),
            bytes(message.total + message.computed_tcp_ip),
            bytes(message.total + message.computed_tls),
            format!("{missed:.0} %"),
            us(run.latency_us.p50),
            us(run.latency_us.p99),
            or_dash(run.server_cpu_us_per_client_second, us),
        ]);
    }
    table.line(["* computed"]);
    table
}

fn use_cases(rows: &[UseCase]) -> Table {
    let pair =
        |pair: Pair| format!("{:.3} : {:.3} = {:.0}", pair.polling, pair.websocket, pair.ratio);
    let told = |p: Option<Pair>| or_dash(p, pair);
    let mut table = Table::default();
    table.line([
        "",
        "clients",
        "as published",
        "per message",
        "measured",
        "with bodies",
        "with TCP/IP*",
        "measured at",
    ]);
    for row in rows {
        table.line([
            row.name.clone(),
            count(row.clients.into()),
            pair(row.published),
            told(row.per_message),
            told(row.measured),
            told(row.measured_with_bodies),
            told(row.measured_with_tcp_ip),
            or_dash(row.measured_clients, |n| match n == row.clients {
                true => count(n.into()),
                false => format!("{}, computed", count(n.into())),
            }),
        ]);
    }
    table
}
