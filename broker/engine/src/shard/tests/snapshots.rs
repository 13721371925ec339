//! The snapshot with which a subscription by pattern may begin: one piece behind the reply, with
//! an end, and the rest later where the socket does not take it.

use fanfare_protocol::{Command, Event, Filter, Mode, ServerFrame, SnapshotEnd, TopicPattern};

use super::world::{Client, World};
use super::*;

const TOPICS: u64 = 200;

/// A node with two messages on each of many topics.
fn world() -> World {
    let world = World::new(|limits| {
        limits.outbox_high_water_bytes = 2_000;
        limits.outbox_low_water_bytes = 1_000;
    });
    for topic in 0..TOPICS {
        world.publish(&format!("t.{topic}"), "1");
        world.publish(&format!("t.{topic}"), "2");
    }
    world
}

fn ask(world: &mut World, key: Key, client: &Client, mode: Mode) {
    let mut subscribe = Subscribe::new("t.*");
    (subscribe.mode, subscribe.snapshot) = (Some(mode), Some(true));
    client.command(9, Request::Subscribe(subscribe));
    world.read(key);
}

/// What has come: the topics and offsets of messages, and the ends of snapshots.
fn heard(client: &Client) -> (Vec<(String, u64)>, Vec<SnapshotEnd>) {
    let (mut messages, mut ends) = (Vec::new(), Vec::new());
    for frame in client.frames() {
        match frame.json() {
            ServerFrame::Message(message) => messages.push((message.topic, message.offset)),
            ServerFrame::Event(Event::Snapshot(end)) => ends.push(end),
            ServerFrame::Reply(reply) => assert!(reply.result.is_ok()),
            other => panic!("{other:?}"),
        }
    }
    (messages, ends)
}

fn end(messages: u64, later: u64) -> SnapshotEnd {
    SnapshotEnd { topic: "t.*".to_owned(), messages, later }
}

#[test]
fn a_snapshot_comes_in_one_piece_and_ends() {
    let mut world = world();
    let (key, client) = world.subscriber(&["t.7"]);
    ask(&mut world, key, &client, Mode::All);
    // Taken already, and so behind the snapshot.
    world.publish("t.1", "3");
    let (messages, ends) = heard(&client);
    assert_eq!(ends, [end(TOPICS - 1, 0)]);
    assert_eq!(messages.len() as u64, TOPICS - 1, "one of them comes by name");
    assert!(messages.iter().all(|(topic, offset)| *offset == 2 && topic != "t.7"));
    assert_eq!(world.counters().subscriptions_behind.get(), 0);
    world.deliver();
    assert_eq!(heard(&client), (vec![("t.1".to_owned(), 3)], vec![]));
}

#[test]
fn mail_that_waits_counts_for_the_snapshot_and_comes_to_others_as_ever() {
    let mut world = world();
    let (_, other) = world.subscriber(&["t.1"]);
    world.publish("t.1", "3");
    world.publish("t.1", "4");
    let (key, client) = world.subscriber(&[]);
    ask(&mut world, key, &client, Mode::Latest);
    let (messages, ends) = heard(&client);
    assert_eq!(ends, [end(TOPICS, 0)]);
    assert!(messages.contains(&("t.1".to_owned(), 4)));
    world.deliver();
    assert_eq!(heard(&client).0, []);
    assert_eq!(heard(&other).0, [("t.1".to_owned(), 3), ("t.1".to_owned(), 4)]);
}

#[test]
fn what_a_socket_does_not_take_of_a_snapshot_comes_later_and_newer() {
    for mode in [Mode::All, Mode::Latest] {
        let mut world = world();
        let (key, client) = world.subscriber(&[]);
        client.set_room(5_000);
        ask(&mut world, key, &client, mode);
        let outbox = world.shard.connections[key].outbox_bytes();
        assert!(outbox < 200, "no more than one frame and the end wait, not {outbox} bytes");
        world.publish("t.199", "3");
        world.deliver();
        client.set_room(usize::MAX);
        world.shard.handle_writable(key, world.now);
        let (messages, ends) = heard(&client);
        let [SnapshotEnd { messages: first, later, .. }] = ends[..] else { panic!("{ends:?}") };
        assert!(first > 50 && later > 50, "{first} and {later}");
        assert_eq!(first + later, TOPICS);
        let last: Vec<u64> = messages.iter().filter(|m| m.0 == "t.199").map(|m| m.1).collect();
        assert_eq!(last, if mode == Mode::All { vec![2, 3] } else { vec![3] });
        let twos = messages.iter().filter(|m| m.1 == 2 && m.0 != "t.199").count();
        assert_eq!(twos as u64, TOPICS - 1, "every other topic once");
    }
}

#[test]
fn an_event_stream_is_told_where_the_snapshot_of_its_pattern_ends() {
    let mut world = world();
    let client = Client::new();
    let filter = Filter::Pattern(TopicPattern::new("t.*").unwrap());
    let sources = vec![EventSource { filter, since: None }];
    let options = StreamOptions { snapshot: Some(true), ..StreamOptions::default() };
    world.shard.open(client.clone(), &ConnectionKind::Events { sources, options }, world.now);
    let text = String::from_utf8(client.0.borrow().to_client.clone()).unwrap();
    let (snapshot, rest) = text.split_once("event: snapshot\n").unwrap();
    assert_eq!(snapshot.matches("\"offset\":2").count() as u64, TOPICS);
    let end = "data: {\"event\":\"snapshot\",\"topic\":\"t.*\",\"messages\":200}\n\n";
    assert!(rest.starts_with(end), "{rest}");
}

#[test]
fn who_is_closed_over_the_reply_is_owed_no_snapshot() {
    // With some number of replies before it, the reply passes the hard limit.
    for replies in 0..8 {
        let mut world = World::new(|limits| {
            (limits.outbox_low_water_bytes, limits.outbox_high_water_bytes) = (100, 200);
            limits.outbox_bytes_max = 300;
        });
        world.publish("t.1", "1");
        let (key, client) = world.subscriber(&[]);
        client.set_room(0);
        let mut frame = Vec::new();
        let mut commands =
            vec![command(Request::Unsubscribe(Unsubscribe { topic: "u".into() })); replies];
        let subscribe = Subscribe { snapshot: Some(true), ..Subscribe::new("t.*") };
        commands.push(command(Request::Subscribe(subscribe)));
        Command::encode_batch(&commands, Codec::Json, &mut frame);
        client.send(1, &frame);
        world.read(key);
        world.shard.audit();
    }
}

fn command(request: Request) -> Command {
    Command { id: Some(1), request }
}
