//! A shard takes the snapshot of a pattern while another thread publishes: what its client hears.

use std::collections::BTreeMap;
use std::sync::Arc;

use fanfare_protocol::{Codec, Event, Payload, ServerFrame, TopicName};
use shuttle::thread;

use super::{check, check_finds};
use crate::counters::ShardCounters;
use crate::fault::Fault;
use crate::limits::Limits;
use crate::mailbox::Mailbox;
use crate::shard::{ConnectionKind, Shard};
use crate::simulator::random::Random;
use crate::simulator::wire::{FrameReader, TEXT, Wire};
use crate::time::Now;
use crate::topics::TopicTable;

const ROUNDS: u64 = 3;
const NOW: Now = Now { us: 0 };

fn publish(table: &TopicTable, topic: &str) {
    let topic = TopicName::new(topic).unwrap();
    table.publish(&topic, &Payload::text("x"), None, &ShardCounters::default(), NOW).unwrap();
}

/// One thread publishes on `a`, then on `b`, and so on, so that at any moment `a` is level with
/// `b` or one ahead.
fn a_snapshot_and_a_publisher() {
    let mailboxes = vec![Arc::new(Mailbox::new(|| {}))];
    let table = Arc::new(TopicTable::new(mailboxes, Arc::new(Limits::default()), 1));
    ["a", "b"].iter().for_each(|topic| publish(&table, topic));
    let publisher = {
        let table = table.clone();
        thread::spawn(move || {
            for _ in 1..ROUNDS {
                ["a", "b"].iter().for_each(|topic| publish(&table, topic));
            }
        })
    };
    let mut shard = Shard::new(0, "n".into(), table);
    let wire = Wire::new(usize::MAX, Random::new(1));
    let key = shard.open(wire.clone(), &ConnectionKind::Sdk(Codec::Json), NOW);
    let commands = br#"[{"connect":{}},{"subscribe":{"topic":"*","snapshot":true}}]"#;
    wire.pipe().send(TEXT, commands);
    wire.pipe().arrive(usize::MAX);
    shard.handle_readable(key, &mut [0; 1_024], true, NOW);
    publisher.join().unwrap();
    shard.drain_mailbox(usize::MAX, NOW);
    while shard.flush(usize::MAX, NOW) {}
    check_heard(&wire);
}

/// Demands a snapshot of one moment, then each message behind it, once.
fn check_heard(wire: &Wire) {
    let mut reader = FrameReader::default();
    reader.push(&wire.pipe().take(usize::MAX));
    let frames = std::iter::from_fn(|| reader.next());
    let mut heard: BTreeMap<String, u64> = BTreeMap::new();
    let mut has_ended = false;
    for frame in frames {
        match ServerFrame::decode(Codec::Json, frame.payload()).unwrap() {
            ServerFrame::Message(message) => {
                let before = heard.insert(message.topic, message.offset);
                let follows = before.is_none_or(|before| message.offset == before + 1);
                assert!(follows, "{} came after {before:?}", message.offset);
            }
            ServerFrame::Event(Event::Snapshot(end)) => {
                has_ended = true;
                assert_eq!((end.messages, end.later), (2, 0));
                let ahead = heard["a"].checked_sub(heard["b"]);
                assert!(matches!(ahead, Some(0 | 1)), "of no one moment: {heard:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(has_ended, "the snapshot has no end");
    assert!(heard.values().all(|offset| *offset == ROUNDS), "not all came: {heard:?}");
}

#[test]
fn a_snapshot_is_of_one_moment_and_nothing_is_lost_or_doubled_behind_it() {
    check(a_snapshot_and_a_publisher);
}

#[test]
fn a_snapshot_taken_topic_by_topic_is_noticed() {
    check_finds(Fault::TearSnapshot, "of no one moment", a_snapshot_and_a_publisher);
}
