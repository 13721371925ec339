//! Reloading the configuration by request.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Admin;
use crate::reload::ReloadError;

/// `POST /v1/reload`: what changed and what needs a restart, or a problem document (RFC 9457) with
/// all mistakes.
pub(super) async fn reload(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    // Only browsers send it, and no page has anything to do here.
    if headers.contains_key(header::ORIGIN) {
        return problem(StatusCode::FORBIDDEN, "pages may not reload the configuration", &[]);
    }
    match admin.reloader.reload("the admin port") {
        Ok(reloaded) => {
            let content_type = [(header::CONTENT_TYPE, "application/json")];
            (content_type, format!("{}\n", json!(reloaded))).into_response()
        }
        Err(ReloadError::Config(mistakes)) => {
            let errors: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            let detail = "the configuration has mistakes; nothing has changed";
            problem(StatusCode::UNPROCESSABLE_ENTITY, detail, &errors)
        }
        Err(error) => problem(StatusCode::CONFLICT, &error.to_string(), &[]),
    }
}

pub(super) fn problem(status: StatusCode, detail: &str, errors: &[String]) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let body =
        json!({ "title": title, "status": status.as_u16(), "detail": detail, "errors": errors });
    let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, content_type, format!("{body}\n")).into_response()
}
