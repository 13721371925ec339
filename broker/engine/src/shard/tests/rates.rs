//! Subscriptions with a rate: at most so many messages a second, the last one always, and the
//! same ones for everybody in a tier.

use fanfare_protocol::{Request, ServerFrame, Subscribe, Unsubscribe};

use super::world::{Client, Frame, World};
use super::*;

fn rated(world: &mut World, topic: &str, max_rate: u32) -> (Key, Client) {
    let (key, client) = world.subscriber(&[]);
    let mut subscribe = Subscribe::new(topic);
    subscribe.max_rate = Some(max_rate);
    client.command(2, Request::Subscribe(subscribe));
    world.read(key);
    client.frames();
    (key, client)
}

fn offsets(client: &Client) -> Vec<u64> {
    let message = |frame: Frame| match frame.json() {
        ServerFrame::Message(message) => Some(message.offset),
        _ => None,
    };
    client.frames().into_iter().filter_map(message).collect()
}

fn pass(world: &mut World, ms: u64) {
    world.now = Now::from_ms(world.now.ms() + ms);
    world.shard.release_tiers(world.now);
    world.deliver();
}

#[test]
fn a_tier_gets_the_first_message_at_once_and_then_the_newest_of_each_interval() {
    let mut world = World::new(|_| {});
    let (_, slow) = rated(&mut world, "t", 2);
    let (_, quick) = rated(&mut world, "t", 10);
    let (_, full) = world.subscriber(&["t"]);
    for _ in 0..20 {
        world.publish("t", "1");
        world.deliver();
        pass(&mut world, 50);
    }
    pass(&mut world, 1_000);
    assert_eq!(offsets(&full), (1..=20).collect::<Vec<u64>>());
    assert_eq!(offsets(&slow), [1, 10, 20], "at 0, 500 and 1,000 ms");
    assert_eq!(offsets(&quick), [1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20]);
    pass(&mut world, 1_000);
    world.publish("t", "1");
    world.deliver();
    assert_eq!(offsets(&slow), [21], "a slow feed is not held back");
    assert_eq!(world.shard.next_release_ms(), Some(world.now.ms() + 100));
}

#[test]
fn a_rate_stays_what_it_is_for_who_comes_after_another_left() {
    let mut world = World::new(|_| {});
    let (first, _) = rated(&mut world, "t", 2);
    world.publish("t", "1");
    world.deliver();
    world.shard.end(first);
    pass(&mut world, 100);
    let (_, second) = rated(&mut world, "t", 2);
    for _ in 0..60 {
        world.publish("t", "1");
        world.deliver();
        pass(&mut world, 50);
    }
    let heard = offsets(&second).len();
    assert!((6..=7).contains(&heard), "twice a second in 3 s: {heard}");
}

#[test]
fn a_held_message_comes_when_its_subscription_ends_although_the_ring_is_empty() {
    for by_name in [true, false] {
        let mut world = World::new(|l| l.namespaces.default_mut().history_messages = 0);
        let one = rated(&mut world, "t.A", 1);
        if by_name {
            ask(&mut world, &one, with_rate("t.*", None));
        } else {
            ask(&mut world, &one, Request::Unsubscribe(Unsubscribe { topic: "t.A".into() }));
            ask(&mut world, &one, with_rate("t.*", Some(1)));
            ask(&mut world, &one, with_rate("t.>", None));
        }
        for _ in 0..3 {
            world.publish("t.A", "1");
            world.deliver();
        }
        let ended = if by_name { "t.A" } else { "t.*" };
        ask(&mut world, &one, Request::Unsubscribe(Unsubscribe { topic: ended.into() }));
        assert_eq!(offsets(&one.1), [1, 3], "{ended}");
        world.publish("t.A", "1");
        pass(&mut world, 1_000);
        assert_eq!(offsets(&one.1), [4], "{ended}");
    }
}

#[test]
fn a_restart_brings_what_a_rate_holds_back() {
    for filter in ["t.A", "t.*"] {
        let mut world = World::new(|_| {});
        let (_, client) = rated(&mut world, filter, 1);
        for _ in 0..3 {
            world.publish("t.A", "1");
            world.deliver();
        }
        world.shard.shut_down(usize::MAX, 1_000, world.now);
        let frames = client.frames();
        assert_eq!(frames.last().map(|frame| frame.opcode), Some(8));
        client.put_back(frames.into_iter().filter(|frame| frame.opcode == 1).collect());
        assert_eq!(offsets(&client), [1, 3], "{filter}");
    }
}

#[test]
fn a_pattern_with_a_rate_holds_each_topic_by_itself() {
    let mut world = World::new(|_| {});
    let (_, client) = rated(&mut world, "t.*", 1);
    for topic in ["t.A", "t.B", "t.A", "t.A", "t.B"] {
        world.publish(topic, "1");
    }
    world.deliver();
    assert_eq!(offsets(&client), [1, 1]);
    pass(&mut world, 1_000);
    assert_eq!(offsets(&client), [3, 2]);
}

#[test]
fn who_joins_a_tier_gets_the_newest_once_and_never_an_older_one() {
    let mut world = World::new(|_| {});
    let (_, first) = rated(&mut world, "t", 1);
    for _ in 0..3 {
        world.publish("t", "1");
        world.deliver();
    }
    // The tier holds offset 3 now.
    let (key, second) = world.subscriber(&[]);
    let mut subscribe = Subscribe::new("t");
    subscribe.max_rate = Some(1);
    second.command(2, Request::Subscribe(subscribe));
    world.read(key);
    assert_eq!(offsets(&second), [3]);
    pass(&mut world, 1_000);
    assert_eq!((offsets(&first), offsets(&second)), (vec![1, 3], vec![]));
    world.publish("t", "1");
    pass(&mut world, 1_000);
    assert_eq!((offsets(&first), offsets(&second)), (vec![4], vec![4]));
}

#[test]
fn a_slow_reader_with_a_rate_ends_at_the_newest() {
    let mut world = World::new(|_| {});
    let (key, client) = rated(&mut world, "t", 5);
    client.set_room(0);
    for _ in 0..7 {
        world.publish("t", "1");
        pass(&mut world, 90);
    }
    client.set_room(usize::MAX);
    world.shard.handle_writable(key, world.now);
    pass(&mut world, 1_000);
    let got = offsets(&client);
    assert!(got.is_sorted_by(|a, b| a < b) && got.last() == Some(&7), "{got:?}");
}

#[test]
fn a_slow_reader_with_a_rate_is_told_the_head_once_it_has_caught_up() {
    let mut world = World::new(|l| l.pong_timeout_ms = 600_000);
    let (key, client) = rated(&mut world, "t", 5);
    client.set_room(0);
    for _ in 0..3 {
        world.publish("t", "1");
        pass(&mut world, 200);
    }
    world.pass(world.shard.limits.ping_interval_ms);
    client.set_room(usize::MAX);
    world.shard.handle_writable(key, world.now);
    world.pass(world.shard.limits.ping_interval_ms);
    let heads =
        client.frames().into_iter().filter(|frame| frame.opcode == 1).filter_map(
            |frame| match frame.json() {
                ServerFrame::Event(Event::Ping(ping)) => Some(ping.heads.get("t").copied()),
                _ => None,
            },
        );
    assert_eq!(heads.collect::<Vec<_>>(), [None, Some(3)]);
}

/// Subscribes or unsubscribes a client, by name or pattern.
fn ask(world: &mut World, (key, client): &(Key, Client), request: Request) {
    let before = client.frames();
    client.command(2, request);
    world.read(*key);
    let is_message = |frame: &Frame| matches!(frame.json(), ServerFrame::Message(_));
    let come = client.frames().into_iter().filter(is_message);
    client.put_back(before.into_iter().chain(come).collect());
}

fn with_rate(topic: &str, max_rate: Option<u32>) -> Request {
    Request::Subscribe(Subscribe { max_rate, snapshot: Some(false), ..Subscribe::new(topic) })
}

fn without(topic: &str) -> Request {
    Request::Unsubscribe(Unsubscribe { topic: topic.to_owned() })
}

#[test]
fn what_a_subscription_has_brought_does_not_come_again_through_a_slower_one() {
    for (first, second) in [("t.A", "t.*"), ("t.>", "t.A"), ("t.>", "t.*")] {
        let mut world = World::new(|_| {});
        let (_, other) = rated(&mut world, "t.A", 1);
        let client = world.subscriber(&[]);
        // The first decides: by name over a pattern, an earlier pattern over a later one.
        ask(&mut world, &client, with_rate(first, None));
        let is_name_later = second == "t.A";
        if !is_name_later {
            ask(&mut world, &client, with_rate(second, Some(1)));
        }
        for _ in 0..3 {
            world.publish("t.A", "1");
            world.deliver();
        }
        // The tier has sent 1 and holds 3.
        if is_name_later {
            ask(&mut world, &client, with_rate(second, Some(1)));
        }
        ask(&mut world, &client, without(first));
        pass(&mut world, 1_000);
        assert_eq!(offsets(&client.1), [1, 2, 3], "{first} {second}");
        assert_eq!(offsets(&other), [1, 3]);
        world.publish("t.A", "1");
        pass(&mut world, 1_000);
        assert_eq!(offsets(&client.1), [4], "{first} {second}");
    }
}

#[test]
fn what_a_slower_subscription_holds_back_comes_through_the_one_that_outlives_it() {
    for (slow, stays, stays_at) in
        [("t.A", "t.*", None), ("t.A", "t.*", Some(2)), ("t.>", "t.*", None)]
    {
        let mut world = World::new(|_| {});
        let client = world.subscriber(&[]);
        ask(&mut world, &client, with_rate(slow, Some(1)));
        ask(&mut world, &client, with_rate(stays, stays_at));
        for _ in 0..3 {
            world.publish("t.A", "1");
            world.deliver();
        }
        ask(&mut world, &client, without(slow));
        // While the slower one decided, 2 was passed over.
        assert_eq!(offsets(&client.1), [1, 3], "{slow} {stays}");
        pass(&mut world, 1_000);
        assert_eq!(offsets(&client.1), [0; 0], "{slow} {stays}");
    }
}

#[test]
fn what_a_pattern_holds_back_comes_before_a_subscription_by_name_decides() {
    for max_rate in [None, Some(1), Some(10)] {
        let mut world = World::new(|_| {});
        let client = world.subscriber(&[]);
        ask(&mut world, &client, with_rate("t.*", Some(1)));
        for _ in 0..3 {
            world.publish("t.A", "1");
            world.deliver();
        }
        ask(&mut world, &client, with_rate("t.A", max_rate));
        pass(&mut world, 1_000);
        assert_eq!(offsets(&client.1), [1, 3], "{max_rate:?}");
        world.publish("t.A", "1");
        pass(&mut world, 1_000);
        assert_eq!(offsets(&client.1), [4], "{max_rate:?}");
    }
}
