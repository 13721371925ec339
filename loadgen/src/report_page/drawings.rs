//! Which charts a result has.

use super::{Comparison, Reported};
use crate::charts::{
    Axis, Bar, BarChart, COMPUTED, Line, LineChart, Mark, Scale, Segment, colour, figure,
};
use crate::compare::{CURVE, Figures, Part, UseCase};
use crate::table::us;

/// A chart that is drawn.
#[derive(Debug)]
pub(super) struct Drawing {
    /// The name of its file, without the ending.
    pub file: String,
    /// What it shows.
    pub title: String,
    /// The drawing.
    pub svg: String,
}

/// The charts of a result.
#[must_use]
pub(super) fn of(result: &Reported) -> Vec<Drawing> {
    let Some(comparison) = &result.comparison else { return Vec::new() };
    let runs: Vec<&Figures> =
        comparison.runs.iter().filter(|run| run.part == Part::Transports).collect();
    let drawn = |name: &str, (title, svg): (String, String)| Drawing {
        file: format!("{}-{name}", result.file),
        title,
        svg,
    };
    let mut drawings = Vec::new();
    if !runs.is_empty() {
        drawings.push(drawn("bytes", bytes(&runs)));
    }
    if comparison.articles.use_cases.iter().any(|case| case.measured.is_some()) {
        drawings.push(drawn("traffic", traffic(comparison)));
    }
    if runs.iter().any(|run| run.counts.messages > 0) {
        drawings.push(drawn("latency", latency(&runs)));
    }
    if runs.iter().any(|run| run.server_cpu_us_per_client_second.is_some()) {
        drawings.push(drawn("cpu", cpu(&runs)));
    }
    drawings
}

fn bytes(runs: &[&Figures]) -> (String, String) {
    let parts = ["HTTP heads", "framing", "envelope", "payload"];
    let legend = parts.iter().enumerate().map(|(n, name)| ((*name).to_owned(), colour(n)));
    let computed = ("TCP/IP headers (computed)".to_owned(), COMPUTED.to_owned());
    let bar = |run: &&Figures| {
        let m = run.per_message;
        let values = [m.head, m.framing, m.envelope, m.payload];
        let measured = values.into_iter().enumerate();
        let segments = measured.map(|(n, value)| Segment { value, colour: colour(n) });
        let computed = Segment { value: m.computed_tcp_ip, colour: COMPUTED.to_owned() };
        Bar {
            label: run.way.title().to_owned(),
            segments: segments.chain([computed]).collect(),
            note: format!("{} + {}", figure(m.total), figure(m.computed_tcp_ip)),
        }
    };
    let first = runs[0];
    let title = "Bytes on the wire for each message a client gets".to_owned();
    let chart = BarChart {
        title: title.clone(),
        subtitle: format!(
            "both directions; {} messages/s, polls each {} s for the newest; headers: {}",
            figure(first.rate),
            figure(runs.iter().find_map(|run| run.interval_seconds).unwrap_or_default()),
            first.headers
        ),
        legend: legend.chain([computed]).collect(),
        bars: runs.iter().map(bar).collect(),
        unit: "bytes for each message".to_owned(),
    };
    (title, chart.svg())
}

fn cpu(runs: &[&Figures]) -> (String, String) {
    let bar = |run: &&Figures| {
        let value = run.server_cpu_us_per_client_second.unwrap_or_default();
        Bar {
            label: run.way.title().to_owned(),
            segments: vec![Segment { value, colour: colour(3) }],
            note: us(value),
        }
    };
    let first = runs[0];
    let title = "CPU time of the server for each client and second".to_owned();
    let chart = BarChart {
        title: title.clone(),
        subtitle: format!(
            "{} clients, {} messages/s; the publisher's share is included",
            figure(first.clients.into()),
            figure(first.rate)
        ),
        legend: Vec::new(),
        bars: runs.iter().map(bar).collect(),
        unit: "µs of CPU for each client and second".to_owned(),
    };
    (title, chart.svg())
}

fn latency(runs: &[&Figures]) -> (String, String) {
    let line = |(number, run): (usize, &&Figures)| {
        let curve = CURVE.iter().zip(&run.latency_curve_us);
        // Beyond one in as many as there were, a percentile says nothing.
        let samples = run.counts.messages.max(1) as f64;
        let points = curve
            .filter(|(quantile, _)| **quantile < 1.0 && 1.0 - **quantile >= 1.0 / samples)
            .map(|(quantile, us)| (*quantile, us.max(1.0), Mark::None));
        Line {
            name: run.way.title().to_owned(),
            colour: colour(number),
            points: points.collect(),
            is_joined: true,
            is_dashed: run.way.has_etag(),
        }
    };
    let lines: Vec<Line> = runs.iter().enumerate().map(line).collect();
    let values = || lines.iter().flat_map(|line| &line.points);
    let least = values().map(|point| point.1).fold(f64::MAX, f64::min);
    let most = values().map(|point| point.1).fold(1.0, f64::max);
    let last = values().map(|point| point.0).fold(0.0, f64::max);
    let title = "Latency from publishing to arrival".to_owned();
    let chart = LineChart {
        title: title.clone(),
        subtitle: format!(
            "{} clients on the broker's own machine; a poller waits for its next poll",
            figure(runs[0].clients.into())
        ),
        x: Axis {
            title: "percentile of messages".to_owned(),
            scale: Scale::Percentile,
            range: (0.0, last.max(0.9)),
            label: percent,
        },
        y: Axis {
            title: "latency".to_owned(),
            scale: Scale::Log,
            range: (decade(least, f64::floor), decade(most, f64::ceil)),
            label: time,
        },
        lines,
    };
    (title, chart.svg())
}

/// The power of ten at or beyond a value.
fn decade(value: f64, round: fn(f64) -> f64) -> f64 {
    10_f64.powf(round(value.max(f64::MIN_POSITIVE).log10()))
}

fn percent(part: f64) -> String {
    // 0.999 × 100 is 99.9 but for the last bits.
    format!("p{}", (part * 1e6).round() / 1e4)
}

fn time(us: f64) -> String {
    match us {
        ..1_000.0 => format!("{us} µs"),
        ..1_000_000.0 => format!("{} ms", us / 1e3),
        _ => format!("{} s", us / 1e6),
    }
}

fn traffic(comparison: &Comparison) -> (String, String) {
    let cases = &comparison.articles.use_cases;
    let title = "Traffic against clients".to_owned();
    let lines = vec![
        measured("polling, all bytes, TCP/IP", 0, true, cases, |case| {
            case.measured_with_tcp_ip.map(|pair| pair.polling)
        }),
        measured("polling, headers", 0, false, cases, |case| {
            case.measured.map(|pair| pair.polling)
        }),
        measured("WebSocket, all bytes, TCP/IP", 3, true, cases, |case| {
            case.measured_with_tcp_ip.map(|pair| pair.websocket)
        }),
        measured("WebSocket, framing", 3, false, cases, |case| {
            case.measured.map(|pair| pair.websocket)
        }),
        published("", cases, |case| case.published.polling),
        published("", cases, |case| case.published.websocket),
    ];
    let chart = LineChart {
        title: title.clone(),
        subtitle: "a poll and a message each second, 871 bytes of headers; dots measured, rings \
                   computed from fewer clients, crosses as the articles say"
            .to_owned(),
        x: Axis {
            title: "clients".to_owned(),
            scale: Scale::Log,
            range: (700.0, 140_000.0),
            label: figure,
        },
        y: Axis {
            title: "Mbit/s (of 2^20 bits, as in the articles)".to_owned(),
            scale: Scale::Log,
            range: (0.01, 2_000.0),
            label: figure,
        },
        lines,
    };
    (title, chart.svg())
}

fn measured(
    name: &str,
    number: usize,
    is_dashed: bool,
    cases: &[UseCase],
    of: fn(&UseCase) -> Option<f64>,
) -> Line {
    let point = |case: &UseCase| {
        let is_measured = case.measured_clients == Some(case.clients);
        let mark = if is_measured { Mark::Dot } else { Mark::Ring };
        Some((f64::from(case.clients), of(case)?, mark))
    };
    Line {
        name: name.to_owned(),
        colour: colour(number),
        points: cases.iter().filter_map(point).collect(),
        is_joined: true,
        is_dashed,
    }
}

fn published(name: &str, cases: &[UseCase], of: fn(&UseCase) -> f64) -> Line {
    let point = |case: &UseCase| (f64::from(case.clients), of(case), Mark::Cross);
    Line {
        name: name.to_owned(),
        colour: "var(--ink)".to_owned(),
        points: cases.iter().map(point).collect(),
        is_joined: false,
        is_dashed: false,
    }
}
