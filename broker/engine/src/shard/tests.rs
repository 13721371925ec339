//! A shard with sockets of memory: what a client sees, byte for byte.

mod bursts;
mod census;
mod closed;
mod disconnect;
mod events;
mod latest;
mod namespaces;
mod overlaps;
mod patterns;
mod rates;
mod recovery;
mod report;
mod snapshots;
mod waiting;
mod world;

use fanfare_protocol::{
    Drain, ErrorCode, Reply, ReplyBody, Request, ServerFrame, Subscribe, Unsubscribe,
};

use super::*;
use world::{Client, Frame, World};

fn subscribe(topic: &str) -> Request {
    Request::Subscribe(Subscribe::new(topic))
}

fn replies(client: &Client) -> Vec<Reply> {
    let replies = client.frames().into_iter().map(|frame| frame.json());
    replies
        .filter_map(|frame| match frame {
            ServerFrame::Reply(reply) => Some(reply),
            _ => None,
        })
        .collect()
}

fn error_code(reply: &Reply) -> Option<ErrorCode> {
    reply.result.as_ref().err().map(|error| error.code)
}

#[test]
fn a_raw_stream_publishes_what_it_gets_and_hears_it_like_anyone() {
    let mut world = World::new(|_| {});
    let (a, client_a) = world.raw("t");
    let (_, client_b) = world.raw("t");
    let (_, other) = world.raw("u");
    client_a.send(1, b"hello");
    client_a.send(2, &[0, 255]);
    world.read(a);
    world.deliver();
    let expected = [
        Frame { opcode: 1, payload: b"hello".to_vec() },
        Frame { opcode: 2, payload: vec![0, 255] },
    ];
    assert_eq!(client_a.frames(), expected);
    assert_eq!(client_b.frames(), expected);
    assert_eq!(other.frames(), []);
}

#[test]
fn commands_may_be_pipelined_behind_connect() {
    let mut world = World::new(|_| {});
    let (key, client) = world.sdk();
    let batch = br#"[{"id":1,"connect":{}},{"id":2,"subscribe":{"topic":"t"}},
        {"id":3,"publish":{"topic":"t","data":{"p":1}}},{"publish":{"topic":"t","text":"x"}},
        {"id":4,"unsubscribe":{"topic":"t"}}]"#;
    client.send(1, batch);
    world.read(key);
    world.deliver();
    let replies = replies(&client);
    let ids: Vec<u64> = replies.iter().map(|reply| reply.id).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    assert!(replies.iter().all(|reply| reply.result.is_ok()), "{replies:?}");
    let Ok(ReplyBody::Connect(connected)) = &replies[0].result else { panic!() };
    assert_eq!((connected.node.as_str(), connected.connection.as_str()), ("n1", "n1-0-1"));
    let Ok(ReplyBody::Publish(position)) = &replies[2].result else { panic!() };
    assert_eq!(position.offset, 1);
    assert_eq!(world.counters().messages_in.get(), 2);
}

#[test]
fn a_subscriber_gets_exactly_what_comes_after_its_join() {
    let mut world = World::new(|_| {});
    let (_, early) = world.subscriber(&["t"]);
    world.publish("t", "1");
    world.publish("t", "2");
    // Joins while both still wait in the mailbox.
    let (_, late) = world.subscriber(&["t"]);
    world.publish("t", "3");
    let (_, last) = world.subscriber(&["t"]);
    world.deliver();
    world.publish("t", "4");
    world.deliver();
    let offsets = |client: &Client| client.frames().iter().map(Frame::offset).collect::<Vec<_>>();
    assert_eq!(offsets(&early), [1, 2, 3, 4]);
    assert_eq!(offsets(&late), [3, 4]);
    assert_eq!(offsets(&last), [4]);
}

#[test]
fn nothing_follows_the_reply_to_unsubscribe() {
    let mut world = World::new(|_| {});
    let (key, client) = world.subscriber(&["t", "u"]);
    world.publish("t", "1");
    world.shard.drain_mailbox(10, world.now);
    let unsubscribe = Unsubscribe { topic: "t".to_owned() };
    client.command(9, Request::Unsubscribe(unsubscribe));
    world.publish("t", "2");
    world.read(key);
    world.deliver();
    let frames = client.frames();
    assert_eq!(frames.len(), 2, "the marked message, then the reply: {frames:?}");
    assert_eq!(frames[0].offset(), 1);
    assert!(matches!(frames[1].json(), ServerFrame::Reply(Reply { id: 9, result: Ok(_) })));
    assert_eq!(world.counters().subscriptions.get(), 1);
}

#[test]
fn leaving_from_the_middle_of_a_list_keeps_the_others() {
    let mut world = World::new(|_| {});
    let all: Vec<(Key, Client)> = (0..5).map(|_| world.subscriber(&["a", "t", "z"])).collect();
    let mut left = Vec::new();
    for gone in [1, 0, 4] {
        let (key, client) = &all[gone];
        client.command(9, Request::Unsubscribe(Unsubscribe { topic: "t".to_owned() }));
        world.read(*key);
        client.frames();
        world.publish("t", "1");
        world.publish("a", "1");
        world.deliver();
        assert_eq!(client.frames().len(), 1, "a only");
        left.push(gone);
        for (i, (_, client)) in all.iter().enumerate().filter(|(i, _)| *i != gone) {
            let expected = if left.contains(&i) { 1 } else { 2 };
            assert_eq!(client.frames().len(), expected, "subscriber {i} after {gone} left");
        }
    }
}

#[test]
fn wrong_commands_are_answered_and_the_next_ones_carried_out() {
    let mut world = World::new(|l| l.subscriptions_per_connection_max = 2);
    let (key, client) = world.subscriber(&["t"]);
    for command in [
        r#"{"id":1,"connect":{}}"#,
        r#"{"id":2,"subscribe":{"topic":"t"}}"#,
        r#"{"id":3,"subscribe":{"topic":"a b"}}"#,
        r#"{"id":4,"unsubscribe":{"topic":"never"}}"#,
        r#"{"id":5,"dance":{}}"#,
        r#"{"id":6,"publish":{"topic":"t"}}"#,
        r#"{"id":7,"subscribe":{"topic":"u"}}"#,
        r#"{"id":8,"subscribe":{"topic":"v"}}"#,
    ] {
        client.send(1, command.as_bytes());
    }
    world.read(key);
    let codes: Vec<Option<ErrorCode>> = replies(&client).iter().map(error_code).collect();
    let expected = [
        Some(ErrorCode::AlreadyConnected),
        Some(ErrorCode::AlreadySubscribed),
        Some(ErrorCode::BadTopic),
        Some(ErrorCode::NotSubscribed),
        Some(ErrorCode::UnknownCommand),
        Some(ErrorCode::BadRequest),
        None,
        Some(ErrorCode::LimitExceeded),
    ];
    assert_eq!(codes, expected);
}

#[test]
fn each_breach_closes_with_its_code_and_others_notice_nothing() {
    let mut world = World::new(|l| l.message_bytes_max = 1_000);
    let (_, bystander) = world.subscriber(&["t"]);
    let sdk = |world: &mut World| world.sdk();
    let connected = |world: &mut World| world.subscriber(&[]);
    type Open<'a> = &'a dyn Fn(&mut World) -> (Key, Client);
    let cases: [(Open<'_>, u8, &[u8], u16); 8] = [
        (&sdk, 1, br#"{"id":1,"subscribe":{"topic":"t"}}"#, 3501),
        (&sdk, 1, br#"{"id":1,"connect":{"tokn":"x"}}"#, 3501),
        (&connected, 1, b"{\"id\":1,", 3500),
        (&connected, 2, b"\x80", 1003),
        (&connected, 3, b"", 1002),
        (&connected, 1, b"\xff", 1007),
        (&connected, 1, &[b'x'; 1_001], 1009),
        (&connected, 8, b"\x03\xe8", 1000),
    ];
    for (open, opcode, payload, code) in cases {
        let (key, client) = open(&mut world);
        client.send(opcode, payload);
        client.send(1, br#"{"id":2,"publish":{"topic":"t","text":"after the end"}}"#);
        world.read(key);
        assert_eq!(client.close_code(), Some(code), "{}", String::from_utf8_lossy(payload));
        assert!(client.0.borrow().is_shut);
        client.0.borrow_mut().is_lost = true;
        assert_eq!(world.read(key), ReadOutcome::Gone);
    }
    world.deliver();
    assert_eq!(bystander.frames(), []);
    assert_eq!(world.shard.connection_count(), 1);
    assert_eq!(world.counters().connections.get(), 1);
}

#[test]
fn what_was_published_before_a_breach_is_heard_before_the_close() {
    let mut world = World::new(|_| {});
    let (key, client) = world.raw("t");
    client.send(1, b"fine");
    client.send(3, b"reserved opcode");
    world.read(key);
    let frames = client.frames();
    assert_eq!(frames[0], Frame { opcode: 1, payload: b"fine".to_vec() });
    assert_eq!(frames[1].close_code(), Some(1002));
}

#[test]
fn a_partly_written_frame_is_finished_and_the_order_kept() {
    let mut world = World::new(|_| {});
    let (key, client) = world.subscriber(&["t"]);
    client.set_room(10);
    for i in 0..20 {
        world.publish("t", &format!("{i}"));
        if i % 3 == 0 {
            world.deliver();
        }
    }
    world.deliver();
    assert_eq!(client.frames().len(), 0);
    let waiting = world.shard.buffered_amount(key).unwrap();
    assert_eq!(world.counters().outbox_bytes.get(), waiting as u64);
    let mut offsets = Vec::new();
    while world.shard.buffered_amount(key) != Some(0) {
        client.set_room(7);
        world.shard.handle_writable(key, world.now);
        offsets.extend(client.frames().iter().map(Frame::offset));
    }
    assert_eq!(offsets, (1..=20).collect::<Vec<_>>());
    assert_eq!(world.counters().outbox_bytes.get(), 0);
}

#[test]
fn replies_that_are_not_read_close_the_connection_at_the_hard_limit() {
    let mut world = World::new(|l| {
        l.outbox_high_water_bytes = 1_000;
        l.outbox_bytes_max = 2_000;
    });
    let (key, client) = world.subscriber(&[]);
    client.set_room(5);
    for id in 0..100 {
        client.command(id, subscribe("not a topic"));
        world.read(key);
        let waiting = world.shard.buffered_amount(key).unwrap();
        assert!(waiting < 2_000 + 200, "bounded: {waiting}");
    }
    client.set_room(usize::MAX);
    world.shard.handle_writable(key, world.now);
    let frames = client.frames();
    assert_eq!(frames.len(), 2, "the frame that was begun, and the close");
    assert_eq!(frames[1].close_code(), Some(3000));
    world.pass(5_001);
    assert_eq!(world.shard.connection_count(), 0);
    assert_eq!(world.counters().outbox_bytes.get(), 0);
}

#[test]
fn messages_that_wait_together_leave_in_one_write() {
    let mut world = World::new(|_| {});
    let clients: Vec<(Key, Client)> = (0..50).map(|_| world.subscriber(&["t", "u"])).collect();
    let before = world.counters().writes.get();
    for i in 0..8 {
        world.publish(["t", "u"][i % 2], "1");
    }
    world.deliver();
    assert_eq!(world.counters().writes.get() - before, 50);
    assert!(clients.iter().all(|(_, client)| client.frames().len() == 8));
    assert_eq!(world.counters().messages_out(), 400);
}

#[test]
fn more_than_the_cork_holds_still_arrives_in_order() {
    let mut world = World::new(|_| {});
    let (_, client) = world.subscriber(&["t"]);
    let body = format!("\"{}\"", "x".repeat(10_000));
    for _ in 0..20 {
        world.publish("t", &body);
    }
    world.deliver();
    let offsets: Vec<u64> = client.frames().iter().map(Frame::offset).collect();
    assert_eq!(offsets, (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_silent_connection_is_pinged_and_then_closed() {
    let mut world = World::new(|_| {});
    let (raw_key, raw) = world.raw("t");
    let (_, sdk) = world.subscriber(&[]);
    world.pass(25_000);
    assert_eq!(raw.frames(), [Frame { opcode: 9, payload: vec![] }]);
    let frames = sdk.frames();
    assert_eq!(frames[0].opcode, 9);
    assert_eq!(frames[1].json(), ServerFrame::Event(Event::Ping(Ping::default())));
    world.pass(5_000);
    raw.send(10, b"");
    world.read(raw_key);
    world.pass(5_000);
    assert_eq!((raw.close_code(), sdk.close_code()), (None, Some(3001)));
}

#[test]
fn a_quick_pong_counts_also_when_the_clock_is_looked_at_late() {
    let mut world = World::new(|_| {});
    let (key, client) = world.raw("t");
    world.pass(25_040);
    client.send(10, b"");
    world.read(key);
    world.pass(10_049);
    assert_eq!(client.close_code(), None);
    assert_eq!(world.shard.connection_count(), 1);
}

#[test]
fn connects_and_messages_have_deadlines() {
    let mut world = World::new(|_| {});
    let (_, idle) = world.sdk();
    let (slow_key, slow) = world.raw("t");
    slow.0.borrow_mut().to_broker.extend([0x81, 0x85, 0, 0, 0, 0, b'h']);
    world.read(slow_key);
    world.pass(9_000);
    slow.0.borrow_mut().to_broker.extend(b"e");
    world.read(slow_key);
    assert_eq!((idle.close_code(), slow.close_code()), (None, None));
    world.pass(1_000);
    assert_eq!((idle.close_code(), slow.close_code()), (Some(3003), Some(3002)));
    assert_eq!(world.counters().unfinished_bytes.get(), 0);
}

#[test]
fn a_flood_of_control_frames_is_closed() {
    let mut world = World::new(|l| l.control_frames_per_second_max = 10);
    let (key, client) = world.raw("t");
    (0..10).for_each(|_| client.send(9, b"x"));
    world.read(key);
    assert_eq!(client.frames().len(), 10);
    client.send(9, b"x");
    world.read(key);
    assert_eq!(client.close_code(), Some(1008));
}

#[test]
fn a_publisher_is_not_read_while_its_messages_pile_up() {
    let mut world = World::new(|l| l.mailbox_messages_mark = 10);
    let (key, client) = world.raw("t");
    for _ in 0..2_000 {
        client.send(1, b"0123456789");
    }
    assert_eq!(world.read(key), ReadOutcome::Congested);
    let piled = world.shard.mailbox().len();
    assert!((10..1_000).contains(&piled), "one buffer's worth: {piled}");
    world.deliver();
    assert!(!world.shard.topics().is_congested());
    while world.read(key) != ReadOutcome::Drained {
        world.deliver();
    }
    world.deliver();
    assert_eq!(client.frames().len(), 2_000);
}

#[test]
fn unfinished_messages_of_all_connections_are_bounded() {
    let mut world = World::new(|l| l.unfinished_bytes_max = 50_000);
    let clients: Vec<(Key, Client)> = (0..20).map(|_| world.raw("t")).collect();
    let mut closed = 0;
    for (key, client) in &clients {
        let begun = [&[0x82, 0xfe, 0xff, 0xff, 0, 0, 0, 0][..], &[7; 4_000]].concat();
        client.0.borrow_mut().to_broker.extend(begun);
        world.read(*key);
        assert!(world.counters().unfinished_bytes.get() < 60_000);
        closed += u32::from(client.close_code() == Some(1013));
    }
    assert!((1..20).contains(&closed), "{closed}");
}

#[test]
fn a_restart_says_1012_to_everyone_behind_what_they_are_owed() {
    let mut world = World::new(|_| {});
    let (_, sdk) = world.subscriber(&["t"]);
    let (_, raw) = world.raw("t");
    world.publish("t", "1");
    world.shard.drain_mailbox(10, world.now);
    world.shard.shut_down(usize::MAX, 1_000, world.now);
    let frames = sdk.frames();
    assert_eq!(frames[1].json(), ServerFrame::Event(Event::Drain(Drain { window_ms: 1_000 })));
    assert_eq!((frames.len(), frames[2].close_code()), (3, Some(1012)));
    let frames = raw.frames();
    assert_eq!((frames.len(), frames[1].close_code()), (2, Some(1012)));
    world.pass(5_000);
    assert_eq!(world.shard.connection_count(), 0);
}

#[test]
fn a_lost_connection_leaves_nothing_behind() {
    let mut world = World::new(|l| l.namespaces.default_mut().history_messages = 0);
    let (key, client) = world.subscriber(&["t", "u"]);
    client.set_room(0);
    world.publish("t", "1");
    world.deliver();
    world.publish("u", "1");
    world.shard.drain_mailbox(10, world.now);
    client.0.borrow_mut().is_lost = true;
    assert_eq!(world.read(key), ReadOutcome::Gone);
    world.deliver();
    assert_eq!(world.shard.topics().topic_count(), 0);
    for gauge in [
        &world.counters().connections,
        &world.counters().subscriptions,
        &world.counters().outbox_bytes,
    ] {
        assert_eq!(gauge.get(), 0);
    }
    let closes: u64 = world.counters().closes().map(|(_, n)| n).sum();
    assert_eq!(closes, 1);
}

#[test]
fn an_idle_connection_is_small() {
    let size = size_of::<Connection<u32>>();
    assert!(size <= 112, "{size} bytes; every idle connection pays for this");
}
