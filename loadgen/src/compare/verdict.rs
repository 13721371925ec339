//! What holds of the articles' claims, said plainly and from the measured figures alone.

use serde::{Deserialize, Serialize};

use super::articles::Articles;
use super::figures::{Figures, Part};
use super::meter::TCP_IP_BYTES;
use super::way::Way;
use crate::table::us;

/// One claim and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// What the articles say, or leave out.
    pub claim: String,
    /// Whether it holds: `yes`, `no`, `partly`, or `left out` where they say nothing.
    pub holds: String,
    /// The figures.
    pub found: String,
}

/// All that the measurements say; what was not measured is not judged.
#[must_use]
pub(super) fn findings(runs: &[Figures], articles: &Articles) -> Vec<Finding> {
    let found = [
        framing(runs),
        reduction(articles),
        on_the_wire(articles),
        latency(runs),
        missed(runs),
        kept(runs),
        not_modified(runs),
        long_polling(runs),
        pings(runs),
        tls(runs),
        cpu(runs),
    ];
    let mut findings: Vec<Finding> = found.into_iter().flatten().collect();
    findings.push(finding(
        "compression",
        "left out",
        "Fanfare compresses neither bodies nor frames, and HTTP/1.1 cannot compress headers. \
         HTTP/2 can: repeated headers shrink to a few dozen bytes there, which would take most of \
         polling's overhead away. It is not measured here, since Fanfare speaks HTTP/1.1."
            .to_owned(),
    ));
    findings
}

fn finding(claim: &str, holds: &str, found: String) -> Finding {
    Finding { claim: claim.to_owned(), holds: holds.to_owned(), found }
}

/// The measurement of a way in the first part that has it.
fn of(runs: &[Figures], part: Part, way: Way) -> Option<&Figures> {
    runs.iter().find(|run| run.part == part && run.way == way)
}

fn framing(runs: &[Figures]) -> Option<Finding> {
    let raw = runs.iter().find(|run| run.way == Way::Raw && run.counts.messages > 0)?;
    let framing = raw.running.received.framing as f64 / raw.counts.messages as f64;
    let sdk = |way| {
        let run = of(runs, Part::Transports, way)?;
        let message = run.per_message;
        Some(format!("{:.0} + {:.0}", message.framing, message.envelope))
    };
    let with = [("JSON", sdk(Way::SdkJson)), ("MessagePack", sdk(Way::SdkMsgpack))];
    let with: Vec<String> = with
        .into_iter()
        .filter_map(|(name, bytes)| Some(format!("{} in {name}", bytes?)))
        .collect();
    let sdk = match with.is_empty() {
        true => String::new(),
        false => format!(
            " The SDK protocol, which tells topic and offset, takes framing + envelope of {}.",
            with.join(" and ")
        ),
    };
    let holds = if (framing - 2.0).abs() < 0.005 { "yes" } else { "no" };
    Some(finding(
        "2 bytes of framing for each message",
        holds,
        format!(
            "{framing:.2} bytes for each message of the raw stream, in the direction from server \
             to client and for payloads of up to 125 bytes. Longer ones take 4 or 10; from client \
             to server a mask of 4 more.{sdk}"
        ),
    ))
}

fn reduction(articles: &Articles) -> Option<Finding> {
    let kept = |ratio: &&super::articles::HeaderRatio| ratio.way == Way::PollKept;
    let ratios: Vec<String> = articles
        .ratios
        .iter()
        .filter(kept)
        .map(|r| format!("{} {:.0} bytes, {:.0}:1", r.headers, r.head_bytes_per_poll, r.ratio))
        .collect();
    if ratios.is_empty() {
        return None;
    }
    Some(finding(
        "500:1, even 1000:1 less header traffic",
        "partly",
        format!(
            "Headers of request and answer against framing, as the articles count, on connections \
             that are kept: {}. The articles' own figures make {:.0}:1. 500:1 takes heads of 1,000 \
             bytes and 1000:1 of 2,000: of 2,278 recorded exchanges of browsers 43 % and 10 % \
             have these. It holds for messages of up to 125 bytes, for the raw stream, and where \
             there is a message for each poll; and it leaves the handshake out, which is paid once \
             for each connection.",
            ratios.join("; "),
            articles.published_ratio
        ),
    ))
}

fn on_the_wire(articles: &Articles) -> Option<Finding> {
    let ratio =
        articles.ratios.iter().find(|r| r.headers == "articles" && r.way == Way::PollKept)?;
    let fresh = articles.ratios.iter().find(|r| r.headers == "articles" && r.way == Way::PollFresh);
    let fresh = fresh
        .map(|r| format!(" With a new connection for each poll {:.1}:1.", r.ratio_with_tcp_ip));
    Some(finding(
        "the same ratio for all bytes on the wire",
        "no",
        format!(
            "With the articles' 871 bytes and every byte of a message counted, polling takes \
             {:.1} times as much as the raw stream; with TCP/IP headers (computed from the packets \
             counted) {:.1} times.{} A packet's own headers are 52 bytes, 26 times the framing.",
            ratio.ratio_with_bodies,
            ratio.ratio_with_tcp_ip,
            fresh.unwrap_or_default()
        ),
    ))
}

fn latency(runs: &[Figures]) -> Option<Finding> {
    let of_way = |way| runs.iter().filter(move |run| run.part == Part::Distance && run.way == way);
    let mut told = Vec::new();
    let mut ratios = Vec::new();
    for raw in of_way(Way::Raw) {
        let Some(long) = of_way(Way::LongPoll).find(|run| run.rate == raw.rate) else { continue };
        let ratio = |long: f64, raw: f64| long / raw.max(f64::MIN_POSITIVE);
        let (p50, max) = (
            ratio(long.latency_us.p50, raw.latency_us.p50),
            ratio(long.latency_us.max, raw.latency_us.max),
        );
        ratios.push((p50, max));
        told.push(format!(
            "at {}/s long polling takes {} in the median and {} at most, the raw stream \
             {} and {}: {p50:.1}:1 and {max:.1}:1",
            raw.rate,
            us(long.latency_us.p50),
            us(long.latency_us.max),
            us(raw.latency_us.p50),
            us(raw.latency_us.max),
        ));
    }
    let distance = of_way(Way::Raw).next()?.one_way_ms;
    let polling = of_way(Way::PollKept).next().map(|run| {
        let seconds = run.interval_seconds.unwrap_or_default();
        format!(
            " Polling each {seconds} s takes {} in the median, whatever the distance: it is the \
             interval that counts there.",
            us(run.latency_us.p50)
        )
    });
    let (all, some) = (
        !ratios.is_empty() && ratios.iter().all(|(p50, _)| *p50 >= 2.5),
        ratios.iter().any(|(_, max)| *max >= 2.5),
    );
    let holds = if all {
        "yes"
    } else if some {
        "partly"
    } else {
        "no"
    };
    Some(finding(
        "3:1 less latency",
        holds,
        format!(
            "Clients {distance} ms away (emulated): {}. Three ways against one is the worst case \
             of long polling, a message that comes just behind another; one that finds a waiting \
             request takes a single way, as on a WebSocket.{}",
            told.join("; "),
            polling.unwrap_or_default()
        ),
    ))
}

fn missed(runs: &[Figures]) -> Option<Finding> {
    let run = of(runs, Part::Transports, Way::PollKept)?;
    let all = run.counts.missed + run.counts.messages;
    let percent = 100.0 * run.counts.missed as f64 / all.max(1) as f64;
    Some(finding(
        "messages between polls",
        "left out",
        format!(
            "At {} messages/s and a poll each {} s that asks for the newest one, {percent:.0} % of \
             the messages were never seen. Long polling, event streams and WebSockets missed none.",
            run.rate,
            run.interval_seconds.unwrap_or_default()
        ),
    ))
}

fn kept(runs: &[Figures]) -> Option<Finding> {
    let fresh = of(runs, Part::Transports, Way::PollFresh)?;
    let kept = of(runs, Part::Transports, Way::PollKept)?;
    let polls = |run: &Figures| run.running.segments() as f64 / run.counts.polls.max(1) as f64;
    Some(finding(
        "keep-alive",
        "left out",
        format!(
            "A poll takes {:.1} packets on a connection that is kept and {:.1} on a new one, and \
             {} and {} of the server's CPU.",
            polls(kept),
            polls(fresh),
            per_poll_cpu(kept),
            per_poll_cpu(fresh)
        ),
    ))
}

fn per_poll_cpu(run: &Figures) -> String {
    let polls_per_client_second =
        run.counts.polls as f64 / f64::from(run.clients.max(1)) / run.seconds;
    let cpu = run.server_cpu_us_per_client_second.map(|cpu| cpu / polls_per_client_second);
    crate::table::or_dash(cpu, us)
}

fn not_modified(runs: &[Figures]) -> Option<Finding> {
    let with = of(runs, Part::Quiet, Way::PollKeptEtag)?;
    let without = of(runs, Part::Quiet, Way::PollKept)?;
    let each = |run: &Figures| run.running.both().total() as f64 / run.counts.polls.max(1) as f64;
    let percent = 100.0 * with.counts.not_modified as f64 / with.counts.polls.max(1) as f64;
    Some(finding(
        "304 Not Modified",
        "left out",
        format!(
            "Where {percent:.0} % of the polls find nothing new, one takes {:.0} bytes with \
             If-None-Match and {:.0} without: the body is saved, the headers are not.",
            each(with),
            each(without)
        ),
    ))
}

fn long_polling(runs: &[Figures]) -> Option<Finding> {
    let long = of(runs, Part::Quiet, Way::LongPoll)?;
    let poll = of(runs, Part::Quiet, Way::PollKept)?;
    let raw = of(runs, Part::Quiet, Way::Raw)?;
    Some(finding(
        "polls that find nothing",
        "left out",
        format!(
            "With a message each {:.1} s, a message takes {:.0} bytes by polling each {} s, {:.0} \
             by long polling and {:.0} by the raw stream: what is quiet costs a poller most.",
            1.0 / poll.rate,
            poll.per_message.total,
            poll.interval_seconds.unwrap_or_default(),
            long.per_message.total,
            raw.per_message.total
        ),
    ))
}

/// The broker's own ping interval, in seconds.
const PING_INTERVAL: f64 = 25.0;

fn pings(runs: &[Figures]) -> Option<Finding> {
    let ways = [Way::Sse, Way::Raw, Way::SdkJson, Way::SdkMsgpack];
    let of_way = |way: Way| {
        let run = of(runs, Part::Pings, way).filter(|run| run.counts.pings > 0)?;
        let pings = run.counts.pings as f64;
        let bytes = run.counts.ping_bytes as f64 / pings;
        // A message takes one packet and its acknowledgement.
        let packets = run.running.segments().saturating_sub(2 * run.counts.messages) as f64 / pings;
        let each_hour = (bytes + packets * TCP_IP_BYTES as f64) * 3_600.0 / PING_INTERVAL / 1_024.0;
        Some((format!("{} {bytes:.0} bytes in {packets:.1} packets", way.title()), each_hour))
    };
    let told: Vec<(String, f64)> = ways.into_iter().filter_map(of_way).collect();
    let most = told.iter().map(|(_, each_hour)| *each_hour).max_by(f64::total_cmp)?;
    let told: Vec<String> = told.into_iter().map(|(text, _)| text).collect();
    Some(finding(
        "keep-alive pings",
        "left out",
        format!(
            "A ping and its answer take: {}. At the broker's {PING_INTERVAL} s that makes at most \
             {most:.0} KiB an hour for each client, TCP/IP headers included (computed), in which \
             the articles' poller has sent and received 3 MiB of headers.",
            told.join("; ")
        ),
    ))
}

fn tls(runs: &[Figures]) -> Option<Finding> {
    let of_way = |way| Some(of(runs, Part::Transports, way)?.per_message.computed_tls);
    let (polling, raw) = (of_way(Way::PollKept)?, of_way(Way::Raw)?);
    Some(finding(
        "TLS",
        "left out",
        format!(
            "TLS 1.3 adds 22 bytes to each record (computed): {polling:.0} bytes for each message \
             by polling and {raw:.0} by the raw stream, eleven times its framing. Its handshake, \
             some thousands of bytes, comes with each new connection and is not in these figures."
        ),
    ))
}

fn cpu(runs: &[Figures]) -> Option<Finding> {
    let ways = [Way::PollFresh, Way::PollKept, Way::LongPoll, Way::Sse, Way::Raw];
    let of_way = |way: Way| {
        let cpu = of(runs, Part::Transports, way)?.server_cpu_us_per_message?;
        Some(format!("{} {}", way.title(), us(cpu)))
    };
    let told: Vec<String> = ways.into_iter().filter_map(of_way).collect();
    (!told.is_empty()).then(|| {
        let text = format!(
            "CPU of the server for each message that a client got: {}. The publisher is in these \
             figures.",
            told.join(", ")
        );
        finding("server CPU", "left out", text)
    })
}
