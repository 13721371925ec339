//! What a request on `/v1/topics/{topic}` or `/v1/topics?topic=…&topic=…` selects: topics, where
//! patterns make sense patterns, and from where on.
//!
//! Owns the parameters that only make sense together; what each may be is in `query`.

use std::time::Duration;

use fanfare_engine::StreamOptions;
use fanfare_protocol::limits::TOPICS_PER_REQUEST_MAX;
use fanfare_protocol::{Filter, Position, TopicName};

use super::query;

/// Topics that a `GET` reads, and what of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageSelection {
    /// Each with the position behind which messages are wanted.
    pub(super) topics: Vec<(TopicName, Option<Position>)>,
    /// Whether the answer is a list: the topics stand behind the `?`.
    pub(super) is_list: bool,
    /// Most messages of each.
    pub(super) limit: usize,
    /// How long to wait for something newer.
    pub(super) wait: Option<Duration>,
}

/// Messages of each topic that a `GET` returns unless it asks for another number.
const LIMIT_DEFAULT: usize = 10;

/// What a `GET` may ask for: `after`, `limit` and `wait`. `topic` is the one in the path.
///
/// # Errors
/// A sentence that says which parameter is wrong and what is allowed.
pub(super) fn page(topic: Option<TopicName>, query: Option<&str>) -> Result<PageSelection, String> {
    let is_list = topic.is_none();
    let mut names: Vec<TopicName> = topic.into_iter().collect();
    let (mut after, mut limit, mut wait) = (None, LIMIT_DEFAULT, None);
    for (name, value) in query::parameters(query)? {
        match name.as_str() {
            "topic" if is_list => {
                names.push(TopicName::new(&value).map_err(|error| error.to_string())?);
            }
            "after" => after = Some(value),
            "limit" => limit = query::limit(&value)?,
            "wait" => wait = Some(query::wait(&value)?),
            _ => return Err(format!("the parameters are {}after, limit and wait", also(is_list))),
        }
    }
    check_count(&names)?;
    let positions = positions("after", after.as_deref(), names.len())?;
    let topics = names.into_iter().zip(positions).collect();
    Ok(PageSelection { topics, is_list, limit, wait })
}

/// Topics and patterns that a stream of events carries.
#[derive(Debug, PartialEq)]
pub(super) struct EventSelection {
    /// Each with the position behind which messages are wanted; a pattern has none.
    pub(super) filters: Vec<(Filter, Option<Position>)>,
    /// Whether messages must say which topic they are of: the topics stand behind the `?`.
    pub(super) is_list: bool,
    /// What each subscription asks for.
    pub(super) options: StreamOptions,
}

/// What a stream of events may ask for: `since`, `mode`, `max_rate` and `snapshot`. `topic` is the
/// one in the path. `last_event_id` is what the client repeats when it comes back, written as
/// `since` and stronger.
///
/// # Errors
/// As [`page`].
pub(super) fn events(
    topic: Option<TopicName>,
    query: Option<&str>,
    last_event_id: Option<&str>,
) -> Result<EventSelection, String> {
    let is_list = topic.is_none();
    let mut filters: Vec<Filter> = topic.into_iter().map(Filter::from).collect();
    let (mut since, mut options) = (None, StreamOptions::default());
    for (name, value) in query::parameters(query)? {
        match name.as_str() {
            "topic" if is_list => {
                filters.push(Filter::new(&value).map_err(|error| error.to_string())?);
            }
            "since" => since = Some(value),
            _ if query::option(&mut options, &name, &value)? => {}
            _ => {
                let also = also(is_list);
                return Err(format!("the parameters are {also}since, mode, max_rate and snapshot"));
            }
        }
    }
    query::check(options)?;
    check_count(&filters)?;
    let positions = match last_event_id.filter(|id| !id.is_empty()) {
        Some(id) => positions("Last-Event-ID", Some(id), filters.len())?,
        None => positions("since", since.as_deref(), filters.len())?,
    };
    let filters: Vec<_> = filters.into_iter().zip(positions).collect();
    let has_place = |(filter, position): &(Filter, Option<Position>)| {
        matches!(filter, Filter::Pattern(_)) && position.is_some()
    };
    if filters.iter().any(has_place) {
        return Err("a pattern has no position; write `-` for it".to_owned());
    }
    Ok(EventSelection { filters, is_list, options })
}

fn also(is_list: bool) -> &'static str {
    if is_list { "topic, " } else { "" }
}

fn check_count<T: PartialEq + std::fmt::Display>(names: &[T]) -> Result<(), String> {
    let most = TOPICS_PER_REQUEST_MAX;
    if !(1..=most).contains(&names.len()) {
        let count = names.len();
        return Err(format!("the request names {count} topics; give 1 to {most}, as topic=…"));
    }
    let twice = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name));
    twice.map_or(Ok(()), |(_, name)| Err(format!("the topic {name} stands twice; give it once")))
}

fn positions(
    name: &str,
    value: Option<&str>,
    count: usize,
) -> Result<Vec<Option<Position>>, String> {
    value.map_or_else(|| Ok(vec![None; count]), |value| query::positions(name, value, count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_protocol::Mode;

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    fn position(epoch: &str, offset: u64) -> Option<Position> {
        Some(Position { epoch: epoch.to_owned(), offset })
    }

    #[test]
    fn one_topic_is_read_with_its_defaults() {
        let selection = page(Some(topic("a")), None).unwrap();
        let expected = PageSelection {
            topics: vec![(topic("a"), None)],
            is_list: false,
            limit: LIMIT_DEFAULT,
            wait: None,
        };
        assert_eq!(selection, expected);
        let selection = page(Some(topic("a")), Some("after=k3:0&limit=1000&wait=25s")).unwrap();
        assert_eq!(selection.topics, [(topic("a"), position("k3", 0))]);
        assert_eq!((selection.limit, selection.wait), (1_000, Some(Duration::from_secs(25))));
    }

    #[test]
    fn several_topics_have_a_position_each() {
        let query = "topic=a&topic=z%C3%BC.b%2Bc&topic=d+e&after=k3:41,-,k9:7";
        let selection = page(None, Some(query)).unwrap();
        assert!(selection.is_list);
        let expected = [
            (topic("a"), position("k3", 41)),
            (topic("zü.b+c"), None),
            (topic("d+e"), position("k9", 7)),
        ];
        assert_eq!(selection.topics, expected);
    }

    #[test]
    fn what_is_wrong_with_a_page_is_told() {
        let many: String = (0..=TOPICS_PER_REQUEST_MAX).map(|i| format!("&topic=t{i}")).collect();
        for (query, says) in [
            ("", "0 topics; give 1 to 100"),
            (many.as_str(), "101 topics; give 1 to 100"),
            ("topic=a&topic=b&topic=a", "a stands twice"),
            ("topic=a*", "'*'"),
            ("topic=", "empty"),
            ("topic=a&topic=b&after=k3:1", "1 positions for 2 topics"),
            ("topic=a&after=k3:1,-", "2 positions for 1 topics"),
            ("topic=a&after=1", "EPOCH:OFFSET"),
            ("topic=a&limit=0", "from 1 to 1000"),
            ("topic=a&limit=1001", "from 1 to 1000"),
            ("topic=a&limit=2&limit=2", "limit stands twice"),
            ("topic=a&wait=2h", "at most 60 s"),
            ("topic=a&since=k3:1", "the parameters are topic, after, limit and wait"),
        ] {
            let error = page(None, Some(query)).unwrap_err();
            assert!(error.contains(says), "{query}: {error}");
        }
        let error = page(Some(topic("a")), Some("topic=b")).unwrap_err();
        assert_eq!(error, "the parameters are after, limit and wait");
    }

    #[test]
    fn streams_of_events_take_patterns_and_the_last_event_id_wins() {
        let query = Some("topic=a&topic=b.*&since=k3:1,-&mode=latest&max_rate=5");
        let selection = events(None, query, None).unwrap();
        let pattern = Filter::new("b.*").unwrap();
        let first = Filter::from(topic("a"));
        assert_eq!(
            selection.filters,
            [(first.clone(), position("k3", 1)), (pattern.clone(), None)]
        );
        assert_eq!(
            (selection.options.mode, selection.options.max_rate),
            (Some(Mode::Latest), Some(5))
        );
        let selection = events(None, query, Some("k3:9,-")).unwrap();
        assert_eq!(selection.filters, [(first.clone(), position("k3", 9)), (pattern, None)]);
        let single = events(Some(topic("a")), Some("since=k3:1"), Some("")).unwrap();
        assert_eq!((single.filters, single.is_list), (vec![(first, position("k3", 1))], false));
    }

    #[test]
    fn what_is_wrong_with_a_stream_of_events_is_told() {
        for (query, id, says) in [
            ("topic=b.*&since=k3:1", None, "a pattern has no position"),
            ("topic=a", Some("x"), "Last-Event-ID is written EPOCH:OFFSET"),
            ("topic=a&topic=b", Some("k3:1"), "1 positions for 2 topics"),
            ("topic=a&mode=all&max_rate=1", None, "does not go with mode=all"),
            ("topic=a&after=k3:1", None, "the parameters are topic, since, mode"),
            ("topic=b.*&topic=b.*", None, "stands twice"),
        ] {
            let error = events(None, Some(query), id).unwrap_err();
            assert!(error.contains(says), "{query}: {error}");
        }
    }
}
