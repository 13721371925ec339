//! `GET` on topics: pages of what they keep (polling), also once there is more (long polling).
//!
//! A page is made once for all who ask the same at the same time, as thousands do whose wait is
//! over.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_engine::{HistoryPage, Now, TopicTable, WaiterKey};
use fanfare_protocol::{Codec, HistoryMessage, TopicName};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use super::conditional::Condition;
use super::counters::{Transport, Usage};
use super::problem::problem;
use super::selection::PageSelection;
use super::{Answer, Begun, HttpContext, Reply, selection};

/// A `GET` that waits.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) key: WaiterKey,
    pub(super) time: Duration,
    selection: PageSelection,
    condition: Option<Condition>,
}

/// Longest list of tags that is kept of a request that waits. Longer ones are as if they were not
/// there: the answer is whole.
const WAITING_TAG_BYTES_MAX: usize = 1_024;

/// Reads `topic`, or the topics that the query names.
pub(super) fn begin(
    topic: Option<TopicName>,
    query: Option<&str>,
    headers: &HeaderMap,
    context: &HttpContext,
    now: Now,
) -> Begun {
    let mut selection = match selection::page(topic, query) {
        Ok(selection) => selection,
        Err(detail) => return Begun::refuse(StatusCode::BAD_REQUEST, &detail, Transport::Poll),
    };
    let condition = Condition::of(headers);
    let Some(time) = selection.wait.take().filter(|wait| !wait.is_zero()) else {
        let transport = Transport::Poll;
        return Begun::Answer(context.pages.answer(selection, condition.as_ref(), transport, now));
    };
    match context.local.wait(&mut selection.topics, now) {
        Ok(None) => {
            let pages = &context.pages;
            Begun::Answer(pages.answer(selection, condition.as_ref(), Transport::LongPoll, now))
        }
        Ok(Some(key)) => {
            let condition = condition.filter(|condition| condition.len() <= WAITING_TAG_BYTES_MAX);
            Begun::Wait(Wait { key, time, selection, condition })
        }
        Err(error) => {
            let mut reply = problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
            reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            Begun::Answer(Answer { reply, usage: Usage::nothing(Transport::LongPoll) })
        }
    }
}

impl Wait {
    /// The answer, once the wait is over.
    pub(super) fn answer(self, pages: &Pages, now: Now) -> Answer {
        pages.answer(self.selection, self.condition.as_ref(), Transport::LongPoll, now)
    }
}

/// Makes pages, and keeps the last one for others who want the same.
#[derive(Debug)]
pub(crate) struct Pages {
    topics: Arc<TopicTable>,
    last: RefCell<Option<Made>>,
}

/// How long a page is good for others: messages may leave the ring in the meantime.
const SHARED_MS: u64 = 50;

#[derive(Debug)]
struct Made {
    selection: PageSelection,
    made: Now,
    page: Page,
}

/// A page, or a list of pages, as it is sent.
#[derive(Clone, Debug)]
struct Page {
    tag: String,
    body: Bytes,
    messages: u64,
    payload: u64,
}

impl Pages {
    pub(crate) fn new(topics: Arc<TopicTable>) -> Self {
        Self { topics, last: RefCell::default() }
    }

    fn answer(
        &self,
        selection: PageSelection,
        condition: Option<&Condition>,
        transport: Transport,
        now: Now,
    ) -> Answer {
        let tag = self.tag(&selection);
        let page = match tag {
            Some(tag) if condition.is_some_and(|condition| condition.matches(&tag)) => {
                let reply = reply(StatusCode::NOT_MODIFIED, &tag, Bytes::new());
                return Answer { reply, usage: Usage::nothing(transport) };
            }
            Some(tag) => self.shared(&selection, &tag, now).or_else(|| self.make(&selection)),
            None => None,
        };
        let Some(page) = page else {
            let reply = nothing(&selection);
            return Answer { reply, usage: Usage::nothing(transport) };
        };
        let mut reply = reply(StatusCode::OK, &page.tag, page.body.clone());
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let Page { messages, payload, .. } = page;
        self.last.replace(Some(Made { selection, made: now, page }));
        Answer { reply, usage: Usage { transport, messages, payload } }
    }

    /// The tag of what would be sent now. `None`: there is no such topic.
    fn tag(&self, selection: &PageSelection) -> Option<String> {
        let mut tag = String::with_capacity(24);
        for (i, (topic, _)) in selection.topics.iter().enumerate() {
            tag.push(if i == 0 { '"' } else { ',' });
            // Writing to a text does not fail.
            let _ = match self.topics.head(topic) {
                Some((epoch, offset)) => write!(tag, "{epoch}:{offset}"),
                None if selection.is_list => write!(tag, "-"),
                None => return None,
            };
        }
        tag.push('"');
        Some(tag)
    }

    /// The last page, if it is what would be made now.
    fn shared(&self, selection: &PageSelection, tag: &str, now: Now) -> Option<Page> {
        let last = self.last.borrow();
        let last = last.as_ref().filter(|last| {
            last.page.tag == tag
                && last.selection == *selection
                && now.ms() < last.made.ms() + SHARED_MS
        })?;
        Some(last.page.clone())
    }

    /// `None`: the one topic was forgotten just now.
    fn make(&self, selection: &PageSelection) -> Option<Page> {
        let mut list = PageList::new(self.topics.limits().history_page_bytes_max);
        if !selection.is_list {
            let (topic, after) = selection.topics.first()?;
            let page = self.topics.history(topic, after.as_ref(), selection.limit)?;
            list.push(topic, Some(&page));
        } else {
            list.body.extend_from_slice(b"{\"topics\":[");
            for (i, (topic, after)) in selection.topics.iter().enumerate() {
                if i > 0 {
                    list.body.push(b',');
                }
                let limit = if list.has_room() { selection.limit } else { 0 };
                list.push(topic, self.topics.history(topic, after.as_ref(), limit).as_ref());
            }
            list.body.extend_from_slice(b"]}");
        }
        Some(list.finish())
    }
}

/// Pages that are written one behind the other, and share the bytes that one may have.
struct PageList {
    tag: String,
    body: Vec<u8>,
    messages: u64,
    payload: u64,
    payload_max: usize,
}

impl PageList {
    fn new(payload_max: usize) -> Self {
        let body = Vec::with_capacity(512);
        Self { tag: String::new(), body, messages: 0, payload: 0, payload_max }
    }

    fn has_room(&self) -> bool {
        self.payload < self.payload_max as u64
    }

    /// Writes the page of a topic; `None` is one that there is not.
    fn push(&mut self, topic: &TopicName, page: Option<&HistoryPage>) {
        self.tag.push(if self.tag.is_empty() { '"' } else { ',' });
        self.body.extend_from_slice(b"{\"topic\":");
        write_json(topic.as_str(), &mut self.body);
        let Some(page) = page else {
            self.tag.push('-');
            self.body.extend_from_slice(b",\"messages\":[],\"offset\":0}");
            return;
        };
        let messages = page.messages.iter().map(|message| HistoryMessage {
            offset: message.offset(),
            prev: None,
            payload: message.payload().clone(),
        });
        let page = fanfare_protocol::HistoryPage {
            epoch: page.epoch.to_string(),
            offset: page.head,
            recovered: page.recovered,
            more: page.more,
            messages: messages.collect(),
        };
        let begin = self.body.len();
        page.encode(Codec::Json, &mut self.body);
        // One object: the page's fields follow the topic.
        self.body[begin] = b',';
        self.messages += page.messages.len() as u64;
        let lens = page.messages.iter().map(|message| message.payload.bytes().len() as u64);
        self.payload += lens.sum::<u64>();
        // Writing to a text does not fail.
        let _ = write!(self.tag, "{}:{}", page.epoch, page.offset);
    }

    fn finish(mut self) -> Page {
        self.tag.push('"');
        self.body.push(b'\n');
        let Self { tag, body, messages, payload, .. } = self;
        Page { tag, body: body.into(), messages, payload }
    }
}

/// Writes a text as JSON; writing to memory does not fail.
fn write_json(text: &str, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, text);
}

fn nothing(selection: &PageSelection) -> Reply {
    let topic = selection.topics.first().map_or("it", |(topic, _)| topic.as_str());
    let detail = format!("nothing has been published to {topic}, or not lately");
    problem(StatusCode::NOT_FOUND, &detail)
}

fn reply(status: StatusCode, tag: &str, body: Bytes) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    // Kept by the client, but asked for again each time.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(ETAG, tag);
    }
    reply
}
