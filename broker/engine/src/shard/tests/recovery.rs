//! Readers that fall behind and readers that come back: order, exact gaps, newest values.

use fanfare_protocol::{Gap, Mode, Position, Subscribe, Subscribed, TopicName};

use super::*;

/// Subscribes in this way and gives the reply.
pub(super) fn join(
    world: &mut World,
    (key, client): &(Key, Client),
    topic: &str,
    since: Option<Position>,
    mode: Mode,
) -> Subscribed {
    let request = Subscribe { since, mode: Some(mode), ..Subscribe::new(topic) };
    client.command(7, Request::Subscribe(request));
    world.read(*key);
    let mut frames = client.frames();
    let at = frames.iter().position(|f| matches!(f.json(), ServerFrame::Reply(_))).unwrap();
    let ServerFrame::Reply(reply) = frames.remove(at).json() else { panic!() };
    client.put_back(frames);
    match reply.result {
        Ok(ReplyBody::Subscribe(subscribed)) => subscribed,
        other => panic!("{other:?}"),
    }
}

/// What a subscriber heard of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Message(u64),
    Gap(u64, u64),
}

pub(super) fn heard(client: &Client, topic: &str) -> Vec<Heard> {
    client
        .frames()
        .into_iter()
        .filter(|frame| frame.opcode == 1)
        .filter_map(|frame| match frame.json() {
            ServerFrame::Message(m) if m.topic == topic => Some(Heard::Message(m.offset)),
            ServerFrame::Event(Event::Gap(Gap { topic: t, from, to, .. })) if t == topic => {
                Some(Heard::Gap(from, to))
            }
            _ => None,
        })
        .collect()
}

pub(super) fn messages(offsets: impl IntoIterator<Item = u64>) -> Vec<Heard> {
    offsets.into_iter().map(Heard::Message).collect()
}

pub(super) fn small(limits: &mut Limits) {
    limits.outbox_high_water_bytes = 1_000;
    limits.outbox_bytes_max = 4_000;
}

pub(super) fn open_network(world: &mut World, (key, client): &(Key, Client)) {
    client.set_room(usize::MAX);
    world.shard.handle_writable(*key, world.now);
}

#[test]
fn a_reader_that_falls_behind_catches_up_from_the_ring_in_order() {
    let mut world = World::new(small);
    let slow = world.subscriber(&["t", "u"]);
    let (_, quick) = world.subscriber(&["t"]);
    slow.1.set_room(5);
    for i in 1..=90 {
        world.publish("t", "\"0123456789012345678901234567890123456789\"");
        world.publish("u", "1");
        world.deliver();
        assert_eq!(heard(&quick, "t"), messages([i]), "others notice nothing");
        let waiting = world.shard.buffered_amount(slow.0).unwrap();
        assert!(waiting < 1_000 + 200, "bounded by the high-water mark: {waiting}");
    }
    assert_eq!(world.counters().subscriptions_behind.get(), 2);
    slow.1.set_room(usize::MAX);
    world.shard.handle_writable(slow.0, world.now);
    let frames = slow.1.frames();
    slow.1.put_back(frames.clone());
    assert_eq!(heard(&slow.1, "t"), messages(1..=90));
    slow.1.put_back(frames);
    assert_eq!(heard(&slow.1, "u"), messages(1..=90));
    world.publish("t", "1");
    world.deliver();
    assert_eq!(heard(&slow.1, "t"), messages([91]), "live again");
    assert_eq!(world.counters().gaps.get(), 0);
    assert!(world.counters().messages_recovered.get() > 100);
    assert_eq!(world.counters().subscriptions_behind.get(), 0);
    assert_eq!(world.counters().connections_lagging.get(), 0);
}

#[test]
fn catching_up_on_short_messages_stays_within_the_mark() {
    let mut world = World::new(|l| {
        small(l);
        l.namespaces.default_mut().history_messages = 500;
    });
    let slow = world.subscriber(&["t"]);
    slow.1.set_room(5);
    for _ in 1..=400 {
        world.publish("t", "1");
        world.deliver();
    }
    let mut read = 0;
    while world.counters().subscriptions_behind.get() > 0 {
        slow.1.set_room(300);
        world.shard.handle_writable(slow.0, world.now);
        let waiting = world.shard.buffered_amount(slow.0).unwrap();
        assert!(waiting < 1_000 + 100, "bounded by the high-water mark: {waiting}");
        read += 1;
    }
    assert!(read > 20, "it took its time: {read}");
    open_network(&mut world, &slow);
    assert_eq!(heard(&slow.1, "t"), messages(1..=400));
}

#[test]
fn what_the_ring_no_longer_holds_is_told_as_an_exact_gap() {
    let mut world = World::new(|l| {
        small(l);
        l.namespaces.default_mut().history_messages = 10;
    });
    let slow = world.subscriber(&["t"]);
    slow.1.set_room(5);
    for _ in 0..100 {
        world.publish("t", "\"0123456789012345678901234567890123456789\"");
        world.deliver();
    }
    open_network(&mut world, &slow);
    let heard = heard(&slow.1, "t");
    let queued = heard.iter().take_while(|h| matches!(h, Heard::Message(_))).count() as u64;
    assert!((5..20).contains(&queued), "{heard:?}");
    let mut expected = messages(1..=queued);
    expected.push(Heard::Gap(queued + 1, 90));
    expected.extend(messages(91..=100));
    assert_eq!(heard, expected);
    assert_eq!(world.counters().gaps.get(), 1);
    assert_eq!(world.counters().gap_messages.get(), 90 - queued);
}

#[test]
fn a_burst_larger_than_every_mark_and_the_ring_reaches_a_quick_reader_whole() {
    let mut world = World::new(|l| l.namespaces.default_mut().history_messages = 10);
    let quick = world.subscriber(&["t"]);
    let body = format!("\"{}\"", "x".repeat(10_000));
    for _ in 0..200 {
        world.publish("t", &body);
    }
    world.deliver();
    assert_eq!(heard(&quick.1, "t"), messages(1..=200));
    assert_eq!((world.counters().gaps.get(), world.counters().messages_recovered.get()), (0, 0));
}

#[test]
fn a_raw_stream_that_cannot_be_told_a_gap_is_closed() {
    let mut world = World::new(|l| {
        small(l);
        l.namespaces.default_mut().history_messages = 10;
    });
    let slow = world.raw("t");
    slow.1.set_room(5);
    for _ in 0..100 {
        world.publish("t", "0123456789012345678901234567890123456789012345678901234567890");
        world.deliver();
    }
    open_network(&mut world, &slow);
    let frames = slow.1.frames();
    assert_eq!(frames.last().and_then(Frame::close_code), Some(3000));
    let reason = String::from_utf8_lossy(&frames.last().unwrap().payload).into_owned();
    assert!(reason.contains("to 90 were not taken"), "{reason}");
}

#[test]
fn who_comes_back_gets_what_it_missed_and_then_what_is_live() {
    let mut world = World::new(|_| {});
    let epoch = join_once(&mut world);
    for _ in 0..8 {
        world.publish("t", "1");
    }
    // Some of it still waits in the mailbox, and some is published in between.
    let back = world.subscriber(&[]);
    let since = Position { epoch: epoch.clone(), offset: 3 };
    let reply = join(&mut world, &back, "t", Some(since), Mode::All);
    assert_eq!((reply.offset, reply.recovered), (8, true));
    world.publish("t", "1");
    world.deliver();
    assert_eq!(heard(&back.1, "t"), messages(4..=9));
    let latest = world.subscriber(&[]);
    let since = Position { epoch, offset: 3 };
    assert!(join(&mut world, &latest, "t", Some(since), Mode::Latest).recovered);
    assert_eq!(heard(&latest.1, "t"), messages([9]));
}

/// The epoch of topic `t`, held alive by a subscriber.
fn join_once(world: &mut World) -> String {
    let holder = world.subscriber(&[]);
    join(world, &holder, "t", None, Mode::All).epoch
}

#[test]
fn recovered_is_true_only_when_nothing_is_missing() {
    let mut world = World::new(|l| l.namespaces.default_mut().history_messages = 5);
    let epoch = join_once(&mut world);
    for _ in 0..20 {
        world.publish("t", "1");
    }
    world.deliver();
    for (epoch, offset, recovered) in [
        (&*epoch, 20, true),
        (&*epoch, 15, true),
        (&*epoch, 14, false),
        (&*epoch, 21, false),
        ("another", 20, false),
    ] {
        let back = world.subscriber(&[]);
        let since = Position { epoch: epoch.to_owned(), offset };
        let reply = join(&mut world, &back, "t", Some(since), Mode::All);
        assert_eq!((reply.recovered, reply.offset), (recovered, 20), "{epoch} {offset}");
        let missed = if recovered { offset + 1..21 } else { 0..0 };
        assert_eq!(heard(&back.1, "t"), messages(missed), "all of it or nothing: {epoch} {offset}");
    }
}

#[test]
fn a_raw_stream_goes_on_where_it_was_or_is_told_that_it_cannot() {
    let mut world = World::new(|l| l.namespaces.default_mut().history_messages = 5);
    let epoch = join_once(&mut world);
    for i in 1..=20 {
        world.publish("t", &format!("{i}"));
    }
    let mut open = |offset, mode| {
        let client = Client::new();
        let since = Some(Position { epoch: epoch.clone(), offset });
        let options = StreamOptions { mode: Some(mode), ..StreamOptions::default() };
        let kind = ConnectionKind::Raw { topic: TopicName::new("t").unwrap(), since, options };
        world.shard.open(client.clone(), &kind, world.now);
        let frames = client.frames();
        let code = frames.iter().find_map(Frame::close_code);
        let heard = frames.into_iter().filter(|frame| frame.opcode == 1);
        let heard: Vec<String> =
            heard.map(|frame| String::from_utf8(frame.payload).unwrap()).collect();
        (heard.join(" "), code)
    };
    assert_eq!(open(17, Mode::All), ("18 19 20".to_owned(), None));
    assert_eq!(open(20, Mode::All), (String::new(), None));
    assert_eq!(open(3, Mode::All), (String::new(), Some(3502)));
    assert_eq!(open(3, Mode::Latest), ("20".to_owned(), None), "the newest is all it wants");
}

#[test]
fn a_connection_that_takes_nothing_is_closed_and_one_that_trickles_is_not() {
    let mut world = World::new(small);
    let (stuck_key, stuck) = world.subscriber(&["t"]);
    let (trickle_key, trickle) = world.subscriber(&["t"]);
    stuck.set_room(0);
    trickle.set_room(0);
    for _ in 0..20 {
        world.publish("t", "\"0123456789012345678901234567890123456789\"");
    }
    world.deliver();
    for _ in 0..6 {
        world.pass(5_000);
        trickle.set_room(1);
        world.shard.handle_writable(trickle_key, world.now);
        stuck.send(10, b"");
        world.read(stuck_key);
    }
    assert!(world.shard.buffered_amount(trickle_key).is_some_and(|bytes| bytes > 0));
    stuck.set_room(usize::MAX);
    world.shard.handle_writable(stuck_key, world.now);
    assert_eq!(stuck.close_code(), Some(3000));
    trickle.set_room(usize::MAX);
    world.shard.handle_writable(trickle_key, world.now);
    let heard = heard(&trickle, "t");
    assert_eq!(heard, messages(1..=20));
}
