//! The command `publish`.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::bad_request;
use crate::limits::KEY_BYTES_MAX;
use crate::msgpack::BlobRef;
use crate::payload::{Payload, PayloadKind, base64};
use crate::reply::ErrorReply;
use crate::transcode::FromJson;

/// The fields of `publish`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The topic's name, not yet checked.
    pub topic: String,
    /// Names this message, in 1 to [`KEY_BYTES_MAX`] bytes, so that it is published once however
    /// often it is sent.
    pub key: Option<String>,
    /// `data`, `text`, or `base64` (JSON) or `bin` (MessagePack).
    pub payload: Payload,
}

impl Publish {
    /// Without a key: each time it is sent a message is published.
    #[must_use]
    pub fn new(topic: impl Into<String>, payload: Payload) -> Self {
        Self { topic: topic.into(), key: None, payload }
    }

    /// Reads one line of a batch that is published over HTTP: the fields as JSON, by the rules of
    /// the command.
    ///
    /// # Errors
    /// `bad_request`, telling what is allowed.
    pub fn from_json(line: &[u8]) -> Result<Self, ErrorReply> {
        crate::client_frame::decode_publish(line)
    }

    /// Checks the key, not the topic.
    ///
    /// # Errors
    /// `bad_request`, telling what is allowed.
    pub fn check(&self) -> Result<(), ErrorReply> {
        match self.key.as_ref().map(String::len) {
            None | Some(1..=KEY_BYTES_MAX) => Ok(()),
            Some(bytes) => Err(bad_request(format_args!(
                "`key` has {bytes} bytes; 1 to {KEY_BYTES_MAX} are allowed"
            ))),
        }
    }
}

impl Serialize for Publish {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let human_readable = serializer.is_human_readable();
        let mut map = serializer.serialize_map(Some(2 + usize::from(self.key.is_some())))?;
        map.serialize_entry("topic", &self.topic)?;
        if let Some(key) = &self.key {
            map.serialize_entry("key", key)?;
        }
        match (self.payload.kind(), human_readable) {
            (PayloadKind::Json, true) => {
                let raw: &RawValue =
                    self.payload.parse_json().map_err(serde::ser::Error::custom)?;
                map.serialize_entry("data", raw)?;
            }
            (PayloadKind::Json, false) => {
                map.serialize_entry("data", &FromJson(self.payload.bytes()))?;
            }
            (PayloadKind::Text, _) => map.serialize_entry("text", &self.payload.as_text())?,
            (PayloadKind::Binary, true) => {
                map.serialize_entry("base64", &base64(self.payload.bytes()))?;
            }
            (PayloadKind::Binary, false) => {
                map.serialize_entry("bin", &BlobRef(self.payload.bytes()))?;
            }
        }
        map.end()
    }
}
