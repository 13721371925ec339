//! The data port: every connection starts here as HTTP/1.1, and leaves when it upgrades.
//!
//! Routes requests and guards browsers' origins. What a topic answers is in `topics`, what makes
//! a handshake valid in `upgrade`.

mod origin;
mod page;
mod problem;
mod topics;
mod upgrade;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_engine::ConnectionKind;
use fanfare_protocol::TopicName;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::shard::LocalShard;
use problem::problem;

/// Longest head of a request: request line and headers. Browsers with many cookies send a few
/// kibibytes.
const HEAD_BYTES_MAX: usize = 16 * 1_024;

/// Most headers of a request.
const HEADERS_MAX: usize = 64;

/// What the requests of one shard share.
pub(crate) struct HttpContext {
    pub(crate) local: LocalShard,
    pub(crate) allowed_origins: Arc<[String]>,
}

type Reply = Response<Full<Bytes>>;

/// What a handshake decided, left for the connection to be taken over with.
type UpgradeSlot = Rc<RefCell<Option<ConnectionKind>>>;

/// Serves one connection until it ends or upgrades.
pub(crate) async fn serve(stream: TcpStream, context: Rc<HttpContext>) {
    let slot = UpgradeSlot::default();
    let served = Rc::new(Cell::new(false));
    let limits = context.local.topics().limits().clone();
    let service = {
        let (context, slot, served) = (context.clone(), slot.clone(), served.clone());
        service_fn(move |request| {
            served.set(true);
            let (context, slot) = (context.clone(), slot.clone());
            // Boxed because hyper wants a future that can be moved between polls.
            Box::pin(async move { Ok::<_, Infallible>(respond(request, &context, &slot).await) })
        })
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.handshake_timeout_ms))
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let result = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    match (result, slot.take()) {
        (Ok(()), Some(kind)) => {
            // Fails only if the system cannot watch the socket; dropping it tells the client.
            let _ = context.local.adopt(stream, &kind, &parts.read_buf);
        }
        // Between two requests silence is no fault, and a response to none would confuse.
        (Err(error), _) if error.is_timeout() && !served.get() => {
            let _ = stream.write_all(&timeout_response(limits.handshake_timeout_ms)).await;
            linger(stream).await;
        }
        _ => linger(stream).await,
    }
}

/// Ends a connection so that the peer can still read the last response: closing while the peer
/// sends would reset the connection and throw the response away.
async fn linger(mut stream: TcpStream) {
    const PATIENCE: Duration = Duration::from_secs(1);
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut sink = [0; 4_096];
    let drain = async {
        while matches!(tokio::io::AsyncReadExt::read(&mut stream, &mut sink).await, Ok(1..)) {}
    };
    let _ = tokio::time::timeout(PATIENCE, drain).await;
}

fn timeout_response(handshake_timeout_ms: u64) -> Vec<u8> {
    let seconds = handshake_timeout_ms as f64 / 1_000.0;
    let body = format!("no whole request came within {seconds} s\n");
    format!(
        "HTTP/1.1 408 Request Timeout\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn respond(request: Request<Incoming>, context: &HttpContext, slot: &UpgradeSlot) -> Reply {
    let wants_upgrade = upgrade::is_wanted(&request);
    let mut reply = match route(request.uri().path()) {
        Route::Page(asset) => page_reply(request.method(), asset),
        Route::Unknown => problem(
            StatusCode::NOT_FOUND,
            "there is nothing here; the broker serves /, /v1/ws and /v1/topics/{topic}",
        ),
        Route::BadTopic(detail) => problem(StatusCode::BAD_REQUEST, &detail),
        Route::Sdk | Route::Topic(_) if !origin::is_allowed(&request, &context.allowed_origins) => {
            problem(StatusCode::FORBIDDEN, origin::REFUSAL)
        }
        Route::Sdk => match upgrade::accept(&request) {
            Ok(accepted) => accepted.into_sdk(slot),
            Err(refusal) => *refusal,
        },
        Route::Topic(topic) if wants_upgrade => match upgrade::accept(&request) {
            Ok(accepted) => accepted.into_raw(topic, &request, slot),
            Err(refusal) => *refusal,
        },
        Route::Topic(topic) => topics::respond(request, &topic, context).await,
    };
    let headers = reply.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if wants_upgrade && slot.borrow().is_none() {
        // Whoever wanted a WebSocket has no use for this connection.
        headers.entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
    }
    reply
}

enum Route {
    Page(&'static page::Asset),
    Sdk,
    Topic(TopicName),
    BadTopic(String),
    Unknown,
}

fn route(path: &str) -> Route {
    if let Some(asset) = page::find(path) {
        return Route::Page(asset);
    }
    if path == "/v1/ws" {
        return Route::Sdk;
    }
    let Some(encoded) = path.strip_prefix("/v1/topics/") else { return Route::Unknown };
    let Ok(decoded) = percent_decode_str(encoded).decode_utf8() else {
        return Route::BadTopic("the topic in the path is not UTF-8".to_owned());
    };
    match TopicName::new(&decoded) {
        Ok(name) => Route::Topic(name),
        Err(error) => Route::BadTopic(error.to_string()),
    }
}

fn page_reply(method: &Method, asset: &page::Asset) -> Reply {
    if method == Method::GET || method == Method::HEAD {
        return asset.response();
    }
    method_not_allowed("GET")
}

/// 405, naming what is allowed.
fn method_not_allowed(allowed: &'static str) -> Reply {
    let detail = format!("this resource takes {allowed}");
    let mut reply = problem(StatusCode::METHOD_NOT_ALLOWED, &detail);
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    reply
}
