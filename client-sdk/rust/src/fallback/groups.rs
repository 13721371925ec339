//! Which subscriptions go into one request: those that ask for the same, as many as its URL holds.

use fanfare_protocol::{Filter, Mode, Subscribe};

use super::book::{Entry, likely_mode};
use super::long_poll::{Place, PolledTopic};
use super::url::{TOPICS_PER_REQUEST_MAX, URL_BYTES_MAX, Url, mode_name, topic_bytes};

/// A subscription on its way into a request.
pub(super) type Asked = (Filter, Entry);

/// Puts together what asks for the same, in the order in which it came.
pub(super) fn of(asked: Vec<Asked>) -> Vec<Vec<Asked>> {
    let mut groups: Vec<Vec<Asked>> = Vec::new();
    for one in asked {
        let alike = |group: &&mut Vec<Asked>| {
            group.first().is_some_and(|(_, first)| are_alike(&first.subscribe, &one.1.subscribe))
        };
        match groups.iter_mut().find(alike) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

/// Cuts what goes together into as few requests as the limits allow.
pub(super) fn cut(asked: Vec<Asked>) -> Vec<Vec<Asked>> {
    let mut requests: Vec<Vec<Asked>> = Vec::new();
    let mut bytes = 0;
    for one in asked {
        let adds = topic_bytes(one.0.as_str(), one.1.subscribe.since.as_ref());
        match requests.last_mut() {
            Some(request)
                if request.len() < TOPICS_PER_REQUEST_MAX && bytes + adds <= URL_BYTES_MAX =>
            {
                bytes += adds;
                request.push(one);
            }
            _ => {
                bytes = adds;
                requests.push(vec![one]);
            }
        }
    }
    requests
}

/// As many of `others` as fit into the request of `asked`.
pub(super) fn fitting(asked: &[Asked], mut others: Vec<Asked>) -> Vec<Asked> {
    let bytes_of =
        |(filter, entry): &Asked| topic_bytes(filter.as_str(), entry.subscribe.since.as_ref());
    let mut bytes: usize = asked.iter().map(bytes_of).sum();
    let mut count = asked.len();
    others.retain(|other| {
        let fits = count < TOPICS_PER_REQUEST_MAX && bytes + bytes_of(other) <= URL_BYTES_MAX;
        if fits {
            count += 1;
            bytes += bytes_of(other);
        }
        fits
    });
    others
}

/// Whether one stream of events carries both.
pub(super) fn are_alike(one: &Subscribe, other: &Subscribe) -> bool {
    (one.mode, one.max_rate, one.snapshot) == (other.mode, other.max_rate, other.snapshot)
}

/// Whether one loop of long polling serves both.
pub(super) fn are_polled_alike(one: &Subscribe, other: &Subscribe) -> bool {
    (likely_mode(one), one.max_rate) == (likely_mode(other), other.max_rate)
}

/// The URL of a stream of events that carries these, all of which ask for the same.
pub(super) fn stream_url(base: &str, asked: &[Asked]) -> Url {
    let mut url = Url::of_topics(base);
    for (filter, _) in asked {
        url = url.with("topic", filter.as_str());
    }
    let positions: Vec<_> = asked.iter().map(|(_, entry)| entry.subscribe.since.clone()).collect();
    let url = url.with_positions("since", &positions);
    let Some((_, Entry { subscribe, .. })) = asked.first() else { return url };
    url.with_some("mode", subscribe.mode.map(mode_name))
        .with_some("max_rate", subscribe.max_rate)
        .with_some("snapshot", subscribe.snapshot)
}

/// What a loop of long polling knows of its topics at first.
pub(super) fn polled(asked: &[Asked]) -> Vec<PolledTopic> {
    let polled = asked.iter().map(|(filter, entry)| {
        let since = entry.subscribe.since.clone();
        let place = match since {
            Some(since) if entry.has_begun && since.epoch.is_empty() => Place::Unborn,
            Some(since) if entry.has_begun => Place::At(since),
            since => {
                let implied = likely_mode(&entry.subscribe) == Mode::Latest;
                Place::New { since, snapshot: entry.subscribe.snapshot.unwrap_or(implied) }
            }
        };
        PolledTopic { topic: filter.to_string(), place }
    });
    polled.collect()
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::Position;

    use super::*;

    fn asked(subscribe: Subscribe) -> Asked {
        (Filter::new(&subscribe.topic).unwrap(), Entry::new(1, subscribe))
    }

    fn named(topic: impl ToString) -> Asked {
        asked(Subscribe::new(topic.to_string()))
    }

    #[test]
    fn what_asks_for_the_same_goes_together() {
        let latest =
            |topic: &str| asked(Subscribe { mode: Some(Mode::Latest), ..Subscribe::new(topic) });
        let groups = of(vec![named("a"), latest("b"), named("c.*"), latest("d")]);
        let names = groups
            .iter()
            .map(|group| group.iter().map(|(filter, _)| filter.to_string()).collect::<Vec<_>>());
        assert_eq!(names.collect::<Vec<_>>(), [["a", "c.*"], ["b", "d"]]);
    }

    #[test]
    fn no_request_is_over_its_limits_and_none_is_lost() {
        for topic_bytes in [1, 60, 240] {
            let asked: Vec<_> =
                (0..1_234).map(|n| named(format!("{}{n}", "x".repeat(topic_bytes)))).collect();
            let requests = cut(asked.clone());
            for request in &requests {
                assert!(request.len() <= TOPICS_PER_REQUEST_MAX);
                assert!(stream_url("", request).as_str().len() <= URL_BYTES_MAX);
            }
            let all: Vec<_> = requests.into_iter().flatten().map(|(filter, _)| filter).collect();
            assert_eq!(all, asked.into_iter().map(|(filter, _)| filter).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_stream_is_asked_for_with_positions_and_options() {
        let since = Some(Position { epoch: "k3".to_owned(), offset: 41 });
        let subscribe = |topic: &str, since| Subscribe {
            since,
            mode: Some(Mode::Latest),
            max_rate: Some(5),
            snapshot: Some(false),
            ..Subscribe::new(topic)
        };
        let asked = [asked(subscribe("a", since)), asked(subscribe("b", None))];
        let expected = "/v1/topics?topic=a&topic=b&since=k3:41,-&mode=latest&max_rate=5\
                        &snapshot=false";
        assert_eq!(stream_url("/v1/topics", &asked).as_str(), expected);
    }
}
