//! What is told of connections that the shard has closed itself.

use super::*;

#[test]
fn ends_are_told_once_by_code_with_the_first_as_an_example() {
    let mut world = World::new(|_| {});
    for _ in 0..3 {
        world.sdk();
    }
    let (raw, client) = world.raw("t");
    client.send(3, b"no such opcode");
    world.read(raw);
    world.pass(10_000);
    let closed = world.shard.take_closed();
    let told: Vec<(u16, u64, &str)> =
        closed.iter().map(|one| (one.code.0, one.count, one.connection.as_str())).collect();
    assert_eq!(told, [(1002, 1, "n1-0-4"), (3003, 3, "n1-0-1")]);
    assert_eq!(closed[1].reason, "no `connect` command came within 10 s");
    assert_eq!(world.shard.take_closed(), []);
}

#[test]
fn whoever_goes_by_itself_or_with_the_broker_is_not_told() {
    let mut world = World::new(|_| {});
    let (key, client) = world.raw("t");
    let (_, other) = world.raw("t");
    client.send(8, &1000_u16.to_be_bytes());
    world.read(key);
    world.shard.shut_down(usize::MAX, 0, world.now);
    assert_eq!((client.close_code(), other.close_code()), (Some(1000), Some(1012)));
    assert_eq!(world.shard.take_closed(), []);
}
