//! What loadgen itself counts, for Prometheus to look at while a run goes on.
//!
//! Owns the counters, their list and the small server that tells them. Nothing is counted unless
//! it was asked for, and reports never depend on it.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::receiver::Counters;
use crate::record::Totals;
use crate::server::own_cpu;

/// How long a scrape may take to send its request.
const PATIENCE: Duration = Duration::from_secs(5);

/// Upper bounds of the buckets of times, in microseconds: those of the broker's own histogram.
const BOUNDS_US: [u64; 17] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000, 5_000_000, 10_000_000,
];

/// Every metric: name, type, help and value. `loadgen/README.md` shows the same.
const LIST: [(&str, &str, &str, Value); 9] = [
    (
        "loadgen_connections",
        "gauge",
        "Subscribing connections that are live.",
        Number(Live::connections),
    ),
    (
        "loadgen_published_messages_total",
        "counter",
        "Messages sent by the publishers.",
        Number(|live| load(&live.published)),
    ),
    (
        "loadgen_deliveries_total",
        "counter",
        "Messages received, doubled ones left out; in mode latest with those passed over.",
        Number(Live::deliveries),
    ),
    (
        "loadgen_lost_messages_total",
        "counter",
        "Messages that never came, told when a round ends.",
        Number(|live| load(&live.lost)),
    ),
    (
        "loadgen_doubled_messages_total",
        "counter",
        "Messages that came again.",
        Number(|live| load(&live.doubled)),
    ),
    (
        "loadgen_reordered_messages_total",
        "counter",
        "Messages that came after a later one.",
        Number(|live| load(&live.reordered)),
    ),
    (
        "loadgen_delivery_seconds",
        "histogram",
        "From when a message should have been sent until it was read; receivers of this process.",
        Times(|live| &live.delivery),
    ),
    (
        "loadgen_send_lag_seconds",
        "histogram",
        "How late messages were sent.",
        Times(|live| &live.send_lag),
    ),
    (
        "process_cpu_seconds_total",
        "counter",
        "CPU time of this process, user and system.",
        Number(|_| own_cpu().map_or(0.0, |cpu| cpu.run_ns as f64 / 1e9)),
    ),
];

/// Where the samples of a metric come from.
enum Value {
    Number(fn(&Live) -> f64),
    Times(fn(&Live) -> &Histogram),
}

use Value::{Number, Times};

/// The counters of this process. There is one of each, because all threads count together.
#[derive(Debug, Default)]
pub(crate) struct Live {
    published: AtomicU64,
    lost: AtomicU64,
    doubled: AtomicU64,
    reordered: AtomicU64,
    delivery: Histogram,
    send_lag: Histogram,
    /// Those of every receiver there was.
    receivers: Mutex<Vec<Arc<Counters>>>,
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_ns: AtomicU64,
}

/// Times that one thread has counted and not told yet.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    buckets: [u64; BOUNDS_US.len() + 1],
    sum_ns: u64,
}

static LIVE: OnceLock<Live> = OnceLock::new();

/// The counters, if anybody asked for them.
#[must_use]
pub(crate) fn live() -> Option<&'static Live> {
    LIVE.get()
}

/// Counts from now on, and tells it at `http://ADDR/metrics` until the process ends.
///
/// # Errors
/// If the address cannot be listened on.
pub(crate) fn serve(addr: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(addr)?;
    eprintln!("metrics on http://{}/metrics", listener.local_addr()?);
    let live = LIVE.get_or_init(Live::default);
    std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever asked and went away asks again.
            let _ = answer(&stream, live);
        }
    })?;
    Ok(())
}

/// Answers one request.
fn answer(mut stream: &TcpStream, live: &Live) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = BufReader::new(io::Read::take(stream, 16 * 1024));
    let mut lines = head.lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let (status, body) = if first.starts_with("GET /metrics ") {
        ("200 OK", live.text())
    } else {
        ("404 Not Found", "there is nothing here; try /metrics\n".to_owned())
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

impl Live {
    /// Counts a message that was sent so much later than it should have been.
    pub(crate) fn published(&self, late_ns: u64) {
        self.published.fetch_add(1, Ordering::Relaxed);
        self.send_lag.buckets[bucket(late_ns)].fetch_add(1, Ordering::Relaxed);
        self.send_lag.sum_ns.fetch_add(late_ns, Ordering::Relaxed);
    }

    /// Looks at the counters of a receiver from now on.
    pub(crate) fn watch(&self, counters: &Arc<Counters>) {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(counters));
    }

    /// Counts what a receiver found when it ended.
    pub(crate) fn finished(&self, totals: &Totals) {
        self.lost.fetch_add(totals.lost, Ordering::Relaxed);
        self.doubled.fetch_add(totals.doubled, Ordering::Relaxed);
        self.reordered.fetch_add(totals.reordered, Ordering::Relaxed);
    }

    /// The page that a scrape gets.
    fn text(&self) -> String {
        let mut page = String::new();
        for (name, kind, help, value) in LIST {
            page += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
            page += &match value {
                Number(number) => format!("{name} {}\n", number(self)),
                Times(histogram) => histogram(self).text(name),
            };
        }
        page
    }

    fn deliveries(&self) -> f64 {
        let receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        receivers.iter().map(|one| one.received.load(Ordering::Relaxed)).sum::<u64>() as f64
    }

    fn connections(&self) -> f64 {
        let receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        // A receiver whose counters nobody else holds has ended.
        let alive = receivers.iter().filter(|one| Arc::strong_count(one) > 1);
        f64::from(alive.map(|one| one.opened.load(Ordering::Relaxed)).sum::<u32>())
    }
}

fn load(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

impl Histogram {
    fn text(&self, name: &str) -> String {
        let (mut text, mut cumulative) = (String::new(), 0);
        let bounds = BOUNDS_US.iter().map(|us| (*us as f64 / 1e6).to_string());
        for (bound, bucket) in bounds.chain(["+Inf".to_owned()]).zip(&self.buckets) {
            cumulative += bucket.load(Ordering::Relaxed);
            text += &format!("{name}_bucket{{le=\"{bound}\"}} {cumulative}\n");
        }
        let sum = self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9;
        text + &format!("{name}_sum {sum}\n{name}_count {cumulative}\n")
    }
}

impl Batch {
    /// A batch, if anybody wants to see it.
    #[must_use]
    pub(crate) fn if_live() -> Option<Box<Self>> {
        live().map(|_| Box::default())
    }

    /// Counts the time that one delivery took.
    pub(crate) fn record(&mut self, ns: u64) {
        self.buckets[bucket(ns)] += 1;
        self.sum_ns += ns;
    }

    /// Tells all that was counted, and begins anew.
    pub(crate) fn tell(&mut self) {
        let Some(Live { delivery, .. }) = live() else { return };
        for (shared, own) in delivery.buckets.iter().zip(&self.buckets) {
            shared.fetch_add(*own, Ordering::Relaxed);
        }
        delivery.sum_ns.fetch_add(self.sum_ns, Ordering::Relaxed);
        *self = Self::default();
    }
}

fn bucket(ns: u64) -> usize {
    BOUNDS_US.partition_point(|us| us * 1_000 < ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_every_metric_once_and_histograms_add_up() {
        let live = Live::default();
        live.published(40_000);
        live.published(3_000_000_000_000);
        let counters = Arc::new(Counters::default());
        counters.opened.store(7, Ordering::Relaxed);
        counters.received.store(11, Ordering::Relaxed);
        live.watch(&counters);
        let page = live.text();
        for line in [
            "loadgen_connections 7",
            "loadgen_deliveries_total 11",
            "loadgen_published_messages_total 2",
            "loadgen_send_lag_seconds_bucket{le=\"0.00005\"} 1",
            "loadgen_send_lag_seconds_bucket{le=\"+Inf\"} 2",
            "loadgen_send_lag_seconds_count 2",
        ] {
            assert!(page.lines().any(|one| one == line), "{line} in:\n{page}");
        }
        assert_eq!(page.matches("# TYPE ").count(), LIST.len());
        drop(counters);
        assert!(live.text().contains("loadgen_connections 0\n"), "a receiver that ended has none");
        assert!(live.text().contains("loadgen_deliveries_total 11\n"), "and what it got stays");
    }

    #[test]
    fn the_readme_shows_the_list() {
        let readme = include_str!("../README.md");
        for (name, kind, help, _) in LIST {
            let row = format!("| `{name}` | {kind} | {help} |");
            assert!(readme.lines().any(|line| line == row), "missing: {row}");
        }
    }
}
