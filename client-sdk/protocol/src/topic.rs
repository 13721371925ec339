//! Topic names: what one may be. Owns the rules and the checked type, not the topics. Patterns of
//! names are in `pattern`.

use std::fmt;
use std::sync::Arc;

use crate::limits::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX};

/// A checked topic name: one to [`TOPIC_LEVELS_MAX`] levels separated by dots, none of them
/// empty, at most [`TOPIC_BYTES_MAX`] bytes of printable UTF-8 without space, `*`, `>`, `/`,
/// `?`, `#` and `%`. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

/// Why a text is no topic name. Always the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// The name is the empty string.
    #[error("a topic name is empty; use 1 to {TOPIC_BYTES_MAX} bytes")]
    Empty,
    /// The name has this many bytes.
    #[error("a topic name has {0} bytes; at most {TOPIC_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The name has this many levels.
    #[error("a topic name has {0} levels; at most {TOPIC_LEVELS_MAX} are allowed")]
    TooManyLevels(usize),
    /// A dot stands at the start, at the end or beside another dot.
    #[error("a topic name has an empty level; put text before, between and after its dots")]
    EmptyLevel,
    /// The name holds this character.
    #[error(
        "a topic name holds {0:?}; printable characters other than space * > / ? # % are allowed"
    )]
    BadCharacter(char),
    /// A pattern holds a wildcard beside other text in one level.
    #[error("a pattern holds a level with {0} beside other text; a wildcard is a whole level")]
    PartialWildcard(char),
    /// A pattern goes on behind `>`.
    #[error("a pattern goes on behind `>`, which stands for all further levels; put it last")]
    RestNotLast,
}

impl TopicName {
    /// Checks `text` against the rules of a topic name.
    pub fn new(text: &str) -> Result<Self, TopicError> {
        Self::check(text)?;
        Ok(Self(Arc::from(text)))
    }

    /// The rules alone, without making a name.
    pub fn check(text: &str) -> Result<(), TopicError> {
        check_levels(text, is_allowed)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The rules that names and patterns share, with the characters that may stand in a level.
pub(crate) fn check_levels(text: &str, is_allowed: fn(char) -> bool) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong(text.len()));
    }
    if let Some(bad) = text.chars().find(|&c| !is_allowed(c)) {
        return Err(TopicError::BadCharacter(bad));
    }
    let levels = text.split('.').count();
    if levels > TOPIC_LEVELS_MAX {
        return Err(TopicError::TooManyLevels(levels));
    }
    if text.split('.').any(str::is_empty) {
        return Err(TopicError::EmptyLevel);
    }
    Ok(())
}

/// Whether a topic name may hold `c`.
pub(crate) fn is_allowed(c: char) -> bool {
    match c {
        '*' | '>' | '/' | '?' | '#' | '%' => false,
        // Characters that print nothing or turn the direction of text hide in logs and URLs.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => false,
        '\u{feff}' | '\u{fff9}'..='\u{fffb}' => false,
        _ => !c.is_whitespace() && !c.is_control(),
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for TopicName {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tickers_and_feeds_are_accepted() {
        for name in ["stocks.AAPL", "a", "ticks.BTC-USD@binance", "news.zürich.市場", "x.y_~:=+1"]
        {
            assert_eq!(TopicName::new(name).map(|n| n.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn each_rule_has_its_own_error() {
        assert_eq!(TopicName::check(""), Err(TopicError::Empty));
        assert_eq!(TopicName::check(&"a".repeat(256)), Err(TopicError::TooLong(256)));
        assert_eq!(TopicName::check(&["a"; 17].join(".")), Err(TopicError::TooManyLevels(17)));
        for name in [".a", "a.", "a..b", "."] {
            assert_eq!(TopicName::check(name), Err(TopicError::EmptyLevel), "{name}");
        }
        for bad in [' ', '*', '>', '/', '?', '#', '%', '\0', '\n', '\u{7f}', '\u{a0}', '\u{202e}'] {
            assert_eq!(TopicName::check(&format!("a{bad}b")), Err(TopicError::BadCharacter(bad)));
        }
    }

    #[test]
    fn limits_are_inclusive() {
        assert!(TopicName::check(&"a".repeat(TOPIC_BYTES_MAX)).is_ok());
        assert!(TopicName::check(&["a"; TOPIC_LEVELS_MAX].join(".")).is_ok());
    }
}
