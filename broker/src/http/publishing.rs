//! `POST` on topics: publishing.

use std::time::Duration;

use bytes::Bytes;
use fanfare_engine::PublishError;
use fanfare_protocol::limits::KEY_BYTES_MAX;
use fanfare_protocol::{Payload, PayloadKind, Published, TopicName};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use serde::Serialize;

use super::problem::problem;
use super::{HttpContext, Reply};
use crate::clock;

/// How long a `POST` waits for a node that is behind, before it is told to come back.
const CONGESTION_PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn publish(
    request: Request<Incoming>,
    topic: &TopicName,
    context: &HttpContext,
) -> Reply {
    let topics = context.local.topics();
    let content_type = request.headers().get(CONTENT_TYPE).cloned();
    let key = match key(request.headers()) {
        Ok(key) => key,
        Err(detail) => return problem(StatusCode::BAD_REQUEST, &detail),
    };
    let limits = topics.limits();
    let most = limits.message_bytes_max;
    let body = Limited::new(request.into_body(), most).collect();
    let body = match tokio::time::timeout(Duration::from_millis(limits.message_timeout_ms), body)
        .await
    {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("the body is longer than {most} bytes, the most allowed");
            return problem(StatusCode::PAYLOAD_TOO_LARGE, &detail);
        }
        Ok(Err(error)) => {
            let detail = format!("the body could not be read: {error}");
            return problem(StatusCode::BAD_REQUEST, &detail);
        }
        Err(_) => {
            let detail = format!("the body did not end within {} ms", limits.message_timeout_ms);
            return problem(StatusCode::REQUEST_TIMEOUT, &detail);
        }
    };
    let payload = match payload(content_type.as_ref(), body) {
        Ok(payload) => payload,
        Err(detail) => return problem(StatusCode::BAD_REQUEST, detail),
    };
    if !has_caught_up(&topics).await {
        return busy();
    }
    let counters = context.local.counters();
    match topics.publish(topic, &payload, key.as_deref(), &counters, clock::now()) {
        Ok(fanfare_engine::Published { epoch, offset, duplicate }) => {
            json_reply(&Published { epoch: epoch.to_string(), offset, duplicate })
        }
        Err(error @ PublishError::TooBig(..)) => {
            problem(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string())
        }
        Err(error) => problem(StatusCode::INSUFFICIENT_STORAGE, &error.to_string()),
    }
}

/// The key under which a publish is made once, however often it is sent: what the draft of the
/// HTTP working group calls `Idempotency-Key`, with or without its quotes.
fn key(headers: &HeaderMap) -> Result<Option<String>, String> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let key = text.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(text);
    if (1..=KEY_BYTES_MAX).contains(&key.len()) {
        Ok(Some(key.to_owned()))
    } else {
        Err(format!("Idempotency-Key has 1 to {KEY_BYTES_MAX} ASCII characters"))
    }
}

/// The payload that a body is, by its content type; JSON where it parses and no type is given.
fn payload(content_type: Option<&HeaderValue>, body: Bytes) -> Result<Payload, &'static str> {
    let essence = content_type
        .and_then(|value| value.to_str().ok())
        .map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let utf8 = |body: &Bytes| std::str::from_utf8(body).is_ok();
    match essence.as_deref() {
        Some("application/json") => {
            Payload::json(body).ok_or("the body is not JSON, or is nested too deep")
        }
        Some(essence) if essence.starts_with("text/") => {
            if utf8(&body) {
                Ok(Payload::from_checked(PayloadKind::Text, body))
            } else {
                Err("the body is not UTF-8 text")
            }
        }
        // What curl sends unless told otherwise; nobody publishes forms.
        None | Some("application/x-www-form-urlencoded") => Ok(match Payload::json(body.clone()) {
            Some(json) => json,
            None if utf8(&body) => Payload::from_checked(PayloadKind::Text, body),
            None => Payload::binary(body),
        }),
        Some(_) => Ok(Payload::binary(body)),
    }
}

/// Waits while the node is behind; whether it has caught up in time.
async fn has_caught_up(topics: &fanfare_engine::TopicTable) -> bool {
    let deadline = tokio::time::Instant::now() + CONGESTION_PATIENCE;
    while topics.is_congested() {
        if tokio::time::Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

fn busy() -> Reply {
    let detail = "the node delivers slower than is published; publish again in a second";
    let mut reply = problem(StatusCode::SERVICE_UNAVAILABLE, detail);
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}

fn json_reply(body: &impl Serialize) -> Reply {
    match serde_json::to_vec(body) {
        Ok(mut json) => {
            json.push(b'\n');
            let mut reply = Response::new(Bytes::from(json).into());
            let json_type = HeaderValue::from_static("application/json");
            reply.headers_mut().insert(CONTENT_TYPE, json_type);
            reply
        }
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
