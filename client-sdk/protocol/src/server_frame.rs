//! How a client reads one frame of the broker.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::codec::{Codec, FrameError};
use crate::msgpack::{self, Blob};
use crate::payload::{Payload, PayloadKind, nullable_field};
use crate::push::{Event, Gap, MessagePush};
use crate::reply::{Connected, ErrorReply, Position, Reply, ReplyBody, Subscribed, Unsubscribed};
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
            Codec::Json => {
                let incoming: Incoming<Box<RawValue>> = serde_json::from_slice(frame)
                    .map_err(|e| FrameError::malformed(EXPECTED, e))?;
                let gap = || serde_json::from_slice(frame).map_err(|e| e.to_string());
                incoming.resolve(|data| Box::<str>::from(data).into_boxed_bytes().into_vec(), gap)
            }
            Codec::MsgPack => {
                let incoming: Incoming<TranscodedJson> =
                    msgpack::from_slice(frame).map_err(|e| FrameError::malformed(EXPECTED, e))?;
                incoming.resolve(|data| data.0, || msgpack::from_slice(frame))
            }
        }
    }
}

const EXPECTED: &str = "a reply, a message or an event";

/// The event `name`; `gap` reads the frame's fields as those of a gap. Only then are they looked
/// at, because another event may use the same names for something else.
fn event(name: &str, gap: impl FnOnce() -> Result<Gap, String>) -> Result<Event, FrameError> {
    let malformed = |detail: &str| FrameError::malformed("a gap", detail);
    match name {
        "ping" => Ok(Event::Ping),
        "gap" => match gap() {
            Ok(gap) if (1..=gap.to).contains(&gap.from) => Ok(Event::Gap(gap)),
            Ok(_) => Err(malformed("`from` must be at least 1 and at most `to`")),
            Err(detail) => Err(malformed(&detail)),
        },
        _ => Ok(Event::Unknown),
    }
}

/// Every field that a frame of the broker may have.
#[derive(Deserialize)]
struct Incoming<D> {
    id: Option<u64>,
    connect: Option<Connected>,
    subscribe: Option<Subscribed>,
    unsubscribe: Option<Unsubscribed>,
    publish: Option<Position>,
    error: Option<ErrorReply>,
    topic: Option<String>,
    offset: Option<u64>,
    prev: Option<u64>,
    #[serde(
        default = "Option::default",
        deserialize_with = "nullable_field",
        bound(deserialize = "D: Deserialize<'de>")
    )]
    data: Option<D>,
    text: Option<String>,
    base64: Option<String>,
    bin: Option<Blob>,
    event: Option<String>,
}

impl<D> Incoming<D> {
    fn resolve(
        self,
        json: impl FnOnce(D) -> Vec<u8>,
        gap: impl FnOnce() -> Result<Gap, String>,
    ) -> Result<ServerFrame, FrameError> {
        if let Some(id) = self.id {
            return Ok(ServerFrame::Reply(Reply { id, result: self.result()? }));
        }
        if let Some(name) = self.event {
            return event(&name, gap).map(ServerFrame::Event);
        }
        let (Some(topic), Some(offset)) = (self.topic, self.offset) else {
            return Err(FrameError::malformed(EXPECTED, "it has no `id`, `event` or `topic`"));
        };
        let payload = match (self.data, self.text, self.base64, self.bin) {
            (Some(data), None, None, None) => {
                Payload::from_checked(PayloadKind::Json, json(data).into())
            }
            (None, Some(text), None, None) => Payload::text(text),
            (None, None, Some(encoded), None) => Payload::binary(
                crate::push::from_base64(&encoded)
                    .map_err(|e| FrameError::malformed("base64", e))?,
            ),
            (None, None, None, Some(blob)) => Payload::binary(blob.0),
            _ => return Err(FrameError::malformed("a message", "it needs exactly one payload")),
        };
        Ok(ServerFrame::Message(MessagePush { topic, offset, prev: self.prev, payload }))
    }

    fn result(self) -> Result<Result<ReplyBody, ErrorReply>, FrameError> {
        let bodies = [
            self.connect.map(ReplyBody::Connect),
            self.subscribe.map(ReplyBody::Subscribe),
            self.unsubscribe.map(ReplyBody::Unsubscribe),
            self.publish.map(ReplyBody::Publish),
        ];
        match (bodies.into_iter().flatten().next(), self.error) {
            (Some(body), None) => Ok(Ok(body)),
            (None, Some(error)) => Ok(Err(error)),
            _ => Err(FrameError::malformed("a reply", "it needs a result or an error")),
        }
    }
}
