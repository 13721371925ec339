//! The rules of topic names and of patterns hold for everything in `vectors/topics.json` and
//! `vectors/patterns.json`.

use fanfare_protocol::{Filter, TopicError, TopicName, TopicPattern};
use serde::Deserialize;

use crate::vectors::path;

#[derive(Deserialize)]
struct TopicFile {
    valid: Vec<String>,
    invalid: Vec<Invalid>,
}

#[derive(Deserialize)]
struct Invalid {
    name: String,
    rule: String,
}

#[derive(Deserialize)]
struct PatternFile {
    valid: Vec<String>,
    invalid: Vec<InvalidPattern>,
    matches: Vec<Match>,
}

#[derive(Deserialize)]
struct InvalidPattern {
    pattern: String,
    rule: String,
}

#[derive(Deserialize)]
struct Match {
    pattern: String,
    topic: String,
    matches: bool,
}

fn rule(error: TopicError) -> &'static str {
    match error {
        TopicError::Empty => "empty",
        TopicError::TooLong(_) => "too_long",
        TopicError::TooManyLevels(_) => "too_many_levels",
        TopicError::EmptyLevel => "empty_level",
        TopicError::BadCharacter(_) => "bad_character",
        TopicError::PartialWildcard(_) => "partial_wildcard",
        TopicError::RestNotLast => "rest_not_last",
        _ => "another",
    }
}

#[test]
fn each_name_is_valid_or_breaks_the_rule_that_is_given() {
    let text = std::fs::read_to_string(path("topics.json")).unwrap();
    let file: TopicFile = serde_json::from_str(&text).unwrap();
    assert!(file.valid.len() >= 8 && file.invalid.len() >= 20);
    for name in &file.valid {
        assert_eq!(TopicName::check(name), Ok(()), "{name:?}");
    }
    for Invalid { name, rule: expected } in &file.invalid {
        assert_eq!(TopicName::check(name).map_err(rule), Err(expected.as_str()), "{name:?}");
    }
}

#[test]
fn each_pattern_is_valid_or_breaks_the_rule_that_is_given() {
    let text = std::fs::read_to_string(path("patterns.json")).unwrap();
    let file: PatternFile = serde_json::from_str(&text).unwrap();
    assert!(file.valid.len() >= 8 && file.invalid.len() >= 12 && file.matches.len() >= 20);
    for pattern in &file.valid {
        assert!(matches!(Filter::new(pattern), Ok(Filter::Pattern(_))), "{pattern:?}");
        assert!(TopicName::check(pattern).is_err(), "{pattern:?}");
    }
    for InvalidPattern { pattern, rule: expected } in &file.invalid {
        let got = TopicPattern::new(pattern).map_err(rule);
        assert_eq!(got, Err(expected.as_str()), "{pattern:?}");
    }
    for Match { pattern, topic, matches } in &file.matches {
        let name = TopicName::new(topic).unwrap();
        let got = TopicPattern::new(pattern).unwrap().matches(&name);
        assert_eq!(got, *matches, "{pattern} and {topic}");
    }
}
