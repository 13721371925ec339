//! What becomes of many messages at once: for quick readers, for slow ones, and when a connection
//! does something else in between. Most of these were found by simulated worlds.

use super::recovery::{heard, join, messages, open_network, small};
use super::*;
use crate::namespace::{NamespaceOptions, SlowConsumer};
use fanfare_protocol::Mode;

const BODY: &str = "\"0123456789012345678901234567890123456789\"";

#[test]
fn a_burst_for_a_reader_that_turns_out_to_be_slow_stays_within_the_mark() {
    let mut world = World::new(|l| l.outbox_high_water_bytes = 20_000);
    let slow = world.subscriber(&["t"]);
    slow.1.set_room(50_000);
    let body = format!("\"{}\"", "x".repeat(1_000));
    for _ in 0..100 {
        world.publish("t", &body);
    }
    world.deliver();
    let waiting = world.shard.buffered_amount(slow.0).unwrap();
    assert!((1..22_000).contains(&waiting), "{waiting}");
    open_network(&mut world, &slow);
    assert_eq!(heard(&slow.1, "t"), messages(1..=100));
}

#[test]
fn a_command_in_the_middle_of_a_burst_costs_a_quick_reader_nothing() {
    let mut world = World::new(|l| {
        small(l);
        l.namespaces.default_mut().history_messages = 1;
    });
    let (key, quick) = world.subscriber(&["t"]);
    for _ in 0..200 {
        world.publish("t", BODY);
    }
    world.shard.drain_mailbox(usize::MAX, world.now);
    quick.send(9, b"ping");
    world.read(key);
    assert_eq!(heard(&quick, "t"), messages(1..=200), "more than the hard limit, and all of it");
}

#[test]
fn an_interrupted_write_is_tried_again() {
    let mut world = World::new(|_| {});
    let all = world.subscriber(&["t"]);
    let latest = world.subscriber(&[]);
    join(&mut world, &latest, "t", None, Mode::Latest);
    for client in [&all.1, &latest.1] {
        client.0.borrow_mut().interrupts = 3;
    }
    world.publish("t", "1");
    world.deliver();
    assert_eq!(heard(&all.1, "t"), messages([1]));
    assert_eq!(heard(&latest.1, "t"), messages([1]));
}

#[test]
fn unsubscribing_a_connection_that_its_marked_messages_close_is_harmless() {
    let mut world = World::new(|l| {
        small(l);
        l.namespaces.default_mut().slow_consumer = SlowConsumer::Disconnect;
    });
    let (key, slow) = world.subscriber(&["t"]);
    slow.set_room(5);
    world.publish("t", BODY);
    world.deliver();
    for _ in 0..100 {
        world.publish("t", BODY);
    }
    world.shard.drain_mailbox(usize::MAX, world.now);
    slow.command(9, Request::Unsubscribe(Unsubscribe { topic: "t".to_owned() }));
    slow.command(10, subscribe("t"));
    world.read(key);
    slow.set_room(usize::MAX);
    world.shard.handle_writable(key, world.now);
    assert_eq!(slow.close_code(), Some(3000));
    assert_eq!(world.counters().subscriptions.get(), 0);
}

#[test]
fn what_was_published_before_a_restart_comes_before_its_close() {
    let mut world = World::new(|l| {
        small(l);
        let options = NamespaceOptions { mode: Mode::Latest, ..NamespaceOptions::default() };
        l.namespaces.insert("n", options);
    });
    let (_, client) = world.subscriber(&["t", "n.A"]);
    for _ in 0..50 {
        world.publish("t", BODY);
    }
    world.publish("n.A", BODY);
    world.shard.shut_down(usize::MAX, 15_000, world.now);
    let frames = client.frames();
    assert_eq!(frames.last().and_then(Frame::close_code), Some(1012));
    client.put_back(frames.clone());
    assert_eq!(heard(&client, "t"), messages(1..=50));
    client.put_back(frames);
    assert_eq!(heard(&client, "n.A"), messages([1]));
}
