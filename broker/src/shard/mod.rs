//! One thread and its event loop: drives an engine shard with real sockets and real time.
//!
//! Established connections live in a poll of the shard's own, nested in tokio's, so that an idle
//! one costs neither a task nor a waker. Tokio keeps what is short or rare: accepting, HTTP,
//! timers.

mod event_loop;
mod socket;

use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fanfare_engine::{ConnectionKind, NodeName, Shard, ShardCounters, TopicTable};
use mio::{Interest, Registry, Token};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::clock;
use crate::http::{self, HttpContext};
use event_loop::EventLoop;
use socket::DataSocket;

/// What a shard's thread is started with.
pub(crate) struct ShardSpec {
    pub(crate) index: usize,
    pub(crate) node: NodeName,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) poll: mio::Poll,
    pub(crate) listener: TcpListener,
    pub(crate) allowed_origins: Arc<[String]>,
    /// Turns true when the broker stops.
    pub(crate) stop: watch::Receiver<bool>,
}

/// A running shard.
pub(crate) struct ShardThread {
    pub(crate) counters: Arc<ShardCounters>,
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
    let thread = thread::Builder::new().name(format!("shard-{}", spec.index)).spawn(move || {
        run(spec, registry, &send);
    })?;
    let counters = receive.recv().map_err(|_| io::Error::other("a shard did not start"))??;
    Ok(ShardThread { counters, thread })
}

type Started = io::Result<Arc<ShardCounters>>;

fn run(spec: ShardSpec, registry: Registry, started: &std::sync::mpsc::Sender<Started>) {
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
        let event_loop = EventLoop::new(spec.poll, local.shard.clone(), spec.stop.clone());
        let listener = tokio::net::TcpListener::from_std(spec.listener);
        let (event_loop, listener) = match (event_loop, listener) {
            (Ok(event_loop), Ok(listener)) => (event_loop, listener),
            (Err(error), _) | (_, Err(error)) => return drop(started.send(Err(error))),
        };
        drop(started.send(Ok(counters)));
        let context = Rc::new(HttpContext { local, allowed_origins: spec.allowed_origins });
        tokio::task::spawn_local(accept(listener, context, spec.stop));
        event_loop.run().await;
    });
}

/// Accepts connections until the broker stops; each starts out as HTTP.
async fn accept(
    listener: tokio::net::TcpListener,
    context: Rc<HttpContext>,
    mut stop: watch::Receiver<bool>,
) {
    /// Pause after an error such as running out of descriptors, so that it does not spin.
    const RETRY: Duration = Duration::from_millis(100);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::task::spawn_local(http::serve(stream, context.clone()));
            }
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
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
        let socket = DataSocket::new(stream)?;
        let mut shard = self.shard.borrow_mut();
        let now = clock::now();
        let key = shard.open(socket, kind, now);
        if let Some(socket) = shard.socket_mut(key) {
            // Registering reports what is readable already, so nothing that has come is missed.
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.registry.register(socket.source(), Token(key.0 as usize), interest)?;
        }
        if !early.is_empty() {
            shard.handle_bytes(key, &mut early.to_vec(), now);
        }
        Ok(())
    }
}
