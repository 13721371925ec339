//! What JSON a payload may be. Owns the rules, not the payload.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::limits::PAYLOAD_DEPTH_MAX;

/// Checks that `json` is one JSON value (RFC 8259) that every subscriber can read, in either
/// codec: its strings are Unicode without lone surrogates and its numbers fit a double, as I-JSON
/// demands (RFC 7493 sections 2.1 and 2.2), and it is nested at most [`PAYLOAD_DEPTH_MAX`] deep.
pub(crate) fn check(json: &[u8]) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    Checked { depth_left: PAYLOAD_DEPTH_MAX }.deserialize(&mut deserializer)?;
    deserializer.end()
}

/// The error for a value that is nested too deep.
pub(crate) fn too_deep<E: Error>() -> E {
    E::custom(format_args!("it is nested over {PAYLOAD_DEPTH_MAX} deep, the most allowed"))
}

/// Reads a value and keeps nothing of it.
#[derive(Clone, Copy)]
struct Checked {
    depth_left: usize,
}

impl Checked {
    fn inside<E: Error>(self) -> Result<Self, E> {
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(too_deep)?;
        Ok(Self { depth_left })
    }
}

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // Not `deserialize_ignored_any`, which does not look into strings and numbers.
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while seq.next_element_seed(inside)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while map.next_key_seed(inside)?.is_some() {
            map.next_value_seed(inside)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        check(json.as_bytes()).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn every_kind_of_value_is_accepted() {
        for json in ["null", "true", "-1", "18446744073709551615", "-0.0", "1e308", r#""\u00e9""#] {
            assert_eq!(error(json), "", "{json}");
        }
        assert_eq!(error(r#" {"a":[1,{"b":null}],"":"\ud83c\udfba"} "#), "");
    }

    #[test]
    fn what_a_subscriber_could_not_read_is_refused() {
        for (json, reason) in [
            ("1e400", "out of range"),
            ("[-1e999]", "out of range"),
            (r#""\ud800""#, "escape"),
            (r#""\ud800\u0041""#, "surrogate"),
            (r#"{"\udc00":1}"#, "surrogate"),
            ("NaN", "expected"),
            ("1 2", "trailing"),
            ("", "EOF"),
            ("\"\u{1}\"", "control character"),
        ] {
            assert!(error(json).contains(reason), "{json} gave {:?}", error(json));
        }
        assert!(check(b"\"\xff\"").is_err());
    }

    #[test]
    fn nesting_is_bounded_for_arrays_and_objects_alike() {
        let arrays = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let objects = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
        for nested in [arrays, objects] {
            assert_eq!(error(&nested(PAYLOAD_DEPTH_MAX)), "");
            assert!(error(&nested(PAYLOAD_DEPTH_MAX + 1)).contains("nested over 64 deep"));
        }
        // Nothing here needs stack in proportion to the input.
        assert!(error(&arrays(1_000_000)).contains("nested over 64 deep"));
        assert!(error(&"[".repeat(1_000_000)).contains("nested over 64 deep"));
    }

    #[test]
    fn brackets_in_strings_do_not_nest() {
        assert_eq!(error(&format!("\"{}\"", "[{".repeat(1_000))), "");
    }
}
