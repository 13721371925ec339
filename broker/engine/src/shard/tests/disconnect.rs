//! Connections that an operator closes.

use super::*;

const END: (CloseCode, &str) = (CloseCode::DISCONNECTED, "enough");

fn named(name: &str) -> ConnectionTarget {
    ConnectionTarget::Name(name.to_owned())
}

#[test]
fn a_connection_is_closed_by_its_name_behind_what_it_is_owed() {
    let mut world = World::new(|_| {});
    let (_, client) = world.subscriber(&["t"]);
    let (_, other) = world.raw("t");
    world.publish("t", "1");
    let now = world.now;
    for unknown in ["n1-0-9", "n2-0-1", "n1-1-1", "n1-0-01", "n1-0-+1", "n1", "", "n1-0-1-1"] {
        assert_eq!(world.shard.disconnect(&named(unknown), END, 10, now), 0, "{unknown}");
    }
    assert_eq!(world.shard.disconnect(&named("n1-0-1"), END, 10, now), 1);
    let frames = client.frames();
    assert_eq!(frames[0].offset(), 1);
    assert_eq!((frames.len(), frames[1].close_code()), (2, Some(3004)));
    assert_eq!(&frames[1].payload[2..], b"enough");
    assert_eq!(world.shard.disconnect(&named("n1-0-1"), END, 10, now), 0, "it is being closed");
    world.pass(5_000);
    assert_eq!((world.shard.connection_count(), other.close_code()), (1, None));
}

#[test]
fn all_connections_from_an_address_are_closed_a_part_at_a_time() {
    let mut world = World::new(|_| {});
    let clients: Vec<Client> = (0..5).map(|_| world.raw("t").1).collect();
    for (client, peer) in clients.iter().zip([
        "10.0.0.7:1",
        "[::ffff:10.0.0.7]:2",
        "10.0.0.8:1",
        "10.0.0.7:3",
        "[2001:db8::7]:1",
    ]) {
        client.0.borrow_mut().peer = Some(peer.parse().unwrap());
    }
    let now = world.now;
    let peer = ConnectionTarget::Peer("10.0.0.7:3".parse().unwrap());
    assert_eq!(world.shard.disconnect(&peer, END, 10, now), 1);
    let address = ConnectionTarget::Address("10.0.0.7".parse().unwrap());
    assert_eq!(world.shard.disconnect(&address, END, 1, now), 1);
    assert_eq!(world.shard.disconnect(&address, END, 10, now), 1);
    assert_eq!(world.shard.disconnect(&address, END, 10, now), 0);
    let codes: Vec<_> = clients.iter().map(Client::close_code).collect();
    assert_eq!(codes, [Some(3004), Some(3004), None, Some(3004), None]);
}
