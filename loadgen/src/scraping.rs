//! What it costs a broker to tell its metrics: the same load with somebody who scrapes them and
//! without, and how long a scrape takes.
//!
//! Both are measured on one broker with one set of connections, in windows that take turns: what a
//! fresh process or another moment changes would be more than what is looked for.

use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::counts;
use crate::feed::Feed;
use crate::latency::{Latencies, Percentiles};
use crate::progress::Progress;
use crate::report::Span;
use crate::session::{Measured, Pace, Session};

/// Whether somebody scrapes, window after window. Forth and back, so that a drift of the machine
/// weighs on both alike.
const WINDOWS: [bool; 4] = [false, true, true, false];

/// What scraping costs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Scraping {
    /// From one scrape to the next.
    pub interval_seconds: f64,
    /// CPU time of the server for each delivery while nobody scrapes.
    pub unscraped_cpu_us_per_delivery: f64,
    /// The same while somebody does.
    pub scraped_cpu_us_per_delivery: f64,
    /// This as a multiple of that.
    pub ratio: f64,
    /// How often the metrics were read.
    pub scrapes: u64,
    /// From connecting to the admin port until the page was there.
    pub scrape_us: Percentiles,
    /// The longest page with its head.
    pub page_bytes: u64,
}

/// CPU time and deliveries of some windows.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    cpu_ns: u64,
    deliveries: u64,
}

impl Cost {
    fn us_per_delivery(self) -> f64 {
        self.cpu_ns as f64 / 1_000.0 / self.deliveries.max(1) as f64
    }
}

/// Measures the load of `feeds` in windows with and without scrapes of `admin`, and tells what that
/// makes. What is measured of the load is told of all windows together.
///
/// # Errors
/// If the load cannot be run or the metrics cannot be read, or no process is measured.
pub(crate) fn measure<F: Feed>(
    session: &mut Session,
    (admin, interval): (SocketAddr, Duration),
    (feeds, pace): (impl Fn() -> Vec<F>, Pace),
    progress: &mut Progress,
) -> Result<(Measured, Scraping)> {
    let (mut whole, mut scrapes): (Option<Measured>, _) = (None, Scrapes::default());
    let (mut unscraped, mut scraped) = (Cost::default(), Cost::default());
    for is_scraped in WINDOWS {
        let scraper = is_scraped.then(|| Scraper::start(admin, interval));
        let measured = session.measure(feeds(), pace, progress)?;
        if let Some(scraper) = scraper {
            scrapes.add(&scraper.stop()?);
        }
        let cpu = Span::between(measured.before, measured.after).server_cpu;
        let cpu_ns = cpu.context("scrapes are measured by the CPU time of a known process")?.run_ns;
        let cost = if is_scraped { &mut scraped } else { &mut unscraped };
        cost.cpu_ns += cpu_ns;
        cost.deliveries += measured.deliveries;
        whole = Some(match whole {
            Some(before) => before.and_then(measured),
            None => measured,
        });
    }
    let (without, with) = (unscraped.us_per_delivery(), scraped.us_per_delivery());
    let scraping = Scraping {
        interval_seconds: interval.as_secs_f64(),
        unscraped_cpu_us_per_delivery: without,
        scraped_cpu_us_per_delivery: with,
        ratio: with / without,
        scrapes: scrapes.count,
        scrape_us: scrapes.latencies.percentiles(),
        page_bytes: scrapes.page_bytes,
    };
    Ok((whole.context("no window")?, scraping))
}

/// Somebody who scrapes at an interval, half of one after it begins first, and once at least.
#[derive(Debug)]
struct Scraper {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Result<Scrapes>>,
}

/// What was scraped.
#[derive(Clone, Debug, Default)]
struct Scrapes {
    count: u64,
    latencies: Latencies,
    page_bytes: u64,
}

impl Scrapes {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.latencies.merge(&other.latencies);
        self.page_bytes = self.page_bytes.max(other.page_bytes);
    }
}

impl Scraper {
    fn start(admin: SocketAddr, interval: Duration) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let (mut scrapes, mut due) = (Scrapes::default(), Instant::now() + interval / 2);
            loop {
                let wait = due.saturating_duration_since(Instant::now());
                let is_over = stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout);
                if is_over && scrapes.count > 0 {
                    return Ok(scrapes);
                }
                let started = Instant::now();
                let page = counts::page(admin)?;
                scrapes.latencies.record(started.elapsed().as_nanos() as u64);
                scrapes.count += 1;
                scrapes.page_bytes = scrapes.page_bytes.max(page.len() as u64);
                due += interval;
            }
        });
        Self { stop, thread }
    }

    /// Ends it; what it has scraped.
    fn stop(self) -> Result<Scrapes> {
        drop(self.stop);
        self.thread.join().ok().context("the thread that scrapes panicked")?
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn pages_are_read_until_it_is_stopped() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = listener.local_addr().unwrap();
        let (told, asked) = mpsc::channel();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (mut request, mut byte) = (Vec::new(), [0]);
                while !request.ends_with(b"\r\n\r\n") {
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nfanfare_gaps_total 7\n").unwrap();
                told.send(()).unwrap();
            }
        });
        let scraper = Scraper::start(admin, Duration::from_millis(1));
        (0..3).for_each(|_| asked.recv_timeout(Duration::from_secs(30)).unwrap());
        let scrapes = scraper.stop().unwrap();
        assert!(scrapes.count >= 3, "{scrapes:?}");
        assert_eq!(scrapes.page_bytes, 40);
        assert!(scrapes.latencies.percentiles().max > 0.0);
    }

    #[test]
    fn a_page_that_is_not_there_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = listener.local_addr().unwrap();
        drop(listener);
        let scraper = Scraper::start(admin, Duration::ZERO);
        while !scraper.thread.is_finished() {
            std::thread::yield_now();
        }
        assert!(scraper.stop().unwrap_err().to_string().contains("cannot be read"));
    }

    #[test]
    fn a_cost_is_that_of_all_its_deliveries() {
        assert_eq!(Cost { cpu_ns: 8_000, deliveries: 4 }.us_per_delivery(), 2.0);
    }
}
