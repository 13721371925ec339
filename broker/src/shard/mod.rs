//! One thread and its event loop: drives an engine shard with real sockets and real time.
//!
//! All connections live in a poll of the shard's own, nested in tokio's, so that an idle one
//! costs neither a task nor a waker. Tokio keeps what sleeps with it: the tick and questions.

mod drain;
mod event_loop;
mod questions;
mod requests;
mod socket;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use fanfare_engine::{NodeName, Now, Shard, ShardCounters, TopicTable, WaitError, WaiterKey};
use fanfare_protocol::{Position, TopicName};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use tokio::sync::{mpsc, watch};
use tracing::trace;

use crate::admission::Admission;
use crate::clock;
use crate::http::{AllowedOrigins, DateClock, HttpContext, Meter, Pages, RequestRates, Taken};
use crate::logs::{Journal, target};
use event_loop::EventLoop;
pub(crate) use questions::{Disconnect, Questions, disconnect, report_connections};
use questions::{QUESTIONS_MAX, Question};
pub(crate) use requests::REFUSALS_MAX;
use socket::DataSocket;

/// What a shard's thread is started with.
pub(crate) struct ShardSpec {
    pub(crate) index: usize,
    pub(crate) node: NodeName,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) poll: mio::Poll,
    pub(crate) listener: TcpListener,
    pub(crate) allowed_origins: Arc<AllowedOrigins>,
    pub(crate) rates: Arc<RequestRates>,
    pub(crate) admission: Arc<Admission>,
    /// The counters of all shards, which count in their own.
    pub(crate) meter: Meter,
    pub(crate) journal: Arc<Journal>,
    /// Turns true when the broker stops.
    pub(crate) stop: watch::Receiver<bool>,
}

/// A running shard.
pub(crate) struct ShardThread {
    pub(crate) counters: Arc<ShardCounters>,
    pub(crate) questions: Questions,
    pub(crate) thread: JoinHandle<()>,
}

/// The token of the waker in each shard's poll; connections have smaller ones.
pub(crate) const WAKE: Token = Token(usize::MAX);

/// The connections of this thread, as its tasks share them.
#[derive(Clone)]
pub(crate) struct LocalShard {
    shard: Rc<RefCell<Shard<DataSocket>>>,
    registry: Rc<Registry>,
}

/// Starts a shard's thread.
pub(crate) fn spawn(spec: ShardSpec) -> io::Result<ShardThread> {
    let registry = spec.poll.registry().try_clone()?;
    let (send, receive) = std::sync::mpsc::channel();
    let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
    let thread = thread::Builder::new().name(format!("shard-{}", spec.index)).spawn(move || {
        run(spec, registry, asked, &send);
    })?;
    let counters = receive.recv().map_err(|_| io::Error::other("a shard did not start"))??;
    Ok(ShardThread { counters, questions, thread })
}

type Started = io::Result<Arc<ShardCounters>>;

fn run(
    spec: ShardSpec,
    registry: Registry,
    asked: mpsc::Receiver<Question>,
    started: &std::sync::mpsc::Sender<Started>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return drop(started.send(Err(error))),
    };
    runtime.block_on(async move {
        let shard = Shard::new(spec.index, spec.node, spec.topics);
        let counters = shard.counters().clone();
        let local = LocalShard { shard: Rc::new(RefCell::new(shard)), registry: Rc::new(registry) };
        let context = HttpContext {
            topics: local.topics(),
            shard_counters: counters.clone(),
            pages: Pages::new(local.topics()),
            local,
            allowed_origins: spec.allowed_origins,
            rates: spec.rates,
            admission: spec.admission,
            counters: spec.meter.http[spec.index].clone(),
            meter: spec.meter,
            journal: spec.journal,
            date: DateClock::default(),
            is_stopping: Cell::new(false),
        };
        let listener = mio::net::TcpListener::from_std(spec.listener);
        match EventLoop::new(spec.poll, listener, Rc::new(context), spec.stop, asked) {
            Ok(event_loop) => {
                drop(started.send(Ok(counters)));
                event_loop.run().await;
            }
            Err(error) => drop(started.send(Err(error))),
        }
    });
}

impl LocalShard {
    /// The node's topics.
    pub(crate) fn topics(&self) -> Arc<TopicTable> {
        self.shard.borrow().topics().clone()
    }

    /// Connections of the engine that are not gone yet.
    fn connection_count(&self) -> usize {
        self.shard.borrow().connection_count()
    }

    /// As [`Shard::wait`].
    pub(crate) fn wait(
        &self,
        topics: &mut [(TopicName, Option<Position>)],
        now: Now,
    ) -> Result<Option<WaiterKey>, WaitError> {
        self.shard.borrow_mut().wait(topics, now)
    }

    /// As [`Shard::stop_waiting`].
    pub(crate) fn stop_waiting(&self, key: WaiterKey, now: Now) {
        self.shard.borrow_mut().stop_waiting(key, now);
    }

    /// Makes a connection of a stream that is in the shard's poll, and handles its first bytes.
    /// The poll reports what is readable already, so nothing that has come is missed.
    fn open(&self, stream: TcpStream, mut taken: Taken) -> io::Result<()> {
        let mut shard = self.shard.borrow_mut();
        let now = clock::now();
        trace!(
            target: target::CONNECTIONS,
            descriptor = stream.as_raw_fd(),
            peer = stream.peer_addr().ok().map(tracing::field::display),
            kind = ?taken.kind,
            "connection opened"
        );
        let key = shard.open_with(DataSocket::new(stream), &taken.kind, &taken.head, now);
        if let Some(socket) = shard.socket_mut(key) {
            let interest = Interest::READABLE | Interest::WRITABLE;
            let token = Token(key.0 as usize);
            self.registry.reregister(socket.stream_mut(), token, interest)?;
        }
        if !taken.early.is_empty() {
            shard.handle_bytes(key, &mut taken.early, now);
        }
        Ok(())
    }
}
