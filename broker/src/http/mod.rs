//! The data port: every connection starts as HTTP/1.1, and leaves when it upgrades or becomes an
//! event stream.
//!
//! Routes requests and guards browsers' origins. What HTTP itself demands is in `head`, `body`,
//! `reply` and `exchange`; what a topic answers in `reading` and `publishing`; what makes a
//! handshake valid in `upgrade`, what makes an event stream in `events`. Nothing here knows a
//! socket.

mod accept;
mod body;
mod conditional;
mod counters;
mod events;
mod exchange;
mod head;
mod meter;
mod origin;
mod page;
mod problem;
mod publishing;
mod query;
mod rates;
mod reading;
mod reply;
mod selection;
mod topics;
mod upgrade;

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use fanfare_engine::{ConnectionKind, Now, ShardCounters, TopicTable};
use fanfare_protocol::TopicName;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, HeaderValue, ORIGIN, RETRY_AFTER};
use http::{Method, Request, StatusCode};
use percent_encoding::percent_decode_str;

use crate::admission::{Admission, Refusal};
use crate::logs::Journal;
use crate::shard::LocalShard;
use counters::Usage;
pub(crate) use counters::{HttpCounters, Transport};
pub(crate) use exchange::{Exchange, Step, Taken};
pub(crate) use meter::{Meter, Total};
pub(crate) use origin::AllowedOrigins;
use problem::problem;
use publishing::Upload;
pub(crate) use query::parameters;
pub(crate) use rates::RequestRates;
pub(crate) use reading::Pages;
use reading::Wait;
pub(crate) use reply::{DateClock, Reply};
use upgrade::Upgrade;

/// What the requests of one shard share.
pub(crate) struct HttpContext {
    pub(crate) local: LocalShard,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) shard_counters: Arc<ShardCounters>,
    pub(crate) allowed_origins: Arc<AllowedOrigins>,
    pub(crate) pages: Pages,
    pub(crate) rates: Arc<RequestRates>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) counters: Arc<HttpCounters>,
    pub(crate) meter: Meter,
    pub(crate) journal: Arc<Journal>,
    pub(crate) date: DateClock,
    /// Whether every reply is the last one of its connection.
    pub(crate) is_stopping: Cell<bool>,
}

/// A reply, and what it is counted as.
struct Answer {
    reply: Reply,
    usage: Usage,
}

/// What a request leads to, as far as its head tells.
enum Begun {
    Answer(Answer),
    /// An answer when there is something newer, or the time is over.
    Wait(Wait),
    /// A body that is to be published.
    Upload(Upload),
    /// Something else than HTTP.
    Takeover(Takeover),
}

/// A connection that leaves HTTP: what it becomes, and what is answered before.
struct Takeover {
    kind: ConnectionKind,
    head: Vec<u8>,
    transport: Transport,
}

impl Begun {
    fn refuse(status: StatusCode, detail: &str, transport: Transport) -> Self {
        let usage = Usage::nothing(transport);
        Self::Answer(Answer { reply: problem(status, detail), usage })
    }
}

/// What of a request its reply depends on, whenever that comes.
#[derive(Debug, Default)]
struct Asked {
    /// The page that asks, if it may.
    origin: Option<HeaderValue>,
    is_on_topics: bool,
    wants_upgrade: bool,
}

impl Asked {
    /// Adds to a reply what all of its kind have.
    fn complete(&self, reply: &mut Reply, context: &HttpContext) {
        if self.is_on_topics {
            origin::allow(reply, self.origin.as_ref(), &context.allowed_origins.get());
        }
        let headers = reply.headers_mut();
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if self.wants_upgrade {
            // Whoever wanted a WebSocket has no use for this connection.
            headers.entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
        }
    }
}

/// Decides what comes of a request whose head is in; of each the same on a connection that has no
/// place here.
fn begin(
    request: &Request<()>,
    (peer, refusal): (IpAddr, Option<Refusal>),
    context: &HttpContext,
    now: Now,
) -> (Asked, Begun) {
    let route = route(request.uri().path());
    let wants_upgrade = upgrade::is_wanted(request);
    let is_on_topics = matches!(route, Route::Topic(_) | Route::Topics);
    let is_allowed = origin::is_allowed(request, &context.allowed_origins.get());
    let origin = request.headers().get(ORIGIN).filter(|_| is_on_topics && is_allowed).cloned();
    let asked = Asked { origin, is_on_topics, wants_upgrade };
    if let Some(refusal) = refusal {
        return (asked, Begun::Answer(no_room(refusal)));
    }
    let is_handshake = wants_upgrade || matches!(route, Route::Sdk);
    let begun = match route {
        Route::Page(asset) => read_only(request.method(), || asset.response()),
        Route::Meter => read_only(request.method(), || context.meter.reply()),
        Route::BadTopic(detail) => {
            Begun::refuse(StatusCode::BAD_REQUEST, &detail, Transport::Other)
        }
        Route::Unknown => {
            let routes = "there is nothing here; the broker serves /, /v1/ws, /v1/topics and \
                          /v1/topics/{topic}";
            Begun::refuse(StatusCode::NOT_FOUND, routes, Transport::Other)
        }
        Route::Sdk | Route::Topic(_) | Route::Topics if !is_allowed => {
            Begun::refuse(StatusCode::FORBIDDEN, origin::REFUSAL, Transport::Other)
        }
        Route::Sdk => upgraded(upgrade::accept(request).map(upgrade::Accepted::into_sdk)),
        Route::Topic(topic) if wants_upgrade => {
            let accepted = upgrade::accept(request);
            upgraded(accepted.and_then(|accepted| accepted.into_raw(topic, request.uri().query())))
        }
        Route::Topics if wants_upgrade => {
            let detail = "a raw stream is of one topic; name it in the path";
            Begun::refuse(StatusCode::BAD_REQUEST, detail, Transport::Raw)
        }
        Route::Topic(_) | Route::Topics if !context.rates.admit(peer, now) => too_many(context),
        Route::Topic(topic) => topics::begin(request, Some(topic), &asked, context, now),
        Route::Topics => topics::begin(request, None, &asked, context, now),
    };
    if is_handshake && matches!(begun, Begun::Answer(_)) {
        context.shard_counters.handshakes_refused.add(1);
    }
    (asked, begun)
}

fn upgraded(upgrade: Result<Upgrade, Box<Reply>>) -> Begun {
    match upgrade {
        Ok(upgrade) => {
            let (head, transport) = (upgrade.reply_bytes(), upgrade.transport());
            Begun::Takeover(Takeover { kind: upgrade.kind, head, transport })
        }
        Err(reply) => {
            Begun::Answer(Answer { reply: *reply, usage: Usage::nothing(Transport::Other) })
        }
    }
}

fn too_many(context: &HttpContext) -> Begun {
    let most = context.rates.per_second();
    let detail = format!("over {most} requests in one second, the most allowed for one address");
    let mut reply = problem(StatusCode::TOO_MANY_REQUESTS, &detail);
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    Begun::Answer(Answer { reply, usage: Usage::nothing(Transport::Poll) })
}

/// 503, the last answer of its connection.
fn no_room(refusal: Refusal) -> Answer {
    let mut reply = problem(StatusCode::SERVICE_UNAVAILABLE, refusal.detail());
    let headers = reply.headers_mut();
    headers.insert(RETRY_AFTER, u16::from(Refusal::retry_after_seconds()).into());
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Answer { reply, usage: Usage::nothing(Transport::Other) }
}

enum Route {
    Page(&'static page::Asset),
    Sdk,
    Topic(TopicName),
    Topics,
    /// The counters that the live page shows.
    Meter,
    BadTopic(String),
    Unknown,
}

fn route(path: &str) -> Route {
    if let Some(encoded) = path.strip_prefix("/v1/topics/") {
        return topic_route(encoded);
    }
    match path {
        "/v1/ws" => Route::Sdk,
        "/v1/topics" => Route::Topics,
        "/v1/meter" => Route::Meter,
        _ => page::find(path).map_or(Route::Unknown, Route::Page),
    }
}

fn topic_route(encoded: &str) -> Route {
    let Ok(decoded) = percent_decode_str(encoded).decode_utf8() else {
        return Route::BadTopic("the topic in the path is not UTF-8".to_owned());
    };
    match TopicName::new(&decoded) {
        Ok(name) => Route::Topic(name),
        Err(error) => Route::BadTopic(error.to_string()),
    }
}

fn read_only(method: &Method, reply: impl FnOnce() -> Reply) -> Begun {
    let reply = if method == Method::GET || method == Method::HEAD {
        reply()
    } else {
        method_not_allowed("GET")
    };
    Begun::Answer(Answer { reply, usage: Usage::nothing(Transport::Other) })
}

/// 405, naming what is allowed.
fn method_not_allowed(allowed: &'static str) -> Reply {
    let detail = format!("this resource takes {allowed}");
    let mut reply = problem(StatusCode::METHOD_NOT_ALLOWED, &detail);
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    reply
}
