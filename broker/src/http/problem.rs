//! Errors as problem documents (RFC 9457).

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;

use super::Reply;

/// An error response whose `detail` says in one sentence what was wrong or what is allowed.
pub(super) fn problem(status: StatusCode, detail: &str) -> Reply {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = json!({ "title": title, "status": status.as_u16(), "detail": detail });
    let mut reply = Response::new(format!("{body}\n").into());
    *reply.status_mut() = status;
    let problem_json = HeaderValue::from_static("application/problem+json");
    reply.headers_mut().insert(CONTENT_TYPE, problem_json);
    reply
}
