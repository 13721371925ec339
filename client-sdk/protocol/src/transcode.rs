//! JSON values passed between JSON and MessagePack without a tree in between.
//!
//! The two say the same values, save that MessagePack knows more: what JSON cannot say is refused,
//! never changed in silence.

use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::json::too_deep;
use crate::limits::PAYLOAD_DEPTH_MAX;

/// JSON, written as the value that it says.
pub(crate) struct FromJson<'a>(pub(crate) &'a [u8]);

impl Serialize for FromJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut json = serde_json::Deserializer::from_slice(self.0);
        serde_transcode::transcode(&mut json, serializer)
    }
}

/// A MessagePack value, read as the JSON that says the same, at most [`PAYLOAD_DEPTH_MAX`] deep.
#[derive(Debug)]
pub(crate) struct TranscodedJson(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for TranscodedJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut json = Vec::new();
        Writer { out: &mut json, before: "", depth_left: PAYLOAD_DEPTH_MAX }
            .deserialize(deserializer)?;
        Ok(Self(json))
    }
}

/// Writes the next value as JSON, with `before` in front of it.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    before: &'static str,
    depth_left: usize,
}

impl Writer<'_> {
    fn scalar<E: de::Error>(self, value: impl Serialize) -> Result<(), E> {
        serde_json::to_writer(self.out, &value).map_err(E::custom)
    }

    fn number<E: de::Error>(self, value: impl Serialize, is_finite: bool) -> Result<(), E> {
        if is_finite { self.scalar(value) } else { Err(E::custom("it holds NaN or an infinity")) }
    }
}

impl<'de> DeserializeSeed<'de> for Writer<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.out.extend_from_slice(self.before.as_bytes());
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Writer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nil, a boolean, a number, UTF-8 text, an array or a map with text keys")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.scalar(())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.scalar(value)
    }

    /// Written with the digits that name it among 32-bit floats: 1.1, not 1.10000002384….
    fn visit_f32<E: de::Error>(self, value: f32) -> Result<(), E> {
        self.number(value, value.is_finite())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.number(value, value.is_finite())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(too_deep)?;
        self.out.push(b'[');
        let mut before = "";
        while seq.next_element_seed(Writer { out: self.out, before, depth_left })?.is_some() {
            before = ",";
        }
        self.out.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(too_deep)?;
        self.out.push(b'{');
        let mut before = "";
        while map.next_key_seed(Key { out: self.out, before })?.is_some() {
            map.next_value_seed(Writer { out: self.out, before: ":", depth_left })?;
            before = ",";
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// Writes the next key of a map as JSON.
struct Key<'a> {
    out: &'a mut Vec<u8>,
    before: &'static str,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text as the key of a map")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<(), E> {
        self.out.extend_from_slice(self.before.as_bytes());
        serde_json::to_writer(self.out, key).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgpack;

    fn to_json(bytes: &[u8]) -> Result<String, String> {
        let json = msgpack::from_slice::<TranscodedJson>(bytes)?;
        String::from_utf8(json.0).map_err(|e| e.to_string())
    }

    fn to_msgpack(json: &str) -> Vec<u8> {
        rmp_serde::to_vec(&FromJson(json.as_bytes())).unwrap()
    }

    #[test]
    fn every_json_value_comes_back_as_it_was() {
        for json in [
            "null",
            "true",
            "-129",
            "18446744073709551615",
            "-9223372036854775808",
            "187.23",
            "-0.0",
            "5e-324",
            r#"["a",[],{},{"b":null,"a":"\"\\\n"}]"#,
        ] {
            assert_eq!(to_json(&to_msgpack(json)).as_deref(), Ok(json));
        }
    }

    #[test]
    fn a_short_float_keeps_its_digits() {
        assert_eq!(to_json(&[0xca, 0x3f, 0x8c, 0xcc, 0xcd]).as_deref(), Ok("1.1"));
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        for (bytes, reason) in [
            (&[0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0][..], "NaN"),
            (&[0x91, 0xca, 0xff, 0x80, 0, 0], "infinity"),
            (&[0xc4, 1, 0xff], "byte array"),
            (&[0xa1, 0xff], "utf8"),
            (&[0xd4, 5, 0], "newtype"),
            (&[0xd6, 0xff, 0, 0, 0, 0], "newtype"),
            (&[0x81, 0x01, 0x02], "text as the key"),
            (&[0x81, 0xc0, 0x02], "text as the key"),
            (&[0x81, 0xc4, 1, b'a', 0x02], "text as the key"),
            (&[0x81, 0x90, 0x02], "text as the key"),
        ] {
            let error = to_json(bytes).unwrap_err();
            assert!(error.contains(reason), "{bytes:02x?} gave {error:?}");
        }
    }

    #[test]
    fn nesting_is_bounded_for_arrays_and_maps_alike() {
        let arrays = |n: usize| [vec![0x91; n], vec![0xc0]].concat();
        let maps = |n: usize| [[0x81, 0xa1, b'a'].repeat(n), vec![0xc0]].concat();
        for nested in [arrays, maps] {
            assert!(to_json(&nested(PAYLOAD_DEPTH_MAX)).is_ok());
            assert!(to_json(&nested(PAYLOAD_DEPTH_MAX + 1)).unwrap_err().contains("64 deep"));
            assert!(to_json(&nested(1_000_000)).is_err());
        }
    }
}
