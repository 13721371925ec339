//! What the options of a namespace change: the newest value that outlives the ring, default
//! modes, disconnecting slow readers, presence; and history, keys and heads.

use fanfare_protocol::{
    Connect, ErrorCode, History, Mode, Ping, Presence, Publish, ReplyBody, Request, ServerFrame,
    Subscribe, Subscribed, Unsubscribe,
};

use super::world::{Client, Frame, World};
use super::*;
use crate::namespace::{NamespaceOptions, SlowConsumer};

fn world(options: NamespaceOptions) -> World {
    World::new(|l| l.namespaces.insert("n", options))
}

const PING: Event = Event::Ping(Ping { heads: std::collections::BTreeMap::new() });

fn ask(world: &mut World, key: Key, client: &Client, request: Request) -> ReplyBody {
    try_ask(world, key, client, request).unwrap()
}

fn try_ask(
    world: &mut World,
    key: Key,
    client: &Client,
    request: Request,
) -> Result<ReplyBody, fanfare_protocol::ErrorReply> {
    client.command(9, request);
    world.read(key);
    let mut frames = client.frames();
    frames.retain(|frame| frame.opcode == 1 && frame.json() != ServerFrame::Event(PING));
    let ServerFrame::Reply(reply) = frames.remove(0).json() else { panic!("no reply") };
    client.put_back(frames);
    reply.result
}

fn subscribe(world: &mut World, key: Key, client: &Client, topic: &str) -> Subscribed {
    match ask(world, key, client, Request::Subscribe(Subscribe::new(topic))) {
        ReplyBody::Subscribe(subscribed) => subscribed,
        other => panic!("{other:?}"),
    }
}

fn offsets(client: &Client) -> Vec<u64> {
    client.frames().iter().map(Frame::offset).collect()
}

#[test]
fn the_newest_value_outlives_the_ring_and_comes_at_once() {
    let options = NamespaceOptions { latest: true, history_age_ms: 100, ..Default::default() };
    let mut world = world(options);
    for _ in 0..3 {
        world.publish("n.A", "1");
    }
    world.pass(1_000_000);
    (0..256).for_each(|_| world.shard.topics().sweep(world.now));
    let (key, client) = world.subscriber(&[]);
    let subscribed = subscribe(&mut world, key, &client, "n.A");
    assert_eq!((subscribed.offset, subscribed.snapshot, subscribed.mode), (3, true, Mode::All));
    assert_eq!(offsets(&client), [3]);
    world.publish("n.A", "1");
    world.deliver();
    assert_eq!(offsets(&client), [4]);
}

#[test]
fn the_namespace_names_the_mode_that_a_client_leaves_open() {
    let mut world = world(NamespaceOptions { mode: Mode::Latest, ..Default::default() });
    let (key, client) = world.subscriber(&[]);
    assert_eq!(subscribe(&mut world, key, &client, "n.A").mode, Mode::Latest);
    assert_eq!(subscribe(&mut world, key, &client, "other.A").mode, Mode::All);
}

#[test]
fn a_namespace_may_disconnect_slow_readers_at_the_hard_limit() {
    let slow_consumer = SlowConsumer::Disconnect;
    let mut world = World::new(|l| {
        l.outbox_bytes_max = 200_000;
        l.namespaces.insert("n", NamespaceOptions { slow_consumer, ..Default::default() });
    });
    let (key, client) = world.subscriber(&[]);
    subscribe(&mut world, key, &client, "n.A");
    client.set_room(0);
    let body = format!("\"{}\"", "x".repeat(10_000));
    for _ in 0..15 {
        world.publish("n.A", &body);
        world.deliver();
    }
    assert!(world.shard.buffered_amount(key) > Some(150_000), "past the high-water mark");
    assert_eq!(world.counters().subscriptions_behind.get(), 0);
    for _ in 0..10 {
        world.publish("n.A", &body);
        world.deliver();
    }
    client.set_room(usize::MAX);
    world.shard.handle_writable(key, world.now);
    assert_eq!(client.close_code(), Some(3000));
}

#[test]
fn presence_tells_who_is_there_and_gathers_changes() {
    let mut world = world(NamespaceOptions { presence: true, ..Default::default() });
    let (key, client) = world.sdk();
    let name = Some("anna".to_owned());
    client.command(1, Request::Connect(Connect { name, ..Connect::default() }));
    let mut listening = Subscribe::new("n.room");
    listening.presence = true;
    client.command(2, Request::Subscribe(listening));
    world.read(key);
    client.frames();

    let others: Vec<_> = (0..5).map(|_| world.subscriber(&["n.room"])).collect();
    world.shard.end(others[0].0);
    let tell = |world: &mut World| {
        world.now = Now::from_ms(world.now.ms() + 1_000);
        world.shard.topics().tell_presence(world.now);
        world.deliver();
    };
    tell(&mut world);
    let events = client.frames();
    let [event] = &events[..] else { panic!("one event for all: {events:?}") };
    let ServerFrame::Event(Event::Presence(change)) = event.json() else { panic!() };
    assert_eq!((change.version, change.count, change.left.len()), (1, 5, 0));
    assert_eq!(change.joined.len(), 5, "who came and went is not told");
    assert_eq!(change.joined[0].name.as_deref(), Some("anna"));

    let unsubscribe = Request::Unsubscribe(Unsubscribe { topic: "n.room".into() });
    ask(&mut world, others[1].0, &others[1].1, unsubscribe);
    tell(&mut world);
    let ServerFrame::Event(Event::Presence(change)) = client.frames()[0].json() else { panic!() };
    let expected = change.joined.is_empty() && change.left.len() == 1;
    assert!(expected && change.version == 2 && change.count == 4, "{change:?}");

    let presence = Presence { topic: "n.room".into(), limit: Some(2) };
    let ReplyBody::Presence(list) = ask(&mut world, key, &client, Request::Presence(presence))
    else {
        panic!()
    };
    assert_eq!((list.count, list.version, list.members.len()), (4, 2, 2));
}

#[test]
fn who_was_listed_and_leaves_before_its_join_is_told_is_told_to_have_left() {
    let mut world = world(NamespaceOptions { presence: true, ..Default::default() });
    let (key, client) = world.subscriber(&[]);
    let listening = Subscribe { presence: true, ..Subscribe::new("n.room") };
    ask(&mut world, key, &client, Request::Subscribe(listening));
    let (guest, _) = world.subscriber(&["n.room"]);
    let list = Presence { topic: "n.room".into(), limit: None };
    let ReplyBody::Presence(list) = ask(&mut world, key, &client, Request::Presence(list)) else {
        panic!()
    };
    assert_eq!((list.version, list.count), (0, 2));
    world.shard.end(guest);
    world.shard.topics().tell_presence(world.now);
    world.deliver();
    let ServerFrame::Event(Event::Presence(change)) = client.frames()[0].json() else { panic!() };
    assert_eq!((change.version, change.count), (1, 1));
    assert_eq!(change.left, [list.members[1].connection.clone()]);
}

#[test]
fn versions_of_presence_count_on_when_everybody_had_left() {
    let mut world = world(NamespaceOptions { presence: true, ..Default::default() });
    world.publish("n.room", "keeps the topic");
    let (key, _) = world.subscriber(&["n.room"]);
    let tell = |world: &mut World| {
        world.now = Now::from_ms(world.now.ms() + 1_000);
        world.shard.topics().tell_presence(world.now);
    };
    tell(&mut world);
    world.shard.end(key);
    tell(&mut world);
    world.shard.topics().sweep_all(world.now);

    let (key, client) = world.subscriber(&[]);
    let listening = Subscribe { presence: true, ..Subscribe::new("n.room") };
    ask(&mut world, key, &client, Request::Subscribe(listening));
    tell(&mut world);
    world.deliver();
    let ServerFrame::Event(Event::Presence(change)) = client.frames()[0].json() else { panic!() };
    assert_eq!((change.version, change.count), (3, 1), "or it says nothing new by its version");
}

#[test]
fn presence_is_off_unless_the_namespace_turns_it_on() {
    let mut world = world(NamespaceOptions::default());
    let (key, client) = world.subscriber(&[]);
    let mut listening = Subscribe::new("n.room");
    listening.presence = true;
    for request in [
        Request::Subscribe(listening),
        Request::Presence(Presence { topic: "n.room".into(), limit: None }),
    ] {
        let error = try_ask(&mut world, key, &client, request).unwrap_err();
        assert_eq!(error.code, ErrorCode::NotEnabled);
    }
    assert_eq!(world.counters().subscriptions.get(), 0);
    assert_eq!(world.shard.topics().topic_count(), 0, "a refusal leaves no topic behind");
}

#[test]
fn history_is_told_in_pages_and_a_key_is_published_once() {
    let mut world = world(NamespaceOptions::default());
    let (key, client) = world.subscriber(&[]);
    let publish = |key: &str| {
        let payload = Payload::json("1").unwrap();
        Request::Publish(Publish { topic: "n.A".into(), key: Some(key.into()), payload })
    };
    let mut places = Vec::new();
    for name in ["a", "b", "a", "c", "b"] {
        match ask(&mut world, key, &client, publish(name)) {
            ReplyBody::Publish(published) => places.push((published.offset, published.duplicate)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(places, [(1, false), (2, false), (1, true), (3, false), (2, true)]);
    world.pass(world.shard.limits.publish_key_window_ms + 1);
    (0..256).for_each(|_| world.shard.topics().sweep(world.now));
    assert!(matches!(
        ask(&mut world, key, &client, publish("a")),
        ReplyBody::Publish(published) if published.offset == 4 && !published.duplicate
    ));

    let history = History { topic: "n.A".into(), after: None, limit: Some(2) };
    let ReplyBody::History(page) = ask(&mut world, key, &client, Request::History(history)) else {
        panic!()
    };
    let got: Vec<u64> = page.messages.iter().map(|message| message.offset).collect();
    assert_eq!((page.offset, got), (4, vec![3, 4]));
    let unknown = History { topic: "n.B".into(), after: None, limit: None };
    let error = try_ask(&mut world, key, &client, Request::History(unknown)).unwrap_err();
    assert_eq!(error.code, ErrorCode::UnknownTopic);
}

#[test]
fn many_large_replies_to_one_frame_reach_a_client_that_reads() {
    let mut world = world(NamespaceOptions::default());
    let (key, client) = world.subscriber(&[]);
    world.publish("n.A", &format!("\"{}\"", "x".repeat(50_000)));
    let history = History { topic: "n.A".into(), after: None, limit: None };
    let command =
        |id| fanfare_protocol::Command { id: Some(id), request: Request::History(history.clone()) };
    let commands: Vec<_> = (0..50).map(command).collect();
    let mut frame = Vec::new();
    fanfare_protocol::Command::encode_batch(&commands, Codec::Json, &mut frame);
    client.send(1, &frame);
    while world.read(key) == ReadOutcome::More {}
    assert_eq!(client.frames().len(), 50);
}

#[test]
fn pings_tell_the_heads_that_changed_and_never_more_than_was_sent() {
    let mut world = world(NamespaceOptions::default());
    let (key, client) = world.subscriber(&["n.A", "n.B"]);
    let heads = |world: &mut World, client: &Client| {
        world.pass(world.shard.limits.ping_interval_ms);
        client.send(10, b"");
        world.read(key);
        let pings = client.frames().into_iter().filter(|frame| frame.opcode == 1);
        let mut heads = pings.filter_map(|frame| match frame.json() {
            ServerFrame::Event(Event::Ping(Ping { heads })) => Some(heads),
            _ => None,
        });
        heads.next_back().map(|heads| heads.into_iter().collect::<Vec<_>>())
    };
    assert_eq!(heads(&mut world, &client), Some(vec![]));
    for _ in 0..3 {
        world.publish("n.A", "1");
    }
    world.deliver();
    assert_eq!(heads(&mut world, &client), Some(vec![("n.A".to_owned(), 3)]));
    assert_eq!(heads(&mut world, &client), Some(vec![]), "a quiet feed");
    // What waits in the mailbox is not told yet.
    world.publish("n.B", "1");
    assert_eq!(heads(&mut world, &client), Some(vec![]));
    world.deliver();
    assert_eq!(heads(&mut world, &client), Some(vec![("n.B".to_owned(), 1)]));
}

#[test]
fn the_nodes_budget_meets_the_worst_reader_first() {
    let mut world = World::new(|l| {
        l.outbox_total_bytes_max = 300_000;
        l.namespaces.default_mut().slow_consumer = SlowConsumer::Disconnect;
    });
    let (worst, worst_client) = world.subscriber(&["n.A", "n.B"]);
    let (other, other_client) = world.subscriber(&["n.A"]);
    worst_client.set_room(0);
    other_client.set_room(0);
    let body = format!("\"{}\"", "x".repeat(30_000));
    for topic in ["n.A", "n.B", "n.B", "n.B", "n.B", "n.B", "n.B", "n.B", "n.B", "n.B"] {
        world.publish(topic, &body);
        world.deliver();
    }
    let reports = world.report(ConnectionOrder::BufferedAmount);
    let amounts: Vec<usize> = reports.iter().map(|report| report.buffered_amount).collect();
    assert!(amounts[0] > 290_000 && amounts[1] < 31_000, "{amounts:?}");
    assert_eq!(reports[0].state, ConnectionState::Lagging);
    world.pass(50);
    world.pass(50);
    assert!(world.shard.is_waiting(worst), "{:?}", world.shard.marks);
    world.pass(50);
    worst_client.set_room(usize::MAX);
    world.shard.handle_writable(worst, world.now);
    assert_eq!(worst_client.close_code(), Some(3000));
    other_client.set_room(usize::MAX);
    world.shard.handle_writable(other, world.now);
    assert_eq!(offsets(&other_client), [1], "the other one is left alone");
}
