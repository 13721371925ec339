//! The level of the log, by request.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::problem::{problem, refuse_pages};
use crate::clock;
use crate::logs::LogLevel;

/// What a `PUT` asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    level: String,
    /// For how long; `None` is until further notice.
    #[serde(default)]
    for_ms: Option<u64>,
}

/// `GET /v1/log`: the level, that of the configuration, and how long it stays another.
pub(super) async fn show(State(admin): State<Admin>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    let view = admin.reloader.logs().view(clock::now());
    (content_type, format!("{}\n", json!(view))).into_response()
}

/// `PUT /v1/log` with `{"level":"info,fanfare::http=debug","for_ms":600000}`: the level from now
/// on, perhaps for a while. Answers like [`show`], or with a problem document (RFC 9457).
pub(super) async fn change(state: State<Admin>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = refuse_pages(&headers, "change the log's level") {
        return refusal;
    }
    let wanted: Wanted = match serde_json::from_slice(&body) {
        Ok(wanted) => wanted,
        Err(error) => {
            let detail = format!("send {{\"level\":\"debug\",\"for_ms\":600000}}; {error}");
            return problem(StatusCode::BAD_REQUEST, &detail);
        }
    };
    let level: LogLevel = match wanted.level.parse() {
        Ok(level) => level,
        Err(error) => {
            return problem(StatusCode::UNPROCESSABLE_ENTITY, &format!("{error}"));
        }
    };
    match state.reloader.logs().choose(level, wanted.for_ms, clock::now()) {
        Ok(()) => show(state).await,
        Err(error) => problem(StatusCode::CONFLICT, &error.to_string()),
    }
}
