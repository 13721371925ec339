//! The embedded market feed of `fanfare demo`: publishes to `ticks.<SYMBOL>`, and to
//! `demo.symbols` what there is, so that a page knows what to subscribe to.

mod market;
mod symbols;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fanfare_protocol::{Payload, PayloadKind, TopicName};

use crate::Publisher;
use market::Market;

/// Symbols of the demo market.
const SYMBOLS: usize = 300;

/// The topic with all symbols and their last prices.
pub const DIRECTORY_TOPIC: &str = "demo.symbols";

/// How often the directory is published.
const DIRECTORY_INTERVAL: Duration = Duration::from_secs(2);

/// A feed on a thread of its own. Ends when it is dropped.
#[derive(Debug)]
pub struct Feed {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    /// Starts to publish a market that follows from `seed`, at this many ticks a second.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(publisher: Publisher, seed: u64, ticks_per_second: u32) -> std::io::Result<Self> {
        let market = Market::new(seed, SYMBOLS).with_rate(ticks_per_second.into());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("demo-feed".to_owned())
            .spawn(move || publish_market(publisher, market, &stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A feed that panicked has printed why.
            let _ = thread.join();
        }
    }
}

/// The most traded symbol of the demo market.
#[must_use]
pub fn hottest_symbol() -> String {
    Market::new(0, SYMBOLS).names().next().unwrap_or_default().to_owned()
}

fn publish_market(mut publisher: Publisher, mut market: Market, stop: &AtomicBool) {
    let topics: Vec<TopicName> = market
        .names()
        .filter_map(|symbol| TopicName::new(&format!("ticks.{symbol}")).ok())
        .collect();
    let Ok(directory) = TopicName::new(DIRECTORY_TOPIC) else { return };
    let mut due = Instant::now();
    let mut directory_due = due;
    while !stop.load(Ordering::Relaxed) {
        if directory_due <= due {
            publish(&mut publisher, &directory, market.directory_json());
            directory_due = due + DIRECTORY_INTERVAL;
        }
        let (delay, tick) = market.next_tick();
        due += delay;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        publish(&mut publisher, &topics[tick.index], tick.to_json(unix_time_ms()));
    }
}

fn publish(publisher: &mut Publisher, topic: &TopicName, json: String) {
    let payload = Payload::from_checked(PayloadKind::Json, json.into());
    // Refused only at the limits of the node; the feed goes on with its next tick.
    let _ = publisher.publish(topic, &payload);
}

fn unix_time_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
