//! Receivers in further processes, for more connections than one process may open.
//!
//! The parent writes one JSON line for each order to a worker's standard input, the worker answers
//! with JSON lines on its standard output. Owns both ends of that conversation; a worker's work is
//! the receiver's.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::connect::ConnectReport;
use crate::metrics;
use crate::plan::{Plan, Share};
use crate::receiver::Counters;
use crate::receivers::Receivers;
use crate::record::Totals;

/// How often a worker tells its progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(20);

/// What a worker is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// Opens the connections of a share, with this many threads.
    Open { plan: Box<Plan>, share: Share, receivers: u32 },
    /// Counts latencies from now on, or no longer.
    Measure(bool),
    /// Ends; this is what was published.
    Finish { published: Vec<Vec<u32>> },
}

/// What a worker tells.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum News {
    Opened(u32),
    Connected(Box<ConnectReport>),
    Measuring,
    Received { received: u64, last_ns: u64 },
    Finished(Box<Totals>),
    Failed(String),
}

/// The parent's end of a worker.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    orders: Option<ChildStdin>,
    news: mpsc::Receiver<News>,
    /// What it has told so far.
    pub counters: Arc<Counters>,
}

impl Worker {
    /// Starts a process that opens the connections of `share`.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub(crate) fn start(plan: &Plan, share: Share, receivers: u32) -> Result<Self> {
        let program = std::env::current_exe().context("the own program is not known")?;
        let mut child = Command::new(program)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("a worker process cannot be started")?;
        let counters = Arc::new(Counters::default());
        if let Some(live) = metrics::live() {
            live.watch(&counters);
        }
        let stdout = child.stdout.take().context("a worker has no standard output")?;
        let news = watch(stdout, Arc::clone(&counters));
        let orders = child.stdin.take();
        let mut worker = Self { child, orders, news, counters };
        worker.order(&Order::Open { plan: Box::new(plan.clone()), share, receivers })?;
        Ok(worker)
    }

    /// Its process id.
    #[must_use]
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How connecting went, if it has ended within `patience`.
    ///
    /// # Errors
    /// If the worker failed.
    pub(crate) fn connected(&self, patience: Duration) -> Result<Option<ConnectReport>> {
        match self.news.recv_timeout(patience) {
            Ok(News::Connected(report)) => Ok(Some(*report)),
            Ok(other) => Err(unexpected(&other)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("a worker process ended"),
        }
    }

    /// Starts or stops measuring; returns once it does.
    ///
    /// # Errors
    /// If the worker failed.
    pub(crate) fn set_measuring(&mut self, measuring: bool) -> Result<()> {
        self.order(&Order::Measure(measuring))?;
        match self.news.recv().context("a worker process ended")? {
            News::Measuring => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends the worker.
    ///
    /// # Errors
    /// If the worker failed.
    pub(crate) fn finish(mut self, published: &[Vec<u32>]) -> Result<Totals> {
        self.order(&Order::Finish { published: published.to_vec() })?;
        match self.news.recv().context("a worker process ended")? {
            News::Finished(totals) => Ok(*totals),
            other => Err(unexpected(&other)),
        }
    }

    fn order(&mut self, order: &Order) -> Result<()> {
        let orders = self.orders.as_mut().context("the worker was told to end")?;
        write_line(orders, order).context("a worker process takes no orders")
    }
}

impl Drop for Worker {
    /// A worker ends when its orders do.
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.child.wait();
    }
}

fn unexpected(news: &News) -> anyhow::Error {
    match news {
        News::Failed(why) => anyhow!("a worker process failed: {why}"),
        other => anyhow!("a worker process said {other:?} out of turn"),
    }
}

/// Passes progress into `counters` and everything else on.
fn watch(stdout: impl io::Read + Send + 'static, counters: Arc<Counters>) -> mpsc::Receiver<News> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(News::Opened(count)) => counters.opened.store(count, Ordering::Relaxed),
                Ok(News::Received { received, last_ns }) => {
                    counters.last_ns.store(last_ns, Ordering::Relaxed);
                    counters.received.store(received, Ordering::Release);
                }
                Ok(news) => drop(sender.send(news)),
                Err(error) => drop(sender.send(News::Failed(error.to_string()))),
            }
        }
    });
    receiver
}

fn write_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

/// The worker's end: carries out orders from standard input until they end.
///
/// # Errors
/// If the parent's orders cannot be read or answered.
pub(crate) fn run() -> Result<()> {
    let (sender, orders) = mpsc::channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            // Nobody takes orders any more once the work is done.
            let _ = sender.send(serde_json::from_str::<Order>(&line));
        }
    });
    let told = work(&orders);
    if let Err(error) = &told {
        write_line(&mut io::stdout(), &News::Failed(format!("{error:#}")))?;
    }
    told
}

fn work(orders: &mpsc::Receiver<serde_json::Result<Order>>) -> Result<()> {
    let Order::Open { plan, share, receivers } = orders.recv()?? else {
        bail!("the first order does not open connections");
    };
    let mut out = io::stdout();
    let mut receivers = Receivers::start_threads(&plan, share, receivers, None);
    let report = receivers.connect(|opened| {
        // A parent that is gone is noticed below.
        let _ = write_line(&mut io::stdout(), &News::Opened(opened));
    })?;
    write_line(&mut out, &News::Connected(Box::new(report)))?;
    let mut told = 0;
    loop {
        match orders.recv_timeout(PROGRESS_INTERVAL) {
            Ok(Ok(Order::Measure(measuring))) => {
                receivers.set_measuring(measuring)?;
                write_line(&mut out, &News::Measuring)?;
            }
            Ok(Ok(Order::Finish { published })) => {
                let totals = receivers.finish(&published)?;
                return Ok(write_line(&mut out, &News::Finished(Box::new(totals)))?);
            }
            Ok(Ok(Order::Open { .. })) => bail!("connections are open already"),
            Ok(Err(error)) => return Err(error.into()),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let received = receivers.received();
        if received != told {
            told = received;
            let last_ns = receivers.last_ns();
            write_line(&mut out, &News::Received { received, last_ns })?;
        }
    }
}
