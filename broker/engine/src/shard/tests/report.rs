//! What an operator is told of connections, and in which order.

use fanfare_protocol::{Mode, TopicName};

use super::recovery::join;
use super::*;

fn first(world: &World, order: ConnectionOrder) -> String {
    world.report(order).remove(0).connection
}

#[test]
fn each_order_puts_another_connection_first() {
    let mut world = World::new(|limits| {
        limits.namespaces.default_mut().history_messages = 2;
        limits.outbox_high_water_bytes = 4_000;
        limits.outbox_low_water_bytes = 1_000;
    });
    let _old = world.subscriber(&["quiet"]);
    world.pass(7_000);
    let lost = world.subscriber(&["t"]);
    let merged = world.subscriber(&[]);
    join(&mut world, &merged, "t", None, Mode::Latest);
    lost.1.set_room(0);
    merged.1.set_room(0);
    let _many = world.subscriber(&["a", "b", "c"]);
    for _ in 0..9 {
        world.publish("t", &"x".repeat(1_000));
        world.deliver();
    }
    let late = world.subscriber(&["u", "v"]);
    late.1.set_room(0);
    world.pass(10);
    for topic in ["u", "v", "u", "v", "u", "v", "u", "v"] {
        world.publish(topic, &"x".repeat(3_000));
    }
    world.deliver();
    let [name_lost, name_merged, name_late] = ["n1-0-2", "n1-0-3", "n1-0-5"];
    assert_eq!(first(&world, ConnectionOrder::BufferedAmount), name_late);
    assert_eq!(first(&world, ConnectionOrder::TopicsBehind), name_late);
    assert_eq!(first(&world, ConnectionOrder::Subscriptions), "n1-0-4");
    assert_eq!(first(&world, ConnectionOrder::Age), "n1-0-1");
    let waiting = world.report(ConnectionOrder::OldestUnsent);
    assert_eq!(waiting[2].connection, name_late, "the last that began to wait");
    assert_eq!((waiting[2].oldest_unsent_ms, waiting[3].oldest_unsent_ms), (Some(0), None));
    assert_eq!(waiting[0].oldest_unsent_ms, Some(10));
    lost.1.set_room(usize::MAX);
    merged.1.set_room(usize::MAX);
    [lost.0, merged.0].into_iter().for_each(|key| world.shard.handle_writable(key, world.now));
    assert_eq!(first(&world, ConnectionOrder::Lost), name_lost);
    assert_eq!(first(&world, ConnectionOrder::Merged), name_merged);
    let ages: Vec<u32> = world.report(ConnectionOrder::Age).iter().map(|one| one.age_s).collect();
    assert_eq!(ages, [7, 0, 0, 0, 0]);
}

#[test]
fn those_who_hear_a_topic_are_found_by_its_name_behind_or_not_and_by_pattern() {
    let mut world = World::new(|_| {});
    let behind = world.subscriber(&[]);
    join(&mut world, &behind, "stocks.A", None, Mode::Latest);
    let _live = world.subscriber(&["stocks.A", "x"]);
    let _pattern = world.subscriber(&["stocks.*"]);
    let _other = world.subscriber(&["stocks.B"]);
    behind.1.set_room(0);
    world.publish("stocks.A", "1");
    world.deliver();
    let heard_by = |topic: &str| {
        let topic = Some(TopicName::new(topic).unwrap());
        let query = ConnectionQuery { order: ConnectionOrder::Age, limit: 10, topic };
        let mut names: Vec<String> =
            world.shard.report(&query, world.now).into_iter().map(|one| one.connection).collect();
        names.sort();
        names
    };
    assert_eq!(heard_by("stocks.A"), ["n1-0-1", "n1-0-2", "n1-0-3"]);
    assert_eq!(heard_by("stocks.B"), ["n1-0-3", "n1-0-4"]);
    assert_eq!(heard_by("stocks.C"), ["n1-0-3"], "nothing was published there yet");
    assert!(heard_by("news").is_empty());
}
