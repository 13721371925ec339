//! The view of single connections: by default those that keep up worst.

use std::borrow::Cow;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use fanfare_engine::{ConnectionOrder, ConnectionQuery, ConnectionReport, WireForm};
use serde::{Deserialize, Serialize};

use super::Admin;
use super::view::{Parameters, json};
use crate::shard;

/// `GET /v1/connections`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Connections {
    pub(crate) connections: Vec<Connection>,
}

/// One connection. Amounts in bytes, times as their names say; the same words as in the metrics.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Connection {
    pub(crate) connection: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<String>,
    pub(crate) protocol: Cow<'static, str>,
    pub(crate) state: Cow<'static, str>,
    pub(crate) age_s: u32,
    pub(crate) buffered_amount: usize,
    pub(crate) kernel_bytes: usize,
    pub(crate) oldest_unsent_ms: Option<u64>,
    pub(crate) subscriptions_all: usize,
    pub(crate) subscriptions_latest: usize,
    pub(crate) topics_behind: usize,
    pub(crate) messages_merged: u64,
    pub(crate) messages_lost: u64,
}

impl From<ConnectionReport> for Connection {
    fn from(report: ConnectionReport) -> Self {
        Self {
            connection: report.connection,
            name: report.name,
            peer: report.peer.map(|peer| peer.to_string()),
            protocol: Cow::Borrowed(match report.form {
                WireForm::Raw => "raw",
                WireForm::TopicEvents | WireForm::Events => "sse",
                WireForm::Sdk(codec) => codec.subprotocol(),
            }),
            state: Cow::Borrowed(report.state.name()),
            age_s: report.age_s,
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

/// `GET /v1/connections?sort=KEY&limit=N&topic=NAME`: the greatest first.
pub(super) async fn report(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let parameters = Parameters { orders: ConnectionOrder::ALL, takes_topic: true };
    let asked = match parameters.read(query.as_deref()) {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let query = ConnectionQuery { order: asked.order, limit: asked.limit, topic: asked.topic };
    let reports = shard::report_connections(&admin.questions, query).await;
    json(&Connections { connections: reports.into_iter().map(Connection::from).collect() })
}
