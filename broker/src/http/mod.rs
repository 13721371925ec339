//! The data port: every connection starts as HTTP/1.1, and leaves when it upgrades.
//!
//! A WebSocket handshake that comes whole and valid, as nearly all do, is answered without a
//! server library; everything else goes the slow and complete way through hyper. Routes requests
//! and guards browsers' origins. What a topic answers is in `topics`, what makes a handshake valid
//! in `upgrade`.

mod origin;
mod page;
mod problem;
mod query;
mod topics;
mod upgrade;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io::Cursor;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_engine::{ConnectionKind, TopicTable};
use fanfare_protocol::TopicName;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::shard::LocalShard;
use problem::problem;
pub(crate) use upgrade::Upgrade;

/// Longest head of a request: request line and headers. Browsers with many cookies send a few
/// kibibytes.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1_024;

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

/// A handshake that lies whole in `head`, is valid and is all that there is to decide: the
/// upgrade, and how many bytes of `head` it took. `None`: the slow way must answer.
pub(crate) fn quick_handshake(head: &[u8], allowed_origins: &[String]) -> Option<(Upgrade, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(len) = parsed.parse(head).ok()? else { return None };
    let mut request = Request::builder().method(parsed.method?).uri(parsed.path?);
    if parsed.version? != 1 {
        return None;
    }
    for header in parsed.headers {
        request = request.header(header.name, header.value);
    }
    let upgrade = handshake(&request.body(()).ok()?, allowed_origins)?.ok()?;
    Some((upgrade, len))
}

/// Serves a connection until it ends or upgrades. `begun` is what was read of it already;
/// `timeout` is how long the first request may take.
pub(crate) async fn serve(
    stream: TcpStream,
    begun: Vec<u8>,
    timeout: Duration,
    context: Rc<HttpContext>,
) {
    let slot = UpgradeSlot::default();
    let served = Rc::new(Cell::new(false));
    let service = {
        let (context, slot, served) = (context.clone(), slot.clone(), served.clone());
        service_fn(move |request| {
            served.set(true);
            let (context, slot) = (context.clone(), slot.clone());
            // Boxed because hyper wants a future that can be moved between polls.
            Box::pin(async move { Ok::<_, Infallible>(respond(request, &context, &slot).await) })
        })
    };
    // Hyper does not wait to flush the answer to a broken request, so a socket that tokio does
    // not know yet to be writable would lose it.
    if stream.writable().await.is_err() {
        return;
    }
    let (read_half, write_half) = stream.into_split();
    let io = tokio::io::join(Cursor::new(begun).chain(read_half), write_half);
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(io), service);
    let result = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let parts = connection.into_parts();
    let (reader, write_half) = parts.io.into_inner().into_inner();
    let (unread, read_half) = reader.into_inner();
    // Cannot fail: both halves are of the one stream that was split above.
    let Ok(mut stream) = read_half.reunite(write_half) else { return };
    match (result, slot.take()) {
        (Ok(()), Some(kind)) => {
            let rest = &unread.get_ref()[unread.position() as usize..];
            let early = [&parts.read_buf[..], rest].concat();
            // Fails only if the system cannot watch the socket; dropping it tells the client.
            let _ = context.local.adopt(stream, &kind, &early);
        }
        // Between two requests silence is no fault, and a response to none would confuse.
        (Err(error), _) if error.is_timeout() && !served.get() => {
            context.local.counters().handshakes_timed_out.add(1);
            let _ = stream.write_all(&timeout_response(&context.local.topics())).await;
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
    let drain = async { while matches!(stream.read(&mut sink).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(PATIENCE, drain).await;
}

/// What a client is told that did not send a whole request in time.
pub(crate) fn timeout_response(topics: &TopicTable) -> Vec<u8> {
    let seconds = topics.limits().handshake_timeout_ms as f64 / 1_000.0;
    let body = format!("no whole request came within {seconds} s\n");
    format!(
        "HTTP/1.1 408 Request Timeout\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The answer to a WebSocket handshake; `None` if the request is not one.
fn handshake<B>(
    request: &Request<B>,
    allowed_origins: &[String],
) -> Option<Result<Upgrade, Box<Reply>>> {
    let route = match route(request.uri().path()) {
        route @ Route::Sdk => route,
        route @ Route::Topic(_) if upgrade::is_wanted(request) => route,
        _ => return None,
    };
    if !origin::is_allowed(request, allowed_origins) {
        return Some(Err(Box::new(problem(StatusCode::FORBIDDEN, origin::REFUSAL))));
    }
    Some(upgrade::accept(request).and_then(|accepted| match route {
        Route::Topic(topic) => accepted.into_raw(topic, request.uri().query()),
        _ => Ok(accepted.into_sdk()),
    }))
}

async fn respond(request: Request<Incoming>, context: &HttpContext, slot: &UpgradeSlot) -> Reply {
    let wants_upgrade = upgrade::is_wanted(&request);
    let mut reply = match handshake(&request, &context.allowed_origins) {
        Some(Ok(upgrade)) => {
            let reply = upgrade.reply();
            slot.replace(Some(upgrade.kind));
            return reply;
        }
        Some(Err(refusal)) => {
            context.local.counters().handshakes_refused.add(1);
            *refusal
        }
        None => respond_plain(request, context).await,
    };
    let headers = reply.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if wants_upgrade {
        // Whoever wanted a WebSocket has no use for this connection.
        headers.entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
    }
    reply
}

async fn respond_plain(request: Request<Incoming>, context: &HttpContext) -> Reply {
    match route(request.uri().path()) {
        Route::Page(asset) => page_reply(request.method(), asset),
        Route::BadTopic(detail) => problem(StatusCode::BAD_REQUEST, &detail),
        Route::Topic(_) if !origin::is_allowed(&request, &context.allowed_origins) => {
            problem(StatusCode::FORBIDDEN, origin::REFUSAL)
        }
        Route::Topic(topic) => topics::respond(request, &topic, context).await,
        Route::Sdk | Route::Unknown => problem(
            StatusCode::NOT_FOUND,
            "there is nothing here; the broker serves /, /v1/ws and /v1/topics/{topic}",
        ),
    }
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
