//! The rules of topic names hold for every name in `vectors/topics.json`.

use fanfare_protocol::{TopicError, TopicName};
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

fn rule(error: TopicError) -> &'static str {
    match error {
        TopicError::Empty => "empty",
        TopicError::TooLong(_) => "too_long",
        TopicError::TooManyLevels(_) => "too_many_levels",
        TopicError::EmptyLevel => "empty_level",
        TopicError::BadCharacter(_) => "bad_character",
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
