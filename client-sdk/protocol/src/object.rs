//! Objects written field by field, the same in either codec, so that a payload stands in them as
//! it was published.

use serde::Serialize;

use crate::codec::Codec;
use crate::msgpack::BlobRef;
use crate::payload::{Payload, PayloadKind, base64};
use crate::transcode::FromJson;

/// Writes one object, or map, to the end of a buffer. The names of fields are plain ASCII.
pub(crate) struct Object<'a> {
    codec: Codec,
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    /// The most fields of an object: a MessagePack map of up to 15 begins with one byte.
    const FIELDS_MAX: u8 = 15;

    /// Begins an object of exactly `fields` fields, at most 15.
    pub(crate) fn begin(codec: Codec, fields: u8, out: &'a mut Vec<u8>) -> Self {
        debug_assert!(fields <= Self::FIELDS_MAX);
        match codec {
            Codec::Json => out.push(b'{'),
            Codec::MsgPack => out.push(0x80 | fields),
        }
        Self { codec, out, is_empty: true }
    }

    /// Writes one field.
    pub(crate) fn field(&mut self, name: &str, value: &impl Serialize) {
        let codec = self.codec;
        codec.encode(value, self.name(name));
    }

    /// Writes the name of a field and gives the buffer for its value.
    pub(crate) fn name(&mut self, name: &str) -> &mut Vec<u8> {
        match self.codec {
            Codec::Json => {
                if !self.is_empty {
                    self.out.push(b',');
                }
                self.out.push(b'"');
                self.out.extend_from_slice(name.as_bytes());
                self.out.extend_from_slice(b"\":");
            }
            Codec::MsgPack => self.codec.encode(&name, self.out),
        }
        self.is_empty = false;
        self.out
    }

    /// Writes a payload under the name of its kind.
    pub(crate) fn payload(&mut self, payload: &Payload) {
        match (payload.kind(), self.codec) {
            (PayloadKind::Json, Codec::Json) => {
                self.name("data").extend_from_slice(payload.bytes());
            }
            (PayloadKind::Json, Codec::MsgPack) => self.field("data", &FromJson(payload.bytes())),
            (PayloadKind::Text, _) => self.field("text", &payload.as_text()),
            (PayloadKind::Binary, Codec::Json) => {
                let out = self.name("base64");
                out.push(b'"');
                out.extend_from_slice(base64(payload.bytes()).as_bytes());
                out.push(b'"');
            }
            (PayloadKind::Binary, Codec::MsgPack) => self.field("bin", &BlobRef(payload.bytes())),
        }
    }

    /// Ends the object.
    pub(crate) fn end(self) {
        if self.codec == Codec::Json {
            self.out.push(b'}');
        }
    }
}
