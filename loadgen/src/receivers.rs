//! All receivers of a run as one: threads of this process, or worker processes with threads of
//! their own. Owns their start and end; what each does is the receiver's or the worker's.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::connect::ConnectReport;
use crate::metrics;
use crate::plan::{Plan, Share};
use crate::receiver::{Counters, Receiver};
use crate::record::{Record, Totals};
use crate::server::Process;
use crate::window::Window;
use crate::worker::Worker;

/// How often progress of connecting is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// Every receiver of a run, or of one worker.
#[derive(Debug)]
pub(crate) struct Receivers(Vec<Part>);

#[derive(Debug)]
enum Part {
    Thread(ReceiverThread),
    Process(Worker),
}

#[derive(Debug)]
struct ReceiverThread {
    counters: Arc<Counters>,
    connected: mpsc::Receiver<ConnectReport>,
    thread: JoinHandle<io::Result<Record>>,
}

impl ReceiverThread {
    fn start(plan: &Plan, share: Share, window: Option<Arc<Window>>) -> Self {
        let counters = Arc::new(Counters::default());
        let (sender, connected) = mpsc::channel();
        if let Some(live) = metrics::live() {
            live.watch(&counters);
        }
        let (plan, shared) = (plan.clone(), Arc::clone(&counters));
        let thread = std::thread::spawn(move || {
            let (receiver, report) = Receiver::open(&plan, share, &shared.opened, window)?;
            // Nobody waits for the report any more if the run was given up.
            let _ = sender.send(report);
            receiver.run(&shared)
        });
        Self { counters, connected, thread }
    }

    fn connected(&self, patience: Duration) -> Result<Option<ConnectReport>> {
        match self.connected.recv_timeout(patience) {
            Ok(report) => Ok(Some(report)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("a receiver cannot poll its connections"),
        }
    }

    fn finish(self, published: &[Vec<u32>]) -> Result<Totals> {
        self.counters.stop.store(true, Ordering::Release);
        let record = self.thread.join().ok().context("a receiver's thread panicked")??;
        Ok(record.finish(published))
    }
}

impl Receivers {
    /// Starts the receivers of `plan`: threads where one process may open all connections,
    /// otherwise processes.
    ///
    /// # Errors
    /// If a process cannot be started.
    pub(crate) fn start(
        plan: &Plan,
        process_max: u32,
        threads: u32,
        window: Option<&Arc<Window>>,
    ) -> Result<Self> {
        let shares = plan.shares(process_max);
        if let [share] = shares[..] {
            return Ok(Self::start_threads(plan, share, threads, window));
        }
        let workers = shares.into_iter().map(|share| Worker::start(plan, share, threads));
        Ok(Self(workers.map(|worker| worker.map(Part::Process)).collect::<Result<_>>()?))
    }

    /// Starts threads for the connections of `share`.
    #[must_use]
    pub(crate) fn start_threads(
        plan: &Plan,
        share: Share,
        threads: u32,
        window: Option<&Arc<Window>>,
    ) -> Self {
        let start = |share| Part::Thread(ReceiverThread::start(plan, share, window.cloned()));
        Self(share.split(threads.max(1)).map(start).collect())
    }

    /// Waits until every connection is live or has failed, telling how many are live.
    ///
    /// # Errors
    /// If a receiver fails as a whole.
    pub(crate) fn connect(&self, mut progress: impl FnMut(u32)) -> Result<ConnectReport> {
        let mut total = ConnectReport::default();
        for part in &self.0 {
            let report = loop {
                let connected = match part {
                    Part::Thread(thread) => thread.connected(PROGRESS_INTERVAL)?,
                    Part::Process(worker) => worker.connected(PROGRESS_INTERVAL)?,
                };
                progress(self.counters().map(|c| c.opened.load(Ordering::Relaxed)).sum());
                if let Some(report) = connected {
                    break report;
                }
            };
            total.add(report);
        }
        Ok(total)
    }

    /// Messages received since the start, without doubled ones, or left out in mode `latest`.
    #[must_use]
    pub(crate) fn received(&self) -> u64 {
        self.counters().map(|counters| counters.received.load(Ordering::Acquire)).sum()
    }

    /// When the last of them was read, in ns of [`crate::stamp::now_ns`].
    #[must_use]
    pub(crate) fn last_ns(&self) -> u64 {
        let last = self.counters().map(|counters| counters.last_ns.load(Ordering::Relaxed));
        last.max().unwrap_or_default()
    }

    /// Starts or stops measuring; holds for every message that is published afterwards.
    ///
    /// # Errors
    /// If a worker process failed.
    pub(crate) fn set_measuring(&mut self, measuring: bool) -> Result<()> {
        for part in &mut self.0 {
            match part {
                Part::Thread(thread) => {
                    thread.counters.measuring.store(measuring, Ordering::Release);
                }
                Part::Process(worker) => worker.set_measuring(measuring)?,
            }
        }
        Ok(())
    }

    /// Ends all receivers and adds up what they got. `published[p][t]` is how many messages
    /// publisher `p` sent to topic `t`.
    ///
    /// # Errors
    /// If a receiver failed as a whole.
    pub(crate) fn finish(self, published: &[Vec<u32>]) -> Result<Totals> {
        let mut total = Totals::default();
        for part in self.0 {
            let totals = match part {
                Part::Thread(thread) => thread.finish(published)?,
                Part::Process(worker) => worker.finish(published)?,
            };
            if let Some(live) = metrics::live() {
                live.finished(&totals);
            }
            total.add(&totals);
        }
        Ok(total)
    }

    /// The processes besides this one.
    #[must_use]
    pub(crate) fn workers(&self) -> Vec<Process> {
        let workers = self.0.iter().filter_map(|part| match part {
            Part::Process(worker) => Some(Process { pid: worker.pid() }),
            Part::Thread(_) => None,
        });
        workers.collect()
    }

    fn counters(&self) -> impl Iterator<Item = &Counters> {
        self.0.iter().map(|part| match part {
            Part::Thread(thread) => thread.counters.as_ref(),
            Part::Process(worker) => worker.counters.as_ref(),
        })
    }
}
