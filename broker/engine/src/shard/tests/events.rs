//! Event streams: what their readers get, byte for byte, and what becomes of slow ones.

use fanfare_protocol::{Filter, Mode, Position, TopicName};

use super::*;

/// One event as a client reads it: its fields in the order in which they came.
type Fields = Vec<(String, String)>;

fn name(topic: &str) -> TopicName {
    TopicName::new(topic).unwrap()
}

impl World {
    fn topic_events(&mut self, topic: &str, since: Option<Position>) -> (Key, Client) {
        let options = StreamOptions::default();
        self.opened(&ConnectionKind::TopicEvents { topic: name(topic), since, options })
    }

    fn events(&mut self, sources: &[(&str, Option<Position>)]) -> (Key, Client) {
        let source = |(filter, since): &(&str, Option<Position>)| EventSource {
            filter: Filter::new(filter).unwrap(),
            since: since.clone(),
        };
        let sources = sources.iter().map(source).collect();
        self.opened(&ConnectionKind::Events { sources, options: StreamOptions::default() })
    }

    fn opened(&mut self, kind: &ConnectionKind) -> (Key, Client) {
        let client = Client::new();
        (self.shard.open(client.clone(), kind, self.now), client)
    }

    fn epoch(&self, topic: &str) -> String {
        self.shard.topics.history(&name(topic), None, 1).unwrap().epoch.to_string()
    }

    fn at(&self, topic: &str, offset: u64) -> Option<Position> {
        Some(Position { epoch: self.epoch(topic), offset })
    }
}

/// What has come, which must be whole events.
fn text(client: &Client) -> String {
    let bytes = std::mem::take(&mut client.0.borrow_mut().to_client);
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.is_empty() || text.ends_with("\n\n"), "{text:?}");
    text
}

fn events(client: &Client) -> Vec<Fields> {
    let text = text(client);
    let field = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        (name.to_owned(), value.to_owned())
    };
    let blocks = text.split_terminator("\n\n");
    blocks.map(|block| block.lines().map(field).collect()).collect()
}

fn field<'a>(event: &'a Fields, name: &str) -> Option<&'a str> {
    event.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
}

fn offsets(client: &Client) -> Vec<u64> {
    let ids = events(client);
    let ids = ids.iter().filter(|event| field(event, "event").is_none());
    ids.map(|event| field(event, "id").unwrap().split_once(':').unwrap().1.parse().unwrap())
        .collect()
}

#[test]
fn a_stream_begins_with_its_place_and_every_reader_gets_the_same_bytes() {
    let mut world = World::new(|_| {});
    world.publish("t", "0");
    let epoch = world.epoch("t");
    let (_, first) = world.topic_events("t", None);
    let (_, second) = world.topic_events("t", None);
    let begin = format!(
        "retry: 1000\nevent: subscribed\nid: {epoch}:1\n\
         data: {{\"topic\":\"t\",\"epoch\":\"{epoch}\",\"offset\":1,\"recovered\":false,\
         \"mode\":\"all\",\"ping_interval_ms\":25000}}\n\n"
    );
    assert_eq!([text(&first), text(&second)], [begin.clone(), begin]);
    world.publish("t", "{\"p\":\n1}");
    world.publish("t", "two\r\nlines");
    let counters = ShardCounters::default();
    let binary = Payload::binary(vec![0, 1, 254, 255]);
    world.shard.topics.publish(&name("t"), &binary, None, &counters, world.now).unwrap();
    world.deliver();
    let expected = format!(
        "id: {epoch}:2\ndata: {{\"p\":\ndata: 1}}\n\n\
         id: {epoch}:3\ndata: two\ndata: lines\n\n\
         event: binary\nid: {epoch}:4\ndata: AAH+/w==\n\n"
    );
    assert_eq!([text(&first), text(&second)], [expected.clone(), expected]);
    let names = world.report(ConnectionOrder::BufferedAmount);
    assert!(names.iter().all(|report| report.form == WireForm::TopicEvents));
}

#[test]
fn a_stream_goes_on_where_it_was_or_says_that_it_cannot() {
    let mut world = World::new(|l| l.namespaces.default_mut().history_messages = 3);
    for body in ["1", "2", "3", "4", "5"] {
        world.publish("t", body);
    }
    let (_, recovered) = world.topic_events("t", world.at("t", 2));
    let begin = events(&recovered);
    assert!(field(&begin[0], "data").unwrap().contains("\"recovered\":true"), "{begin:?}");
    assert_eq!(field(&begin[0], "id"), Some(&*format!("{}:2", world.epoch("t"))));
    let caught_up = begin[1..].iter().map(|event| field(event, "data").unwrap());
    assert!(caught_up.eq(["3", "4", "5"]), "{begin:?}");
    let (_, too_old) = world.topic_events("t", world.at("t", 1));
    let begin = events(&too_old);
    assert_eq!(begin.len(), 1);
    assert!(field(&begin[0], "data").unwrap().contains("\"recovered\":false"), "{begin:?}");
    assert_eq!(field(&begin[0], "id"), Some(&*format!("{}:5", world.epoch("t"))));
    world.publish("t", "6");
    world.deliver();
    assert_eq!((offsets(&recovered), offsets(&too_old)), (vec![6], vec![6]));
}

#[test]
fn a_snapshot_stands_before_the_newest_message() {
    let mut world = World::new(|l| l.namespaces.default_mut().latest = true);
    world.publish("t", "1");
    world.publish("t", "2");
    let (_, client) = world.topic_events("t", None);
    let begin = events(&client);
    assert!(field(&begin[0], "data").unwrap().contains("\"snapshot\":true"));
    assert_eq!(field(&begin[0], "id"), Some(&*format!("{}:1", world.epoch("t"))));
    assert_eq!(field(&begin[1], "data"), Some("2"));
}

#[test]
fn a_slow_reader_of_events_is_a_slow_reader() {
    let mut world = World::new(|l| {
        (l.outbox_low_water_bytes, l.outbox_high_water_bytes) = (100, 1_000);
        l.namespaces.default_mut().history_messages = 5;
        l.stall_timeout_ms = 3_000;
    });
    let (key, slow) = world.topic_events("t", None);
    let (_, quick) = world.topic_events("t", None);
    slow.set_room(0);
    text(&quick);
    for number in 0..100 {
        world.publish("t", &format!("\"{number:060}\""));
        world.deliver();
    }
    assert_eq!(offsets(&quick), (1..=100).collect::<Vec<_>>());
    assert!(world.shard.buffered_amount(key).unwrap() < 1_200);
    assert_eq!(world.counters().subscriptions_behind.get(), 1);
    slow.set_room(usize::MAX);
    world.shard.handle_writable(key, world.now);
    let come = events(&slow);
    let gap = come.iter().find(|event| field(event, "event") == Some("gap")).unwrap();
    let epoch = world.epoch("t");
    assert_eq!(field(gap, "id"), Some(&*format!("{epoch}:95")));
    let told = format!("{{\"event\":\"gap\",\"topic\":\"t\",\"epoch\":\"{epoch}\",\"from\":");
    let told = field(gap, "data").unwrap().strip_prefix(&told).unwrap();
    assert!(told.ends_with(",\"to\":95}"), "{told}");
    assert_eq!(come.last().and_then(|event| field(event, "id")), Some(&*format!("{epoch}:100")));
    world.shard.audit();
}

#[test]
fn who_takes_nothing_is_told_why_the_stream_ends() {
    let mut world = World::new(|l| l.stall_timeout_ms = 3_000);
    let (_, client) = world.topic_events("t", None);
    text(&client);
    client.set_room(7);
    world.publish("t", "\"a message\"");
    world.deliver();
    for _ in 0..5 {
        world.pass(1_000);
    }
    client.set_room(usize::MAX);
    world.shard.handle_writable(Key(0), world.now);
    let told = events(&client);
    let [message, close] = &told[..] else { panic!("{told:?}") };
    assert_eq!(field(message, "data"), Some("\"a message\""), "begun, so it is finished");
    assert_eq!(field(close, "event"), Some("close"));
    assert_eq!(field(close, "retry"), Some("1000"));
    assert!(field(close, "data").unwrap().starts_with("{\"code\":3000,"), "{close:?}");
    assert!(client.0.borrow().is_shut, "and the body ends");
}

#[test]
fn a_restart_spreads_the_return_of_readers() {
    let mut world = World::new(|_| {});
    let clients: Vec<Client> = (0..4).map(|_| world.topic_events("t", None).1).collect();
    let raw = world.raw("t").1;
    world.publish("t", "1");
    world.shard.shut_down(usize::MAX, 8_000, world.now);
    let retries = clients.iter().map(|client| {
        let told = events(client);
        let [begin, message, close] = &told[..] else { panic!("{told:?}") };
        assert_eq!(field(begin, "event"), Some("subscribed"));
        assert_eq!(field(message, "data"), Some("1"), "what was published comes first");
        let data = "{\"code\":1012,\"reason\":\"the broker restarts; come back\"}";
        assert_eq!(field(close, "data"), Some(data));
        field(close, "retry").unwrap().parse().unwrap()
    });
    assert_eq!(retries.collect::<Vec<u64>>(), [2_000, 4_000, 6_000, 8_000]);
    assert_eq!(raw.close_code(), Some(1012));
}

#[test]
fn what_a_reader_sends_is_thrown_away_until_it_is_too_much() {
    let mut world = World::new(|l| l.message_bytes_max = 1_000);
    let (key, client) = world.topic_events("t", None);
    text(&client);
    let send = |bytes: &[u8]| client.0.borrow_mut().to_broker.extend(bytes);
    send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(world.read(key), ReadOutcome::Drained);
    assert_eq!((text(&client).as_str(), world.counters().messages_in.get()), ("", 0));
    send(&[b'x'; 1_001]);
    world.read(key);
    assert!(text(&client).contains("{\"code\":1008,"));
    client.0.borrow_mut().is_lost = true;
    assert_eq!(world.read(key), ReadOutcome::Gone);
    world.shard.audit();
}

#[test]
fn a_quiet_stream_gets_heartbeats_and_needs_no_pongs() {
    let mut world = World::new(|_| {});
    let (_, client) = world.topic_events("t", None);
    text(&client);
    for _ in 0..60 {
        world.pass(1_000);
    }
    assert_eq!(text(&client), ":\n\n:\n\n");
    assert_eq!(world.shard.connection_count(), 1);
}

#[test]
fn a_stream_of_several_topics_tells_its_place_once_a_second_while_it_moves() {
    let mut world = World::new(|_| {});
    world.publish("a", "1");
    world.publish("b.x", "1");
    let (a, b) = (world.epoch("a"), world.epoch("b.x"));
    let since = world.at("a", 0);
    let (_, client) = world.events(&[("a", since), ("b.*", None), ("b.x", None)]);
    let begin = events(&client);
    let kinds: Vec<_> = begin.iter().map(|event| field(event, "event")).collect();
    let subscribed = Some("subscribed");
    assert_eq!(
        kinds,
        [subscribed, None, subscribed, subscribed, None],
        "owed first, then a pattern"
    );
    assert!(begin[..4].iter().all(|event| field(event, "id").is_none()), "{begin:?}");
    assert_eq!(field(&begin[1], "data"), Some("{\"topic\":\"a\",\"offset\":1,\"data\":1}"));
    let pattern = "{\"pattern\":\"b.*\",\"topics\":1,\"mode\":\"all\",\"ping_interval_ms\":25000}";
    assert_eq!(field(&begin[2], "data"), Some(pattern));
    assert_eq!(begin[4], [("id".to_owned(), format!("{a}:1,-,{b}:1"))]);
    world.pass(1_000);
    assert_eq!(text(&client), "");
    world.publish("b.x", "2");
    world.publish("b.y", "1");
    // Its place stands behind what was sent by then.
    world.shard.drain_mailbox(10, world.now);
    world.pass(1_000);
    let expected = format!(
        "data: {{\"topic\":\"b.x\",\"offset\":2,\"data\":2}}\n\n\
         data: {{\"topic\":\"b.y\",\"offset\":1,\"data\":1}}\n\nid: {a}:1,-,{b}:2\n\n"
    );
    assert_eq!(text(&client), expected);
    (0..23).for_each(|_| world.pass(1_000));
    assert_eq!(text(&client), format!(":\n\nid: {a}:1,-,{b}:2\n\n"), "with each heartbeat");
}

#[test]
fn the_place_of_a_slow_stream_is_not_beyond_what_it_has() {
    let mut world = World::new(|l| {
        (l.outbox_low_water_bytes, l.outbox_high_water_bytes) = (100, 1_000);
        l.stall_timeout_ms = 1_000_000;
    });
    let (key, client) = world.events(&[("a", None), ("b", None)]);
    text(&client);
    client.set_room(0);
    for number in 0..50 {
        world.publish("a", &number.to_string());
        world.publish("b", &number.to_string());
        world.deliver();
        world.pass(200);
    }
    client.set_room(usize::MAX);
    world.shard.handle_writable(key, world.now);
    world.pass(1_000);
    let mut has = std::collections::BTreeMap::from([("a", 0), ("b", 0)]);
    let mut places = 0;
    for event in events(&client) {
        if let Some(id) = field(&event, "id") {
            let told = id.split(',').map(|one| one.split_once(':').unwrap().1.parse().unwrap());
            let told: Vec<u64> = told.collect();
            assert!(told[0] <= has["a"] && told[1] <= has["b"], "{told:?} of {has:?}");
            places += 1;
        }
        for (topic, last) in &mut has {
            let begin = format!("{{\"topic\":\"{topic}\",\"offset\":{},", *last + 1);
            *last += u64::from(field(&event, "data").is_some_and(|data| data.starts_with(&begin)));
        }
    }
    assert_eq!(has.into_values().collect::<Vec<_>>(), [50, 50], "each in order, once");
    assert!(places >= 2, "{places} places");
}

#[test]
fn what_cannot_begin_is_told() {
    let mut world = World::new(|l| l.topics_max = 1);
    let (_, client) = world.events(&[("a", None), ("b", None)]);
    let told = events(&client);
    let close = told.last().unwrap();
    assert_eq!(field(close, "event"), Some("close"));
    assert!(
        field(close, "data").unwrap().starts_with("{\"code\":1013,\"reason\":\"the node has 1")
    );
    world.shard.audit();
}

#[test]
fn a_topic_that_nobody_reads_as_events_is_no_larger_for_them() {
    let of_websockets = WireForm::WEBSOCKET_COUNT * size_of::<Vec<Key>>();
    let lists = size_of::<tier::Lists>();
    assert_eq!(lists, of_websockets + size_of::<Box<()>>());
}

#[test]
fn options_and_modes_are_those_of_every_stream() {
    let mut world = World::new(|_| {});
    let options = StreamOptions { mode: None, max_rate: Some(1), snapshot: None };
    let kind = ConnectionKind::TopicEvents { topic: name("t"), since: None, options };
    let (_, client) = world.opened(&kind);
    assert!(text(&client).contains("\"mode\":\"latest\""));
    for body in ["1", "2", "3"] {
        world.publish("t", body);
        world.deliver();
    }
    assert_eq!(offsets(&client), [1]);
    world.pass(1_000);
    world.deliver();
    assert_eq!(offsets(&client), [3]);
    let options = StreamOptions { mode: Some(Mode::Latest), ..StreamOptions::default() };
    let kind = ConnectionKind::TopicEvents { topic: name("t"), since: None, options };
    let (key, slow) = world.opened(&kind);
    assert_eq!(offsets(&slow), [3], "the newest at once");
    slow.set_room(0);
    for body in ["4", "5", "6"] {
        world.publish("t", body);
        world.deliver();
    }
    slow.set_room(usize::MAX);
    world.shard.handle_writable(key, world.now);
    assert_eq!(offsets(&slow), [6]);
    world.shard.audit();
}

#[test]
fn a_stream_of_many_topics_begins_whole_where_little_may_wait() {
    let mut world = World::new(recovery::small);
    let topics: Vec<String> = (0..60).map(|topic| format!("t.{topic}")).collect();
    let sources: Vec<_> = topics.iter().map(|topic| (topic.as_str(), None)).collect();
    let (_, client) = world.events(&sources);
    let told = events(&client);
    let begun = told.iter().filter(|event| field(event, "event") == Some("subscribed")).count();
    assert_eq!(begun, topics.len(), "its reader takes all that is written");
    assert_eq!(world.counters().connections.get(), 1);
}
