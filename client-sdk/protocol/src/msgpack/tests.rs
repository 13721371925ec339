//! The bounds of values, against serde and against lengths that lie.

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

/// One value in any of its encodings, the wasteful ones included.
fn encoded() -> impl Strategy<Value = Vec<u8>> {
    let bytes = |markers: Vec<u8>, len: usize| {
        (prop::sample::select(markers), prop::collection::vec(any::<u8>(), len))
            .prop_map(|(marker, bytes)| [vec![marker], bytes].concat())
    };
    let leaf = prop_oneof![
        bytes([0x00, 0x7f, 0xc0, 0xc2, 0xc3, 0xe0, 0xff].to_vec(), 0),
        bytes([0xcc, 0xd0].to_vec(), 1),
        bytes([0xcd, 0xd1, 0xd4].to_vec(), 2),
        bytes([0xd5].to_vec(), 3),
        bytes([0xca, 0xce, 0xd2].to_vec(), 4),
        bytes([0xd6].to_vec(), 5),
        bytes([0xcb, 0xcf, 0xd3].to_vec(), 8),
        bytes([0xd7].to_vec(), 9),
        bytes([0xd8].to_vec(), 17),
        prop::collection::vec(any::<u8>(), 0..40).prop_flat_map(|content| {
            let text = [0xd9, 0xda, 0xdb].map(|marker| (marker, false));
            let binary = [0xc4, 0xc5, 0xc6].map(|marker| (marker, false));
            let extension = [0xc7, 0xc8, 0xc9].map(|marker| (marker, true));
            let kinds = [text, binary, extension].concat();
            prop::sample::select(kinds).prop_map(move |(marker, has_tag)| {
                let width = 1 << ((marker - if marker >= 0xd9 { 0xd9 } else { 0xc4 }) % 3);
                let tag = has_tag.then_some(7);
                [sized(marker, width, content.len()), Vec::from_iter(tag), content.clone()].concat()
            })
        }),
    ];
    leaf.prop_recursive(5, 40, 8, |inner| {
        (prop::collection::vec((inner.clone(), inner), 0..8), 0..6usize).prop_map(
            |(pairs, form)| {
                let (marker, width, children) = [
                    (0x90, 0, 1),
                    (0xdc, 2, 1),
                    (0xdd, 4, 1),
                    (0x80, 0, 2),
                    (0xde, 2, 2),
                    (0xdf, 4, 2),
                ][form];
                let content = pairs.iter().flat_map(|(key, value)| {
                    let key = if children == 2 { &key[..] } else { &[] };
                    [key, value].concat()
                });
                sized(marker, width, pairs.len()).into_iter().chain(content).collect()
            },
        )
    })
}

/// A marker with a length of `width` bytes; in the marker itself if that is 0.
fn sized(marker: u8, width: usize, len: usize) -> Vec<u8> {
    let len_bytes = len.to_be_bytes();
    match width {
        0 => vec![marker + len_bytes[len_bytes.len() - 1]],
        _ => [&[marker], &len_bytes[len_bytes.len() - width..]].concat(),
    }
}

fn end_by_serde(bytes: &[u8]) -> Option<usize> {
    let mut deserializer = rmp_serde::Deserializer::new(std::io::Cursor::new(bytes));
    IgnoredAny::deserialize(&mut deserializer).ok()?;
    usize::try_from(deserializer.position()).ok()
}

proptest! {
    #[test]
    fn split_value_agrees_with_serde_on_values(value in encoded(), rest in any::<[u8; 3]>()) {
        let bytes = [&value[..], &rest].concat();
        prop_assert_eq!(split_value(&bytes), Ok((&value[..], &rest[..])));
        prop_assert_eq!(end_by_serde(&bytes), Some(value.len()));
        prop_assert_eq!(split_value(&value[..value.len() - 1]), Err(TRUNCATED));
    }

    #[test]
    fn split_value_agrees_with_serde_on_any_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..80)
    ) {
        let end = split_value(&bytes).ok().map(|(value, _)| value.len());
        prop_assert_eq!(end, end_by_serde(&bytes));
    }
}

#[test]
fn a_value_ends_where_serde_says_it_ends() {
    let value = serde_json::json!({
        "a": [1, -1, 300, 70_000, 1.5, null, true, "x".repeat(40), "y".repeat(300)],
        "b": {"c": [[], {}, ["z"]]}, "big": "w".repeat(70_000),
    });
    let mut bytes = rmp_serde::to_vec_named(&value).unwrap();
    let end = bytes.len();
    bytes.extend_from_slice(&[0xc3, 0xc2]);
    let (first, rest) = split_value(&bytes).unwrap();
    assert_eq!((first.len(), rest), (end, &[0xc3, 0xc2][..]));
}

#[test]
fn lengths_that_lie_are_refused() {
    for bytes in [
        &[][..],
        &[0xdd, 0xff, 0xff, 0xff, 0xff],
        &[0xdf, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0xdb, 0xff, 0xff, 0xff, 0xff, b'a'],
        &[0xc9, 0xff, 0xff, 0xff, 0xff],
        &[0xd9],
        &[0x93, 0x01, 0x02],
        &[0xc1],
    ] {
        assert!(split_value(bytes).is_err(), "{bytes:02x?}");
    }
}
