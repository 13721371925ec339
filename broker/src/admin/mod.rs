//! The admin port: health, metrics, views of what the node holds and what an operator may do to
//! it, on a thread of its own so that a busy shard does not hide how busy it is.

mod connections;
mod disconnect;
mod log;
mod metrics;
mod problem;
mod reload;
mod shards;
mod topics;
mod view;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use fanfare_engine::{NodeName, TopicTable};
use tokio::sync::watch;

use crate::admission::AdmissionWatch;
use crate::http::Meter;
use crate::logs::{Journal, Watch};
use crate::reload::Reloader;
use crate::shard::Questions;
pub(crate) use connections::{Connection, Connections};
pub(crate) use disconnect::{Disconnected, Request as DisconnectRequest};
use metrics::Metrics;
pub(crate) use shards::{Shard, ShardOrder, Shards};
pub(crate) use topics::{Topic, Topics};
pub(crate) use view::LIMIT_MAX;

/// What the admin port shows of the node.
pub(crate) struct NodeView {
    pub(crate) node: NodeName,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) admission: AdmissionWatch,
    pub(crate) meter: Meter,
    pub(crate) questions: Vec<Questions>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) journal: Arc<Journal>,
}

/// The running admin port.
#[derive(Debug)]
pub(crate) struct AdminThread {
    pub(crate) addr: SocketAddr,
    pub(crate) thread: JoinHandle<()>,
}

/// Far more than any request here has to say.
const BODY_BYTES_MAX: usize = 16 * 1_024;

#[derive(Clone)]
struct Admin {
    node: NodeName,
    metrics: Arc<Metrics>,
    questions: Arc<[Questions]>,
    reloader: Arc<Reloader>,
    /// True while the broker stops.
    stopping: watch::Receiver<bool>,
}

/// Serves the admin port on `listener`.
pub(crate) fn spawn(
    listener: TcpListener,
    node: NodeView,
    stopping: watch::Receiver<bool>,
) -> io::Result<AdminThread> {
    let addr = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let log_watch = Watch {
        logs: node.reloader.logs().clone(),
        journal: node.journal,
        counters: node.meter.shards.clone(),
        shard_count: node.questions.len(),
    };
    let metrics = Metrics {
        logs: node.reloader.logs().clone(),
        topics: node.topics,
        meter: node.meter,
        admission: node.admission.admission().clone(),
        stopping: stopping.clone(),
        started: SystemTime::now(),
    };
    let admin = Admin {
        node: node.node,
        metrics: Arc::new(metrics),
        questions: node.questions.into(),
        reloader: node.reloader,
        stopping: stopping.clone(),
    };
    let router = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/v1/connections", get(connections::report))
        .route("/v1/topics", get(topics::report))
        .route("/v1/shards", get(shards::report))
        .route("/v1/disconnect", post(disconnect::disconnect))
        .route("/v1/log", get(log::show).put(log::change))
        .route("/v1/reload", post(reload::reload))
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .fallback(|| async {
            let routes = "there is nothing here; try /metrics, /v1/connections, /v1/topics, \
                          /v1/shards, /v1/disconnect, /v1/log, /v1/reload, /health/live, \
                          /health/ready\n";
            (StatusCode::NOT_FOUND, routes)
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(admin);
    let thread = thread::Builder::new().name("admin".to_owned()).spawn(move || {
        runtime.block_on(async move {
            // Binding is done; what is left to fail is single connections, which axum handles.
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            let mut stopping = stopping;
            tokio::spawn(log_watch.run());
            tokio::select! {
                _ = axum::serve(listener, router) => {}
                () = watch(node.admission) => {}
                () = stopped(&mut stopping) => {}
            }
        });
    })?;
    Ok(AdminThread { addr, thread })
}

/// Returns when the broker has stopped and is dropped. While it stops, readiness is seen to be
/// gone and metrics tell how far it has come.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    while stopping.changed().await.is_ok() {}
}

/// How often it is looked at what the node may take.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// Looks again and again at what the node may take: limits change, of the system too, and memory
/// comes and goes.
async fn watch(mut admission: AdmissionWatch) {
    let mut interval = tokio::time::interval(WATCH_INTERVAL);
    loop {
        interval.tick().await;
        admission.look();
    }
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    if *admin.stopping.borrow() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else if admin.metrics.admission.sheds_for_long() {
        (StatusCode::SERVICE_UNAVAILABLE, "shedding: there is no memory for more connections\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

async fn metrics_text(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.metrics.encode() {
        Ok(text) => {
            let content_type = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
            (StatusCode::OK, content_type, text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
