//! One run against one server: connect, publish, wait until all has arrived, count.
//!
//! Owns the order of these steps and the samples of CPU time around them. What is published, and
//! how often, is its caller's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::connect::ConnectReport;
use crate::feed::Feed;
use crate::latency::Latencies;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::publisher::{PublishError, Publisher};
use crate::receivers::Receivers;
use crate::record::Totals;
use crate::server::{CpuTime, Process, own_cpu};
use crate::stamp::now_ns;
use crate::window::Window;

/// How often the display is refreshed while publishers run.
const DISPLAY_INTERVAL: Duration = Duration::from_millis(100);

/// How often it is looked whether all has arrived.
const DRAIN_INTERVAL: Duration = Duration::from_millis(2);

/// How a run is carried out, apart from what it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Means {
    /// Most connections of one process.
    pub process_connections_max: u32,
    /// Receiver threads of each process.
    pub receivers: u32,
    /// How long nothing may arrive until what is missing counts as lost.
    pub drain_timeout: Duration,
}

/// When messages go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// When they are due, whatever the server does.
    Open,
    /// As soon as the window has room, for this long.
    Closed(Duration),
}

/// Clock and CPU times at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// The moment, in ns of [`now_ns`].
    pub at_ns: u64,
    /// CPU time of the server, if it is measured.
    pub server_cpu: Option<CpuTime>,
    /// CPU time of this program and its workers.
    pub own_cpu: CpuTime,
}

/// A phase in which everything was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Before the first message.
    pub before: Sample,
    /// After the last delivery.
    pub after: Sample,
    /// When the last delivery was read, in ns of [`now_ns`].
    pub last_ns: u64,
    /// How many messages were published.
    pub published: u64,
    /// How many messages came, or were passed over in mode `latest`.
    pub deliveries: u64,
    /// How late they were sent.
    pub lag: Latencies,
}

impl Measured {
    /// This phase and one that followed it, as one.
    #[must_use]
    pub(crate) fn and_then(mut self, next: Self) -> Self {
        self.lag.merge(&next.lag);
        let (published, deliveries) =
            (self.published + next.published, self.deliveries + next.deliveries);
        Self { before: self.before, published, deliveries, lag: self.lag, ..next }
    }
}

/// Live subscribers and publishers.
#[derive(Debug)]
pub(crate) struct Session {
    plan: Plan,
    means: Means,
    receivers: Receivers,
    publishers: Vec<Publisher>,
    window: Option<Arc<Window>>,
    server: Option<Process>,
    /// How connecting went.
    pub connect: ConnectReport,
    /// Before and after connecting.
    pub connecting: (Sample, Sample),
}

impl Session {
    /// Connects all subscribers; `in_flight` is the window of a closed loop.
    ///
    /// # Errors
    /// If a closed loop would need several processes, or a process cannot be started. A
    /// connection that fails is counted in [`Self::connect`].
    pub(crate) fn open(
        plan: Plan,
        means: Means,
        in_flight: Option<u32>,
        server: Option<Process>,
        progress: &mut Progress,
    ) -> Result<Self> {
        let most = means.process_connections_max;
        let connections = plan.shape.connections;
        ensure!(
            in_flight.is_none() || connections <= most,
            "a closed loop runs in one process, which may open {most} connections here; \
             {connections} were asked for"
        );
        let window = in_flight.map(|size| Arc::new(Window::new(size, &plan.shape)));
        let before = sample(server, &[])?;
        let receivers = Receivers::start(&plan, most, means.receivers, window.as_ref())?;
        let connect = receivers.connect(|opened| {
            progress.update(|| format!("{opened} of {connections} connected"));
        })?;
        let after = sample(server, &receivers.workers())?;
        let (publishers, connecting) = (Vec::new(), (before, after));
        Ok(Self { plan, means, receivers, publishers, window, server, connect, connecting })
    }

    /// Connects the publishers. Every subscriber must be live: a message to one that is not would
    /// count as lost.
    ///
    /// # Errors
    /// If a subscriber or a publisher is not connected.
    pub(crate) fn connect_publishers(&mut self) -> Result<()> {
        if self.connect.failed > 0 {
            let total = self.connect.failed + self.connect.opened;
            let why = self.connect.first_error.as_deref().unwrap_or("no reason is known");
            bail!("{} of {total} connections failed: {why}", self.connect.failed);
        }
        let connect = |index| Publisher::connect(&self.plan, index);
        self.publishers = (0..self.plan.publishers).map(connect).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Publishes what the feeds give, one for each publisher, and waits until it has arrived.
    ///
    /// # Errors
    /// If a publisher's connection ends.
    pub(crate) fn publish<F: Feed>(
        &mut self,
        feeds: Vec<F>,
        pace: Pace,
        progress: &mut Progress,
    ) -> Result<()> {
        let start_ns = now_ns();
        let receivers = &self.receivers;
        let window = self.window.as_deref();
        let mut speed = Speed::new(receivers.received());
        std::thread::scope(|scope| {
            let publishers = self.publishers.iter_mut().zip(feeds);
            let threads: Vec<_> = publishers
                .map(|(publisher, feed)| {
                    scope.spawn(move || publish(publisher, feed, pace, window, start_ns))
                })
                .collect();
            while threads.iter().any(|thread| !thread.is_finished()) {
                std::thread::sleep(DISPLAY_INTERVAL);
                progress.update(|| speed.text(receivers.received()));
            }
            for thread in threads {
                thread.join().ok().context("a publisher's thread panicked")??;
            }
            anyhow::Ok(())
        })?;
        self.drain(progress);
        Ok(())
    }

    /// Publishes as [`Self::publish`] does, and measures.
    ///
    /// # Errors
    /// As there, and if the server cannot be measured.
    pub(crate) fn measure<F: Feed>(
        &mut self,
        feeds: Vec<F>,
        pace: Pace,
        progress: &mut Progress,
    ) -> Result<Measured> {
        let workers = self.receivers.workers();
        let (published_before, received_before) =
            (self.published_total(), self.receivers.received());
        self.publishers.iter_mut().for_each(|publisher| drop(publisher.take_lag()));
        self.receivers.set_measuring(true)?;
        let before = sample(self.server, &workers)?;
        self.publish(feeds, pace, progress)?;
        let after = sample(self.server, &workers)?;
        self.receivers.set_measuring(false)?;
        let mut lag = Latencies::default();
        self.publishers.iter_mut().for_each(|publisher| lag.merge(&publisher.take_lag()));
        let last_ns = match self.receivers.last_ns() {
            last_ns if last_ns > before.at_ns => last_ns,
            _ => after.at_ns,
        };
        let published = self.published_total() - published_before;
        let deliveries = self.receivers.received() - received_before;
        Ok(Measured { before, after, last_ns, published, deliveries, lag })
    }

    /// Ends all connections and tells what the subscribers got.
    ///
    /// # Errors
    /// If a receiver failed as a whole.
    pub(crate) fn finish(self) -> Result<Totals> {
        let published = self.published();
        self.receivers.finish(&published)
    }

    /// How many messages publisher `p` has sent to topic `t`, at `[p][t]`.
    #[must_use]
    pub(crate) fn published(&self) -> Vec<Vec<u32>> {
        self.publishers.iter().map(|publisher| publisher.published().to_vec()).collect()
    }

    /// Clock and CPU times of now.
    ///
    /// # Errors
    /// If the server cannot be measured.
    pub(crate) fn sample(&self) -> Result<Sample> {
        sample(self.server, &self.receivers.workers())
    }

    /// Messages that all publishers have sent.
    fn published_total(&self) -> u64 {
        let counts = self.publishers.iter().flat_map(Publisher::published);
        counts.map(|&count| u64::from(count)).sum()
    }

    /// Deliveries that those must lead to.
    fn expected(&self) -> u64 {
        let of_publisher = |publisher: &Publisher| {
            let counts = (0..).zip(publisher.published());
            let deliveries = counts.map(|(topic, &count)| {
                let count = count - self.plan.first_sequence;
                u64::from(count) * u64::from(self.plan.shape.subscribers(topic))
            });
            deliveries.sum::<u64>()
        };
        self.publishers.iter().map(of_publisher).sum()
    }

    /// Waits until everything has arrived, or nothing more does.
    fn drain(&self, progress: &mut Progress) {
        let expected = self.expected();
        let (mut received, mut moved) = (self.receivers.received(), Instant::now());
        while received < expected && moved.elapsed() < self.means.drain_timeout {
            std::thread::sleep(DRAIN_INTERVAL);
            let now = self.receivers.received();
            if now > received {
                (received, moved) = (now, Instant::now());
            }
            progress.update(|| format!("{} deliveries to come", expected - received));
        }
    }
}

fn publish(
    publisher: &mut Publisher,
    mut feed: impl Feed,
    pace: Pace,
    window: Option<&Window>,
    start_ns: u64,
) -> Result<(), PublishError> {
    match (pace, window) {
        (Pace::Closed(duration), Some(window)) => {
            publisher.run_closed(&mut feed, window, start_ns + duration.as_nanos() as u64)
        }
        _ => publisher.run_open(&mut feed, start_ns),
    }
}

fn sample(server: Option<Process>, workers: &[Process]) -> Result<Sample> {
    let server_cpu = server.map(Process::cpu).transpose()?;
    let mut own_cpu = own_cpu()?;
    for worker in workers {
        own_cpu += worker.cpu()?;
    }
    Ok(Sample { at_ns: now_ns(), server_cpu, own_cpu })
}

/// Deliveries per second, for the display.
struct Speed {
    received: u64,
    at: Instant,
    started: Instant,
}

impl Speed {
    fn new(received: u64) -> Self {
        Self { received, at: Instant::now(), started: Instant::now() }
    }

    fn text(&mut self, received: u64) -> String {
        let per_second = (received - self.received) as f64 / self.at.elapsed().as_secs_f64();
        (self.received, self.at) = (received, Instant::now());
        format!("{:.0} s, {per_second:.0} deliveries/s", self.started.elapsed().as_secs_f64())
    }
}
