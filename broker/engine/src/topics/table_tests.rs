//! The table's promises: one order, bounded memory, honest epochs.

use super::super::interest::{Join, Joined};
use super::*;

pub(in crate::topics) fn table(shards: usize, change: impl FnOnce(&mut Limits)) -> TopicTable {
    let mut limits = Limits::default();
    change(&mut limits);
    let mailboxes = (0..shards).map(|_| Arc::new(Mailbox::new(|| {}))).collect();
    TopicTable::new(mailboxes, Arc::new(limits), 7)
}

pub(in crate::topics) fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

pub(in crate::topics) fn publish(
    table: &TopicTable,
    topic: &str,
    body: &str,
    ms: u64,
) -> Published {
    let counters = ShardCounters::default();
    table.publish(&name(topic), &Payload::text(body), None, &counters, Now::from_ms(ms)).unwrap()
}

fn join(table: &TopicTable, topic: &str, shard: usize) -> Result<Joined, JoinError> {
    table.join(&name(topic), &Join { shard, ..Join::default() })
}

fn drain(table: &TopicTable, shard: usize) -> Vec<u64> {
    let mail = std::iter::from_fn(|| table.mailboxes()[shard].pop());
    mail.filter_map(|mail| match mail {
        Mail::Message(message) => Some(message.offset()),
        Mail::Presence(_) => None,
    })
    .collect()
}

#[test]
fn a_message_goes_only_to_shards_with_subscribers_and_offsets_are_dense() {
    let table = table(3, |_| {});
    assert_eq!(publish(&table, "a", "before", 0).offset, 1);
    let joined = join(&table, "a", 1).unwrap();
    assert_eq!(joined.head, 1);
    join(&table, "a", 2).unwrap();
    publish(&table, "a", "x", 0);
    publish(&table, "b", "other topic", 0);
    table.leave(&joined.topic, 1, 0, false);
    publish(&table, "a", "y", 0);
    assert!(drain(&table, 0).is_empty());
    assert_eq!(drain(&table, 1), [2]);
    assert_eq!(drain(&table, 2), [2, 3]);
}

#[test]
fn concurrent_publishers_give_every_shard_the_same_order() {
    let table = table(2, |_| {});
    for shard in 0..2 {
        join(&table, "a", shard).unwrap();
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    publish(&table, "a", "x", 0);
                }
            });
        }
    });
    let expected: Vec<u64> = (1..=2_000).collect();
    assert_eq!(drain(&table, 0), expected);
    assert_eq!(drain(&table, 1), expected);
}

#[test]
fn a_ring_keeps_the_newest_within_messages_bytes_and_age() {
    let table = table(1, |l| {
        l.namespaces.default_mut().history_messages = 3;
        l.namespaces.default_mut().history_bytes = 2_000;
        l.namespaces.default_mut().history_age_ms = 1_000;
    });
    for ms in 0..5 {
        publish(&table, "a", "x", ms);
    }
    let offsets = |limit| {
        let snapshot = table.history(&name("a"), None, limit).unwrap();
        (snapshot.head, snapshot.messages.iter().map(|m| m.offset()).collect::<Vec<_>>())
    };
    assert_eq!(offsets(10), (5, vec![3, 4, 5]));
    assert_eq!(offsets(1), (5, vec![5]));
    publish(&table, "a", &"y".repeat(1_300), 5);
    assert_eq!(offsets(10), (6, vec![5, 6]), "bytes");
    (0..STRIPES).for_each(|_| table.sweep(Now::from_ms(1_005)));
    assert_eq!(offsets(10), (6, vec![6]), "age");
    assert_eq!(table.history_bytes(), 1_300 + 256);
}

#[test]
fn all_rings_together_stay_within_the_nodes_budget() {
    let table = table(1, |l| l.history_total_bytes_max = 10_000);
    for topic in 0..100 {
        for _ in 0..10 {
            publish(&table, &format!("t.{topic}"), &"x".repeat(244), 0);
            assert!(table.history_bytes() <= 10_000);
        }
    }
    assert!(table.history_bytes() > 9_000);
}

#[test]
fn an_idle_topic_is_forgotten_and_comes_back_under_another_epoch() {
    let table = table(1, |l| l.namespaces.default_mut().history_age_ms = 10);
    let first = publish(&table, "a", "x", 0);
    assert_eq!(table.topic_count(), 1);
    (0..STRIPES).for_each(|_| table.sweep(Now::from_ms(100)));
    assert_eq!((table.topic_count(), table.history_bytes()), (0, 0));
    let second = publish(&table, "a", "x", 100);
    assert_eq!(second.offset, 1);
    assert_ne!(second.epoch, first.epoch);
}

#[test]
fn a_subscriber_holds_its_topic_even_when_nothing_is_kept() {
    let table = table(1, |l| l.namespaces.default_mut().history_messages = 0);
    let joined = join(&table, "a", 0).unwrap();
    (0..STRIPES).for_each(|_| table.sweep(Now::from_ms(1_000_000)));
    assert_eq!(publish(&table, "a", "x", 0).epoch, joined.topic.epoch());
    table.leave(&joined.topic, 0, 0, false);
    assert_eq!(table.topic_count(), 0);
}

#[test]
fn limits_are_told_with_their_numbers() {
    let table = table(1, |l| {
        l.topics_max = 2;
        l.message_bytes_max = 200;
    });
    publish(&table, "a", "x", 0);
    publish(&table, "b", "x", 0);
    let counters = ShardCounters::default();
    let now = Now::default();
    let third = table.publish(&name("c"), &Payload::text("x"), None, &counters, now);
    assert_eq!(third, Err(PublishError::TooManyTopics(2)));
    assert!(join(&table, "c", 0).is_err());
    let big = table.publish(&name("a"), &Payload::text("x".repeat(201)), None, &counters, now);
    assert_eq!(big, Err(PublishError::TooBig(201, 200)));
    assert_eq!(counters.messages_in.get(), 0);
}

#[test]
fn limits_that_change_are_for_what_is_made_afterwards() {
    let table = table(1, |l| l.topics_max = 2);
    publish(&table, "a", "x", 0);
    let mut limits = Limits::clone(&table.live_limits());
    limits.topics_max = 3;
    limits.namespaces.default_mut().history_messages = 7;
    table.set_live_limits(limits.clone()).unwrap();
    for topic in ["b", "c"] {
        publish(&table, topic, "x", 0);
    }
    let kept = |topic: &str| table.find(&name(topic)).unwrap().options.history_messages;
    assert_eq!((kept("a"), kept("b"), kept("c")), (100, 7, 7));
    assert!(join(&table, "d", 0).is_err());
    limits.outbox_bytes_max = 1;
    assert!(table.set_live_limits(limits).is_err());
    assert_eq!(table.live_limits().topics_max, 3);
}

#[test]
fn a_table_that_goes_away_takes_its_messages_along() {
    let table = table(1, |_| {});
    publish(&table, "a", "x", 0);
    let topic = Arc::downgrade(&table.find(&name("a")).unwrap());
    drop(table);
    assert!(topic.upgrade().is_none());
}

#[test]
fn publishes_are_counted_for_namespaces_with_options_and_together_for_the_rest() {
    let table = table(1, |limits| {
        for i in 0..NAMESPACES_COUNTED + 5 {
            limits.namespaces.insert(&format!("n{i}"), Default::default());
        }
    });
    let counters = ShardCounters::default();
    let publish = |topic: &str| {
        let payload = Payload::text("four");
        table.publish(&name(topic), &payload, None, &counters, Now::default()).unwrap();
    };
    join(&table, "n7.a", 0).unwrap();
    for topic in ["n7.a", "n3.b", "n7.c", "other", "n7"] {
        publish(topic);
    }
    assert_eq!(table.namespaces(), ["n7".into(), "n3".into()]);
    let of = |place: usize| {
        let one = &counters.namespaces[place];
        (one.messages_in.get(), one.message_in_bytes.get(), one.fanout.get())
    };
    assert_eq!((of(0), of(1), of(NAMESPACES_COUNTED)), ((3, 12, 1), (1, 4, 0), (1, 4, 0)));
    (0..NAMESPACES_COUNTED + 5).for_each(|i| publish(&format!("n{i}.late")));
    assert_eq!(table.namespaces().len(), NAMESPACES_COUNTED);
    assert_eq!(of(NAMESPACES_COUNTED).0, 1 + 5, "those past the cap are others");
}
