//! The view of the connections that keep up worst, as JSON.

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use fanfare_engine::{ConnectionReport, WireForm};
use serde::Serialize;

use super::Admin;
use crate::shard;

/// Connections shown unless another number is asked for, and at most.
const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 1_000;

#[derive(Serialize)]
struct View {
    connections: Vec<Connection>,
}

/// One connection. Amounts in bytes, times in milliseconds; the same words as in the metrics.
#[derive(Serialize)]
struct Connection {
    connection: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    protocol: &'static str,
    state: &'static str,
    buffered_amount: usize,
    kernel_bytes: usize,
    oldest_unsent_ms: Option<u64>,
    subscriptions_all: usize,
    subscriptions_latest: usize,
    topics_behind: usize,
    messages_merged: u64,
    messages_lost: u64,
}

impl From<ConnectionReport> for Connection {
    fn from(report: ConnectionReport) -> Self {
        Self {
            connection: report.connection,
            name: report.name,
            peer: report.peer.map(|peer| peer.to_string()),
            protocol: match report.form {
                WireForm::Raw => "raw",
                WireForm::TopicEvents | WireForm::Events => "sse",
                WireForm::Sdk(codec) => codec.subprotocol(),
            },
            state: report.state.name(),
            buffered_amount: report.buffered_amount,
            kernel_bytes: report.kernel_bytes,
            oldest_unsent_ms: report.oldest_unsent_ms,
            subscriptions_all: report.subscriptions_all,
            subscriptions_latest: report.subscriptions_latest,
            topics_behind: report.topics_behind,
            messages_merged: report.merged,
            messages_lost: report.lost,
        }
    }
}

/// `GET /v1/connections?limit=N`: those with the most unsent, most first.
pub(super) async fn worst(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let Some(limit) = limit(query.as_deref()) else {
        let allowed = format!("the only parameter is limit, from 1 to {LIMIT_MAX}\n");
        return (StatusCode::BAD_REQUEST, allowed).into_response();
    };
    let worst = shard::worst_connections(&admin.questions, limit).await;
    let view = View { connections: worst.into_iter().map(Connection::from).collect() };
    match serde_json::to_vec_pretty(&view) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn limit(query: Option<&str>) -> Option<usize> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Some(LIMIT_DEFAULT) };
    let limit = query.strip_prefix("limit=")?.parse().ok()?;
    (1..=LIMIT_MAX).contains(&limit).then_some(limit)
}
