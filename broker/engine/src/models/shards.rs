//! Whole shards, each on its own thread, while others publish: what their clients hear.

use std::sync::Arc;

use fanfare_protocol::{Codec, Payload, ServerFrame, TopicName};
use shuttle::sync::Barrier;
use shuttle::thread;

use super::{check, check_finds};
use crate::counters::ShardCounters;
use crate::fault::Fault;
use crate::limits::Limits;
use crate::mailbox::Mailbox;
use crate::shard::{ConnectionKind, Key, Shard};
use crate::simulator::random::Random;
use crate::simulator::wire::{FrameReader, TEXT, Wire};
use crate::time::Now;
use crate::topics::TopicTable;

const PUBLISHED: u64 = 3;
const NOW: Now = Now { us: 0 };

/// A client that subscribes to the topic, and what it hears.
struct Client {
    key: Key,
    wire: Wire,
}

impl Client {
    fn subscribe(shard: &mut Shard<Wire>) -> Self {
        let wire = Wire::new(usize::MAX, Random::new(1));
        let key = shard.open(wire.clone(), &ConnectionKind::Sdk(Codec::Json), NOW);
        let commands = br#"[{"connect":{}},{"id":1,"subscribe":{"topic":"t"}}]"#;
        wire.pipe().send(TEXT, commands);
        wire.pipe().arrive(usize::MAX);
        shard.handle_readable(key, &mut [0; 1_024], true, NOW);
        Self { key, wire }
    }

    /// Demands the reply to `subscribe`, then each message after the offset that it told, once.
    fn check(&self) {
        let mut reader = FrameReader::default();
        reader.push(&self.wire.pipe().take(usize::MAX));
        let frames = std::iter::from_fn(|| reader.next());
        let decoded =
            frames.map(|frame| ServerFrame::decode(Codec::Json, frame.payload()).unwrap());
        let mut offsets = decoded.map(|frame| match frame {
            ServerFrame::Reply(reply) => match reply.result {
                Ok(fanfare_protocol::ReplyBody::Subscribe(subscribed)) => subscribed.offset,
                other => panic!("{other:?}"),
            },
            ServerFrame::Message(message) => message.offset,
            other => panic!("{other:?}"),
        });
        let head = offsets.next().unwrap();
        let heard: Vec<u64> = offsets.collect();
        assert!(heard.iter().copied().eq(head + 1..=PUBLISHED), "after {head} came {heard:?}");
    }
}

fn turn(shard: &mut Shard<Wire>, messages_max: usize) {
    shard.drain_mailbox(messages_max, NOW);
    while shard.flush(usize::MAX, NOW) {}
}

/// One thread publishes; each shard has a quick client, a slow one that must be caught up from
/// the ring, and one that joins when the mailbox may hold mail.
fn shards_and_a_publisher(shards: usize) {
    let mailboxes = (0..shards).map(|_| Arc::new(Mailbox::new(|| {}))).collect();
    // Every message is over the mark, so a reader that is blocked is behind at once.
    let limits = Limits { outbox_high_water_bytes: 1, ..Limits::default() };
    let table = Arc::new(TopicTable::new(mailboxes, Arc::new(limits), 1));
    let all_published = Arc::new(Barrier::new(shards + 1));
    let owners: Vec<_> = (0..shards)
        .map(|index| {
            let (table, all_published) = (table.clone(), all_published.clone());
            thread::spawn(move || {
                let mut shard = Shard::new(index, "n".into(), table);
                let quick = Client::subscribe(&mut shard);
                let slow = Client::subscribe(&mut shard);
                let waiting = slow.wire.pipe().waiting_bytes();
                slow.wire.pipe().capacity = waiting + 1;
                turn(&mut shard, 1);
                let late = Client::subscribe(&mut shard);
                turn(&mut shard, 1);
                slow.wire.pipe().capacity = usize::MAX;
                shard.handle_writable(slow.key, NOW);
                turn(&mut shard, 1);
                all_published.wait();
                turn(&mut shard, usize::MAX);
                [quick, slow, late].iter().for_each(Client::check);
            })
        })
        .collect();
    let counters = ShardCounters::default();
    for _ in 0..PUBLISHED {
        let topic = TopicName::new("t").unwrap();
        table.publish(&topic, &Payload::text("x"), None, &counters, NOW).unwrap();
    }
    all_published.wait();
    owners.into_iter().for_each(|owner| owner.join().unwrap());
}

#[test]
fn every_subscriber_gets_what_comes_after_its_join_once_and_in_order() {
    check(|| shards_and_a_publisher(1));
    check(|| shards_and_a_publisher(2));
}

#[test]
fn subscribers_notice_a_push_outside_of_the_topics_lock() {
    check_finds(Fault::PushOutsideLock, "came", || shards_and_a_publisher(1));
}

#[test]
fn subscribers_notice_a_head_read_before_the_join() {
    check_finds(Fault::ReadHeadBeforeJoin, "came", || shards_and_a_publisher(1));
}

#[test]
fn subscribers_notice_mail_that_comes_again_after_they_caught_up() {
    check_finds(Fault::ForgetMailAfterCatchUp, "came", || shards_and_a_publisher(1));
}
