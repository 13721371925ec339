//! What serde's MessagePack does not give: the bounds of one value inside a frame, and strictness
//! about what a frame may hold.

use std::fmt;

use rmp::Marker;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::PAYLOAD_DEPTH_MAX;

const TRUNCATED: &str = "the frame ends inside a value";

/// Reads one value, which must fill `bytes`.
pub(crate) fn from_slice<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    let (_, rest) = split_value(bytes)?;
    if !rest.is_empty() {
        return Err("bytes follow the value".to_owned());
    }
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    // Room for what stands around a payload, at most a message in the array of a page in a reply;
    // the payload's own depth is checked later.
    deserializer.set_max_depth(PAYLOAD_DEPTH_MAX + 8);
    T::deserialize(&mut deserializer).map_err(|e| e.to_string())
}

/// The length and content of an array, if `bytes` begin with one.
pub(crate) fn array_header(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut rest = bytes;
    let count = rmp::decode::read_array_len(&mut rest).ok()?;
    Some((usize::try_from(count).ok()?, rest))
}

/// Writes what begins an array of `count` values.
pub(crate) fn write_array_header(count: usize, out: &mut Vec<u8>) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    // Writing to memory does not fail.
    let written = rmp::encode::write_array_len(out, count);
    debug_assert!(written.is_ok());
}

/// Splits the first value off `bytes`. Works without recursion, so depth costs nothing here.
pub(crate) fn split_value(bytes: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let mut position = 0usize;
    let mut pending = 1usize;
    while pending > 0 {
        pending -= 1;
        let marker = Marker::from_u8(*bytes.get(position).ok_or(TRUNCATED)?);
        position += 1;
        let shape = Shape::of(marker, &bytes[position..])?;
        position = position.checked_add(shape.skip).ok_or(TRUNCATED)?;
        // Each child takes a byte at least, so more children than bytes is a lie.
        if position > bytes.len() || shape.children > bytes.len() {
            return Err(TRUNCATED);
        }
        pending = pending.checked_add(shape.children).ok_or(TRUNCATED)?;
    }
    Ok(bytes.split_at(position))
}

/// What follows a marker: bytes that belong to the value itself, and values inside it.
struct Shape {
    skip: usize,
    children: usize,
}

impl Shape {
    fn of(marker: Marker, rest: &[u8]) -> Result<Self, &'static str> {
        let length = |width: usize| -> Result<usize, &'static str> {
            let digits = rest.get(..width).ok_or(TRUNCATED)?;
            Ok(digits.iter().fold(0usize, |n, &digit| (n << 8) | usize::from(digit)))
        };
        let leaf = |skip| Ok(Self { skip, children: 0 });
        match marker {
            Marker::FixPos(_) | Marker::FixNeg(_) => leaf(0),
            Marker::Null | Marker::True | Marker::False => leaf(0),
            Marker::U8 | Marker::I8 => leaf(1),
            Marker::U16 | Marker::I16 | Marker::FixExt1 => leaf(2),
            Marker::U32 | Marker::I32 | Marker::F32 => leaf(4),
            Marker::U64 | Marker::I64 | Marker::F64 => leaf(8),
            Marker::FixExt2 => leaf(3),
            Marker::FixExt4 => leaf(5),
            Marker::FixExt8 => leaf(9),
            Marker::FixExt16 => leaf(17),
            Marker::FixStr(len) => leaf(usize::from(len)),
            Marker::Str8 | Marker::Bin8 => leaf(1 + length(1)?),
            Marker::Str16 | Marker::Bin16 => leaf(2 + length(2)?),
            Marker::Str32 | Marker::Bin32 => leaf(4 + length(4)?),
            Marker::Ext8 => leaf(2 + length(1)?),
            Marker::Ext16 => leaf(3 + length(2)?),
            Marker::Ext32 => leaf(5 + length(4)?),
            Marker::FixArray(len) => Ok(Self { skip: 0, children: usize::from(len) }),
            Marker::Array16 => Ok(Self { skip: 2, children: length(2)? }),
            Marker::Array32 => Ok(Self { skip: 4, children: length(4)? }),
            Marker::FixMap(len) => Ok(Self { skip: 0, children: 2 * usize::from(len) }),
            Marker::Map16 => Ok(Self { skip: 2, children: 2 * length(2)? }),
            Marker::Map32 => Ok(Self { skip: 4, children: length(4)?.saturating_mul(2) }),
            Marker::Reserved => Err("the byte 0xc1 begins no value"),
        }
    }
}

/// Whether `bytes` begin with a map.
pub(crate) fn is_map(bytes: &[u8]) -> bool {
    let marker = bytes.first().map(|&byte| Marker::from_u8(byte));
    matches!(marker, Some(Marker::FixMap(_) | Marker::Map16 | Marker::Map32))
}

/// The entries of a map with text keys, each value still encoded.
pub(crate) fn map_entries(
    bytes: &[u8],
) -> Result<impl Iterator<Item = Result<(&str, &[u8]), &'static str>>, &'static str> {
    let mut rest = bytes;
    let count = rmp::decode::read_map_len(&mut rest).map_err(|_| "a command must be a map")?;
    Ok((0..count).map(move |_| {
        let (key, after) = rmp::decode::read_str_from_slice(rest)
            .map_err(|_| "a key of a command must be text")?;
        let (value, after) = split_value(after)?;
        rest = after;
        Ok((key, value))
    }))
}

/// Bytes of the MessagePack `bin` kind.
#[derive(Debug)]
pub(crate) struct Blob(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BlobVisitor;

        impl Visitor<'_> for BlobVisitor {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("binary")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }

        deserializer.deserialize_bytes(BlobVisitor)
    }
}

/// As [`Blob`], for writing.
pub(crate) struct BlobRef<'a>(pub(crate) &'a [u8]);

impl Serialize for BlobRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[cfg(test)]
mod tests;
