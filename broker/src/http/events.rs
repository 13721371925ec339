//! `GET` on topics with `Accept: text/event-stream`: a connection that leaves HTTP behind its
//! head and is an event stream of its shard from then on.
//!
//! The body has no length and no chunks: it ends with the connection (RFC 9112 section 6.3), so
//! that an event is the same bytes for everyone.

use fanfare_engine::{ConnectionKind, EventSource};
use fanfare_protocol::{Filter, TopicName};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode};

use super::counters::{Transport, Usage};
use super::selection::{self, EventSelection};
use super::{Answer, Asked, Begun, HttpContext, Reply, Takeover};

/// What a client sends that was here before (HTML Living Standard, section 9.2.3).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a request for events becomes. `topic` is the one in the path, if there is one.
pub(super) fn begin(
    request: &Request<()>,
    topic: Option<TopicName>,
    asked: &Asked,
    context: &HttpContext,
) -> Begun {
    let transport = Transport::Sse;
    let selected = match select(request, topic) {
        Ok(selected) => selected,
        Err(detail) => return Begun::refuse(StatusCode::BAD_REQUEST, &detail, transport),
    };
    let mut head = head();
    if request.method() == Method::HEAD {
        return Begun::Answer(Answer { reply: head, usage: Usage::nothing(transport) });
    }
    asked.complete(&mut head, context);
    Begun::Takeover(Takeover { kind: kind(selected), head: bytes(&head), transport })
}

fn select(request: &Request<()>, topic: Option<TopicName>) -> Result<EventSelection, String> {
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

/// The head as it is written: without a length, because only the connection's end tells it.
fn bytes(head: &Reply) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
    for (name, value) in head.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}
