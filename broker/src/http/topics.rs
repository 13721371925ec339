//! Requests on `/v1/topics/{topic}` and `/v1/topics`, by method and by what they accept.

use fanfare_engine::Now;
use fanfare_protocol::TopicName;
use http::{Method, Request, StatusCode};

use super::accept::{self, Representation};
use super::counters::{Transport, Usage};
use super::{
    Answer, Asked, Begun, HttpContext, events, method_not_allowed, origin, publishing, reading,
};

/// `topic` is the one in the path.
pub(super) fn begin(
    request: &Request<()>,
    topic: Option<TopicName>,
    asked: &Asked,
    context: &HttpContext,
    now: Now,
) -> Begun {
    let answer =
        |reply, transport| Begun::Answer(Answer { reply, usage: Usage::nothing(transport) });
    match *request.method() {
        Method::GET | Method::HEAD => match accept::preferred(request.headers()) {
            Some(Representation::Page) => {
                reading::begin(topic, request.uri().query(), request.headers(), context, now)
            }
            Some(Representation::Events) => events::begin(request, topic, asked, context),
            None => Begun::refuse(StatusCode::NOT_ACCEPTABLE, accept::REFUSAL, Transport::Poll),
        },
        Method::POST => match publishing::begin(topic, request.headers(), context) {
            Ok(upload) => Begun::Upload(upload),
            Err(reply) => answer(*reply, Transport::Publish),
        },
        Method::OPTIONS => answer(origin::preflight(), Transport::Other),
        _ => answer(method_not_allowed("GET, POST"), Transport::Other),
    }
}
