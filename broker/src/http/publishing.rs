//! `POST` on topics: publishing one message, or many as NDJSON.

use bytes::Bytes;
use fanfare_engine::PublishError;
use fanfare_protocol::limits::KEY_BYTES_MAX;
use fanfare_protocol::{
    ErrorCode, ErrorReply, Payload, PayloadKind, Publish, Published, TopicName,
};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde::Serialize;

use super::counters::{Transport, Usage};
use super::problem::problem;
use super::{Answer, HttpContext, Reply};
use crate::clock;

/// Most lines of a body of NDJSON. Each is a message, and all are published in one turn.
const LINES_MAX: usize = 1_000;

/// A publish whose body is still to come.
#[derive(Debug)]
pub(super) struct Upload {
    target: Target,
    /// Most bytes of the body.
    pub(super) bytes_max: usize,
}

#[derive(Debug)]
enum Target {
    /// The body is one message of this topic.
    Message { topic: TopicName, content_type: Option<HeaderValue>, key: Option<String> },
    /// Each line is one message of this topic.
    Lines(TopicName),
    /// Each line is one message and says of which topic.
    Mixed,
}

/// A publish that is checked and has only to be carried out.
#[derive(Debug)]
pub(super) enum Publication {
    Message { topic: TopicName, payload: Payload, key: Option<String> },
    Lines { topic: TopicName, payloads: Vec<Payload> },
    Mixed(Vec<Result<(TopicName, Publish), ErrorReply>>),
}

/// What a `POST` with this head publishes. `topic` is the one in the path.
pub(super) fn begin(
    topic: Option<TopicName>,
    headers: &HeaderMap,
    context: &HttpContext,
) -> Result<Upload, Box<Reply>> {
    let content_type = headers.get(CONTENT_TYPE).cloned();
    let is_lines = essence(content_type.as_ref()).as_deref() == Some("application/x-ndjson");
    let key = key(headers).map_err(|detail| refuse(StatusCode::BAD_REQUEST, &detail))?;
    if is_lines && key.is_some() {
        let detail = "Idempotency-Key names one message; give each line on /v1/topics a key";
        return Err(refuse(StatusCode::BAD_REQUEST, detail));
    }
    let target = match topic {
        Some(topic) if is_lines => Target::Lines(topic),
        Some(topic) => Target::Message { topic, content_type, key },
        None if is_lines => Target::Mixed,
        None => {
            let detail = "a POST without a topic in its path takes application/x-ndjson";
            return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
    };
    let limits = context.topics.limits();
    let message = limits.message_bytes_max;
    let bytes_max = if is_lines { limits.batch_bytes_max.max(message) } else { message };
    Ok(Upload { target, bytes_max })
}

impl Upload {
    /// Checks the body; nothing is published before all of it is right.
    pub(super) fn check(
        self,
        body: Bytes,
        context: &HttpContext,
    ) -> Result<Publication, Box<Reply>> {
        let message_bytes_max = context.topics.limits().message_bytes_max;
        match self.target {
            Target::Message { topic, content_type, key } => {
                let payload = payload(content_type.as_ref(), body)
                    .map_err(|detail| refuse(StatusCode::BAD_REQUEST, detail))?;
                Ok(Publication::Message { topic, payload, key })
            }
            Target::Lines(topic) => {
                let lines = lines(&body)?.into_iter().map(|(number, line)| {
                    check_len(number, &line, message_bytes_max)?;
                    Payload::json(line).ok_or_else(|| {
                        let detail = format!("line {number} is not JSON, or is nested too deep");
                        refuse(StatusCode::BAD_REQUEST, &detail)
                    })
                });
                Ok(Publication::Lines { topic, payloads: lines.collect::<Result<_, _>>()? })
            }
            Target::Mixed => {
                let lines = lines(&body)?.into_iter();
                Ok(Publication::Mixed(lines.map(|(_, line)| addressed(&line)).collect()))
            }
        }
    }
}

impl Publication {
    pub(super) fn publish(self, context: &HttpContext) -> Answer {
        match self {
            Self::Message { topic, payload, key } => {
                let published = publish(&topic, &payload, key.as_deref(), context);
                let len = payload.bytes().len() as u64;
                answer(published.map(|published| json_reply(&published)), 1, len)
            }
            Self::Lines { topic, payloads } => publish_lines(&topic, &payloads, context),
            Self::Mixed(lines) => publish_mixed(lines, context),
        }
    }
}

#[derive(Serialize)]
struct PublishedLines {
    epoch: String,
    offset: u64,
    published: usize,
}

fn publish_lines(topic: &TopicName, payloads: &[Payload], context: &HttpContext) -> Answer {
    let mut last = None;
    for payload in payloads {
        match publish(topic, payload, None, context) {
            Ok(published) => last = Some(published),
            Err(error) => return answer(Err(error), 0, 0),
        }
    }
    let reply = last.map(|Published { epoch, offset, .. }| {
        json_reply(&PublishedLines { epoch, offset, published: payloads.len() })
    });
    let bytes = payloads.iter().map(|payload| payload.bytes().len() as u64).sum();
    let reply = reply.unwrap_or_else(|| *refuse(StatusCode::BAD_REQUEST, NO_LINE));
    answer(Ok(reply), payloads.len() as u64, bytes)
}

#[derive(Serialize)]
struct Results {
    results: Vec<LineResult>,
}

/// What came of one line.
#[derive(Serialize)]
#[serde(untagged)]
enum LineResult {
    Published(Published),
    Refused { error: ErrorReply },
}

fn publish_mixed(
    lines: Vec<Result<(TopicName, Publish), ErrorReply>>,
    context: &HttpContext,
) -> Answer {
    let (mut messages, mut bytes) = (0, 0);
    let mut publish_line = |line: Result<(TopicName, Publish), ErrorReply>| {
        let (topic, Publish { key, payload, .. }) = line?;
        let published = publish(&topic, &payload, key.as_deref(), context).map_err(|error| {
            let code = match error {
                PublishError::TooManyTopics(_) => ErrorCode::LimitExceeded,
                _ => ErrorCode::BadRequest,
            };
            ErrorReply::new(code, error.to_string())
        })?;
        messages += 1;
        bytes += payload.bytes().len() as u64;
        Ok(published)
    };
    let results = lines.into_iter().map(|line| match publish_line(line) {
        Ok(published) => LineResult::Published(published),
        Err(error) => LineResult::Refused { error },
    });
    let reply = json_reply(&Results { results: results.collect() });
    answer(Ok(reply), messages, bytes)
}

fn publish(
    topic: &TopicName,
    payload: &Payload,
    key: Option<&str>,
    context: &HttpContext,
) -> Result<Published, PublishError> {
    let counters = &context.shard_counters;
    let published = context.topics.publish(topic, payload, key, counters, clock::now())?;
    let fanfare_engine::Published { epoch, offset, duplicate } = published;
    Ok(Published { epoch: epoch.to_string(), offset, duplicate })
}

fn answer(reply: Result<Reply, PublishError>, messages: u64, payload: u64) -> Answer {
    let transport = Transport::Publish;
    match reply {
        Ok(reply) => Answer { reply, usage: Usage { transport, messages, payload } },
        Err(error) => {
            let status = match error {
                PublishError::TooBig(..) => StatusCode::PAYLOAD_TOO_LARGE,
                _ => StatusCode::INSUFFICIENT_STORAGE,
            };
            let reply = problem(status, &error.to_string());
            Answer { reply, usage: Usage::nothing(transport) }
        }
    }
}

/// One line of several topics: the fields of the SDK protocol's `publish`.
fn addressed(line: &[u8]) -> Result<(TopicName, Publish), ErrorReply> {
    let publish = Publish::from_json(line)?;
    let topic = TopicName::new(&publish.topic)
        .map_err(|error| ErrorReply::new(ErrorCode::BadTopic, error.to_string()))?;
    Ok((topic, publish))
}

const NO_LINE: &str = "the body has no line; each line is one JSON value";

/// The lines that hold something, with their numbers.
fn lines(body: &Bytes) -> Result<Vec<(usize, Bytes)>, Box<Reply>> {
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(body.split(|byte| *byte == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if lines.len() == LINES_MAX {
            let detail = format!("the body has over {LINES_MAX} lines, the most allowed");
            return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, &detail));
        }
        lines.push((number, body.slice_ref(line)));
    }
    if lines.is_empty() { Err(refuse(StatusCode::BAD_REQUEST, NO_LINE)) } else { Ok(lines) }
}

fn check_len(number: usize, line: &Bytes, most: usize) -> Result<(), Box<Reply>> {
    let len = line.len();
    if len <= most {
        return Ok(());
    }
    let detail = format!("line {number} has {len} bytes; at most {most} are allowed");
    Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, &detail))
}

fn refuse(status: StatusCode, detail: &str) -> Box<Reply> {
    Box::new(problem(status, detail))
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

/// A content type without its parameters.
fn essence(content_type: Option<&HeaderValue>) -> Option<String> {
    let value = content_type?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// The payload that a body is, by its content type; JSON where it parses and no type is given.
fn payload(content_type: Option<&HeaderValue>, body: Bytes) -> Result<Payload, &'static str> {
    let utf8 = |body: &Bytes| std::str::from_utf8(body).is_ok();
    match essence(content_type).as_deref() {
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

/// What a publisher is told when the node is behind.
pub(super) fn busy() -> Answer {
    let detail = "the node delivers slower than is published; publish again in a second";
    let mut reply = problem(StatusCode::SERVICE_UNAVAILABLE, detail);
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    Answer { reply, usage: Usage::nothing(Transport::Publish) }
}

fn json_reply(body: &impl Serialize) -> Reply {
    match serde_json::to_vec(body) {
        Ok(mut json) => {
            json.push(b'\n');
            let mut reply = Response::new(Bytes::from(json));
            let json_type = HeaderValue::from_static("application/json");
            reply.headers_mut().insert(CONTENT_TYPE, json_type);
            reply
        }
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
