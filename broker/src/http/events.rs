//! `GET` on topics with `Accept: text/event-stream`: a connection that leaves HTTP behind its
//! head and is an event stream of its shard from then on.
//!
//! The body has no length and no chunks: it ends with the connection (RFC 9112 section 6.3), so
//! that an event is the same bytes for everyone.

use fanfare_engine::{ConnectionKind, EventSource};
use fanfare_protocol::{Filter, TopicName};
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN};
use hyper::{Method, Request, StatusCode};

use super::accept::{self, Representation};
use super::problem::problem;
use super::selection::{self, EventSelection};
use super::{Reply, Takeover, origin};

/// What a client sends that was here before (HTML Living Standard, section 9.2.3).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Whether a request on topics asks for events.
pub(super) fn is_wanted<B>(request: &Request<B>) -> bool {
    (request.method() == Method::GET || request.method() == Method::HEAD)
        && accept::preferred(request.headers()) == Some(Representation::Events)
}

/// A request that becomes an event stream.
#[derive(Debug)]
pub(crate) struct EventStream {
    pub(crate) kind: ConnectionKind,
    head: Reply,
}

/// Checks a request for events. `topic` is the one in the path, if there is one.
pub(super) fn accept<B>(
    request: &Request<B>,
    topic: Option<TopicName>,
    allowed_origins: &[String],
) -> Result<Takeover, Box<Reply>> {
    let origin = request.headers().get(ORIGIN).cloned();
    let selected = select(request, topic).map_err(|detail| {
        let mut refusal = problem(StatusCode::BAD_REQUEST, &detail);
        origin::allow(&mut refusal, origin.clone(), allowed_origins);
        Box::new(refusal)
    })?;
    let mut head = head();
    origin::allow(&mut head, origin, allowed_origins);
    Ok(Takeover::Events(EventStream { kind: kind(selected), head }))
}

fn select<B>(request: &Request<B>, topic: Option<TopicName>) -> Result<EventSelection, String> {
    let last_event_id = request.headers().get(LAST_EVENT_ID).map(HeaderValue::to_str).transpose();
    let last_event_id = last_event_id.map_err(|_| "Last-Event-ID is not plain text".to_owned())?;
    selection::events(topic, request.uri().query(), last_event_id)
}

fn kind(selected: EventSelection) -> ConnectionKind {
    let EventSelection { mut filters, is_list, options } = selected;
    match (filters.pop(), is_list) {
        (Some((Filter::Topic(topic), since)), false) => {
            ConnectionKind::TopicEvents { topic, since, options }
        }
        (last, _) => {
            let sources = filters.into_iter().chain(last);
            let sources = sources.map(|(filter, since)| EventSource { filter, since }).collect();
            ConnectionKind::Events { sources, options }
        }
    }
}

fn head() -> Reply {
    let mut head = Reply::default();
    let headers = head.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    // Or nginx collects events until its buffer is full.
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(buffering, HeaderValue::from_static("no"));
    head
}

impl EventStream {
    /// The head alone, for a `HEAD` request.
    pub(super) fn into_reply(self) -> Reply {
        self.head
    }

    /// The head as it is written.
    pub(crate) fn head_bytes(&self) -> Vec<u8> {
        let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
        for (name, value) in self.head.headers() {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}
