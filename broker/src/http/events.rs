//! `GET` on topics with `Accept: text/event-stream`: a connection that leaves HTTP behind its
//! head and is an event stream of its shard from then on.
//!
//! The body has no length and no chunks: it ends with the connection (RFC 9112 section 6.3), so
//! that an event is the same bytes for everyone.

use fanfare_engine::{ConnectionKind, EventSource};
use fanfare_protocol::{Filter, TopicName};
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::accept::{self, EVENT_STREAM, Representation};
use super::problem::problem;
use super::{Reply, selection};

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
    headers: HeaderMap,
}

/// Checks a request for events. `topic` is the one in the path, if there is one.
pub(super) fn accept<B>(
    request: &Request<B>,
    topic: Option<TopicName>,
) -> Result<EventStream, Box<Reply>> {
    let refuse = |detail: &str| Box::new(problem(StatusCode::BAD_REQUEST, detail));
    let last_event_id = match request.headers().get(LAST_EVENT_ID).map(HeaderValue::to_str) {
        Some(Err(_)) => return Err(refuse("Last-Event-ID is written EPOCH:OFFSET")),
        Some(Ok(id)) => Some(id),
        None => None,
    };
    let selected = selection::events(topic, request.uri().query(), last_event_id);
    let selected = selected.map_err(|detail| refuse(&detail))?;
    Ok(EventStream { kind: kind(selected), headers: headers() })
}

fn kind(selected: selection::EventSelection) -> ConnectionKind {
    let selection::EventSelection { mut filters, is_list, options } = selected;
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

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    // Or nginx collects events until its buffer is full.
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(buffering, HeaderValue::from_static("no"));
    headers
}

impl EventStream {
    /// The head alone, for a `HEAD` request.
    pub(super) fn reply(self) -> Reply {
        let mut reply = Response::new(Default::default());
        *reply.headers_mut() = self.headers;
        reply
    }

    /// The head as it is written.
    pub(crate) fn head_bytes(&self) -> Vec<u8> {
        let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
        for (name, value) in &self.headers {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}
