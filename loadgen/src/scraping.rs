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
use crate::report::{Span, median};
use crate::session::{Measured, Pace, Session};

/// Whether somebody scrapes, window after window, again and again. Forth and back, so that a drift
/// of the machine weighs on both alike.
const TURN: [bool; 4] = [false, true, true, false];

/// Scrapes in a window: few, so that there are many windows, and what disturbs one of them does not
/// move their median.
const SCRAPES_PER_WINDOW: u32 = 2;

/// What scraping costs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Scraping {
    /// From one scrape to the next.
    pub interval_seconds: f64,
    /// CPU time of the server for each delivery while nobody scrapes: the median of the windows.
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

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scraped {
    /// The admin port.
    pub admin: SocketAddr,
    /// From one scrape to the next.
    pub interval: Duration,
    /// How long to measure in all, at least.
    pub duration: Duration,
}

/// Measures a load in windows with and without scrapes, and tells what that makes. `load` is what
/// is published in a window of so long. What is measured of it is told of all windows together.
///
/// # Errors
/// If the load cannot be run or the metrics cannot be read, or no process is measured.
pub(crate) fn measure<F: Feed>(
    session: &mut Session,
    scraped: Scraped,
    load: impl Fn(Duration) -> (Vec<F>, Pace),
    progress: &mut Progress,
) -> Result<(Measured, Scraping)> {
    let Scraped { admin, interval, duration } = scraped;
    let window = interval * SCRAPES_PER_WINDOW;
    let turns = (duration.as_secs_f64() / (4.0 * window.as_secs_f64())).ceil().max(1.0) as usize;
    let (mut whole, mut scrapes): (Option<Measured>, _) = (None, Scrapes::default());
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for is_scraped in std::iter::repeat_n(TURN, turns).flatten() {
        let scraper = is_scraped.then(|| Scraper::start(admin, interval));
        let (feeds, pace) = load(window);
        let measured = session.measure(feeds, pace, progress)?;
        if let Some(scraper) = scraper {
            scrapes.add(&scraper.stop()?);
        }
        let cpu = Span::between(measured.before, measured.after).server_us_per(measured.deliveries);
        let cpu_us = cpu.context("scrapes are measured by the CPU time of a known process")?;
        if is_scraped { &mut with } else { &mut without }.push(cpu_us);
        whole = Some(match whole {
            Some(before) => before.and_then(measured),
            None => measured,
        });
    }
    let (without, with) = (median(&without)?, median(&with)?);
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
}
