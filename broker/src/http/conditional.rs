//! Entity tags: what a client has already need not be sent again (RFC 9110 section 13.1.2).

use http::header::{HeaderMap, IF_NONE_MATCH};

/// What the client has, by its `If-None-Match` headers.
#[derive(Debug)]
pub(super) struct Condition(Vec<Vec<u8>>);

impl Condition {
    /// `None` where every answer is wanted whole.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(IF_NONE_MATCH).iter().peekable();
        values.peek()?;
        Some(Self(values.map(|value| value.as_bytes().to_vec()).collect()))
    }

    /// How long the headers are together.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Whether the client has what `tag` names, which stands in quotes. Weak tags count as well.
    pub(super) fn matches(&self, tag: &str) -> bool {
        self.0.iter().any(|list| {
            list.trim_ascii() == b"*" || opaque_tags(list).any(|known| known == tag.as_bytes())
        })
    }
}

/// The tags of a list with their quotes, without `W/`.
fn opaque_tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|byte| *byte == b'"')?;
        let len = rest[start + 1..].iter().position(|byte| *byte == b'"')? + 2;
        let (tag, behind) = rest[start..].split_at(len);
        rest = behind;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(values: &[&'static str], tag: &str) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_NONE_MATCH, value.parse().unwrap());
        }
        Condition::of(&headers).is_some_and(|condition| condition.matches(tag))
    }

    #[test]
    fn lists_weak_tags_and_the_star_are_understood() {
        let tag = r#""k3:58""#;
        for values in [
            &[r#""k3:58""#][..],
            &[r#"W/"k3:58""#],
            &[r#""k3:57", "k3:58""#],
            &[r#""k3:57","k1:2"  , W/"k3:58""#],
            &[r#""a""#, r#""k3:58""#],
            &["*"],
            &[" * "],
        ] {
            assert!(matches(values, tag), "{values:?}");
        }
        assert!(matches(&[r#""x", "k3:1,k9:2""#], r#""k3:1,k9:2""#), "a tag may hold commas");
    }

    #[test]
    fn other_tags_and_broken_ones_do_not_match() {
        let tag = r#""k3:58""#;
        for values in [
            &[][..],
            &[r#""k3:5""#],
            &[r#""k3:580""#],
            &["k3:58"],
            &[r#""k3:58"#],
            &[r#""x"k3:58"y""#],
            &["\"*\""],
            &["*, *"],
        ] {
            assert!(!matches(values, tag), "{values:?}");
        }
    }
}
