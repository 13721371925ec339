//! Requests on `/v1/topics/{topic}` and `/v1/topics`, by method and by what they accept.

use fanfare_protocol::TopicName;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

use super::accept::{self, Representation};
use super::problem::problem;
use super::reading::{self, Reading, Wait};
use super::{HttpContext, Reply, method_not_allowed, publishing};

/// `topic` is the one in the path.
pub(super) async fn respond(
    request: Request<Incoming>,
    topic: Option<TopicName>,
    context: &HttpContext,
) -> Reply {
    match (request.method(), topic) {
        (&Method::GET | &Method::HEAD, topic) => match read(&request, topic, context) {
            Reading::Now(reply) => *reply,
            Reading::Later(wait) => wait_and_answer(*wait, context).await,
        },
        (&Method::POST, Some(topic)) => publishing::publish(request, &topic, context).await,
        _ => method_not_allowed("GET, POST"),
    }
}

fn read<B>(request: &Request<B>, topic: Option<TopicName>, context: &HttpContext) -> Reading {
    match accept::preferred(request.headers()) {
        Some(Representation::Page) => {
            reading::read(topic, request.uri().query(), request.headers(), context)
        }
        // Streams of events take the connection over, before they come here.
        Some(Representation::Events) | None => {
            problem(StatusCode::NOT_ACCEPTABLE, accept::REFUSAL).into()
        }
    }
}

async fn wait_and_answer(wait: Wait, context: &HttpContext) -> Reply {
    let woken = context.local.woken(wait.key);
    // Time over or woken, the answer is what there is.
    let _ = tokio::time::timeout(wait.time, woken).await;
    wait.answer(&context.pages)
}
