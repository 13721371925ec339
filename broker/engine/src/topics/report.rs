//! What an operator may ask about topics: which are busy, wanted, large or silent.
//!
//! Goes from stripe to stripe and locks one topic at a time, for the copy of a few numbers.

use std::sync::Arc;

use super::epoch::Epoch;
use super::table::TopicTable;
use super::topic::Topic;
use crate::greatest::Greatest;
use crate::time::Now;

/// By what topics are sorted; the greatest come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicOrder {
    /// [`TopicReport::messages_per_second`].
    Rate,
    /// [`TopicReport::subscribers`].
    Subscribers,
    /// [`TopicReport::offset`]: what was published most in this life of the topic.
    Offset,
    /// [`TopicReport::messages`].
    Messages,
    /// [`TopicReport::bytes`].
    Bytes,
    /// [`TopicReport::newest_age_ms`]: what has been silent for longest.
    NewestAge,
}

impl TopicOrder {
    /// Every order with its name in views; the first is the usual one.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::Rate, "rate"),
        (Self::Subscribers, "subscribers"),
        (Self::Offset, "offset"),
        (Self::Messages, "messages"),
        (Self::Bytes, "bytes"),
        (Self::NewestAge, "newest_age"),
    ];
}

/// One topic at one moment.
#[derive(Clone, Debug)]
pub struct TopicReport {
    /// Its name.
    pub topic: String,
    /// The namespace that has options of its own for it, if there is one.
    pub namespace: Option<String>,
    /// The life of its sequence.
    pub epoch: Epoch,
    /// The offset of its newest message; 0 before the first.
    pub offset: u64,
    /// Subscriptions by name on the whole node.
    pub subscribers: u64,
    /// Requests that wait for its next message.
    pub waiting_requests: u64,
    /// Messages in its ring.
    pub messages: usize,
    /// What they cost, in bytes.
    pub bytes: usize,
    /// How long ago the newest of them was published.
    pub newest_age_ms: Option<u64>,
    /// Messages a second since the oldest of them was published; `None` for fewer than two.
    pub messages_per_second: Option<f64>,
}

/// What changes of a topic, as far as it is told.
#[derive(Clone, Copy)]
struct Figures {
    offset: u64,
    subscribers: u64,
    waiting_requests: u64,
    messages: usize,
    bytes: usize,
    newest_age_ms: Option<u64>,
    messages_per_second: Option<f64>,
}

impl Figures {
    /// `None` for a topic that has left the table.
    fn of(topic: &Topic, now: Now) -> Option<Self> {
        let state = topic.lock();
        if state.retired {
            return None;
        }
        let age_ms = |published: Now| now.ms().saturating_sub(published.ms());
        let oldest_age_ms = state.ring.oldest().map(|message| age_ms(message.published()));
        let messages = state.ring.len();
        let per_second = |age_ms: u64| (messages - 1) as f64 * 1e3 / age_ms.max(1) as f64;
        Some(Self {
            offset: state.head(),
            subscribers: state.subscriber_count(),
            waiting_requests: state.interest.iter().map(|one| u64::from(one.waiting)).sum(),
            messages,
            bytes: state.ring.bytes(),
            newest_age_ms: state.ring.newest().map(|message| age_ms(message.published())),
            messages_per_second: oldest_age_ms.filter(|_| messages > 1).map(per_second),
        })
    }

    fn rank(&self, order: TopicOrder) -> u64 {
        match order {
            TopicOrder::Rate => self.messages_per_second.map_or(0, |rate| (rate * 1e6) as u64),
            TopicOrder::Subscribers => self.subscribers,
            TopicOrder::Offset => self.offset,
            TopicOrder::Messages => self.messages as u64,
            TopicOrder::Bytes => self.bytes as u64,
            TopicOrder::NewestAge => self.newest_age_ms.map_or(0, |age_ms| age_ms + 1),
        }
    }
}

impl TopicTable {
    /// The `limit` topics that are the greatest by `order`, the greatest first.
    #[must_use]
    pub fn report(&self, order: TopicOrder, limit: usize, now: Now) -> Vec<TopicReport> {
        let mut greatest = Greatest::new(limit);
        for stripe in &self.stripes {
            let topics: Vec<Arc<Topic>> = stripe.read().values().cloned().collect();
            for topic in topics {
                let Some(figures) = Figures::of(&topic, now) else { continue };
                greatest.offer((figures.rank(order), figures.offset), (topic, figures));
            }
        }
        let namespaces = &self.live_limits().namespaces;
        let report = |(topic, figures): (Arc<Topic>, Figures)| TopicReport {
            topic: topic.name().to_string(),
            namespace: namespaces.name_of(topic.name().as_str()).map(str::to_owned),
            epoch: topic.epoch(),
            offset: figures.offset,
            subscribers: figures.subscribers,
            waiting_requests: figures.waiting_requests,
            messages: figures.messages,
            bytes: figures.bytes,
            newest_age_ms: figures.newest_age_ms,
            messages_per_second: figures.messages_per_second,
        };
        greatest.into_items().map(report).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::interest::Join;
    use super::super::table::tests::{name, publish, table};
    use super::*;
    use crate::namespace::NamespaceOptions;

    fn names(table: &TopicTable, order: TopicOrder) -> Vec<String> {
        let reports = table.report(order, 10, Now::from_ms(10_000));
        reports.into_iter().map(|report| report.topic).collect()
    }

    /// `busy` with 50 messages in 5 s, `large` with one, `wanted` with two subscribers.
    fn market() -> TopicTable {
        let table = table(2, |limits| {
            limits.namespaces.insert("news", NamespaceOptions::default());
        });
        for n in 0..50 {
            publish(&table, "busy", "x", 5_000 + 100 * n);
        }
        publish(&table, "news.large", &"x".repeat(50_000), 2_000);
        for shard in 0..2 {
            table.join(&name("wanted"), &Join { shard, ..Join::default() }).unwrap();
        }
        table
    }

    #[test]
    fn each_order_puts_another_topic_first() {
        let table = market();
        for (order, first) in [
            (TopicOrder::Rate, "busy"),
            (TopicOrder::Subscribers, "wanted"),
            (TopicOrder::Offset, "busy"),
            (TopicOrder::Messages, "busy"),
            (TopicOrder::Bytes, "news.large"),
            (TopicOrder::NewestAge, "news.large"),
        ] {
            assert_eq!(names(&table, order)[0], first, "{order:?}");
        }
        assert_eq!(TopicOrder::ALL.len(), 6);
    }

    #[test]
    fn a_report_has_what_the_topic_has_at_that_moment() {
        let table = market();
        let reports = table.report(TopicOrder::Rate, 10, Now::from_ms(10_000));
        let of = |name: &str| reports.iter().find(|report| report.topic == name).unwrap();
        let busy = of("busy");
        assert_eq!((busy.offset, busy.messages, busy.newest_age_ms), (50, 50, Some(100)));
        assert_eq!(busy.messages_per_second, Some(49.0 / 5.0));
        assert_eq!(busy.bytes, table.history_bytes() - of("news.large").bytes);
        let large = of("news.large");
        assert_eq!((large.namespace.as_deref(), large.messages_per_second), (Some("news"), None));
        let wanted = of("wanted");
        assert_eq!((wanted.offset, wanted.subscribers, wanted.newest_age_ms), (0, 2, None));
        assert_eq!((wanted.messages, wanted.bytes, wanted.waiting_requests), (0, 0, 0));
    }

    #[test]
    fn no_more_are_told_than_were_asked_for() {
        let table = table(1, |_| {});
        for n in 0..500 {
            for _ in 0..=n % 7 {
                publish(&table, &format!("t.{n}"), "x", 0);
            }
        }
        let reports = table.report(TopicOrder::Offset, 3, Now::from_ms(1));
        assert!(reports.len() == 3 && reports.iter().all(|report| report.offset == 7));
    }
}
