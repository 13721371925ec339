//! The composition of a broker: the only file that knows every room.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use documented::DocumentedFields;
use fanfare_engine::{
    Limits, LimitsError, Mailbox, MemoryBudget, PublishError, ShardCounters, TopicTable,
};
use fanfare_protocol::{Payload, TopicName};
use parking_lot::RwLock;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::admin::{self, AdminThread, NodeView};
use crate::admission::{Admission, AdmissionWatch};
use crate::config::{Configuration, Mistakes, Source};
use crate::http::{HttpCounters, Meter, RequestRates};
use crate::logs::{Journal, LogControl, LogOptions, target};
use crate::reload::{ReloadError, Reloaded, Reloader};
use crate::shard::{self, ShardSpec, WAKE};
use crate::{clock, net};

/// How a broker is to be started. What is said of a field here is also what the configuration
/// reference says of its setting.
#[derive(Clone, Debug, DocumentedFields)]
pub struct ServerConfig {
    /// Where clients connect; port 0 lets the system choose. This machine alone, until the operator
    /// says that the network may.
    pub listen: SocketAddr,
    /// Where health, metrics and administration are. Whoever reaches it may see and change the
    /// broker, so keep it out of reach of clients.
    pub admin_listen: SocketAddr,
    /// Threads that serve connections; `auto` is one for each core.
    pub shards: Option<NonZeroUsize>,
    /// Origins whose pages may connect, as https://app.example, beside those that the broker serves
    /// itself; * is any. Browsers let every page try, so none may that is not named.
    pub allowed_origins: Vec<String>,
    /// What it writes into its log.
    pub log: LogOptions,
    /// What the broker allows.
    pub limits: Limits,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8080).into(),
            admin_listen: ([127, 0, 0, 1], 8081).into(),
            shards: None,
            allowed_origins: Vec::new(),
            log: LogOptions::default(),
            limits: Limits::default(),
        }
    }
}

impl ServerConfig {
    /// A broker of two shards on loopback ports that the kernel chooses. It takes no notice of how
    /// much memory whatever else runs beside it has.
    #[must_use]
    pub fn default_for_tests() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 0).into(),
            admin_listen: ([127, 0, 0, 1], 0).into(),
            shards: NonZeroUsize::new(2),
            limits: Limits { memory: MemoryBudget::None, ..Limits::default() },
            ..Self::default()
        }
    }
}

/// When the kernel gives up a peer that acknowledges nothing. It counts from when the peer fell
/// silent or its window closed; the broker from when the kernel was full, or from its next ping,
/// which may be long after. The broker is to be first, because it says why and counts it.
fn user_timeout(limits: &Limits) -> Duration {
    let found_out_ms =
        limits.stall_timeout_ms.max(limits.ping_interval_ms.saturating_add(limits.pong_timeout_ms));
    let given_up_ms = found_out_ms.saturating_mul(2).saturating_add(limits.close_timeout_ms);
    Duration::from_millis(given_up_ms)
}

/// Why a broker did not start. The operator's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address is taken or not this machine's.
    #[error("cannot listen on {addr}: {}", explain(source))]
    Listen {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The configuration has mistakes.
    #[error(transparent)]
    Config(#[from] Mistakes),
    /// The limits contradict each other.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// More shards than a broker can have.
    #[error("{0} shards are too many; use 1 to {SHARDS_MAX}")]
    Shards(usize),
    /// The system refused a thread or a descriptor.
    #[error("cannot start a thread: {0}")]
    System(#[from] io::Error),
}

/// More threads than any machine has cores for.
pub(crate) const SHARDS_MAX: usize = 1_024;

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the port is in use by another program".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => "not allowed; ports below 1024 need a right".to_owned(),
        _ => error.to_string(),
    }
}

/// A running broker.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    admin: AdminThread,
    topics: Arc<TopicTable>,
    admission: Arc<Admission>,
    shards: Vec<thread::JoinHandle<()>>,
    counters: AllCounters,
    reloader: Arc<Reloader>,
    stop: watch::Sender<bool>,
}

/// The counters of every thread that counts; the shards' come first.
pub(crate) type AllCounters = Arc<RwLock<Vec<Arc<ShardCounters>>>>;

impl Server {
    /// Starts a broker. When this returns, it accepts connections.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is left running.
    pub fn start(config: ServerConfig) -> Result<Self, StartError> {
        Self::start_with(config, None, None, LogControl::not_ours())
    }

    /// Starts a broker with a configuration, which [`Self::reload`] reads again from where it came.
    /// It accepts from `inherited`, if there is one, in place of the address to listen on: a
    /// listener that whoever started this process has opened. What is worth a line of the log is
    /// set through `logs`.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is left running.
    pub fn start_from(
        configuration: Configuration,
        inherited: Option<TcpListener>,
        logs: LogControl,
    ) -> Result<Self, StartError> {
        let Configuration { server, source, .. } = configuration;
        Self::start_with(server, Some(source), inherited, logs)
    }

    fn start_with(
        config: ServerConfig,
        source: Option<Source>,
        inherited: Option<TcpListener>,
        logs: LogControl,
    ) -> Result<Self, StartError> {
        config.limits.check()?;
        let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let count = config.shards.unwrap_or_else(cores).get();
        if count > SHARDS_MAX {
            return Err(StartError::Shards(count));
        }
        let listen_error = |addr| move |source| StartError::Listen { addr, source };
        let listeners =
            listeners(&config, count, inherited).map_err(listen_error(config.listen))?;
        let admin_listener =
            TcpListener::bind(config.admin_listen).map_err(listen_error(config.admin_listen))?;
        let addr = listeners[0].local_addr()?;

        let polls = (0..count).map(|_| mio::Poll::new()).collect::<io::Result<Vec<_>>>()?;
        let mailboxes = polls.iter().map(mailbox).collect::<io::Result<Vec<_>>>()?;
        let limits = Arc::new(config.limits.clone());
        let topics = Arc::new(TopicTable::new(mailboxes, limits, fastrand::u64(..)));
        let node: Arc<str> = format!("{:08x}", fastrand::u32(..)).into();
        let admission = Arc::new(Admission::new());
        let rates = Arc::new(RequestRates::new(topics.limits().requests_per_second_max));
        let counters = AllCounters::default();
        let http = (0..count).map(|_| Arc::<HttpCounters>::default()).collect();
        let meter = Meter { http, shards: counters.clone() };
        let reloader = Arc::new(Reloader::new(source, config, topics.clone(), logs));
        let journal = Arc::<Journal>::default();
        let (stop, stopped) = watch::channel(false);

        let mut shards = Vec::with_capacity(count);
        let mut questions = Vec::with_capacity(count);
        for (index, (poll, listener)) in polls.into_iter().zip(listeners).enumerate() {
            let spec = ShardSpec {
                index,
                node: node.clone(),
                topics: topics.clone(),
                poll,
                listener,
                allowed_origins: reloader.allowed_origins().clone(),
                rates: rates.clone(),
                admission: admission.clone(),
                meter: meter.clone(),
                journal: journal.clone(),
                stop: stopped.clone(),
            };
            // Should a later one fail, dropping `stop` ends those that run.
            let shard = shard::spawn(spec)?;
            shards.push(shard.thread);
            counters.write().push(shard.counters);
            questions.push(shard.questions);
        }
        let view = NodeView {
            node,
            topics: topics.clone(),
            admission: AdmissionWatch::new(admission.clone(), topics.clone()),
            meter,
            questions,
            reloader: reloader.clone(),
            journal,
        };
        let admin = admin::spawn(admin_listener, view, stopped)?;
        let server = Self { addr, admin, topics, admission, shards, counters, reloader, stop };
        server.tell_start();
        Ok(server)
    }

    fn tell_start(&self) {
        info!(
            target: target::NODE,
            version = env!("CARGO_PKG_VERSION"),
            listen = %self.addr,
            admin_listen = %self.admin.addr,
            shards = self.shards.len(),
            "started"
        );
    }

    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where health and metrics are.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin.addr
    }

    /// The broker's URL for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}", self.addr)
    }

    /// The URL of health and metrics.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin.addr)
    }

    /// A new publisher inside the process.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        let counters = Arc::new(ShardCounters::default());
        self.counters.write().push(counters.clone());
        Publisher { topics: self.topics.clone(), counters }
    }

    /// Most connections that there may be at a time, those that speak HTTP included.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        self.admission.connections_max()
    }

    /// Connections open now.
    #[must_use]
    pub fn connection_count(&self) -> u64 {
        open_connections(&self.counters)
    }

    /// Messages handed to subscribers so far.
    #[must_use]
    pub fn messages_out(&self) -> u64 {
        self.counters.read().iter().map(|c| c.messages_out()).sum()
    }

    /// Bytes written to connections so far, framing included.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.counters.read().iter().map(|c| c.bytes_out.get()).sum()
    }

    /// Messages published so far.
    #[must_use]
    pub fn messages_in(&self) -> u64 {
        self.counters.read().iter().map(|c| c.messages_in.get()).sum()
    }

    /// Reads the configuration again and takes over what can be changed while the broker runs.
    ///
    /// # Errors
    /// [`ReloadError`]; nothing has changed.
    pub fn reload(&self) -> Result<Reloaded, ReloadError> {
        self.reloader.reload("the program")
    }

    /// Stops accepting, closes every connection with 1012, a thousand in a second, and waits until
    /// all are gone; those that do not say goodbye are cut after the close timeout. Returns how
    /// many were still there at the end of the drain timeout.
    pub async fn stop(self) -> u64 {
        let deadline = Duration::from_millis(self.topics.limits().drain_timeout_ms);
        let connections = self.connection_count();
        let drain_timeout_ms = deadline.as_millis() as u64;
        info!(target: target::NODE, connections, drain_timeout_ms, "draining");
        let _ = self.stop.send(true);
        tokio::select! {
            // A thread that panicked has printed why; there is nothing left to stop.
            _ = tokio::time::timeout(deadline, join(self.shards)) => {}
            never = tell_progress(&self.counters) => match never {},
        }
        let left = open_connections(&self.counters);
        match left {
            0 => info!(target: target::NODE, closed = connections, "drained"),
            _ => warn!(target: target::NODE, connections_cut = left, "the drain timeout is over"),
        }
        // The admin port lives as long as this.
        drop(self.stop);
        let _ = tokio::time::timeout(ADMIN_TIMEOUT, join(vec![self.admin.thread])).await;
        left
    }
}

fn open_connections(counters: &AllCounters) -> u64 {
    counters.read().iter().map(|counters| counters.connections.get()).sum()
}

/// How often a drain tells how far it has come.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

async fn tell_progress(counters: &AllCounters) -> Infallible {
    loop {
        tokio::time::sleep(PROGRESS_INTERVAL).await;
        let connections_left = open_connections(counters);
        info!(target: target::NODE, connections_left, "still draining");
    }
}

/// Longest wait for the admin port, which has nothing to finish.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(1);

async fn join(threads: Vec<thread::JoinHandle<()>>) {
    let join = move || {
        for thread in threads {
            let _ = thread.join();
        }
    };
    let _ = tokio::task::spawn_blocking(join).await;
}

/// Publishes from inside the broker's process, such as an embedded feed.
#[derive(Debug)]
pub struct Publisher {
    topics: Arc<TopicTable>,
    counters: Arc<ShardCounters>,
}

impl Publisher {
    /// Publishes one message.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was published.
    pub fn publish(&mut self, topic: &TopicName, payload: &Payload) -> Result<u64, PublishError> {
        let published = self.topics.publish(topic, payload, None, &self.counters, clock::now())?;
        Ok(published.offset)
    }
}

/// What connections come in through, one for each shard.
fn listeners(
    config: &ServerConfig,
    count: usize,
    inherited: Option<TcpListener>,
) -> io::Result<Vec<TcpListener>> {
    let user_timeout = user_timeout(&config.limits);
    match inherited {
        Some(listener) => net::share(listener, count, user_timeout),
        None => net::listen(config.listen, count, user_timeout),
    }
}

fn mailbox(poll: &mio::Poll) -> io::Result<Arc<Mailbox>> {
    let waker = mio::Waker::new(poll.registry(), WAKE)?;
    Ok(Arc::new(Mailbox::new(move || {
        // Fails only when the shard is gone, and then nobody is left to wake.
        let _ = waker.wake();
    })))
}
