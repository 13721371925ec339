//! `GET` on topics: pages of what they keep (polling), also once there is more (long polling).
//!
//! A page is made once for all who ask the same at the same time, as thousands do whose wait is
//! over.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_engine::{Now, TopicTable, WaiterKey};
use fanfare_protocol::{Codec, HistoryMessage, HistoryPage, Position, TopicName};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::conditional::Condition;
use super::problem::problem;
use super::selection::PageSelection;
use super::{HttpContext, Reply, selection};
use crate::clock;

/// What comes of a `GET`.
pub(super) enum Reading {
    /// The answer.
    Now(Box<Reply>),
    /// An answer when there is something newer, or the time is over.
    Later(Box<Wait>),
}

/// A `GET` that waits.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) key: WaiterKey,
    pub(super) time: Duration,
    selection: PageSelection,
    condition: Option<Condition>,
}

impl From<Reply> for Reading {
    fn from(reply: Reply) -> Self {
        Self::Now(Box::new(reply))
    }
}

/// Reads `topic`, or the topics that the query names.
pub(super) fn read(
    topic: Option<TopicName>,
    query: Option<&str>,
    headers: &HeaderMap,
    context: &HttpContext,
) -> Reading {
    let mut selection = match selection::page(topic, query) {
        Ok(selection) => selection,
        Err(detail) => return problem(StatusCode::BAD_REQUEST, &detail).into(),
    };
    let condition = Condition::of(headers);
    let now = clock::now();
    if let Some(time) = selection.wait.take().filter(|wait| !wait.is_zero()) {
        match context.local.wait(&mut selection.topics, now) {
            Ok(None) => {}
            Ok(Some(key)) => {
                return Reading::Later(Box::new(Wait { key, time, selection, condition }));
            }
            Err(error) => {
                let mut reply = problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
                reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                return reply.into();
            }
        }
    }
    context.pages.answer(selection, condition.as_ref(), now).into()
}

impl Wait {
    /// The answer, once the wait is over.
    pub(super) fn answer(self, pages: &Pages) -> Reply {
        pages.answer(self.selection, self.condition.as_ref(), clock::now())
    }
}

/// Makes pages, and keeps the last one for others who want the same.
pub(crate) struct Pages {
    topics: Arc<TopicTable>,
    last: RefCell<Option<Made>>,
}

/// How long a page is good for others: messages may leave the ring in the meantime.
const SHARED_MS: u64 = 50;

struct Made {
    selection: PageSelection,
    made: Now,
    tag: String,
    body: Bytes,
}

impl Pages {
    pub(crate) fn new(topics: Arc<TopicTable>) -> Self {
        Self { topics, last: RefCell::default() }
    }

    fn answer(&self, selection: PageSelection, condition: Option<&Condition>, now: Now) -> Reply {
        let heads = selection.topics.iter().map(|(topic, _)| match self.topics.head(topic) {
            Some((epoch, offset)) => format!("{epoch}:{offset}"),
            None => "-".to_owned(),
        });
        let tag = format!("\"{}\"", heads.collect::<Vec<_>>().join(","));
        if !selection.is_list && tag == NOTHING {
            return nothing(&selection);
        }
        if condition.is_some_and(|condition| condition.matches(&tag)) {
            return reply(StatusCode::NOT_MODIFIED, &tag, Bytes::new());
        }
        if let Some(last) = &*self.last.borrow()
            && last.tag == tag
            && last.selection == selection
            && now.ms() < last.made.ms() + SHARED_MS
        {
            return page_reply(&last.tag, last.body.clone());
        }
        let Some((tag, body)) = self.make(&selection) else { return nothing(&selection) };
        let reply = page_reply(&tag, body.clone());
        self.last.replace(Some(Made { selection, made: now, tag, body }));
        reply
    }

    /// The tag and the body. `None`: the one topic was forgotten just now.
    fn make(&self, selection: &PageSelection) -> Option<(String, Bytes)> {
        let mut body = Vec::with_capacity(512);
        if !selection.is_list {
            let (topic, after) = selection.topics.first()?;
            let position = self.write(topic, after.as_ref(), selection.limit, &mut body)?;
            body.push(b'\n');
            return Some((format!("\"{position}\""), body.into()));
        }
        let mut positions = Vec::new();
        body.extend_from_slice(b"{\"topics\":[");
        for (i, (topic, after)) in selection.topics.iter().enumerate() {
            if i > 0 {
                body.push(b',');
            }
            let position = self.write(topic, after.as_ref(), selection.limit, &mut body);
            positions.push(position.unwrap_or_else(|| {
                body.extend_from_slice(b"{\"topic\":");
                write_json(topic.as_str(), &mut body);
                body.extend_from_slice(b",\"messages\":[],\"offset\":0}");
                "-".to_owned()
            }));
        }
        body.extend_from_slice(b"]}\n");
        Some((format!("\"{}\"", positions.join(",")), body.into()))
    }

    /// Writes the page of a topic to `out`; its newest position. `None` if there is no such topic.
    fn write(
        &self,
        topic: &TopicName,
        after: Option<&Position>,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Option<String> {
        let page = self.topics.history(topic, after, limit)?;
        let messages = page.messages.iter().map(|message| HistoryMessage {
            offset: message.offset(),
            prev: None,
            payload: message.payload().clone(),
        });
        let page = HistoryPage {
            epoch: page.epoch.to_string(),
            offset: page.head,
            recovered: page.recovered,
            more: page.more,
            messages: messages.collect(),
        };
        out.extend_from_slice(b"{\"topic\":");
        write_json(topic.as_str(), out);
        let begin = out.len();
        page.encode(Codec::Json, out);
        // One object: the page's fields follow the topic.
        out[begin] = b',';
        Some(format!("{}:{}", page.epoch, page.offset))
    }
}

/// Writes a text as JSON; writing to memory does not fail.
fn write_json(text: &str, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, text);
}

/// The tag of one topic that there is not.
const NOTHING: &str = "\"-\"";

fn nothing(selection: &PageSelection) -> Reply {
    let topic = selection.topics.first().map_or("it", |(topic, _)| topic.as_str());
    let detail = format!("nothing has been published to {topic}, or not lately");
    problem(StatusCode::NOT_FOUND, &detail)
}

fn page_reply(tag: &str, body: Bytes) -> Reply {
    let mut reply = reply(StatusCode::OK, tag, body);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

fn reply(status: StatusCode, tag: &str, body: Bytes) -> Reply {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    // Kept by the client, but asked for again each time.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(ETAG, tag);
    }
    reply
}
