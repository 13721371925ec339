//! The tables of a comparison, as cells that the page and the summary lay out in their own ways.

use super::Comparison;
use crate::charts::figure;
use crate::compare::{Figures, Pair, Part};
use crate::table::{count, or_dash, us};

/// A table with its title; the first line is its head.
#[derive(Debug)]
pub(super) struct Cells {
    /// What it shows.
    pub title: &'static str,
    /// What to know of it.
    pub note: &'static str,
    /// The head and the lines.
    pub lines: Vec<Vec<String>>,
}

/// The tables of a comparison that have anything in them.
#[must_use]
pub(super) fn of(comparison: &Comparison) -> Vec<Cells> {
    let parts = [
        (
            Part::Transports,
            "Transports",
            "Bytes for each message that a client got, both ways; latency from publishing to \
             arrival; CPU of the server.",
        ),
        (Part::Headers, "Headers", "The same with other headers of the clients."),
        (Part::Quiet, "A quiet topic", "Most polls find nothing new."),
        (Part::UseCases, "The articles' use cases, as measured", "871 bytes of headers."),
        (Part::Distance, "Clients far away", "The distance is emulated by the clients."),
        (Part::Pings, "Pings", "A ping each second and one message."),
    ];
    let of_part = parts.into_iter().filter_map(|(part, title, note)| {
        let lines = transports(comparison, part);
        (lines.len() > 1).then_some(Cells { title, note, lines })
    });
    let mut tables = vec![use_cases(comparison), ratios(comparison)];
    tables.retain(|table| table.lines.len() > 1);
    tables.extend(of_part);
    tables
}

fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn use_cases(comparison: &Comparison) -> Cells {
    let pair = |pair: Pair| {
        let (polling, websocket) = (figure(pair.polling), figure(pair.websocket));
        format!("{polling} : {websocket} = {}", figure(pair.ratio))
    };
    let told = |p: Option<Pair>| or_dash(p, pair);
    let mut lines = vec![head(&[
        "use case",
        "clients",
        "as published",
        "recomputed per message",
        "measured",
        "with bodies",
        "with TCP/IP (computed)",
        "measured at",
    ])];
    for case in &comparison.articles.use_cases {
        lines.push(vec![
            case.name.clone(),
            count(case.clients.into()),
            pair(case.published),
            told(case.per_message),
            told(case.measured),
            told(case.measured_with_bodies),
            told(case.measured_with_tcp_ip),
            or_dash(case.measured_clients, |clients| match clients == case.clients {
                true => "as many".to_owned(),
                false => format!("{}, computed", count(clients.into())),
            }),
        ]);
    }
    Cells {
        title: "The articles' table, three ways",
        note: "Polling : WebSocket in Mbit/s of 2^20 bits, and their ratio. Headers and framing \
               only, as in the articles, but where the column says otherwise.",
        lines,
    }
}

fn ratios(comparison: &Comparison) -> Cells {
    let mut lines = vec![head(&[
        "headers",
        "polling",
        "heads of a poll",
        "framing of a message",
        "ratio",
        "handshake, once",
        "ratio with bodies",
        "ratio with TCP/IP (computed)",
    ])];
    for ratio in &comparison.articles.ratios {
        lines.push(vec![
            ratio.headers.clone(),
            ratio.way.title().to_owned(),
            figure(ratio.head_bytes_per_poll),
            figure(ratio.framing_bytes_per_message),
            format!("{} : 1", figure(ratio.ratio)),
            figure(ratio.handshake_head_bytes),
            format!("{} : 1", figure(ratio.ratio_with_bodies)),
            format!("{} : 1", figure(ratio.ratio_with_tcp_ip)),
        ]);
    }
    Cells {
        title: "Polling against the raw WebSocket stream, by headers",
        note: "The articles say 871 : 2, which is 435.5 : 1. Ratios with bodies are of all bytes \
               of a message that came.",
        lines,
    }
}

fn transports(comparison: &Comparison, part: Part) -> Vec<Vec<String>> {
    let mut lines = vec![head(&[
        "",
        "heads",
        "framing",
        "envelope",
        "payload",
        "total",
        "packets",
        "TCP/IP (computed)",
        "TLS (computed)",
        "missed",
        "p50",
        "p99",
        "CPU / client / s",
    ])];
    for run in comparison.runs.iter().filter(|run| run.part == part) {
        lines.push(transport(run));
    }
    lines
}

fn transport(run: &Figures) -> Vec<String> {
    let m = run.per_message;
    let all = (run.counts.missed + run.counts.messages).max(1);
    let missed = 100.0 * run.counts.missed as f64 / all as f64;
    let bytes = [
        m.head,
        m.framing,
        m.envelope,
        m.payload,
        m.total,
        m.packets,
        m.computed_tcp_ip,
        m.computed_tls,
    ];
    std::iter::once(run.name.clone())
        .chain(bytes.map(figure))
        .chain([
            format!("{missed:.0} %"),
            us(run.latency_us.p50),
            us(run.latency_us.p99),
            or_dash(run.server_cpu_us_per_client_second, us),
        ])
        .collect()
}
