//! The lane of a client without a WebSocket: what it publishes and asks, as HTTP requests.
//!
//! One request at a time, in the order in which the commands came, so that each topic keeps its
//! order and a question sees what was published before it. What gathers meanwhile goes together.

use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::{
    Codec, ErrorCode, ErrorReply, History, PayloadKind, Publish, Reply, ServerFrame,
};
use hyper::Method;
use hyper::header::HeaderValue;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::http::{Answer, Caller, Question};
use super::url::Url;
use crate::buffered::Charge;
use crate::link::Loss;

/// Most messages in one request.
const LINES_MAX: usize = 1_000;

/// A request is closed once it has about this many bytes, well under any sensible limit.
const BATCH_BYTES_GOAL: usize = 32 * 1024;

/// How long the broker may be too busy for a message before that is told.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// Something to send.
#[derive(Debug)]
pub(super) enum Item {
    Publish(Line),
    History { id: u64, history: History, charge: Option<Charge> },
}

/// A message on its way.
#[derive(Debug)]
pub(super) struct Line {
    /// Under which the reply is wanted.
    pub(super) id: Option<u64>,
    pub(super) publish: Publish,
    /// Counts as buffered until the broker has answered.
    pub(super) _charge: Option<Charge>,
}

/// What came of some items.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) items: usize,
    /// A loss ends the lane.
    pub(super) replies: Result<Vec<ServerFrame>, Loss>,
}

/// The task of a lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) caller: Caller,
    /// The path of all topics.
    pub(super) topics: String,
    /// How long an answer may take.
    pub(super) silence_max: Duration,
    pub(super) queue: mpsc::UnboundedReceiver<Item>,
    pub(super) settled: mpsc::UnboundedSender<Settled>,
}

impl Lane {
    /// Carries out what is queued, until the queue is closed and empty or the broker is lost.
    pub(super) async fn run(mut self) {
        let mut next = None;
        while let Some(item) = match next.take() {
            Some(item) => Some(item),
            None => self.queue.recv().await,
        } {
            let (items, replies) = match item {
                Item::History { id, history, charge } => {
                    let reply = self.history(id, &history).await;
                    drop(charge);
                    (1, reply.map(|reply| vec![reply]))
                }
                Item::Publish(line) => {
                    let lines = self.gather(line, &mut next);
                    (lines.len(), self.publish(lines).await)
                }
            };
            let is_lost = replies.is_err();
            if self.settled.send(Settled { items, replies }).is_err() || is_lost {
                return;
            }
        }
    }

    /// The messages that go together with `first`; what follows them is left in `next`.
    fn gather(&mut self, first: Line, next: &mut Option<Item>) -> Vec<Line> {
        let mut bytes = first.publish.payload.bytes().len();
        let mut lines = vec![first];
        if !fits_a_line(&lines[0].publish) {
            return lines;
        }
        while lines.len() < LINES_MAX
            && bytes < BATCH_BYTES_GOAL
            && let Ok(item) = self.queue.try_recv()
        {
            match item {
                Item::Publish(line) if fits_a_line(&line.publish) => {
                    bytes += line.publish.payload.bytes().len() + line.publish.topic.len();
                    lines.push(line);
                }
                other => {
                    *next = Some(other);
                    break;
                }
            }
        }
        lines
    }

    async fn publish(&mut self, lines: Vec<Line>) -> Result<Vec<ServerFrame>, Loss> {
        let mut replies = Vec::new();
        let mut parts = vec![lines];
        while let Some(mut part) = parts.pop() {
            let question = self.publish_question(&part);
            let answer = self.ask_until_not_busy(&question).await?;
            if answer.status == 413 && part.len() > 1 {
                // Nothing of it was published: the body is read before the messages are.
                let behind = part.split_off(part.len() / 2);
                parts.extend([behind, part]);
                continue;
            }
            replies.extend(published(&part, question.target == self.topics, &answer)?);
        }
        Ok(replies)
    }

    fn publish_question(&self, lines: &[Line]) -> Question {
        let (target, body, key) = match lines {
            [Line { publish, .. }] if let Ok(key) = header_key(publish) => {
                let url = Url::of_topic(&self.topics, &publish.topic);
                let content_type = match publish.payload.kind() {
                    PayloadKind::Json => "application/json",
                    PayloadKind::Text => "text/plain; charset=utf-8",
                    PayloadKind::Binary => "application/octet-stream",
                };
                let body = (content_type, publish.payload.bytes().clone());
                (url.as_str().to_owned(), body, key)
            }
            lines => {
                let body = ("application/x-ndjson", lines_of(lines));
                (self.topics.clone(), body, None)
            }
        };
        let accept = "application/json";
        Question { method: Method::POST, target, accept, body: Some(body), key }
    }

    async fn history(&mut self, id: u64, history: &History) -> Result<ServerFrame, Loss> {
        let History { topic, after, limit } = history;
        let limit = limit.unwrap_or(fanfare_protocol::limits::HISTORY_MESSAGES_DEFAULT);
        let url = Url::of_topic(&self.topics, topic)
            .with("limit", &limit.to_string())
            .with_positions("after", std::slice::from_ref(after));
        let question = Question::get(url.as_str(), "application/json");
        let answer = self.ask_until_not_busy(&question).await?;
        match answer.json() {
            Some(page) => reply_with(id, "history", page),
            None => Ok(refused(id, answer.refusal()?)),
        }
    }

    /// Asks again while the broker says that it is too busy, for a while.
    async fn ask_until_not_busy(&mut self, question: &Question) -> Result<Answer, Loss> {
        let give_up_at = Instant::now() + BUSY_MAX;
        loop {
            let answer = self.caller.ask(question, self.silence_max).await?;
            match answer.busy_for() {
                Some(wait) if Instant::now() + wait < give_up_at => tokio::time::sleep(wait).await,
                _ => return Ok(answer),
            }
        }
    }
}

/// Whether a message can stand in a line as it is. JSON may hold line ends between its tokens, and
/// goes alone then, so that it arrives byte for byte.
fn fits_a_line(publish: &Publish) -> bool {
    let bytes = publish.payload.bytes();
    publish.payload.kind() != PayloadKind::Json
        || !bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r'))
}

/// The key as a header; an error if it is none that a header can carry.
fn header_key(publish: &Publish) -> Result<Option<HeaderValue>, ()> {
    let Some(key) = &publish.key else { return Ok(None) };
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if !key.bytes().all(is_plain) {
        return Err(());
    }
    HeaderValue::try_from(format!("\"{key}\"")).map(Some).map_err(drop)
}

/// Messages as lines of JSON.
fn lines_of(lines: &[Line]) -> Bytes {
    let mut body = Vec::new();
    for Line { publish, .. } in lines {
        let begin = body.len();
        // Writing into memory fails only for a payload that was no JSON, which none is.
        serde_json::to_writer(&mut body, publish).ok();
        let line = body[begin..].iter_mut();
        line.filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        body.push(b'\n');
    }
    body.into()
}

/// The replies to messages that went together.
fn published(lines: &[Line], is_batch: bool, answer: &Answer) -> Result<Vec<ServerFrame>, Loss> {
    let ids = lines.iter().map(|line| line.id);
    let Some(json) = answer.json() else {
        let refusal = match answer.refusal()? {
            // A topic need not exist to be published to.
            ErrorReply { code: ErrorCode::UnknownTopic, message, .. } => {
                ErrorReply::new(ErrorCode::BadRequest, message)
            }
            refusal => refusal,
        };
        return Ok(ids.flatten().map(|id| refused(id, refusal.clone())).collect());
    };
    if !is_batch {
        return ids.flatten().map(|id| reply_with(id, "publish", json)).collect();
    }
    let Results { results } = serde_json::from_slice(json).map_err(|_| strange())?;
    if results.len() != lines.len() {
        return Err(strange());
    }
    let replies = ids.zip(&results).filter_map(|(id, result)| Some((id?, result.get())));
    replies
        .map(|(id, result)| match serde_json::from_str(result) {
            Ok(Failed { error: Some(error) }) => reply_with(id, "error", error.get().as_bytes()),
            _ => reply_with(id, "publish", result.as_bytes()),
        })
        .collect()
}

#[derive(Deserialize)]
struct Results {
    results: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Failed {
    error: Option<Box<RawValue>>,
}

/// The reply to the command `id` whose content is this JSON.
pub(super) fn reply_with(id: u64, name: &str, json: &[u8]) -> Result<ServerFrame, Loss> {
    let frame = [format!("{{\"id\":{id},\"{name}\":").as_bytes(), json, b"}"].concat();
    ServerFrame::decode(Codec::Json, &frame).map_err(|_| strange())
}

pub(super) fn refused(id: u64, error: ErrorReply) -> ServerFrame {
    ServerFrame::Reply(Reply { id, result: Err(error) })
}

fn strange() -> Loss {
    Loss::without_code("the answer is not the broker's")
}
