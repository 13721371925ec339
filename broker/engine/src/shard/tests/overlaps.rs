//! Subscriptions of one connection that overlap, in every mode and rate, as they come and go:
//! nothing comes twice or late, and the newest always comes.

use std::collections::BTreeMap;

use fanfare_protocol::{
    Mode, Request, ServerFrame, Subscribe, TopicName, TopicPattern, Unsubscribe,
};
use proptest::prelude::*;

use super::world::{Client, World};
use super::*;

const TOPICS: [&str; 3] = ["a.x", "a.y", "b.x"];
const FILTERS: [&str; 6] = ["a.x", "b.x", "a.*", "*.x", "a.>", ">"];
const CONNECTIONS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    /// Subscribes, or unsubscribes where it does so already.
    Toggle {
        connection: usize,
        filter: usize,
        mode: Option<Mode>,
        max_rate: Option<u32>,
    },
    Deliver,
    Pass(u64),
    /// The network takes so many bytes more.
    Room(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        Just((None, None)),
        Just((Some(Mode::All), None)),
        Just((Some(Mode::Latest), None)),
        Just((None, Some(1))),
        Just((None, Some(10))),
    ];
    let toggle = (0..CONNECTIONS, 0..FILTERS.len(), kind).prop_map(|(connection, filter, kind)| {
        Step::Toggle { connection, filter, mode: kind.0, max_rate: kind.1 }
    });
    prop_oneof![
        6 => (0..TOPICS.len()).prop_map(Step::Publish),
        3 => toggle,
        4 => Just(Step::Deliver),
        2 => prop_oneof![Just(40), Just(150), Just(1_100)].prop_map(Step::Pass),
        2 => (0..CONNECTIONS, prop_oneof![Just(0), 1..300usize, Just(usize::MAX)])
            .prop_map(|(connection, room)| Step::Room(connection, room)),
    ]
}

fn matches(filter: &str, topic: &str) -> bool {
    let topic = TopicName::new(topic).unwrap();
    match TopicPattern::new(filter) {
        Ok(pattern) => pattern.matches(&topic),
        Err(_) => filter == topic.as_str(),
    }
}

/// A client with its subscriptions, what has come, and what must have come in the end.
struct Reader {
    key: Key,
    client: Client,
    held: [bool; FILTERS.len()],
    newest: BTreeMap<String, u64>,
    expected: BTreeMap<&'static str, u64>,
}

impl Reader {
    fn covers(&self, topic: &str) -> bool {
        FILTERS.iter().zip(self.held).any(|(filter, held)| held && matches(filter, topic))
    }

    fn take(&mut self) {
        for frame in self.client.frames().iter().filter(|frame| frame.opcode == 1) {
            let (topic, from, to) = match frame.json() {
                ServerFrame::Message(message) => (message.topic, message.offset, message.offset),
                ServerFrame::Event(Event::Gap(gap)) => (gap.topic, gap.from, gap.to),
                _ => continue,
            };
            let before = self.newest.insert(topic.clone(), to);
            assert!(before < Some(from), "{topic} {from} after {before:?}");
        }
    }

    fn toggle(&mut self, world: &mut World, filter: usize, mode: Option<Mode>, rate: Option<u32>) {
        let topic = FILTERS[filter].to_owned();
        self.held[filter] = !self.held[filter];
        let request = if self.held[filter] {
            let snapshot = Some(false);
            let options = Subscribe { mode, max_rate: rate, snapshot, ..Subscribe::new(topic) };
            Request::Subscribe(options)
        } else {
            Request::Unsubscribe(Unsubscribe { topic })
        };
        self.client.command(1, request);
        world.read(self.key);
        let uncovered: Vec<_> = TOPICS.into_iter().filter(|topic| !self.covers(topic)).collect();
        self.expected.retain(|topic, _| !uncovered.contains(topic));
    }
}

fn run(steps: Vec<Step>, history_messages: usize) {
    let mut world = World::new(|l| {
        l.outbox_high_water_bytes = 400;
        l.outbox_low_water_bytes = 100;
        l.outbox_bytes_max = 100_000;
        l.stall_timeout_ms = 10_000_000;
        l.pong_timeout_ms = 10_000_000;
        l.namespaces.default_mut().history_messages = history_messages;
    });
    let mut readers: Vec<Reader> = (0..CONNECTIONS)
        .map(|_| {
            let (key, client) = world.subscriber(&[]);
            let (newest, expected) = (BTreeMap::new(), BTreeMap::new());
            Reader { key, client, held: [false; FILTERS.len()], newest, expected }
        })
        .collect();
    // Someone holds the topics in the table.
    let _holder = world.subscriber(&TOPICS);
    let pass = |world: &mut World, ms| {
        world.now = Now::from_ms(world.now.ms() + ms);
        world.shard.release_tiers(world.now);
        world.deliver();
    };
    for step in steps {
        match step {
            Step::Publish(topic) => {
                let offset = world.publish(TOPICS[topic], "\"0123456789\"");
                for reader in readers.iter_mut().filter(|r| r.covers(TOPICS[topic])) {
                    reader.expected.insert(TOPICS[topic], offset);
                }
            }
            Step::Toggle { connection, filter, mode, max_rate } => {
                readers[connection].toggle(&mut world, filter, mode, max_rate);
            }
            Step::Deliver => world.deliver(),
            Step::Pass(ms) => pass(&mut world, ms),
            Step::Room(connection, room) => {
                let reader = &readers[connection];
                reader.client.set_room(room);
                world.shard.handle_writable(reader.key, world.now);
            }
        }
        readers.iter_mut().for_each(Reader::take);
    }
    world.deliver();
    for reader in &readers {
        reader.client.set_room(usize::MAX);
        world.shard.handle_writable(reader.key, world.now);
    }
    pass(&mut world, 1_100);
    for reader in &mut readers {
        reader.take();
        for (topic, offset) in &reader.expected {
            let newest = reader.newest.get(*topic);
            assert!(newest >= Some(offset), "{topic} ends at {newest:?}, not at {offset}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn however_subscriptions_overlap_nothing_comes_twice_and_the_newest_comes(
        steps in proptest::collection::vec(step(), 1..120),
        history_messages in prop_oneof![Just(0usize), Just(3), Just(100)],
    ) {
        run(steps, history_messages);
    }
}
