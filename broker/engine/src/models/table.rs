//! The topic table between threads that publish, join and leave.

use std::sync::Arc;

use fanfare_protocol::{Payload, TopicName};
use shuttle::thread;

use super::{caught, check, check_finds, search};
use crate::counters::ShardCounters;
use crate::fault::Fault;
use crate::limits::Limits;
use crate::mailbox::{Mail, Mailbox};
use crate::time::Now;
use crate::topics::{Join, JoinError, Joined, Published, TopicTable};

fn table(shards: usize, history_messages_max: usize) -> Arc<TopicTable> {
    let mut limits = Limits::default();
    limits.namespaces.default_mut().history_messages = history_messages_max;
    let mailboxes = (0..shards).map(|_| Arc::new(Mailbox::new(|| {}))).collect();
    Arc::new(TopicTable::new(mailboxes, Arc::new(limits), 1))
}

fn topic() -> TopicName {
    TopicName::new("t").unwrap()
}

fn publish(table: &TopicTable, counters: &ShardCounters, body: &str) -> Published {
    table.publish(&topic(), &Payload::text(body), None, counters, Now::default()).unwrap()
}

/// Runs `body` on a thread of its own.
fn spawn<T: Send + 'static>(
    table: &Arc<TopicTable>,
    body: impl FnOnce(&TopicTable) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let table = table.clone();
    thread::spawn(move || body(&table))
}

fn join(table: &TopicTable, shard: usize) -> Result<Joined, JoinError> {
    table.join(&topic(), &Join { shard, ..Join::default() })
}

fn drain(table: &TopicTable, shard: usize) -> Vec<(u64, String)> {
    let mail = std::iter::from_fn(|| table.mailboxes()[shard].pop());
    let messages = mail.filter_map(|mail| match mail {
        Mail::Message(message) => Some(message),
        Mail::Presence(_) => None,
    });
    messages.map(|m| (m.offset(), m.payload().as_text().unwrap().to_owned())).collect()
}

/// Two threads publish twice each; every shard hears all of it in one order, and each publisher
/// was told the right place.
fn publishers_and_two_shards() {
    let table = table(2, 10);
    for shard in 0..2 {
        join(&table, shard).unwrap();
    }
    let publishers = [["a1", "a2"], ["b1", "b2"]].map(|bodies| {
        spawn(&table, move |table| {
            let counters = ShardCounters::default();
            bodies.map(|body| (publish(table, &counters, body).offset, body.to_owned()))
        })
    });
    let told = publishers.map(|publisher| publisher.join().unwrap());
    assert!(told.iter().all(|[first, second]| first.0 < second.0));
    let mut told: Vec<_> = told.into_iter().flatten().collect();
    told.sort();
    assert!(told.iter().map(|(offset, _)| *offset).eq(1..=4), "dense: {told:?}");
    assert_eq!(drain(&table, 0), told);
    assert_eq!(drain(&table, 1), told);
    let kept = table.history(&topic(), None, 10).unwrap().messages;
    assert!(kept.iter().map(|message| message.offset()).eq(1..=4));
}

#[test]
fn all_shards_see_one_order() {
    check(publishers_and_two_shards);
}

#[test]
fn a_push_outside_of_the_topics_lock_is_found() {
    check_finds(Fault::PushOutsideLock, "left == right", publishers_and_two_shards);
}

/// One thread publishes while a subscriber joins: on a shard that has one already, whose mailbox
/// may hold older mail, and on one that has none.
fn joins_while_publishing() {
    const PUBLISHED: u64 = 3;
    let table = table(2, 10);
    join(&table, 0).unwrap();
    let publisher = spawn(&table, |table| {
        let counters = ShardCounters::default();
        for _ in 0..PUBLISHED {
            publish(table, &counters, "x");
        }
    });
    let joiners = [0, 1].map(|shard| {
        spawn(&table, move |table| {
            let _ = table.mailboxes()[shard].pop();
            join(table, shard).unwrap()
        })
    });
    let joined = joiners.map(|joiner| joiner.join().unwrap());
    publisher.join().unwrap();
    for (shard, joined) in joined.into_iter().enumerate() {
        let mut heard = drain(&table, shard);
        if joined.has_older_mail {
            heard.retain(|(offset, _)| *offset > joined.head);
        }
        let heard = heard.into_iter().map(|(offset, _)| offset);
        assert!(heard.eq(joined.head + 1..=PUBLISHED), "everything after the head, once");
    }
}

#[test]
fn a_joiner_gets_exactly_what_comes_after_its_head() {
    check(joins_while_publishing);
}

#[test]
fn a_head_read_before_the_join_is_found() {
    let expected = "everything after the head";
    check_finds(Fault::ReadHeadBeforeJoin, expected, joins_while_publishing);
}

/// One thread publishes while a request looks at the topic and, where it has all, waits.
fn waits_while_publishing() {
    const PUBLISHED: u64 = 2;
    let table = table(1, 10);
    let publisher = spawn(&table, |table| {
        let counters = ShardCounters::default();
        for _ in 0..PUBLISHED {
            publish(table, &counters, "x");
        }
    });
    let waited = table.start_waiting(&topic(), 0, None).unwrap();
    publisher.join().unwrap();
    let heard = drain(&table, 0).into_iter().map(|(offset, _)| offset);
    assert!(heard.eq(waited.head + 1..=PUBLISHED), "what comes after the look wakes");
}

#[test]
fn a_waiting_request_hears_of_all_that_it_has_not_seen() {
    check(waits_while_publishing);
}

#[test]
fn a_look_before_the_wait_is_found() {
    check_finds(Fault::LookBeforeWait, "after the look", waits_while_publishing);
}

/// A topic without history is left by its last subscriber, and so retired, while another joins
/// and publishes.
fn joins_while_retiring() {
    let table = table(2, 0);
    let visitor = spawn(&table, |table| {
        for _ in 0..2 {
            let joined = join(table, 1).unwrap();
            table.leave(&joined.topic, 1, 0, false);
        }
    });
    let publisher = spawn(&table, |table| {
        let counters = ShardCounters::default();
        [(); 2].map(|()| publish(table, &counters, "other"))
    });
    let subscriber = spawn(&table, |table| {
        let joined = join(table, 0).unwrap();
        let own = publish(table, &ShardCounters::default(), "own");
        (joined.topic.epoch(), joined.head, own)
    });
    visitor.join().unwrap();
    let (epoch, head, own) = subscriber.join().unwrap();
    assert_eq!(own.epoch, epoch, "a topic with a subscriber lives on");
    let published = publisher.join().unwrap().into_iter().chain([own]);
    let mut expected: Vec<u64> = published
        .filter(|published| published.epoch == epoch && published.offset > head)
        .map(|published| published.offset)
        .collect();
    expected.sort_unstable();
    let heard: Vec<u64> = drain(&table, 0).into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(heard, expected, "nothing is swallowed");
    assert_eq!(table.topic_count(), 1);
}

#[test]
fn a_subscriber_never_holds_a_topic_that_is_out_of_the_table() {
    check(joins_while_retiring);
}

#[test]
fn joining_a_retired_topic_is_found() {
    check_finds(Fault::JoinRetired, "lives on", joins_while_retiring);
}

/// The same with history: what is published is kept, so it keeps its topic.
fn publishes_while_retiring() {
    let table = table(1, 10);
    let visitor = spawn(&table, |table| {
        let joined = join(table, 0).unwrap();
        table.leave(&joined.topic, 0, 0, false);
    });
    let published = publish(&table, &ShardCounters::default(), "x");
    let snapshot = table.history(&topic(), None, 10).expect("the message's topic is in the table");
    assert_eq!((snapshot.epoch, snapshot.head), (published.epoch, published.offset));
    visitor.join().unwrap();
}

#[test]
fn a_retired_topic_never_swallows_a_message() {
    check(publishes_while_retiring);
}

#[test]
fn publishing_on_a_retired_topic_is_found() {
    check_finds(Fault::PublishOnRetired, "is in the table", publishes_while_retiring);
}

/// Messages of two sizes push each other out of a ring of one; old ones expire meanwhile.
fn rings_that_turn_over() {
    let table = table(1, 1);
    let publishers = ["small", "a much longer one"].map(|body| {
        spawn(&table, move |table| {
            let counters = ShardCounters::default();
            publish(table, &counters, body);
            assert!(table.history_bytes() < 1_000, "the gauge is never below zero");
        })
    });
    table.sweep(Now::from_ms(1_000_000));
    assert!(table.history_bytes() < 1_000, "the gauge is never below zero");
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    table.sweep(Now::from_ms(1_000_000));
    assert_eq!((table.history_bytes(), table.topic_count()), (0, 0));
}

#[test]
fn bytes_of_rings_are_counted_before_they_can_be_dropped() {
    check(rings_that_turn_over);
}

#[test]
fn a_late_count_of_kept_bytes_is_found() {
    check_finds(Fault::CountHistoryLate, "below zero", rings_that_turn_over);
}

/// Two threads count into the same counters. In every other model each has its own, and the
/// checker's build holds them to that.
fn two_threads_that_count_into_one() {
    let table = table(1, 1);
    let counters = Arc::new(ShardCounters::default());
    let shared = counters.clone();
    let other = spawn(&table, move |table| publish(table, &shared, "x"));
    publish(&table, &counters, "x");
    other.join().unwrap();
}

#[test]
fn a_counter_with_two_writers_is_found() {
    let found = caught(|| search(1, Arc::new(two_threads_that_count_into_one)));
    assert!(found.is_some_and(|what| what.contains("one writer")));
}
