//! A topic's name, and the promise of its rules: bounded, printable, no wildcard, safe in a URL.
#![no_main]

use fanfare_protocol::TopicName;
use fanfare_protocol::limits::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(name) = TopicName::new(text) else { return };
    assert_eq!(name.as_str(), text);
    assert!((1..=TOPIC_BYTES_MAX).contains(&text.len()));
    assert!(text.split('.').count() <= TOPIC_LEVELS_MAX);
    assert!(text.split('.').all(|level| !level.is_empty()));
    let is_forbidden = |c: char| c.is_control() || c.is_whitespace() || "*>/?#%".contains(c);
    assert!(!text.contains(is_forbidden), "{text:?}");
});
