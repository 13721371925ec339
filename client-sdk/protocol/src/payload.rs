//! What a message carries: bytes and what they are. Owns the validity rules of each kind.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};

use crate::json;

/// What the bytes of a payload are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PayloadKind {
    /// One JSON value, checked once and then embedded as it stands.
    Json,
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

/// The content of one message. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Payload {
    kind: PayloadKind,
    bytes: Bytes,
}

impl Payload {
    /// A JSON payload, if `bytes` is one JSON value nested at most
    /// [`PAYLOAD_DEPTH_MAX`](crate::limits::PAYLOAD_DEPTH_MAX) deep, its numbers in the range of
    /// a double and its strings without lone surrogates (I-JSON, RFC 7493).
    #[must_use]
    pub fn json(bytes: impl Into<Bytes>) -> Option<Self> {
        let bytes = bytes.into();
        json::check(&bytes).is_ok().then_some(Self { kind: PayloadKind::Json, bytes })
    }

    /// A text payload.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { kind: PayloadKind::Text, bytes: Bytes::from(text.into()) }
    }

    /// A binary payload.
    #[must_use]
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self { kind: PayloadKind::Binary, bytes: bytes.into() }
    }

    /// What a text frame of the raw stream is: JSON where it is valid JSON, text otherwise.
    #[must_use]
    pub fn kind_of_text(text: &str) -> PayloadKind {
        if json::check(text.as_bytes()).is_ok() { PayloadKind::Json } else { PayloadKind::Text }
    }

    /// Takes `bytes` as `kind` without checking them again.
    ///
    /// The caller has checked: JSON with [`Self::kind_of_text`] or a parser, text as UTF-8. A
    /// wrong kind is not unsafe, but would put invalid frames on the wire.
    #[must_use]
    pub fn from_checked(kind: PayloadKind, bytes: Bytes) -> Self {
        debug_assert!(kind == PayloadKind::Binary || std::str::from_utf8(&bytes).is_ok());
        Self { kind, bytes }
    }

    /// What the bytes are.
    #[must_use]
    pub fn kind(&self) -> PayloadKind {
        self.kind
    }

    /// The bytes as they were published.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes as text; `None` for a binary payload.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self.kind {
            PayloadKind::Json | PayloadKind::Text => std::str::from_utf8(&self.bytes).ok(),
            PayloadKind::Binary => None,
        }
    }

    /// Reads a JSON payload into a type; an error for text and binary payloads.
    pub fn parse_json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.bytes)
    }
}

/// Reads a field whose `null` is a value of its own, unlike one that is missing.
pub(crate) fn nullable_field<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn from_base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    STANDARD.decode(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PAYLOAD_DEPTH_MAX;

    #[test]
    fn a_text_frame_is_json_only_if_it_parses() {
        for json in ["{\"p\":187.2}", "1", "null", "\"a\"", " [1, 2] "] {
            assert_eq!(Payload::kind_of_text(json), PayloadKind::Json, "{json}");
        }
        for text in ["", "hello", "{\"p\":", "{} {}", "NaN", "'a'", "1e400", r#""\ud800""#] {
            assert_eq!(Payload::kind_of_text(text), PayloadKind::Text, "{text}");
        }
    }

    #[test]
    fn json_nested_too_deep_is_refused() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Payload::json(nested(PAYLOAD_DEPTH_MAX)).is_some());
        assert!(Payload::json(nested(PAYLOAD_DEPTH_MAX + 1)).is_none());
    }
}
