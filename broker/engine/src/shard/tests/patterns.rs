//! Subscriptions by pattern: which topics they match, at most once for each connection, with a
//! snapshot that loses and doubles nothing.

use fanfare_protocol::{
    ErrorCode, Gap, Mode, PatternSubscribed, ReplyBody, Request, ServerFrame, Subscribe,
    Unsubscribe,
};

use super::world::{Client, Frame, World};
use super::*;
use crate::namespace::SlowConsumer;

fn pattern(topic: &str, mode: Mode, snapshot: bool) -> Request {
    let mut subscribe = Subscribe::new(topic);
    (subscribe.mode, subscribe.snapshot) = (Some(mode), Some(snapshot));
    Request::Subscribe(subscribe)
}

/// Topics and offsets of the messages that have come.
fn messages(client: &Client) -> Vec<(String, u64)> {
    let message = |frame: Frame| match frame.json() {
        ServerFrame::Message(message) => Some((message.topic, message.offset)),
        _ => None,
    };
    client.frames().into_iter().filter_map(message).collect()
}

fn named(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(topic, offset)| ((*topic).to_owned(), *offset)).collect()
}

fn ask(world: &mut World, key: Key, client: &Client, request: Request) -> ServerFrame {
    client.command(9, request);
    world.read(key);
    let mut frames = client.frames();
    let is_reply = |frame: &Frame| matches!(frame.json(), ServerFrame::Reply(_));
    let at = frames.iter().position(is_reply).unwrap();
    let reply = frames.remove(at).json();
    client.put_back(frames);
    reply
}

#[test]
fn a_pattern_hears_old_and_new_topics_that_match_and_no_others() {
    let mut world = World::new(|_| {});
    world.publish("stocks.A", "1");
    let (key, client) = world.subscriber(&[]);
    let reply = ask(&mut world, key, &client, pattern("stocks.*", Mode::All, false));
    let expected = PatternSubscribed { topics: 1, mode: Mode::All };
    let ServerFrame::Reply(reply) = reply else { panic!("{reply:?}") };
    assert_eq!(reply.result, Ok(ReplyBody::SubscribePattern(expected)));
    for topic in ["stocks.A", "stocks.B", "stocks.A.depth", "news.A", "stocks"] {
        world.publish(topic, "2");
    }
    world.deliver();
    assert_eq!(messages(&client), named(&[("stocks.A", 2), ("stocks.B", 1)]));

    ask(&mut world, key, &client, Request::Unsubscribe(Unsubscribe { topic: "stocks.*".into() }));
    world.publish("stocks.A", "3");
    world.publish("stocks.C", "3");
    world.deliver();
    assert!(messages(&client).is_empty());
    assert_eq!(world.counters().subscriptions.get(), 0);
    assert!(world.shard.mailbox().is_empty(), "nothing is sent to a shard that wants nothing");
}

#[test]
fn a_connection_gets_each_message_once_however_many_subscriptions_match() {
    let mut world = World::new(|_| {});
    let (key, client) = world.subscriber(&["stocks.A"]);
    for topic in ["stocks.*", "stocks.>", ">", "*.A"] {
        ask(&mut world, key, &client, pattern(topic, Mode::All, true));
    }
    let (_, other) = world.subscriber(&["stocks.A"]);
    for body in ["1", "2"] {
        world.publish("stocks.A", body);
    }
    world.publish("stocks.B", "1");
    world.deliver();
    let expected = named(&[("stocks.A", 1), ("stocks.A", 2), ("stocks.B", 1)]);
    assert_eq!(messages(&client), expected);
    assert_eq!(messages(&other).len(), 2);

    let unsubscribe = Request::Unsubscribe(Unsubscribe { topic: "stocks.A".into() });
    ask(&mut world, key, &client, unsubscribe);
    world.publish("stocks.A", "3");
    world.deliver();
    assert_eq!(messages(&client), named(&[("stocks.A", 3)]), "a pattern takes over");
}

#[test]
fn a_snapshot_and_what_follows_it_lose_and_double_nothing() {
    let mut world = World::new(|_| {});
    for topic in ["s.A", "s.B", "s.C"] {
        world.publish(topic, "1");
    }
    // Keeps the mailbox full of messages that are older than the snapshot.
    let (_, _other) = world.subscriber(&["s.A", "s.B"]);
    world.publish("s.A", "2");
    let (key, client) = world.subscriber(&["s.B"]);
    world.publish("s.B", "2");
    ask(&mut world, key, &client, pattern("s.*", Mode::All, true));
    world.publish("s.A", "3");
    world.deliver();
    let mut got = messages(&client);
    got.sort();
    // s.B is subscribed by name already, and 2 of it came before the pattern did.
    assert_eq!(got, named(&[("s.A", 2), ("s.A", 3), ("s.B", 2), ("s.C", 1)]));
}

#[test]
fn a_slow_reader_of_a_pattern_gets_newest_values_or_exact_gaps() {
    for (mode, expected) in [(Mode::Latest, vec![("t.A", 9)]), (Mode::All, vec![])] {
        let mut world = World::new(|l| {
            l.namespaces.default_mut().history_messages = 2;
            l.outbox_high_water_bytes = 200;
            l.outbox_low_water_bytes = 100;
        });
        let (key, client) = world.subscriber(&[]);
        ask(&mut world, key, &client, pattern("t.*", mode, false));
        client.set_room(0);
        for offset in 1..=9 {
            assert_eq!(world.publish("t.A", &offset.to_string()), offset);
            world.deliver();
        }
        client.set_room(usize::MAX);
        world.shard.handle_writable(key, world.now);
        if mode == Mode::Latest {
            assert_eq!(messages(&client), named(&expected));
            continue;
        }
        let mut next = 1;
        for frame in client.frames() {
            match frame.json() {
                ServerFrame::Message(message) => {
                    assert_eq!(message.offset, next);
                    next += 1;
                }
                ServerFrame::Event(Event::Gap(Gap { from, to, .. })) => {
                    assert_eq!(from, next);
                    next = to + 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(next, 10);
    }
}

#[test]
fn topics_that_leave_the_table_leave_the_shard_and_come_back_whole() {
    let mut world = World::new(|l| l.namespaces.default_mut().history_age_ms = 100);
    let (key, client) = world.subscriber(&[]);
    ask(&mut world, key, &client, pattern("t.>", Mode::All, false));
    world.publish("t.A", "1");
    world.deliver();
    world.pass(1_000);
    (0..256).for_each(|_| world.shard.topics().sweep(world.now));
    world.pass(50);
    assert_eq!(world.shard.topics().topic_count(), 0);
    assert_eq!(world.shard.locals.topics.len(), 0, "no list stays behind");
    world.publish("t.A", "1");
    world.deliver();
    assert_eq!(messages(&client), named(&[("t.A", 1), ("t.A", 1)]));
    world.shard.end(key);
    assert_eq!(world.shard.locals.patterns.len(), 0);
}

#[test]
fn too_many_patterns_are_refused_by_number() {
    let mut world = World::new(|l| l.patterns_max = 1);
    let (key, client) = world.subscriber(&[]);
    ask(&mut world, key, &client, pattern("a.*", Mode::All, false));
    let reply = ask(&mut world, key, &client, pattern("b.*", Mode::All, false));
    let ServerFrame::Reply(reply) = reply else { panic!("{reply:?}") };
    let error = reply.result.unwrap_err();
    assert_eq!(error.code, ErrorCode::LimitExceeded);
    assert!(error.message.contains("1 patterns"), "{}", error.message);
    let (key, client) = world.subscriber(&[]);
    let reply = ask(&mut world, key, &client, pattern("a.*", Mode::All, false));
    assert!(matches!(reply, ServerFrame::Reply(r) if r.result.is_ok()), "known already");
}

#[test]
fn looking_through_topics_again_and_again_is_refused_for_a_second() {
    let mut world = World::new(|l| l.pattern_topics_per_second_max = 25);
    for topic in 0..10 {
        world.publish(&format!("t.{topic}"), "1");
    }
    let (key, client) = world.subscriber(&[]);
    let try_pattern = |world: &mut World, topic: &str| {
        let reply = ask(world, key, &client, pattern(topic, Mode::All, false));
        let ServerFrame::Reply(reply) = reply else { panic!("{reply:?}") };
        reply.result.map(|_| ()).map_err(|error| (error.code, error.retry))
    };
    assert_eq!(try_pattern(&mut world, "a.*"), Ok(()));
    assert_eq!(try_pattern(&mut world, "b.*"), Ok(()));
    assert_eq!(try_pattern(&mut world, "c.*"), Err((ErrorCode::Unavailable, true)));
    world.pass(1_000);
    assert_eq!(try_pattern(&mut world, "c.*"), Ok(()));
}

#[test]
fn a_name_that_is_asked_for_while_its_pattern_owes_the_topic_is_heard_once() {
    let mut world = World::new(|_| {});
    world.publish("t", "1");
    let (key, client) = world.subscriber(&[]);
    client.command(2, pattern("*", Mode::All, true));
    client.command(3, Request::Subscribe(Subscribe::new("t")));
    world.read(key);
    world.shard.audit();
    world.publish("t", "2");
    world.deliver();
    assert_eq!(messages(&client), named(&[("t", 1), ("t", 2)]));
    world.shard.end(key);
    world.shard.audit_empty();
}

#[test]
fn a_pattern_behind_other_commands_does_not_make_a_quick_reader_look_slow() {
    let mut world = World::new(|l| {
        l.namespaces.default_mut().slow_consumer = SlowConsumer::Disconnect;
        (l.outbox_low_water_bytes, l.outbox_high_water_bytes) = (100, 200);
        l.outbox_bytes_max = 400;
    });
    let (key, client) = world.subscriber(&["t"]);
    for _ in 0..30 {
        world.publish("t", "1");
    }
    client.command(2, Request::Subscribe(Subscribe::new("u")));
    client.command(3, pattern("*", Mode::All, false));
    world.read(key);
    world.deliver();
    assert_eq!(messages(&client).len(), 30);
}
