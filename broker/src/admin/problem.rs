//! Errors of the admin port as problem documents (RFC 9457).

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An error whose `detail` says in one sentence what was wrong or what is allowed.
pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    document(status, json!({ "detail": detail }))
}

/// The same with all mistakes one by one.
pub(super) fn problem_of(status: StatusCode, detail: &str, errors: &[String]) -> Response {
    document(status, json!({ "detail": detail, "errors": errors }))
}

fn document(status: StatusCode, mut body: Value) -> Response {
    body["title"] = status.canonical_reason().unwrap_or("Error").into();
    body["status"] = status.as_u16().into();
    let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, content_type, format!("{body}\n")).into_response()
}

/// The refusal of a request that a page has sent: only browsers name an origin, and no page has
/// anything to change here.
pub(super) fn refuse_pages(headers: &HeaderMap, what: &str) -> Option<Response> {
    headers
        .contains_key(header::ORIGIN)
        .then(|| problem(StatusCode::FORBIDDEN, &format!("pages may not {what}")))
}
