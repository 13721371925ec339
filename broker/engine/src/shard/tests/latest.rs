//! Subscriptions of mode `latest`: the newest value always, and nothing old after a stop.

use fanfare_protocol::{Mode, ServerFrame};

use super::recovery::{heard, join, messages, open_network, small};
use super::*;

#[test]
fn a_latest_reader_that_trickles_holds_no_more_than_the_rest_of_one_frame() {
    let mut world = World::new(|_| {});
    let slow = world.subscriber(&[]);
    let topics: Vec<String> = (0..150).map(|topic| format!("t.{topic}")).collect();
    for topic in &topics {
        join(&mut world, &slow, topic, None, Mode::Latest);
    }
    slow.1.set_room(0);
    for round in 1..=20u64 {
        for topic in &topics {
            assert_eq!(world.publish(topic, "1"), round);
        }
        world.deliver();
        slow.1.set_room(333);
        world.shard.handle_writable(slow.0, world.now);
        assert!(world.shard.buffered_amount(slow.0) < Some(60), "less than a frame");
    }
    slow.1.frames();
    open_network(&mut world, &slow);
    let last: Vec<u64> = slow.1.frames().iter().map(Frame::offset).collect();
    assert!(last.len() >= 140 && last[1..].iter().all(|offset| *offset == 20), "{last:?}");
    assert_eq!(world.counters().subscriptions_behind.get(), 0);
}

#[test]
fn a_burst_that_stops_a_latest_reader_leaves_nothing_old_in_its_outbox() {
    let mut world = World::new(|_| {});
    let slow = world.subscriber(&[]);
    for topic in ["t", "u"] {
        join(&mut world, &slow, topic, None, Mode::Latest);
    }
    let body = format!("\"{}\"", "x".repeat(10_000));
    for _ in 0..10 {
        world.publish("t", &body);
        world.publish("u", &body);
    }
    slow.1.set_room(5_000);
    world.deliver();
    world.publish("u", &body);
    world.publish("t", &body);
    world.deliver();
    open_network(&mut world, &slow);
    let mut got: Vec<u64> = slow.1.frames().iter().map(Frame::offset).collect();
    got.sort_unstable();
    assert_eq!(got, [1, 11, 11], "what was begun, and the newest");
}

#[test]
fn the_latest_mode_ends_at_the_newest_value_and_holds_nothing_else() {
    let mut world = World::new(small);
    let slow = world.subscriber(&[]);
    for topic in ["t", "u"] {
        join(&mut world, &slow, topic, None, Mode::Latest);
    }
    slow.1.set_room(3);
    for i in 1..=50 {
        world.publish("t", "1");
        world.publish("u", "2");
        world.deliver();
        let waiting = world.shard.buffered_amount(slow.0).unwrap();
        assert!(waiting < 100, "one begun frame at most, after {i}: {waiting}");
    }
    open_network(&mut world, &slow);
    let frames = slow.1.frames();
    slow.1.put_back(frames.clone());
    assert_eq!(heard(&slow.1, "t"), messages([1, 50]), "the begun one, then the newest");
    slow.1.put_back(frames);
    assert_eq!(heard(&slow.1, "u"), messages([50]));
    for _ in 0..3 {
        world.publish("u", "3");
        world.deliver();
    }
    assert_eq!(heard(&slow.1, "u"), messages(51..=53), "every one while it reads");
}

#[test]
fn a_latest_reader_that_stops_again_gets_nothing_older_than_its_socket_holds() {
    let mut world = World::new(small);
    let slow = world.subscriber(&[]);
    for topic in ["t", "u", "v"] {
        join(&mut world, &slow, topic, None, Mode::Latest);
    }
    let round = |world: &mut World| {
        for topic in ["t", "u", "v"] {
            world.publish(topic, "\"0123456789\"");
        }
        world.deliver();
    };
    slow.1.set_room(0);
    round(&mut world);
    // It takes the first and a part of the second; the third is chosen but not begun.
    slow.1.set_room(60);
    world.shard.handle_writable(slow.0, world.now);
    world.pass(world.shard.limits.ping_interval_ms);
    (0..4).for_each(|_| round(&mut world));
    open_network(&mut world, &slow);
    let mut offsets: Vec<(String, u64)> = Vec::new();
    for frame in slow.1.frames().iter().filter(|frame| frame.opcode == 1) {
        match frame.json() {
            ServerFrame::Message(message) => offsets.push((message.topic, message.offset)),
            ServerFrame::Event(Event::Ping(ping)) => {
                assert_eq!(ping.heads.len(), 2, "the third waits to be chosen");
                let came = |(topic, head): (&String, &u64)| {
                    offsets.iter().any(|(t, o)| t == topic && o >= head)
                };
                assert!(ping.heads.iter().all(came), "{ping:?} after {offsets:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    let expected = [("t", 1), ("u", 1), ("v", 5), ("t", 5), ("u", 5)];
    assert!(offsets.iter().map(|(t, o)| (t.as_str(), *o)).eq(expected), "{offsets:?}");
    assert_eq!(world.counters().outbox_bytes.get(), 0);
    assert_eq!(world.counters().messages_merged.get(), 3 + 3 + 4);
}

#[test]
fn a_new_latest_subscriber_gets_the_newest_value_at_once() {
    let mut world = World::new(|_| {});
    for _ in 0..5 {
        world.publish("t", "1");
    }
    let client = world.subscriber(&[]);
    let reply = join(&mut world, &client, "t", None, Mode::Latest);
    assert_eq!((reply.offset, reply.recovered), (5, false));
    world.publish("t", "1");
    world.deliver();
    assert_eq!(heard(&client.1, "t"), messages([5, 6]));
}

#[test]
fn a_reader_that_is_behind_costs_a_publish_nothing() {
    let mut world = World::new(small);
    let slow = world.subscriber(&[]);
    join(&mut world, &slow, "t", None, Mode::Latest);
    slow.1.set_room(5);
    world.publish("t", "1");
    world.deliver();
    world.publish("t", "2");
    world.deliver();
    world.publish("t", "3");
    world.shard.drain_mailbox(10, world.now);
    assert!(!world.shard.has_pending_writes(), "nothing is marked for it");
    open_network(&mut world, &slow);
    assert_eq!(heard(&slow.1, "t"), messages([1, 3]));
    world.publish("t", "4");
    world.deliver();
    assert_eq!(heard(&slow.1, "t"), messages([4]), "live again");
}
