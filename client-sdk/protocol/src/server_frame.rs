//! How a client reads one frame of the broker.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::codec::{Codec, FrameError};
use crate::command::Mode;
use crate::event::{Event, Gap};
use crate::history::{HistoryMessage, HistoryPage};
use crate::message::MessagePush;
use crate::msgpack::{self, Blob};
use crate::payload::{Payload, PayloadKind, from_base64, nullable_field};
use crate::reply::{
    Connected, ErrorReply, PatternSubscribed, PresenceList, Published, Reply, ReplyBody,
    Subscribed, Unsubscribed,
};
use crate::transcode::TranscodedJson;

/// One frame from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFrame {
    /// The answer to a command.
    Reply(Reply),
    /// A message of a subscription.
    Message(MessagePush),
    /// Anything else that the broker tells.
    Event(Event),
}

impl ServerFrame {
    /// Reads the content of one frame. Fields that this version does not know are passed over,
    /// so that a newer broker can say more.
    ///
    /// # Errors
    /// [`FrameError`] if the frame is not valid in `codec` or is none of the three kinds: the
    /// broker's fault, or that of something between.
    pub fn decode(codec: Codec, frame: &[u8]) -> Result<Self, FrameError> {
        // serde would take an array of the fields as well.
        let is_map = match codec {
            Codec::Json => frame.trim_ascii_start().first() == Some(&b'{'),
            Codec::MsgPack => msgpack::is_map(frame),
        };
        if !is_map {
            return Err(FrameError::malformed(EXPECTED, "it is no object"));
        }
        match codec {
            Codec::Json => read::<Incoming<JsonText>>(codec, frame)?.resolve(codec, frame),
            Codec::MsgPack => read::<Incoming<TranscodedJson>>(codec, frame)?.resolve(codec, frame),
        }
    }
}

const EXPECTED: &str = "a reply, a message or an event";

fn read<'a, T: Deserialize<'a>>(codec: Codec, frame: &'a [u8]) -> Result<T, FrameError> {
    match codec {
        Codec::Json => {
            serde_json::from_slice(frame).map_err(|e| FrameError::malformed(EXPECTED, e))
        }
        Codec::MsgPack => {
            msgpack::from_slice(frame).map_err(|e| FrameError::malformed(EXPECTED, e))
        }
    }
}

/// The event `name` in `frame`. Only for a known name are the fields looked at, because another
/// event may use the same names for something else.
fn event(name: &str, codec: Codec, frame: &[u8]) -> Result<Event, FrameError> {
    match name {
        "ping" => read(codec, frame).map(Event::Ping),
        "gap" => read(codec, frame).and_then(checked_gap),
        "snapshot" => read(codec, frame).map(Event::Snapshot),
        "presence" => read(codec, frame).map(Event::Presence),
        "drain" => read(codec, frame).map(Event::Drain),
        _ => Ok(Event::Unknown),
    }
}

fn checked_gap(gap: Gap) -> Result<Event, FrameError> {
    if (1..=gap.to).contains(&gap.from) {
        Ok(Event::Gap(gap))
    } else {
        Err(FrameError::malformed("a gap", "`from` must be at least 1 and at most `to`"))
    }
}

/// The content of a JSON payload, as text.
trait JsonPayload {
    fn into_json(self) -> Vec<u8>;
}

/// JSON as it stands in a frame.
struct JsonText(Box<RawValue>);

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self)
    }
}

impl JsonPayload for JsonText {
    fn into_json(self) -> Vec<u8> {
        Box::<str>::from(self.0).into_boxed_bytes().into_vec()
    }
}

impl JsonPayload for TranscodedJson {
    fn into_json(self) -> Vec<u8> {
        self.0
    }
}

/// Every field that a frame of the broker may have.
#[derive(Deserialize)]
struct Incoming<J> {
    id: Option<u64>,
    connect: Option<Connected>,
    subscribe: Option<IncomingSubscribed>,
    unsubscribe: Option<Unsubscribed>,
    publish: Option<Published>,
    #[serde(bound(deserialize = "J: Deserialize<'de>"))]
    history: Option<IncomingPage<J>>,
    presence: Option<PresenceList>,
    error: Option<ErrorReply>,
    topic: Option<String>,
    offset: Option<u64>,
    prev: Option<u64>,
    #[serde(
        default = "Option::default",
        deserialize_with = "nullable_field",
        bound(deserialize = "J: Deserialize<'de>")
    )]
    data: Option<J>,
    text: Option<String>,
    base64: Option<String>,
    bin: Option<Blob>,
    event: Option<String>,
}

impl<J: JsonPayload> Incoming<J> {
    fn resolve(self, codec: Codec, frame: &[u8]) -> Result<ServerFrame, FrameError> {
        if let Some(id) = self.id {
            return Ok(ServerFrame::Reply(Reply { id, result: self.result()? }));
        }
        if let Some(name) = self.event {
            return event(&name, codec, frame).map(ServerFrame::Event);
        }
        let (Some(topic), Some(offset)) = (self.topic, self.offset) else {
            return Err(FrameError::malformed(EXPECTED, "it has no `id`, `event` or `topic`"));
        };
        let payload = payload(self.data, self.text, self.base64, self.bin)?;
        Ok(ServerFrame::Message(MessagePush { topic, offset, prev: self.prev, payload }))
    }

    fn result(self) -> Result<Result<ReplyBody, ErrorReply>, FrameError> {
        let bodies = [
            self.connect.map(ReplyBody::Connect),
            self.subscribe.map(IncomingSubscribed::resolve).transpose()?,
            self.unsubscribe.map(ReplyBody::Unsubscribe),
            self.publish.map(ReplyBody::Publish),
            self.history.map(IncomingPage::resolve).transpose()?,
            self.presence.map(ReplyBody::Presence),
        ];
        match (bodies.into_iter().flatten().next(), self.error) {
            (Some(body), None) => Ok(Ok(body)),
            (None, Some(error)) => Ok(Err(error)),
            _ => Err(FrameError::malformed("a reply", "it needs a result or an error")),
        }
    }
}

/// The fields of both answers to `subscribe`.
#[derive(Deserialize)]
struct IncomingSubscribed {
    epoch: Option<String>,
    offset: Option<u64>,
    recovered: Option<bool>,
    #[serde(default)]
    snapshot: bool,
    topics: Option<u64>,
    #[serde(default)]
    mode: Mode,
}

impl IncomingSubscribed {
    fn resolve(self) -> Result<ReplyBody, FrameError> {
        let Self { snapshot, mode, .. } = self;
        match (self.epoch, self.offset, self.recovered, self.topics) {
            (Some(epoch), Some(offset), Some(recovered), None) => {
                Ok(ReplyBody::Subscribe(Subscribed { epoch, offset, recovered, mode, snapshot }))
            }
            (None, None, None, Some(topics)) => {
                Ok(ReplyBody::SubscribePattern(PatternSubscribed { topics, mode }))
            }
            _ => Err(FrameError::malformed(
                "a reply to `subscribe`",
                "it needs `epoch`, `offset` and `recovered`, or `topics`",
            )),
        }
    }
}

#[derive(Deserialize)]
struct IncomingPage<J> {
    epoch: String,
    offset: u64,
    recovered: bool,
    more: bool,
    #[serde(bound(deserialize = "J: Deserialize<'de>"))]
    messages: Vec<IncomingMessage<J>>,
}

impl<J: JsonPayload> IncomingPage<J> {
    fn resolve(self) -> Result<ReplyBody, FrameError> {
        let Self { epoch, offset, recovered, more, messages } = self;
        let messages = messages.into_iter().map(IncomingMessage::resolve).collect::<Result<_, _>>();
        Ok(ReplyBody::History(HistoryPage { epoch, offset, recovered, more, messages: messages? }))
    }
}

#[derive(Deserialize)]
struct IncomingMessage<J> {
    offset: u64,
    prev: Option<u64>,
    #[serde(
        default = "Option::default",
        deserialize_with = "nullable_field",
        bound(deserialize = "J: Deserialize<'de>")
    )]
    data: Option<J>,
    text: Option<String>,
    base64: Option<String>,
    bin: Option<Blob>,
}

impl<J: JsonPayload> IncomingMessage<J> {
    fn resolve(self) -> Result<HistoryMessage, FrameError> {
        let payload = payload(self.data, self.text, self.base64, self.bin)?;
        Ok(HistoryMessage { offset: self.offset, prev: self.prev, payload })
    }
}

fn payload(
    data: Option<impl JsonPayload>,
    text: Option<String>,
    base64: Option<String>,
    bin: Option<Blob>,
) -> Result<Payload, FrameError> {
    match (data, text, base64, bin) {
        (Some(data), None, None, None) => {
            Ok(Payload::from_checked(PayloadKind::Json, data.into_json().into()))
        }
        (None, Some(text), None, None) => Ok(Payload::text(text)),
        (None, None, Some(encoded), None) => from_base64(&encoded)
            .map(Payload::binary)
            .map_err(|e| FrameError::malformed("base64", e)),
        (None, None, None, Some(blob)) => Ok(Payload::binary(blob.0)),
        _ => Err(FrameError::malformed("a message", "it needs exactly one payload")),
    }
}
