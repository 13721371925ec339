//! Patterns of topic names, and what a subscription may name: one topic or a pattern of them.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::topic::{TopicError, TopicName, check_levels, is_allowed};

/// A checked pattern of topic names: levels as in a [`TopicName`], where the level `*` stands for
/// exactly one level and a last level `>` for one or more. Without either it matches the one name
/// that it spells. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPattern(Arc<str>);

impl TopicPattern {
    /// Checks `text` against the rules of a pattern.
    pub fn new(text: &str) -> Result<Self, TopicError> {
        check_levels(text, |c| is_wildcard(c) || is_allowed(c))?;
        if let Some(wildcard) = text.split('.').find_map(wildcard_beside_text) {
            return Err(TopicError::PartialWildcard(wildcard));
        }
        match text.find('>') {
            Some(rest) if rest + 1 < text.len() => Err(TopicError::RestNotLast),
            _ => Ok(Self(Arc::from(text))),
        }
    }

    /// Whether `topic` is one of the names that this pattern stands for.
    #[must_use]
    pub fn matches(&self, topic: &TopicName) -> bool {
        let mut levels = topic.as_str().split('.');
        for expected in self.0.split('.') {
            match (expected, levels.next()) {
                (">", rest) => return rest.is_some(),
                ("*", Some(_)) => {}
                (expected, Some(level)) if expected == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_wildcard(c: char) -> bool {
    matches!(c, '*' | '>')
}

/// The wildcard of a level that holds more than it.
fn wildcard_beside_text(level: &str) -> Option<char> {
    level.chars().find(|&c| is_wildcard(c)).filter(|_| level.len() > 1)
}

impl fmt::Debug for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for TopicPattern {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicPattern {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        Self::new(text)
    }
}

/// What a subscription names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Filter {
    /// One topic by its name.
    Topic(TopicName),
    /// Every topic whose name matches, those that come into being later too.
    Pattern(TopicPattern),
}

impl Filter {
    /// Checks `text`: as a pattern if it holds `*` or `>`, as a name otherwise.
    pub fn new(text: &str) -> Result<Self, TopicError> {
        if Self::is_pattern(text) {
            TopicPattern::new(text).map(Self::Pattern)
        } else {
            TopicName::new(text).map(Self::Topic)
        }
    }

    /// Whether `text` is read as a pattern; it need not be a valid one.
    #[must_use]
    pub fn is_pattern(text: &str) -> bool {
        text.contains(is_wildcard)
    }

    /// Whether a message of `topic` belongs to the subscription.
    #[must_use]
    pub fn matches(&self, topic: &TopicName) -> bool {
        match self {
            Self::Topic(name) => name == topic,
            Self::Pattern(pattern) => pattern.matches(topic),
        }
    }

    /// The name or pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Topic(name) => name.as_str(),
            Self::Pattern(pattern) => pattern.as_str(),
        }
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<TopicName> for Filter {
    fn from(name: TopicName) -> Self {
        Self::Topic(name)
    }
}

impl From<TopicPattern> for Filter {
    fn from(pattern: TopicPattern) -> Self {
        Self::Pattern(pattern)
    }
}

impl FromStr for Filter {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX};

    fn matches(pattern: &str, topic: &str) -> bool {
        let topic = TopicName::new(topic).expect("a topic name");
        TopicPattern::new(pattern).expect("a pattern").matches(&topic)
    }

    #[test]
    fn a_star_stands_for_exactly_one_level() {
        assert!(matches("ticks.*", "ticks.AAPL"));
        assert!(matches("*.AAPL", "ticks.AAPL"));
        assert!(matches("*", "ticks"));
        assert!(matches("a.*.c.*", "a.b.c.d"));
        assert!(!matches("ticks.*", "ticks"));
        assert!(!matches("ticks.*", "ticks.AAPL.bid"));
        assert!(!matches("ticks.*", "books.AAPL"));
        assert!(!matches("*", "ticks.AAPL"));
    }

    #[test]
    fn a_last_rest_stands_for_one_or_more_levels() {
        assert!(matches(">", "ticks"));
        assert!(matches(">", "ticks.AAPL.bid"));
        assert!(matches("ticks.>", "ticks.AAPL"));
        assert!(matches("ticks.>", "ticks.AAPL.bid"));
        assert!(matches("*.>", "ticks.AAPL"));
        assert!(!matches("ticks.>", "ticks"));
        assert!(!matches("ticks.>", "ticksAAPL"));
        assert!(!matches("*.>", "ticks"));
    }

    #[test]
    fn levels_are_compared_whole_and_byte_for_byte() {
        assert!(matches("news.市場.*", "news.市場.eu"));
        assert!(!matches("tick.*", "ticks.AAPL"));
        assert!(!matches("Ticks.*", "ticks.AAPL"));
        assert!(matches("ticks.AAPL", "ticks.AAPL"));
        assert!(!matches("ticks.AAPL", "ticks.AAPL.bid"));
        assert!(!matches("ticks.AAPL.bid", "ticks.AAPL"));
    }

    #[test]
    fn each_rule_has_its_own_error() {
        let error = |text: &str| TopicPattern::new(text).unwrap_err();
        assert_eq!(error(""), TopicError::Empty);
        assert_eq!(error(&"*.".repeat(TOPIC_BYTES_MAX)), TopicError::TooLong(2 * TOPIC_BYTES_MAX));
        let levels = TOPIC_LEVELS_MAX + 1;
        assert_eq!(error(&vec!["*"; levels].join(".")), TopicError::TooManyLevels(levels));
        for text in ["*.", ".>", "*..*"] {
            assert_eq!(error(text), TopicError::EmptyLevel, "{text}");
        }
        for text in ["a*", "*a", "**", "a.b*.c"] {
            assert_eq!(error(text), TopicError::PartialWildcard('*'), "{text}");
        }
        for text in ["a>", ">a.b", ">>", "a.>*"] {
            assert_eq!(error(text), TopicError::PartialWildcard('>'), "{text}");
        }
        for text in [">.a", "a.>.*", ">.>"] {
            assert_eq!(error(text), TopicError::RestNotLast, "{text}");
        }
        assert_eq!(error("a.*.b c"), TopicError::BadCharacter(' '));
    }

    #[test]
    fn a_filter_is_a_pattern_as_soon_as_it_holds_a_wildcard() {
        assert!(matches!(Filter::new("ticks.AAPL"), Ok(Filter::Topic(_))));
        assert!(matches!(Filter::new("ticks.*"), Ok(Filter::Pattern(_))));
        assert!(matches!(Filter::new(">"), Ok(Filter::Pattern(_))));
        assert_eq!(Filter::new("ticks.A*"), Err(TopicError::PartialWildcard('*')));
        assert_eq!(Filter::new("a b"), Err(TopicError::BadCharacter(' ')));
        let name = TopicName::new("ticks.AAPL").expect("a name");
        assert!(Filter::from(name.clone()).matches(&name));
        assert!(Filter::new("ticks.*").expect("a pattern").matches(&name));
        assert!(!Filter::new("ticks.MSFT").expect("a name").matches(&name));
    }

    /// What the rules say, word by word.
    fn matches_by_the_book(pattern: &[&str], topic: &[&str]) -> bool {
        match (pattern, topic) {
            ([], []) => true,
            ([">"], rest) => !rest.is_empty(),
            ([level, pattern @ ..], [first, topic @ ..]) => {
                (*level == "*" || level == first) && matches_by_the_book(pattern, topic)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_follows_the_rules(
            pattern in "([ab*]\\.){0,4}[ab*>]",
            topic in "([ab]\\.){0,5}[ab]",
        ) {
            let pattern_levels: Vec<_> = pattern.split('.').collect();
            let topic_levels: Vec<_> = topic.split('.').collect();
            let expected = matches_by_the_book(&pattern_levels, &topic_levels);
            prop_assert_eq!(matches(&pattern, &topic), expected);
        }
    }
}
