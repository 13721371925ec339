//! The view of topics: by default those on which most is published.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use fanfare_engine::{TopicOrder, TopicReport};
use serde::{Deserialize, Serialize};

use super::Admin;
use super::view::{Parameters, json};
use crate::clock;

/// `GET /v1/topics` of the admin port.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Topics {
    pub(crate) topics: Vec<Topic>,
}

/// One topic. `messages` and `bytes` are what its ring keeps.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Topic {
    pub(crate) topic: String,
    pub(crate) namespace: String,
    pub(crate) epoch: String,
    pub(crate) offset: u64,
    pub(crate) subscribers: u64,
    pub(crate) waiting_requests: u64,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) newest_age_ms: Option<u64>,
    pub(crate) messages_per_second: Option<f64>,
}

impl From<TopicReport> for Topic {
    fn from(report: TopicReport) -> Self {
        Self {
            topic: report.topic,
            namespace: report.namespace.unwrap_or_else(|| "default".to_owned()),
            epoch: report.epoch.to_string(),
            offset: report.offset,
            subscribers: report.subscribers,
            waiting_requests: report.waiting_requests,
            messages: report.messages,
            bytes: report.bytes,
            newest_age_ms: report.newest_age_ms,
            messages_per_second: report.messages_per_second,
        }
    }
}

/// `GET /v1/topics?sort=KEY&limit=N`: the greatest first.
pub(super) async fn report(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let parameters = Parameters { orders: TopicOrder::ALL, takes_topic: false };
    let asked = match parameters.read(query.as_deref()) {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let reports = admin.metrics.topics.report(asked.order, asked.limit, clock::now());
    json(&Topics { topics: reports.into_iter().map(Topic::from).collect() })
}
