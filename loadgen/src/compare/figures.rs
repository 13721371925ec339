//! The figures of one measurement, as results hold them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::meter::{Meter, Parts};
use super::stage::{Found, Load};
use super::tally::Counts;
use super::way::{Rhythm, Way};
use crate::latency::{Latencies, Percentiles};

/// What a measurement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    /// Every way with the same headers, and a publisher that is faster than the polls
    Transports,
    /// Every preset of headers
    Headers,
    /// A publisher that is slower than the polls, so that most find nothing new
    Quiet,
    /// The articles' use cases, at as many clients
    UseCases,
    /// Clients as far away as in the articles
    Distance,
}

/// One measurement. Bytes are of all clients together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Its name, of which there is one in each round.
    pub name: String,
    /// What it is for.
    pub part: Part,
    /// How messages came.
    pub way: Way,
    /// The preset of headers.
    pub headers: String,
    /// How many clients there were.
    pub clients: u32,
    /// Messages published per second.
    pub rate: f64,
    /// From one poll to the next; missing where there is none.
    pub interval_seconds: Option<f64>,
    /// Emulated: how long anything takes from one end to the other.
    pub one_way_ms: f64,
    /// How long it was measured.
    pub seconds: f64,
    /// Messages published meanwhile.
    pub published: u64,
    /// What the clients counted meanwhile.
    pub counts: Counts,
    /// Bytes and packets until all followed the topic.
    pub opening: Meter,
    /// Bytes and packets while it was measured.
    pub running: Meter,
    /// `running` for each message that came for the first time.
    pub per_message: PerMessage,
    /// Bytes of HTTP heads for each poll, both ways; missing where there is none.
    pub head_bytes_per_poll: Option<f64>,
    /// Bytes per second of all clients, both ways, as sockets carried them.
    pub bytes_per_second: f64,
    /// The same with TCP/IP headers; computed.
    pub computed_bytes_per_second_with_tcp_ip: f64,
    /// CPU time of the server for each client and second.
    pub server_cpu_us_per_client_second: Option<f64>,
    /// CPU time of the server for each message that came.
    pub server_cpu_us_per_message: Option<f64>,
    /// Cores that the server kept busy.
    pub server_cores: Option<f64>,
    /// Cores that it could have used, had others not had them.
    pub server_cores_waited_for: Option<f64>,
    /// Cores that this program kept busy.
    pub loadgen_cores: f64,
    /// From when a message should have been sent until a client had read it.
    pub latency_us: Percentiles,
    /// The same at [`CURVE`].
    pub latency_curve_us: Vec<f64>,
    /// From when a poll was due to the end of its answer; zeros where there is none.
    pub answer_us: Percentiles,
    /// Clients and polls that failed.
    pub failed: u64,
    /// Why the first of them did.
    pub first_fault: Option<String>,
}

/// Quantiles of the curves in results.
pub(crate) const CURVE: [f64; 14] =
    [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.9975, 0.999, 0.9999, 1.0];

/// Bytes for each message, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PerMessage {
    /// HTTP heads.
    pub head: f64,
    /// WebSocket frames and lines of event streams.
    pub framing: f64,
    /// What stands around payloads.
    pub envelope: f64,
    /// Payloads, those that a poller gets again included.
    pub payload: f64,
    /// All but payloads.
    pub overhead: f64,
    /// All of these.
    pub total: f64,
    /// Packets.
    pub packets: f64,
    /// Headers of these packets, 52 bytes each over IPv4; computed.
    pub computed_tcp_ip: f64,
    /// What TLS 1.3 would add, 22 bytes a record, its handshakes aside; computed.
    pub computed_tls: f64,
}

impl PerMessage {
    /// Shares a meter out.
    #[must_use]
    pub(crate) fn of(meter: &Meter, messages: u64) -> Self {
        let share = |bytes: u64| bytes as f64 / messages.max(1) as f64;
        let Parts { head, framing, envelope, payload } = meter.both();
        Self {
            head: share(head),
            framing: share(framing),
            envelope: share(envelope),
            payload: share(payload),
            overhead: share(meter.both().overhead()),
            total: share(meter.both().total()),
            packets: share(meter.segments()),
            computed_tcp_ip: share(meter.tcp_ip_bytes()),
            computed_tls: share(meter.tls_bytes()),
        }
    }
}

impl Figures {
    /// Puts together what was found.
    #[must_use]
    pub(super) fn new(part: Part, load: &Load<'_>, found: &Found) -> Self {
        let Found { tally, span, seconds, published } = found;
        let (seconds, wall_ns) = (*seconds, span.wall_ns as f64);
        let polls = load.way.rhythm() == Rhythm::Interval;
        let messages = tally.counts.messages;
        let total = tally.running.both().total() as f64;
        let heads = tally.running.both().head as f64;
        let cpu = span.server_cpu;
        let us_per = |count: f64| {
            let us = cpu.map(|cpu| cpu.run_ns as f64 / 1_000.0);
            us.filter(|_| count > 0.0).map(|us| us / count)
        };
        Self {
            name: name(part, load),
            part,
            way: load.way,
            headers: load.preset.name.clone(),
            clients: load.clients,
            rate: load.rate,
            interval_seconds: polls.then_some(load.interval.as_secs_f64()),
            one_way_ms: load.one_way.as_secs_f64() * 1e3,
            seconds,
            published: *published,
            counts: tally.counts,
            opening: tally.opening,
            running: tally.running,
            per_message: PerMessage::of(&tally.running, messages),
            head_bytes_per_poll: (tally.counts.polls > 0)
                .then(|| heads / tally.counts.polls as f64),
            bytes_per_second: total / seconds,
            computed_bytes_per_second_with_tcp_ip: (total + tally.running.tcp_ip_bytes() as f64)
                / seconds,
            server_cpu_us_per_client_second: us_per(f64::from(load.clients) * wall_ns / 1e9),
            server_cpu_us_per_message: us_per(messages as f64),
            server_cores: cpu.map(|cpu| cpu.run_ns as f64 / wall_ns),
            server_cores_waited_for: cpu.map(|cpu| cpu.wait_ns as f64 / wall_ns),
            loadgen_cores: span.own_cpu.run_ns as f64 / wall_ns,
            latency_us: tally.latency.percentiles(),
            latency_curve_us: CURVE.map(|quantile| tally.latency.at_us(quantile)).to_vec(),
            answer_us: tally.answer.percentiles(),
            failed: tally.failed,
            first_fault: tally.first_fault.clone(),
        }
    }
}

/// The histograms of one measurement, for the files beside the result.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histograms {
    /// The measurement's name.
    pub name: String,
    /// From publishing to arrival.
    pub latency: Latencies,
    /// When it began, and how long it took.
    pub span: (Duration, Duration),
}

fn name(part: Part, load: &Load<'_>) -> String {
    let way = load.way.name();
    match part {
        Part::Transports => way.to_owned(),
        Part::Headers => format!("{way}, headers {}", load.preset.name),
        Part::Quiet => format!("{way}, quiet"),
        Part::UseCases => format!("{way}, {} clients", load.clients),
        Part::Distance => {
            format!("{way}, {} ms away, {}/s", load.one_way.as_millis(), load.rate)
        }
    }
}
