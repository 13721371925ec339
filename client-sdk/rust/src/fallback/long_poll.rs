//! One loop of long polling: asks what is newer than what came, and the broker holds the answer
//! until there is something.

use std::convert::Infallible;
use std::time::Duration;

use fanfare_protocol::{
    ErrorReply, Event, Gap, HistoryMessage, HistoryPage, MessagePush, Mode, Position, Reply,
    ReplyBody, ServerFrame, Subscribed,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::Pushed;
use super::http::{Answer, Caller, Question};
use super::lane::reply_with;
use super::url::Url;
use crate::link::Loss;

/// Most messages of each topic in an answer.
const PAGE_MESSAGES: u32 = 100;

/// The wait after an answer without news that came at once: the broker did not hold it.
const PAUSE: Duration = Duration::from_secs(1);

/// What stands for the position of a topic that does not exist: as soon as it does this is none of
/// its positions, and the broker answers at once with all that it keeps.
const UNBORN: &str = "0";

/// The task of one loop.
#[derive(Debug)]
pub(super) struct Poll {
    pub(super) number: u64,
    pub(super) caller: Caller,
    /// The path of all topics.
    pub(super) base: String,
    pub(super) topics: Vec<PolledTopic>,
    pub(super) mode: Mode,
    pub(super) max_rate: Option<u32>,
    /// How long the broker shall hold an answer.
    pub(super) wait: Duration,
    /// How much longer an answer may take.
    pub(super) grace: Duration,
    pub(super) pushed: mpsc::Sender<(u64, Pushed)>,
}

/// A topic of a loop.
#[derive(Debug)]
pub(super) struct PolledTopic {
    pub(super) topic: String,
    pub(super) place: Place,
}

/// How far a topic has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its subscription has not begun.
    New { since: Option<Position>, snapshot: bool },
    /// It does not exist.
    Unborn,
    /// Behind this message.
    At(Position),
}

/// Why a loop ends.
#[derive(Debug)]
enum End {
    Refused(ErrorReply),
    Lost(Loss),
    /// Nobody listens any more.
    Gone,
}

impl From<Loss> for End {
    fn from(loss: Loss) -> Self {
        Self::Lost(loss)
    }
}

/// A topic's page; `None` if the topic does not exist.
type Page = Option<HistoryPage>;

impl Poll {
    pub(super) async fn run(mut self) {
        let Err(end) = self.poll().await;
        let end = match end {
            End::Refused(refusal) => Pushed::Refused(refusal),
            End::Lost(loss) => Pushed::Lost(loss),
            End::Gone => return,
        };
        self.pushed.send((self.number, end)).await.ok();
    }

    async fn poll(&mut self) -> Result<Infallible, End> {
        self.begin().await?;
        let mut has_more = false;
        loop {
            let began = Instant::now();
            let wait = (!has_more).then_some(self.wait);
            let url = self.url((0..self.topics.len()).collect(), PAGE_MESSAGES);
            let url = url.with_some("wait", wait.map(|wait| format!("{}ms", wait.as_millis())));
            let pages = self.ask(&url, self.topics.len()).await?;
            let mut has_news = false;
            has_more = false;
            for (place, page) in pages.into_iter().enumerate() {
                let Some(page) = page else { continue };
                has_news |= !page.messages.is_empty();
                has_more |= page.more;
                self.take_page(place, page).await?;
            }
            self.pause(began, has_news, has_more).await;
        }
    }

    /// Keeps a broker that does not hold its answers, or a rate, from being asked too often.
    async fn pause(&self, began: Instant, has_news: bool, has_more: bool) {
        if let Some(rate) = self.max_rate.filter(|_| has_news && !has_more) {
            sleep((Duration::from_secs(1) / rate.max(1)).saturating_sub(began.elapsed())).await;
        } else if !has_news && began.elapsed() < PAUSE.min(self.wait / 2) {
            sleep(PAUSE).await;
        }
    }

    /// Begins the subscriptions that have not begun.
    async fn begin(&mut self) -> Result<(), End> {
        let (mut recovering, mut fresh) = (Vec::new(), Vec::new());
        for (place, polled) in self.topics.iter().enumerate() {
            match &polled.place {
                Place::New { since: Some(_), .. } if self.mode == Mode::All => {
                    recovering.push(place);
                }
                Place::New { .. } => fresh.push(place),
                Place::Unborn | Place::At(_) => {}
            }
        }
        // Of what begins now only the newest message counts.
        for (places, limit) in [(recovering, PAGE_MESSAGES), (fresh, 1)] {
            if places.is_empty() {
                continue;
            }
            let url = self.url(places.clone(), limit);
            let pages = self.ask(&url, places.len()).await?;
            for (place, page) in places.into_iter().zip(pages) {
                self.begin_topic(place, page).await?;
            }
        }
        Ok(())
    }

    async fn begin_topic(&mut self, place: usize, page: Page) -> Result<(), End> {
        let PolledTopic { topic, place: at } = &mut self.topics[place];
        let Place::New { since, snapshot } = at.clone() else { return Ok(()) };
        let filter = topic.clone();
        let Some(page) = page else {
            *at = Place::Unborn;
            let subscribed = Subscribed { mode: self.mode, ..Subscribed::default() };
            let body = ReplyBody::Subscribe(subscribed);
            return self.push(Pushed::Begun { filter, body }).await;
        };
        let HistoryPage { offset, recovered, more, .. } = page;
        let epoch = page.epoch.clone();
        let since = since.filter(|since| since.epoch == epoch).map(|since| since.offset);
        let recovered = recovered && self.mode == Mode::All && since.is_some();
        // The newest message may come only with the next page, if others have filled this one.
        let is_kept = more || !page.messages.is_empty();
        let snapshot = snapshot && is_kept && !recovered && since.unwrap_or(0) < offset;
        let begins_after = match since {
            Some(since) if recovered => since,
            _ => offset.saturating_sub(u64::from(snapshot)),
        };
        *at = Place::At(Position { epoch: epoch.clone(), offset: begins_after });
        let subscribed = Subscribed { epoch, offset, recovered, mode: self.mode, snapshot };
        self.push(Pushed::Begun { filter, body: ReplyBody::Subscribe(subscribed) }).await?;
        if recovered || snapshot { self.take_page(place, page).await } else { Ok(()) }
    }

    /// Passes on what a page holds, and what it should hold and does not.
    async fn take_page(&mut self, place: usize, page: HistoryPage) -> Result<(), End> {
        let HistoryPage { epoch, offset, recovered, more, mut messages } = page;
        if messages.is_empty() && more {
            // Other topics have used up the bytes of the answer.
            return Ok(());
        }
        let PolledTopic { topic, place: at } = &mut self.topics[place];
        let topic = topic.clone();
        // All before this one is not in the page.
        let first_missing_end = messages.first().map_or(offset, previous_offset);
        let before = std::mem::replace(at, Place::Unborn);
        let mut behind = first_missing_end;
        match before {
            Place::At(position) if position.epoch == epoch && recovered => {
                behind = position.offset;
            }
            Place::At(position) if position.epoch == epoch => {
                behind = behind.max(position.offset);
                if self.mode == Mode::All && behind > position.offset {
                    let gap =
                        Gap { topic, epoch: epoch.clone(), from: position.offset + 1, to: behind };
                    self.push(Pushed::Event(Event::Gap(gap))).await?;
                }
            }
            Place::At(_) => {
                let gap = Gap { topic, epoch: epoch.clone(), from: 1, to: behind };
                self.push(Pushed::Event(Event::Gap(gap))).await?;
            }
            Place::Unborn | Place::New { .. } => {
                self.push(Pushed::Born { topic, epoch: epoch.as_str().into() }).await?;
            }
        }
        let last = messages.last().map_or(behind, |message| message.offset);
        self.topics[place].place = Place::At(Position { epoch, offset: last });
        if self.mode == Mode::Latest {
            // What is newer follows in the next page.
            let keep = usize::from(!more);
            messages = messages.split_off(messages.len().saturating_sub(keep));
        }
        self.push_messages(place, messages).await
    }

    async fn push_messages(&self, place: usize, messages: Vec<HistoryMessage>) -> Result<(), End> {
        for HistoryMessage { offset, prev, payload } in messages {
            let topic = self.topics[place].topic.clone();
            self.push(Pushed::Message(MessagePush { topic, offset, prev, payload })).await?;
        }
        Ok(())
    }

    async fn push(&self, pushed: Pushed) -> Result<(), End> {
        self.pushed.send((self.number, pushed)).await.map_err(|_| End::Gone)
    }

    /// Asks for the pages of these topics.
    fn url(&self, places: Vec<usize>, limit: u32) -> Url {
        let mut url = Url::of_topics(&self.base);
        let mut positions = Vec::with_capacity(places.len());
        for place in places {
            let PolledTopic { topic, place } = &self.topics[place];
            url = url.with("topic", topic);
            positions.push(match place {
                Place::New { since, .. } => since.clone().filter(|_| self.mode == Mode::All),
                Place::Unborn => Some(Position { epoch: UNBORN.to_owned(), offset: 0 }),
                Place::At(position) => Some(position.clone()),
            });
        }
        url.with_positions("after", &positions).with("limit", &limit.to_string())
    }

    /// Asks, and again while the broker is too busy.
    async fn ask(&mut self, url: &Url, count: usize) -> Result<Vec<Page>, End> {
        let question = Question::get(url.as_str(), "application/json");
        loop {
            let answer = self.caller.ask(&question, self.wait + self.grace).await?;
            match answer.busy_for() {
                Some(wait) => sleep(wait).await,
                None => return pages(&answer, count),
            }
        }
    }
}

fn previous_offset(message: &HistoryMessage) -> u64 {
    let before = message.offset.saturating_sub(1);
    message.prev.map_or(before, |prev| prev.min(before))
}

/// Asks for a topic, to see whether a broker answers.
pub(super) async fn probe(caller: &mut Caller, url: &Url, limit: Duration) -> Result<(), Answered> {
    let question = Question::get(url.as_str(), "application/json");
    let answer = caller.ask(&question, limit).await.map_err(Answered::Not)?;
    match pages(&answer, 1) {
        Ok(_) => Ok(()),
        Err(_) => Err(Answered::Otherwise(Box::new(answer))),
    }
}

/// What came instead of pages.
#[derive(Debug)]
pub(super) enum Answered {
    Otherwise(Box<Answer>),
    Not(Loss),
}

/// The pages in an answer, one for each topic that was asked for.
fn pages(answer: &Answer, count: usize) -> Result<Vec<Page>, End> {
    let strange = || Loss::without_code("the answer holds no pages of topics");
    let Some(json) = answer.json() else { return Err(End::Refused(answer.refusal()?)) };
    let Topics { topics } = serde_json::from_slice(json).map_err(|_| strange())?;
    if topics.len() != count {
        return Err(strange().into());
    }
    let pages = topics.iter().map(|page| {
        let Head { epoch } = serde_json::from_str(page.get()).map_err(|_| strange())?;
        if epoch.is_none() {
            return Ok(None);
        }
        match reply_with(0, "history", page.get().as_bytes())? {
            ServerFrame::Reply(Reply { result: Ok(ReplyBody::History(page)), .. }) => {
                Ok(Some(page))
            }
            _ => Err(strange().into()),
        }
    });
    pages.collect()
}

#[derive(Deserialize)]
struct Topics {
    topics: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Head {
    epoch: Option<String>,
}
