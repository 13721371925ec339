//! The composition of a broker: the only file that knows every room.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fanfare_engine::{Limits, LimitsError, Mailbox, PublishError, ShardCounters, TopicTable};
use fanfare_protocol::{Payload, TopicName};
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::admin::{self, AdminThread, NodeView};
use crate::http::{HttpCounters, Meter, RequestRates};
use crate::shard::{self, ShardSpec, WAKE};
use crate::{clock, net};

/// How a broker is to be started.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where clients connect. Port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Where health and metrics are. Should not be reachable from outside.
    pub admin_listen: SocketAddr,
    /// Threads that serve connections; one for each core unless told otherwise.
    pub shards: NonZeroUsize,
    /// Origins of pages that may connect, beside those that the broker serves itself, written
    /// `https://example.com`; `*` is any.
    pub allowed_origins: Vec<String>,
    /// What the broker allows.
    pub limits: Limits,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8080).into(),
            admin_listen: ([127, 0, 0, 1], 8081).into(),
            shards: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            allowed_origins: Vec::new(),
            limits: Limits::default(),
        }
    }
}

impl ServerConfig {
    /// A broker of two shards on loopback ports that the kernel chooses.
    #[must_use]
    pub fn default_for_tests() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 0).into(),
            admin_listen: ([127, 0, 0, 1], 0).into(),
            shards: NonZeroUsize::MIN.saturating_add(1),
            ..Self::default()
        }
    }
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
const SHARDS_MAX: usize = 1_024;

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
    shards: Vec<thread::JoinHandle<()>>,
    counters: AllCounters,
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
        Self::start_on(config, None)
    }

    /// As [`Self::start`], accepting from `inherited` in place of the address to listen on: a
    /// listener that whoever started this process has opened.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is left running.
    pub fn start_on(
        config: ServerConfig,
        inherited: Option<TcpListener>,
    ) -> Result<Self, StartError> {
        config.limits.check()?;
        let count = config.shards.get();
        if count > SHARDS_MAX {
            return Err(StartError::Shards(count));
        }
        let listen_error = |addr| move |source| StartError::Listen { addr, source };
        let limits = &config.limits;
        // The kernel counts from when the peer's window closed, the broker from when the kernel
        // was full, which may be long after; the broker is to be first, because it says why.
        let user_timeout =
            Duration::from_millis(2 * limits.stall_timeout_ms + limits.close_timeout_ms);
        let listeners = match inherited {
            Some(listener) => net::share(listener, count, user_timeout),
            None => net::listen(config.listen, count, user_timeout),
        };
        let listeners = listeners.map_err(listen_error(config.listen))?;
        let admin_listener =
            TcpListener::bind(config.admin_listen).map_err(listen_error(config.admin_listen))?;
        let addr = listeners[0].local_addr()?;

        let polls = (0..count).map(|_| mio::Poll::new()).collect::<io::Result<Vec<_>>>()?;
        let mailboxes = polls.iter().map(mailbox).collect::<io::Result<Vec<_>>>()?;
        let limits = Arc::new(config.limits);
        let topics = Arc::new(TopicTable::new(mailboxes, limits, fastrand::u64(..)));
        let node: Arc<str> = format!("{:08x}", fastrand::u32(..)).into();
        let allowed_origins: Arc<[String]> = config.allowed_origins.into();
        let rates = Arc::new(RequestRates::new(topics.limits().requests_per_second_max));
        let counters = AllCounters::default();
        let http = (0..count).map(|_| Arc::<HttpCounters>::default()).collect();
        let meter = Meter { http, shards: counters.clone() };
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
                allowed_origins: allowed_origins.clone(),
                rates: rates.clone(),
                meter: meter.clone(),
                stop: stopped.clone(),
            };
            // Should a later one fail, dropping `stop` ends those that run.
            let shard = shard::spawn(spec)?;
            shards.push(shard.thread);
            counters.write().push(shard.counters);
            questions.push(shard.questions);
        }
        let node = NodeView { topics: topics.clone(), meter, questions };
        let admin = admin::spawn(admin_listener, node, stopped)?;
        Ok(Self { addr, admin, topics, shards, counters, stop })
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

    /// Connections open now.
    #[must_use]
    pub fn connection_count(&self) -> u64 {
        self.counters.read().iter().map(|c| c.connections.get()).sum()
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

    /// Stops accepting, closes every connection with 1012, a thousand in a second, and waits until
    /// all are gone; those that do not say goodbye are cut after the close timeout. Returns how
    /// many were still there at the end of the drain timeout.
    pub async fn stop(self) -> u64 {
        let deadline = Duration::from_millis(self.topics.limits().drain_timeout_ms);
        let _ = self.stop.send(true);
        // A thread that panicked has printed why; there is nothing left to stop.
        let _ = tokio::time::timeout(deadline, join(self.shards)).await;
        let left = self.counters.read().iter().map(|c| c.connections.get()).sum();
        // The admin port lives as long as this.
        drop(self.stop);
        let _ = tokio::time::timeout(ADMIN_TIMEOUT, join(vec![self.admin.thread])).await;
        left
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

fn mailbox(poll: &mio::Poll) -> io::Result<Arc<Mailbox>> {
    let waker = mio::Waker::new(poll.registry(), WAKE)?;
    Ok(Arc::new(Mailbox::new(move || {
        // Fails only when the shard is gone, and then nobody is left to wake.
        let _ = waker.wake();
    })))
}
