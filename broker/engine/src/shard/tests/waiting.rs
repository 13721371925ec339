//! Requests that wait: when their wait ends, and what stays behind.

use super::world::World;
use super::*;
use fanfare_protocol::{Position, TopicName};

type Topics = Vec<(TopicName, Option<Position>)>;

fn topics(names: &[&str]) -> Topics {
    names.iter().map(|name| (TopicName::new(name).unwrap(), None)).collect()
}

fn woken(world: &mut World) -> Vec<WaiterKey> {
    world.shard.drain_mailbox(100, Now::default());
    std::iter::from_fn(|| world.shard.next_woken()).collect()
}

#[test]
fn a_wait_ends_with_the_next_message_of_one_of_its_topics() {
    let mut world = World::new(|_| {});
    let now = Now::default();
    let both = world.shard.wait(&mut topics(&["a", "b"]), now).unwrap().unwrap();
    let a = world.shard.wait(&mut topics(&["a"]), now).unwrap().unwrap();
    let b = world.shard.wait(&mut topics(&["b"]), now).unwrap().unwrap();
    world.publish("other", "x");
    assert_eq!(woken(&mut world), []);
    world.publish("b", "x");
    world.publish("b", "x");
    let mut keys = woken(&mut world);
    keys.sort_by_key(|key| key.serial());
    assert_eq!(keys, [both, b], "each once");
    world.publish("a", "x");
    assert_eq!(woken(&mut world), [a]);
    assert_eq!(world.shard.waiting_count(), 0);
}

#[test]
fn a_position_that_is_not_the_newest_is_answered_at_once_and_told() {
    let mut world = World::new(|_| {});
    let mut asked = topics(&["a"]);
    let key = world.shard.wait(&mut asked, Now::default()).unwrap().unwrap();
    assert_eq!(asked[0].1.as_ref().unwrap().offset, 0, "the position that it waits at");
    world.publish("a", "x");
    assert_eq!(woken(&mut world), [key]);
    assert_eq!(world.shard.wait(&mut asked, Now::default()), Ok(None));
    asked[0].1.as_mut().unwrap().offset = 1;
    assert!(world.shard.wait(&mut asked, Now::default()).unwrap().is_some());
    asked[0].1 = Some(Position { epoch: "other".to_owned(), offset: 1 });
    asked.extend(topics(&["b"]));
    assert_eq!(world.shard.wait(&mut asked, Now::default()), Ok(None));
    assert!(asked[1].1.is_some());
    assert_eq!(world.shard.waiting_count(), 1);
}

#[test]
fn mail_from_before_the_wait_does_not_end_it() {
    let mut world = World::new(|_| {});
    let early = world.shard.wait(&mut topics(&["a"]), Now::default()).unwrap().unwrap();
    world.publish("a", "x");
    let late = world.shard.wait(&mut topics(&["a"]), Now::default()).unwrap().unwrap();
    assert_eq!(woken(&mut world), [early]);
    world.publish("a", "x");
    assert_eq!(woken(&mut world), [late]);
}

#[test]
fn who_goes_away_is_forgotten_and_others_are_not() {
    let mut world = World::new(|l| l.waiting_requests_max = 9);
    let now = Now::default();
    let keys: Vec<WaiterKey> =
        (0..4).map(|_| world.shard.wait(&mut topics(&["b", "a"]), now).unwrap().unwrap()).collect();
    let refused = world.shard.wait(&mut topics(&["a", "b"]), now);
    assert_eq!(refused, Err(WaitError::TooMany(9)));
    world.shard.stop_waiting(keys[1], now);
    world.shard.stop_waiting(keys[1], now);
    let new = world.shard.wait(&mut topics(&["a"]), now).unwrap().unwrap();
    world.shard.stop_waiting(keys[1], now);
    world.publish("a", "x");
    let mut woken = woken(&mut world);
    woken.sort_by_key(|key| key.serial());
    assert_eq!(woken, [keys[0], keys[2], keys[3], new]);
    world.shard.topics().sweep_all(Now::from_ms(1_000_000));
    world.shard.topics().sweep_all(Now::from_ms(2_000_000));
    world.shard.topics().audit_empty();
}
