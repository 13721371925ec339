//! The admin port: health and metrics, on a thread of their own so that a busy shard does not
//! hide how busy it is.

mod connections;
mod log;
mod metrics;
mod reload;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use fanfare_engine::TopicTable;
use tokio::sync::watch;

use crate::admission::AdmissionWatch;
use crate::http::Meter;
use crate::logs::{Journal, Watch};
use crate::reload::Reloader;
use crate::shard::Questions;
use metrics::Metrics;

/// What the admin port shows of the node.
pub(crate) struct NodeView {
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

#[derive(Clone)]
struct Admin {
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
        metrics: Arc::new(metrics),
        questions: node.questions.into(),
        reloader: node.reloader,
        stopping: stopping.clone(),
    };
    let router = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/v1/connections", get(connections::worst))
        .route("/v1/log", get(log::show).put(log::change))
        .route("/v1/reload", post(reload::reload))
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .fallback(|| async {
            let routes = "there is nothing here; try /metrics, /v1/connections, /v1/log, \
                          /v1/reload, /health/live, /health/ready\n";
            (StatusCode::NOT_FOUND, routes)
        })
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
