//! The answer to `history`: a page of the messages that a topic keeps.

use crate::codec::Codec;
use crate::msgpack;
use crate::object::Object;
use crate::payload::Payload;

/// Some of the messages that a topic keeps, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// The life of the topic's sequence.
    pub epoch: String,
    /// The offset of the topic's newest message, 0 if there is none.
    pub offset: u64,
    /// Whether everything after the position that was asked for is still kept. Never if no
    /// position was asked for.
    pub recovered: bool,
    /// Whether there are messages behind the last one of this page: ask again after that one.
    pub more: bool,
    /// The messages. Fewer than were asked for where a page's bytes are used up; `more` tells.
    pub messages: Vec<HistoryMessage>,
}

/// A message in a page of history, whose topic goes without saying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryMessage {
    /// Its place in the topic's sequence.
    pub offset: u64,
    /// The place of the message before it, where that is not `offset - 1`.
    pub prev: Option<u64>,
    /// The content.
    pub payload: Payload,
}

impl HistoryPage {
    /// Appends this page, as an object, to `out`.
    pub fn encode(&self, codec: Codec, out: &mut Vec<u8>) {
        let mut page = Object::begin(codec, 5, out);
        page.field("epoch", &self.epoch);
        page.field("offset", &self.offset);
        page.field("recovered", &self.recovered);
        page.field("more", &self.more);
        encode_messages(&self.messages, codec, page.name("messages"));
        page.end();
    }
}

fn encode_messages(messages: &[HistoryMessage], codec: Codec, out: &mut Vec<u8>) {
    match codec {
        Codec::Json => {
            out.push(b'[');
            for (i, message) in messages.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                message.encode(codec, out);
            }
            out.push(b']');
        }
        Codec::MsgPack => {
            msgpack::write_array_header(messages.len(), out);
            messages.iter().for_each(|message| message.encode(codec, out));
        }
    }
}

impl HistoryMessage {
    fn encode(&self, codec: Codec, out: &mut Vec<u8>) {
        let mut message = Object::begin(codec, 2 + u8::from(self.prev.is_some()), out);
        message.field("offset", &self.offset);
        if let Some(prev) = self.prev {
            message.field("prev", &prev);
        }
        message.payload(&self.payload);
        message.end();
    }
}
