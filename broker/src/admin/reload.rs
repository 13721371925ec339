//! Reloading the configuration by request.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Admin;
use super::problem::{problem, problem_of, refuse_pages};
use crate::reload::ReloadError;

/// `POST /v1/reload`: what changed and what needs a restart, or a problem document (RFC 9457) with
/// all mistakes.
pub(super) async fn reload(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    if let Some(refusal) = refuse_pages(&headers, "reload the configuration") {
        return refusal;
    }
    match admin.reloader.reload("the admin port") {
        Ok(reloaded) => {
            let content_type = [(header::CONTENT_TYPE, "application/json")];
            (content_type, format!("{}\n", json!(reloaded))).into_response()
        }
        Err(ReloadError::Config(mistakes)) => {
            let errors: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            let detail = "the configuration has mistakes; nothing has changed";
            problem_of(StatusCode::UNPROCESSABLE_ENTITY, detail, &errors)
        }
        Err(error) => problem(StatusCode::CONFLICT, &error.to_string()),
    }
}
