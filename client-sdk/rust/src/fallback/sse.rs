//! One stream of server-sent events: asks for it, and turns events into what the link knows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::{CloseCode, Codec, Event, Gap, Reply, ServerFrame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Pushed;
use super::event_stream::{EventStream, StreamEvent};
use super::http::{Answer, Dialer, HttpConnection, Question, Unanswered, content_type};
use super::lane::reply_with;
use crate::link::Loss;

/// The longest time for which a broker may send a client away.
const RETRY_MAX: Duration = Duration::from_secs(3_600);

/// How often a broker is expected to give a sign of life until it has said how often it does: the
/// default of its ping interval.
const PING_INTERVAL: Duration = Duration::from_secs(25);

/// The task of one stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) number: u64,
    pub(super) dialer: Arc<Dialer>,
    pub(super) target: String,
    /// How much longer than the ping interval the broker may be silent.
    pub(super) grace: Duration,
    pub(super) pushed: mpsc::Sender<(u64, Pushed)>,
}

impl Stream {
    /// Passes on what comes, until the stream ends. While nobody takes it nothing is read.
    pub(super) async fn run(self) {
        let end = match self.pass_on().await {
            Ok(()) => return,
            Err(NotOpened::Refused(answer)) => match answer.refusal() {
                Ok(refusal) => Pushed::Refused(refusal),
                Err(loss) => Pushed::Lost(loss),
            },
            Err(NotOpened::Lost(loss)) => Pushed::Lost(loss),
        };
        // An error means that the link has ended.
        self.pushed.send((self.number, end)).await.ok();
    }

    async fn pass_on(&self) -> Result<(), NotOpened> {
        let opened = async {
            let connection = self.dialer.open().await.map_err(Loss::from)?;
            OpenStream::open(&self.dialer, connection, &self.target).await
        };
        let silence_max = PING_INTERVAL + self.grace;
        let mut stream = timeout(silence_max, opened).await.map_err(|_| silent())??;
        let mut silence_max = silence_max;
        loop {
            let event = stream.next(silence_max).await?;
            if let Some(interval) = ping_interval(&event) {
                silence_max = interval.saturating_add(self.grace);
            }
            let Some(pushed) = meaning(&event, stream.events.retry_ms())? else { continue };
            if self.pushed.send((self.number, pushed)).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// A stream whose head has come.
#[derive(Debug)]
pub(super) struct OpenStream {
    /// The connection ends with it.
    _connection: HttpConnection,
    body: Incoming,
    events: EventStream,
    ready: VecDeque<StreamEvent>,
}

/// Why there is no stream, or none any more.
#[derive(Debug)]
pub(super) enum NotOpened {
    /// The answer is no stream.
    Refused(Box<Answer>),
    Lost(Loss),
}

impl From<Loss> for NotOpened {
    fn from(loss: Loss) -> Self {
        Self::Lost(loss)
    }
}

fn silent() -> Loss {
    Loss::without_code("the broker fell silent")
}

impl OpenStream {
    /// Asks for a stream on a connection.
    pub(super) async fn open(
        dialer: &Dialer,
        mut connection: HttpConnection,
        target: &str,
    ) -> Result<Self, NotOpened> {
        let question = Question::get(target, "text/event-stream");
        let response = connection.ask(dialer, &question).await.map_err(|error| match error {
            Unanswered::NotSent => Loss::without_code("the connection was closed at once"),
            Unanswered::Lost(loss) => loss,
        })?;
        let is_stream = content_type(response.headers()) == "text/event-stream";
        if response.status() != 200 || !is_stream {
            return Err(NotOpened::Refused(Box::new(Answer::read(response).await?)));
        }
        let (events, ready) = (EventStream::default(), VecDeque::new());
        Ok(Self { _connection: connection, body: response.into_body(), events, ready })
    }

    /// The next event. Heartbeats are none, but end the silence.
    pub(super) async fn next(&mut self, silence_max: Duration) -> Result<StreamEvent, Loss> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let bytes = timeout(silence_max, self.bytes()).await.map_err(|_| silent())??;
            let mut events = Vec::new();
            let read = self.events.read(&bytes, &mut events);
            read.map_err(|error| Loss::without_code(error.to_string()))?;
            self.ready.extend(events);
        }
    }

    async fn bytes(&mut self) -> Result<Bytes, Loss> {
        match self.body.frame().await {
            Some(Ok(frame)) => Ok(frame.into_data().unwrap_or_default()),
            Some(Err(error)) => Err(Loss::without_code(error.to_string())),
            None => Err(Loss::without_code("the stream ended")),
        }
    }
}

/// What an event means to the link; `None` for one that this version does not know.
fn meaning(event: &StreamEvent, retry_ms: Option<u64>) -> Result<Option<Pushed>, Loss> {
    let StreamEvent { name, data } = event;
    let strange = || Loss::without_code(format!("an event `{name}` cannot be read"));
    let pushed = match name.as_str() {
        "subscribed" => {
            let Subscribed { topic, pattern, .. } =
                serde_json::from_str(data).map_err(|_| strange())?;
            let filter = topic.or(pattern).ok_or_else(strange)?;
            match reply_with(0, "subscribe", data.as_bytes())? {
                ServerFrame::Reply(Reply { result: Ok(body), .. }) => {
                    Pushed::Begun { filter, body }
                }
                _ => return Err(strange()),
            }
        }
        "message" => {
            let decoded = ServerFrame::decode(Codec::Json, data.as_bytes());
            match decoded.map_err(|_| strange())? {
                ServerFrame::Message(message) => Pushed::Message(message),
                _ => return Err(strange()),
            }
        }
        "gap" => {
            let gap: Gap = serde_json::from_str(data).map_err(|_| strange())?;
            if !(1..=gap.to).contains(&gap.from) {
                return Err(strange());
            }
            Pushed::Event(Event::Gap(gap))
        }
        "snapshot" => {
            let end = serde_json::from_str(data).map_err(|_| strange())?;
            Pushed::Event(Event::Snapshot(end))
        }
        "close" => {
            let Close { code, reason } = serde_json::from_str(data).map_err(|_| strange())?;
            let loss = Loss::with_code(CloseCode(code), reason);
            let asks_back = loss.code == Some(CloseCode::SERVICE_RESTART);
            let retry_in = retry_ms.filter(|_| asks_back).map(Duration::from_millis);
            Pushed::Lost(Loss { retry_in: retry_in.map(|wait| wait.min(RETRY_MAX)), ..loss })
        }
        _ => return Ok(None),
    };
    Ok(Some(pushed))
}

/// How often the broker gives a sign of life, if the event says so.
fn ping_interval(event: &StreamEvent) -> Option<Duration> {
    let data = (event.name == "subscribed").then_some(&event.data)?;
    let Subscribed { ping_interval_ms, .. } = serde_json::from_str(data).ok()?;
    ping_interval_ms.map(Duration::from_millis)
}

/// The fields of a `subscribed` event that a reply does not have.
#[derive(Deserialize)]
struct Subscribed {
    topic: Option<String>,
    pattern: Option<String>,
    ping_interval_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Close {
    code: u16,
    #[serde(default)]
    reason: String,
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::{MessagePush, PatternSubscribed, Payload, ReplyBody};

    use super::*;

    fn read(name: &str, data: &str) -> Result<Option<Pushed>, Loss> {
        meaning(&StreamEvent { name: name.to_owned(), data: data.to_owned() }, Some(2_000))
    }

    #[test]
    fn messages_and_gaps_are_those_of_the_sdk_protocol() {
        let message = read("message", r#"{"topic":"a","offset":7,"prev":5,"text":"x"}"#);
        let expected = MessagePush {
            topic: "a".to_owned(),
            offset: 7,
            prev: Some(5),
            payload: Payload::text("x"),
        };
        assert!(matches!(message, Ok(Some(Pushed::Message(push))) if push == expected));
        let gap = read("gap", r#"{"event":"gap","topic":"a","epoch":"k3","from":2,"to":4}"#);
        let expected = Gap { topic: "a".to_owned(), epoch: "k3".to_owned(), from: 2, to: 4 };
        assert!(matches!(gap, Ok(Some(Pushed::Event(Event::Gap(gap)))) if gap == expected));
    }

    #[test]
    fn a_subscription_begins_with_the_reply_of_the_sdk_protocol() {
        let data = r#"{"topic":"a","epoch":"k3","offset":57,"recovered":true,"mode":"all"}"#;
        match read("subscribed", data) {
            Ok(Some(Pushed::Begun { filter, body: ReplyBody::Subscribe(subscribed) })) => {
                assert_eq!((filter.as_str(), subscribed.offset), ("a", 57));
                assert!(subscribed.recovered);
            }
            other => panic!("{other:?}"),
        }
        match read("subscribed", r#"{"pattern":"a.*","topics":3}"#) {
            Ok(Some(Pushed::Begun { filter, body: ReplyBody::SubscribePattern(subscribed) })) => {
                assert_eq!(filter, "a.*");
                assert_eq!(subscribed, PatternSubscribed { topics: 3, ..Default::default() });
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_a_restart_says_when_to_come_back() {
        for (code, wait) in [(1012, Some(Duration::from_secs(2))), (3000, None)] {
            match read("close", &format!(r#"{{"code":{code},"reason":"r"}}"#)) {
                Ok(Some(Pushed::Lost(loss))) => {
                    assert_eq!((loss.code, loss.retry_in), (Some(CloseCode(code)), wait));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_is_unknown_is_passed_over_and_what_is_broken_is_not() {
        assert!(matches!(read("weather", "rain"), Ok(None)));
        for (name, data) in [
            ("message", "x"),
            ("message", r#"{"id":1,"error":{"code":"x","message":"","retry":false}}"#),
            ("subscribed", "{}"),
            ("subscribed", r#"{"topic":"a"}"#),
            ("gap", r#"{"topic":"a","epoch":"k3","from":4,"to":2}"#),
            ("close", "{}"),
        ] {
            assert!(read(name, data).is_err(), "{name} {data}");
        }
    }
}
