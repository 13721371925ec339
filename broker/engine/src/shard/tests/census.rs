//! The gauges of connections by state.

use fanfare_protocol::Mode;

use super::recovery::join;
use super::world::World;
use crate::SharedCounter;

fn counted(world: &mut World) -> [u64; 5] {
    // One pass begins, another tick ends it.
    world.pass(1_000);
    world.pass(50);
    world.pass(50);
    world.counters().states.each_ref().map(SharedCounter::get)
}

#[test]
fn every_connection_is_in_one_state_and_a_silent_one_becomes_stalled() {
    let mut world = World::new(|_| {});
    assert_eq!(counted(&mut world), [0; 5]);
    let slow = world.subscriber(&[]);
    join(&mut world, &slow, "t", None, Mode::Latest);
    let others: Vec<_> = (0..3).map(|_| world.subscriber(&["t"])).collect();
    slow.1.set_room(0);
    world.publish("t", "1");
    world.deliver();
    assert_eq!(counted(&mut world), [3, 1, 0, 0, 0]);
    assert_eq!(world.counters().connections_behind.get(), 1);
    world.pass(world.shard.limits.stall_timeout_ms / 3);
    assert_eq!(counted(&mut world), [3, 0, 0, 1, 0]);
    world.shard.end(slow.0);
    world.shard.end(others[0].0);
    assert_eq!(counted(&mut world), [2, 0, 0, 0, 0]);
    assert_eq!(world.counters().connections_behind.get(), 0);
}
