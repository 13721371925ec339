//! Messages as a subscriber gets them.
//!
//! A message is encoded once and shared by every subscriber, so nothing of one subscriber is in
//! it.

use crate::codec::Codec;
use crate::object::Object;
use crate::payload::Payload;

/// A message as a subscriber gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessagePush {
    /// The topic's name.
    pub topic: String,
    /// Its place in the topic's sequence.
    pub offset: u64,
    /// The place of the message before it, where that is not `offset - 1`.
    pub prev: Option<u64>,
    /// The content.
    pub payload: Payload,
}

/// What stands before the payload of a message.
#[derive(Clone, Copy, Debug)]
pub struct MessageHead<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// Its place in the topic's sequence.
    pub offset: u64,
    /// The place of the message before it, where that is not `offset - 1`.
    pub prev: Option<u64>,
}

impl MessagePush {
    /// Appends this message, as one frame's content, to `out`.
    pub fn encode(&self, codec: Codec, out: &mut Vec<u8>) {
        let head = MessageHead { topic: &self.topic, offset: self.offset, prev: self.prev };
        head.encode(codec, &self.payload, out);
    }
}

impl MessageHead<'_> {
    /// Appends the message with this head and `payload`, as one frame's content, to `out`.
    pub fn encode(&self, codec: Codec, payload: &Payload, out: &mut Vec<u8>) {
        let mut message = Object::begin(codec, 3 + u8::from(self.prev.is_some()), out);
        message.field("topic", &self.topic);
        message.field("offset", &self.offset);
        if let Some(prev) = self.prev {
            message.field("prev", &prev);
        }
        message.payload(payload);
        message.end();
    }
}
