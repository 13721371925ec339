//! One thread and its event loop: drives an engine shard with real sockets and real time.
//!
//! Established connections live in a poll of the shard's own, nested in tokio's, so that an idle
//! one costs neither a task nor a waker. Tokio keeps what is rare: HTTP and timers.

mod event_loop;
mod handshakes;
mod questions;
mod socket;

use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use fanfare_engine::{ConnectionKind, NodeName, Shard, ShardCounters, TopicTable};
use mio::{Interest, Registry, Token};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use crate::clock;
use crate::http::{AllowedOrigins, HttpContext};
use event_loop::EventLoop;
use questions::{QUESTIONS_MAX, Question};
pub(crate) use questions::{Questions, worst_connections};
use socket::DataSocket;

/// What a shard's thread is started with.
pub(crate) struct ShardSpec {
    pub(crate) index: usize,
    pub(crate) node: NodeName,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) poll: mio::Poll,
    pub(crate) listener: TcpListener,
    pub(crate) allowed_origins: Arc<AllowedOrigins>,
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
        let context = HttpContext { local, allowed_origins: spec.allowed_origins };
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

    /// The counters of this thread.
    pub(crate) fn counters(&self) -> Arc<ShardCounters> {
        self.shard.borrow().counters().clone()
    }

    /// Takes over a connection after its handshake; `early` is what came right behind it.
    pub(crate) fn adopt(
        &self,
        stream: TcpStream,
        kind: &ConnectionKind,
        early: &[u8],
    ) -> io::Result<()> {
        let stream = mio::net::TcpStream::from_std(stream.into_std()?);
        self.open(stream, kind, &mut early.to_vec(), Registry::register)
    }

    /// Makes a connection of a stream and handles its first bytes. `watch` puts it into the
    /// shard's poll; it reports what is readable already, so nothing that has come is missed.
    fn open(
        &self,
        stream: mio::net::TcpStream,
        kind: &ConnectionKind,
        early: &mut [u8],
        watch: impl FnOnce(&Registry, &mut mio::net::TcpStream, Token, Interest) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut shard = self.shard.borrow_mut();
        let now = clock::now();
        let key = shard.open(DataSocket::new(stream), kind, now);
        if let Some(socket) = shard.socket_mut(key) {
            let interest = Interest::READABLE | Interest::WRITABLE;
            watch(&self.registry, socket.stream_mut(), Token(key.0 as usize), interest)?;
        }
        if !early.is_empty() {
            shard.handle_bytes(key, early, now);
        }
        Ok(())
    }
}
