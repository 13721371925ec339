//! The URLs of topics: paths and query parameters, encoded.

use fanfare_protocol::{Mode, Position};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What is written as `%XX`: everything but RFC 3986's unreserved characters and the two that
/// positions are made of, which a query may hold.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b',');

/// The longest URL that is made of several topics. Many servers and proxies take 8 KiB for a
/// request line and its headers together.
pub(super) const URL_BYTES_MAX: usize = 6 * 1024;

/// The most topics that one request may name.
pub(super) const TOPICS_PER_REQUEST_MAX: usize = 100;

/// A text as a part of a URL.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A URL with query parameters.
#[derive(Clone, Debug)]
pub(super) struct Url(String);

impl Url {
    /// The list of topics at `base`, such as `/v1/topics`.
    pub(super) fn of_topics(base: &str) -> Self {
        Self(base.to_owned())
    }

    /// One topic.
    pub(super) fn of_topic(base: &str, topic: &str) -> Self {
        Self(format!("{base}/{}", encoded(topic)))
    }

    /// Adds a parameter.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.extend(utf8_percent_encode(value, ENCODED));
        self
    }

    /// Adds a parameter if there is a value.
    pub(super) fn with_some(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, &value.to_string()),
            None => self,
        }
    }

    /// Adds the position of each topic, if any of them has one.
    pub(super) fn with_positions(self, name: &str, positions: &[Option<Position>]) -> Self {
        if positions.iter().all(Option::is_none) {
            return self;
        }
        let written: Vec<_> = positions.iter().map(|one| written(one.as_ref())).collect();
        self.with(name, &written.join(","))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

fn written(position: Option<&Position>) -> String {
    position.map_or_else(|| "-".to_owned(), |at| format!("{}:{}", at.epoch, at.offset))
}

/// The most bytes that a topic adds to a URL, its position included.
pub(super) fn topic_bytes(topic: &str, since: Option<&Position>) -> usize {
    // An epoch is short, and one that comes in anew may be a little longer.
    let epoch_bytes = since.map_or(16, |since| encoded(&since.epoch).len().max(16));
    "&topic=".len() + encoded(topic).len() + epoch_bytes + ":18446744073709551615,".len()
}

/// How the options of a subscription are written.
pub(super) fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::All => "all",
        Mode::Latest => "latest",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_positions_are_encoded() {
        let at = |epoch: &str, offset| Some(Position { epoch: epoch.to_owned(), offset });
        let url = Url::of_topics("/behind/v1/topics")
            .with("topic", "a.b+c")
            .with("topic", "news.*")
            .with_positions("since", &[at("k3", 41), None])
            .with_some("max_rate", Some(5))
            .with_some("snapshot", None::<bool>);
        let expected = "/behind/v1/topics?topic=a.b%2Bc&topic=news.%2A&since=k3:41,-&max_rate=5";
        assert_eq!(url.as_str(), expected);
        let url = Url::of_topic("/v1/topics", "news.zürich").with_positions("after", &[None]);
        assert_eq!(url.as_str(), "/v1/topics/news.z%C3%BCrich");
    }

    #[test]
    fn a_topic_adds_no_more_than_is_reckoned() {
        for topic in ["a", "börse.>", &"é".repeat(127)] {
            let since = Position { epoch: "k3 ".repeat(9), offset: u64::MAX };
            let url = Url::of_topics("").with("topic", topic);
            let position = format!("{},", encoded(&written(Some(&since))));
            let bytes = url.as_str().len() + position.len();
            assert!(bytes <= topic_bytes(topic, Some(&since)));
        }
    }
}
