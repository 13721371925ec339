//! Subscriptions with a rate: at most so many messages a second, the last one always, and the
//! same ones for everybody in a tier.

use fanfare_protocol::{Request, ServerFrame, Subscribe};

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
