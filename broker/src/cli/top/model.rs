//! From two scrapes to what a person wants to know: what there is now, and what happened between.
//! Nothing here is drawn or asked for.

use std::time::Duration;

use fanfare_engine::ConnectionState;

use super::scrape::{Samples, Scrape};

/// The node at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) node: String,
    pub(super) version: String,
    pub(super) uptime: Duration,
    pub(super) is_ready: bool,
    pub(super) connections: u64,
    /// By state, from the best to the worst.
    pub(super) states: Vec<(&'static str, u64)>,
    /// Connections that speak HTTP now.
    pub(super) http_connections: u64,
    pub(super) subscriptions: u64,
    pub(super) topics: u64,
    pub(super) resident_bytes: u64,
    pub(super) outbox_bytes: u64,
    pub(super) history_bytes: u64,
    /// `None` where the two scrapes are not of the same life of the broker.
    pub(super) rates: Option<Rates>,
    pub(super) shards: Vec<ShardFigures>,
}

/// What happened between two scrapes, for each second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) published: f64,
    pub(super) delivered: f64,
    pub(super) in_bytes: f64,
    pub(super) out_bytes: f64,
    pub(super) opened: f64,
    pub(super) closed: f64,
    pub(super) merged: f64,
    pub(super) lost: f64,
    /// Cores in use.
    pub(super) cores: f64,
    /// From publish to socket; `None` where nothing was measured.
    pub(super) p50: Option<Quantile>,
    pub(super) p99: Option<Quantile>,
}

/// A time that so many were not above.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Quantile {
    /// In seconds, as if times were spread evenly within a bucket.
    Seconds(f64),
    /// Above the highest bound of all.
    Over(f64),
}

/// One shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ShardFigures {
    pub(super) shard: usize,
    /// The part of the time between the scrapes that it worked.
    pub(super) busy_ratio: f64,
    pub(super) connections: u64,
    pub(super) mailbox_messages: usize,
    pub(super) mailbox_bytes: usize,
    pub(super) outbox_bytes: u64,
    /// Deliveries for each second.
    pub(super) delivered: Option<f64>,
    pub(super) tick_age_ms: u64,
}

impl Figures {
    /// The node at `after`, and what happened since `before`.
    pub(super) fn between(before: Option<&Scrape>, after: &Scrape) -> Self {
        let samples = &after.samples;
        let count = |name| samples.get(name) as u64;
        let version = samples.by_label("fanfare_build_info", "version").next();
        let up_seconds = after.unix_seconds - samples.get("process_start_time_seconds");
        let before = before.filter(|before| is_same_life(before, after));
        Self {
            node: after.shards.node.clone(),
            version: version.map_or_else(String::new, |(version, _)| version.to_owned()),
            uptime: Duration::from_secs_f64(up_seconds.max(0.0)),
            is_ready: samples.get("fanfare_ready") == 1.0,
            connections: count("fanfare_connections"),
            states: states(samples),
            http_connections: count("fanfare_http_connections"),
            subscriptions: count("fanfare_subscriptions"),
            topics: count("fanfare_topics"),
            resident_bytes: count("process_resident_memory_bytes"),
            outbox_bytes: count("fanfare_outbox_bytes"),
            history_bytes: count("fanfare_history_bytes"),
            rates: before.map(|before| Rates::between(before, after)),
            shards: shards(before, after),
        }
    }
}

fn seconds_between(before: &Scrape, after: &Scrape) -> f64 {
    after.at.duration_since(before.at).as_secs_f64().max(1e-3)
}

/// Whether no counter has begun anew in between.
fn is_same_life(before: &Scrape, after: &Scrape) -> bool {
    let start = |scrape: &Scrape| scrape.samples.get("process_start_time_seconds");
    before.shards.node == after.shards.node && start(before) == start(after)
}

fn states(samples: &Samples) -> Vec<(&'static str, u64)> {
    let count = |state: ConnectionState| {
        let mut all = samples.by_label("fanfare_connection_states", "state");
        let found = all.find(|(name, _)| *name == state.name());
        (state.name(), found.map_or(0, |(_, count)| count as u64))
    };
    ConnectionState::ALL.map(count).to_vec()
}

fn shards(before: Option<&Scrape>, after: &Scrape) -> Vec<ShardFigures> {
    let one = |now: &crate::admin::Shard| {
        let then = before
            .and_then(|before| Some((before.shard(now.shard)?, seconds_between(before, after))));
        let busy_ratio = then.map_or(now.busy_ratio, |(then, seconds)| {
            now.busy_ms.saturating_sub(then.busy_ms) as f64 / 1e3 / seconds
        });
        ShardFigures {
            shard: now.shard,
            busy_ratio: busy_ratio.min(1.0),
            connections: now.connections,
            mailbox_messages: now.mailbox_messages,
            mailbox_bytes: now.mailbox_bytes,
            outbox_bytes: now.outbox_bytes,
            delivered: then.map(|(then, seconds)| {
                now.messages_out.saturating_sub(then.messages_out) as f64 / seconds
            }),
            tick_age_ms: now.tick_age_ms,
        }
    };
    after.shards.shards.iter().map(one).collect()
}

impl Rates {
    fn between(before: &Scrape, after: &Scrape) -> Self {
        let seconds = seconds_between(before, after);
        let grown = |name: &str| (after.samples.get(name) - before.samples.get(name)).max(0.0);
        let rate = |name: &str| grown(name) / seconds;
        let closes = |scrape: &Scrape| -> f64 {
            let codes = scrape.samples.by_label("fanfare_connections_closed_total", "code");
            codes.map(|(_, count)| count).sum()
        };
        let times = Times::between(&before.samples, &after.samples);
        Self {
            published: rate("fanfare_messages_in_total"),
            delivered: rate("fanfare_messages_out_total"),
            in_bytes: rate("fanfare_in_bytes_total"),
            out_bytes: rate("fanfare_out_bytes_total"),
            opened: rate("fanfare_connections_opened_total"),
            closed: (closes(after) - closes(before)).max(0.0) / seconds,
            merged: rate("fanfare_messages_merged_total"),
            lost: rate("fanfare_gap_messages_total"),
            cores: rate("process_cpu_seconds_total"),
            p50: times.quantile(0.5),
            p99: times.quantile(0.99),
        }
    }
}

/// The times that were measured between two scrapes: bounds in seconds, with how many were not
/// above each.
struct Times(Vec<(f64, f64)>);

impl Times {
    fn between(before: &Samples, after: &Samples) -> Self {
        const BUCKETS: &str = "fanfare_delivery_seconds_bucket";
        let at = |samples: &Samples, bound: &str| {
            let mut all = samples.by_label(BUCKETS, "le");
            all.find(|(one, _)| *one == bound).map_or(0.0, |(_, count)| count)
        };
        let buckets = after
            .by_label(BUCKETS, "le")
            .filter_map(|(bound, count)| Some((bound.parse().ok()?, count - at(before, bound))));
        let mut buckets: Vec<(f64, f64)> = buckets.collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        Self(buckets)
    }

    /// The time that a part `q` of them was not above.
    fn quantile(&self, q: f64) -> Option<Quantile> {
        let all = self.0.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        let rank = q * all;
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= rank && *count > below {
                let part = (rank - below) / (count - below);
                let within = Quantile::Seconds(lower + (bound - lower) * part);
                return Some(if bound.is_finite() { within } else { Quantile::Over(lower) });
            }
            (lower, below) = (*bound, *count);
        }
        None
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Instant;

    use super::*;
    use crate::admin::{Shard, Shards};

    const METRICS: &str = "\
fanfare_build_info{version=\"0.1.0\"} 1
fanfare_ready 1
fanfare_connections 7
fanfare_connection_states{state=\"open\"} 5
fanfare_connection_states{state=\"stalled\"} 2
process_start_time_seconds 1000
";

    /// A scrape `seconds` after the start of the clock of tests.
    pub(in super::super) fn scrape(start: Instant, seconds: f64, more: &str) -> Scrape {
        Scrape {
            at: start + Duration::from_secs_f64(seconds),
            unix_seconds: 4_600.0 + seconds,
            samples: Samples::parse(&format!("{METRICS}{more}")),
            shards: Shards { node: "5f0c93aa".to_owned(), shards: vec![shard(0, seconds)] },
        }
    }

    /// A shard that works half of its time and delivers 100 messages a second.
    pub(in super::super) fn shard(shard: usize, seconds: f64) -> Shard {
        Shard {
            shard,
            busy_ratio: 0.9,
            busy_ms: (seconds * 500.0) as u64,
            tick_age_ms: 12,
            connections: 7,
            states: [("open".to_owned(), 7)].into(),
            subscriptions: 9,
            mailbox_messages: 3,
            mailbox_bytes: 300,
            outbox_bytes: 2_048,
            messages_in: 0,
            messages_out: (seconds * 100.0) as u64,
            out_bytes: 0,
        }
    }

    fn buckets(counts: [u64; 3]) -> String {
        let [low, high, all] = counts;
        let name = "fanfare_delivery_seconds_bucket";
        let bucket = |(bound, count)| format!("{name}{{le=\"{bound}\"}} {count}\n");
        [("0.001", low), ("0.002", high), ("+Inf", all)].map(bucket).concat()
    }

    #[test]
    fn one_scrape_tells_what_there_is_but_no_rates() {
        let figures = Figures::between(None, &scrape(Instant::now(), 0.0, ""));
        assert_eq!((figures.node.as_str(), figures.version.as_str()), ("5f0c93aa", "0.1.0"));
        assert_eq!((figures.uptime, figures.is_ready), (Duration::from_secs(3_600), true));
        let expected =
            [("open", 5), ("blocked", 0), ("lagging", 0), ("stalled", 2), ("closing", 0)];
        assert_eq!((figures.connections, figures.states), (7, expected.to_vec()));
        assert_eq!(figures.rates, None);
        assert_eq!((figures.shards[0].busy_ratio, figures.shards[0].delivered), (0.9, None));
    }

    #[test]
    fn two_scrapes_tell_rates_for_each_second() {
        let start = Instant::now();
        let metrics = |n: u64| {
            format!(
                "fanfare_messages_in_total {}\nfanfare_out_bytes_total {}\n\
                 fanfare_connections_closed_total{{code=\"normal\"}} {n}\n\
                 fanfare_connections_closed_total{{code=\"other\"}} {n}\n\
                 process_cpu_seconds_total {}\n",
                n * 100,
                n * 1_000,
                n as f64 / 2.0
            )
        };
        let before = scrape(start, 0.0, &metrics(1));
        let figures = Figures::between(Some(&before), &scrape(start, 2.0, &metrics(5)));
        let rates = figures.rates.unwrap();
        assert_eq!((rates.published, rates.out_bytes, rates.closed), (200.0, 2_000.0, 4.0));
        assert_eq!((rates.cores, rates.delivered, rates.p50), (1.0, 0.0, None));
        let shard = &figures.shards[0];
        assert_eq!((shard.busy_ratio, shard.delivered), (0.5, Some(100.0)));
    }

    #[test]
    fn a_broker_that_was_restarted_in_between_has_no_rates() {
        let start = Instant::now();
        let before = scrape(start, 0.0, "fanfare_messages_in_total 500\n");
        let mut after = scrape(start, 1.0, "fanfare_messages_in_total 3\n");
        after.shards.node = "another".to_owned();
        assert_eq!(Figures::between(Some(&before), &after).rates, None);
    }

    #[test]
    fn latency_is_that_of_the_time_between_and_not_of_all_times() {
        let start = Instant::now();
        let figures = |first: [u64; 3], second: [u64; 3]| {
            let before = scrape(start, 0.0, &buckets(first));
            let after = scrape(start, 1.0, &buckets(second));
            let rates = Figures::between(Some(&before), &after).rates.unwrap();
            (rates.p50, rates.p99)
        };
        let slow_before = [0, 0, 1_000];
        let (p50, p99) = figures(slow_before, [100, 100, 1_100]);
        assert_eq!(p50, Some(Quantile::Seconds(0.0005)));
        assert_eq!(p99, Some(Quantile::Seconds(0.00099)));
        let (p50, p99) = figures(slow_before, [0, 50, 1_100]);
        assert_eq!((p50, p99), (Some(Quantile::Seconds(0.002)), Some(Quantile::Over(0.002))));
        assert_eq!(figures(slow_before, slow_before), (None, None));
    }
}
