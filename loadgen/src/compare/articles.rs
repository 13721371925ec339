//! The table of the articles that this comparison began with: as published, recomputed from bytes
//! measured here, and measured in full.
//!
//! The articles count HTTP headers of requests and answers against WebSocket framing, and nothing
//! else, and their megabit has 2^20 bits. Both is kept here, so that figures can be compared.

use serde::{Deserialize, Serialize};

use super::figures::{Figures, Part};
use super::headers::ARTICLES_BYTES;
use super::way::Way;

/// Framing of a short message in the articles, in bytes.
const FRAMING_BYTES: f64 = 2.0;

/// Bits of a megabit in the articles.
pub(crate) const MEGABIT: f64 = 1_048_576.0;

/// Name, clients, and the articles' megabits per second of polling and of WebSocket.
const PUBLISHED: [(&str, u32, f64, f64); 3] =
    [("A", 1_000, 6.6, 0.015), ("B", 10_000, 66.0, 0.153), ("C", 100_000, 665.0, 1.526)];

/// Traffic of one use case.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pair {
    /// Megabits per second of polling once a second.
    pub polling: f64,
    /// Megabits per second of a WebSocket that gets a message each second.
    pub websocket: f64,
    /// The first as a multiple of the second.
    pub ratio: f64,
}

impl Pair {
    fn new(polling: f64, websocket: f64) -> Self {
        Self { polling, websocket, ratio: polling / websocket.max(f64::MIN_POSITIVE) }
    }

    /// Of bytes per client and second.
    fn of_bytes(clients: u32, polling: f64, websocket: f64) -> Self {
        let megabits = |bytes: f64| bytes * f64::from(clients) * 8.0 / MEGABIT;
        Self::new(megabits(polling), megabits(websocket))
    }
}

/// One row of the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct UseCase {
    /// A, B or C.
    pub name: String,
    /// Clients.
    pub clients: u32,
    /// As published.
    pub published: Pair,
    /// Computed from header bytes of one poll and framing bytes of one message, as measured here.
    pub per_message: Option<Pair>,
    /// Heads and framing that this many clients had in a second; or of fewer and computed.
    pub measured: Option<Pair>,
    /// The same with bodies, envelopes and payloads.
    pub measured_with_bodies: Option<Pair>,
    /// The same with TCP/IP headers, which are computed from the packets that were counted.
    pub measured_with_tcp_ip: Option<Pair>,
    /// How many clients were measured; the figures are computed from these where it is fewer.
    pub measured_clients: Option<u32>,
}

/// What a preset of headers does to the ratio.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HeaderRatio {
    /// The preset.
    pub headers: String,
    /// How polling was done.
    pub way: Way,
    /// Heads of one request and its answer.
    pub head_bytes_per_poll: f64,
    /// Framing of one message of the raw stream.
    pub framing_bytes_per_message: f64,
    /// The first as a multiple of the second, as the articles count.
    pub ratio: f64,
    /// Heads of the raw stream's handshake, once for each connection.
    pub handshake_head_bytes: f64,
    /// Polling as a multiple of the raw stream when all bytes of a message are counted.
    pub ratio_with_bodies: f64,
    /// The same with TCP/IP headers, computed.
    pub ratio_with_tcp_ip: f64,
}

/// The table and the ratios.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Articles {
    /// The articles' three use cases.
    pub use_cases: Vec<UseCase>,
    /// The articles' ratio, 871 : 2.
    pub published_ratio: f64,
    /// The ratio of each preset.
    pub ratios: Vec<HeaderRatio>,
}

impl Articles {
    /// What a round's measurements say.
    #[must_use]
    pub(super) fn of(runs: &[Figures]) -> Self {
        let use_case = |&(name, clients, polling, websocket): &(&str, u32, f64, f64)| {
            UseCase::of(name, clients, Pair::new(polling, websocket), runs)
        };
        Self {
            use_cases: PUBLISHED.iter().map(use_case).collect(),
            published_ratio: ARTICLES_BYTES as f64 / FRAMING_BYTES,
            ratios: ratios(runs),
        }
    }
}

impl UseCase {
    fn of(name: &str, clients: u32, published: Pair, runs: &[Figures]) -> Self {
        let polling = nearest(runs, Way::PollKept, clients);
        let websocket = nearest(runs, Way::Raw, clients);
        let both = polling.zip(websocket);
        let pair = |of: &dyn Fn(&Figures) -> f64| {
            let (polling, websocket) = both?;
            let each = |run: &Figures| of(run) / f64::from(run.clients) / run.seconds;
            Some(Pair::of_bytes(clients, each(polling), each(websocket)))
        };
        let overhead = |run: &Figures| {
            let both = run.running.both();
            (both.head + both.framing) as f64
        };
        let all = |run: &Figures| run.running.both().total() as f64;
        let with_tcp_ip = |run: &Figures| all(run) + run.running.tcp_ip_bytes() as f64;
        let per_message = both.and_then(|(polling, websocket)| {
            let head = polling.head_bytes_per_poll?;
            Some(Pair::of_bytes(clients, head, websocket.per_message.framing))
        });
        Self {
            name: name.to_owned(),
            clients,
            published,
            per_message,
            measured: pair(&overhead),
            measured_with_bodies: pair(&all),
            measured_with_tcp_ip: pair(&with_tcp_ip),
            measured_clients: both.map(|(polling, _)| polling.clients),
        }
    }
}

/// The use case of a way with as many clients, or else with the most.
fn nearest(runs: &[Figures], way: Way, clients: u32) -> Option<&Figures> {
    let of_way = runs.iter().filter(|run| run.part == Part::UseCases && run.way == way);
    of_way.max_by_key(|run| (run.clients == clients, run.clients))
}

fn ratios(runs: &[Figures]) -> Vec<HeaderRatio> {
    let of_headers = |headers: &str| {
        let mut found = runs.iter().filter(|run| run.part == Part::Headers);
        found.find(|run| run.way == Way::Raw && run.headers == headers)
    };
    let polls = runs.iter().filter(|run| {
        run.part == Part::Headers && matches!(run.way, Way::PollFresh | Way::PollKept)
    });
    let ratio = |poll: &Figures| {
        let raw = of_headers(&poll.headers)?;
        let head_bytes_per_poll = poll.head_bytes_per_poll?;
        let framing = raw.per_message.framing;
        let (polled, pushed) = (poll.per_message, raw.per_message);
        let tcp_ip = |m: super::figures::PerMessage| m.total + m.computed_tcp_ip;
        Some(HeaderRatio {
            headers: poll.headers.clone(),
            way: poll.way,
            head_bytes_per_poll,
            framing_bytes_per_message: framing,
            ratio: head_bytes_per_poll / framing.max(f64::MIN_POSITIVE),
            handshake_head_bytes: raw.opening.both().head as f64 / f64::from(raw.clients.max(1)),
            ratio_with_bodies: polled.total / pushed.total,
            ratio_with_tcp_ip: tcp_ip(polled) / tcp_ip(pushed),
        })
    };
    polls.filter_map(ratio).collect()
}
