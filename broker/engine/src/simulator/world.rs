//! A whole node with its clients, and the steps in which it lives.

use std::sync::Arc;

use fanfare_protocol::{CloseCode, Filter, PayloadKind, Position};

use super::asked::{Asked, random_key};
use super::budget::Budget;
use super::client::{Client, Exit};
use super::event_loop::{Bell, EventLoop, Link, PLACE_BYTES};
use super::intake::ConnectionId;
use super::plan::{Deed, Plan};
use super::random::Random;
use super::record::{Heads, Place, Record};
use super::session::Session;
use super::summary::Summary;
use super::trace::Trace;
use super::wire::Wire;
use super::wish::Wish;
use crate::counters::ShardCounters;
use crate::shard::{ConnectionKind, EventSource, ReadOutcome, Shard, StreamOptions};
use crate::time::Now;
use crate::topics::{TopicTable, WireForm};

/// Longest reply or pong in bytes.
const REPLY_BYTES: usize = 250;

/// Everything there is in one simulation.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) random: Random,
    pub(super) record: Record,
    pub(super) table: Arc<TopicTable>,
    pub(super) loops: Vec<EventLoop>,
    pub(super) clients: Vec<Client>,
    pub(super) links: Vec<Link>,
    pub(super) budget: Budget,
    /// Of each topic, before commands were last read.
    pub(super) epochs_before: Vec<Option<String>>,
    pub(super) heads_before: Heads,
    /// Of the publisher that is no connection, as an HTTP request is none.
    counters: ShardCounters,
    pub(super) trace: Trace,
}

impl World {
    pub(super) fn new(seed: u64, trace: Trace) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::new(&mut random);
        let bells: Vec<Bell> = (0..plan.shards).map(|_| Bell::default()).collect();
        // One more mailbox, for the record: the shards know nothing of it.
        let mailboxes = bells.iter().chain([&Bell::default()]).map(Bell::mailbox).collect();
        let table = TopicTable::new(mailboxes, Arc::new(plan.limits.clone()), random.next());
        let table = Arc::new(table);
        let shards = bells.into_iter().enumerate().map(|(index, bell)| {
            EventLoop::new(Shard::new(index, "n".into(), table.clone()), bell)
        });
        let clients = plan.clients.iter().map(|client| Client::new(*client, plan.topics.len()));
        let mut record = Record::new(&plan, table.clone());
        record.now = Now::from_ms(1_000);
        Self {
            loops: shards.collect(),
            clients: clients.collect(),
            links: Vec::new(),
            budget: Budget::new(plan.shards),
            epochs_before: vec![None; plan.topics.len()],
            heads_before: Heads::default(),
            counters: ShardCounters::default(),
            record,
            random,
            plan,
            table,
            trace,
        }
    }

    /// Lives until its end, and gives what happened.
    pub(super) fn run(mut self) -> Summary {
        for _ in 0..self.plan.steps {
            self.record.now.us += self.random.below(self.plan.step_us_max);
            let deed = Deed::ALL[self.random.weighted(&self.plan.weights)];
            self.perform(deed);
            self.check_step();
        }
        self.record.summary.add("steps", self.plan.steps as u64);
        self.settle();
        self.end();
        self.record.summary
    }

    fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Publish => self.publish(),
            Deed::Arrive => self.arrive(),
            Deed::Read => self.read_some(),
            Deed::Write => self.write_some(),
            Deed::Drain => self.drain(),
            Deed::Flush => self.flush(),
            Deed::Take => self.take(),
            Deed::Command => self.command(),
            Deed::Come => self.come(),
            Deed::Go => self.go(),
            Deed::Tick => self.tick(),
            Deed::Pass => {
                let ms = self.random.pick(&[50, 700, 4_000, 26_000, 40_000]);
                self.pass(ms);
            }
            Deed::Settle => self.settle(),
        }
    }

    pub(super) fn publish(&mut self) {
        let topic = self.random.index(self.plan.topics.len());
        let burst = self.random.pick(&[1, 1, 2, 5, 30]);
        self.trace.tell(|| format!("publish {burst} on topic {topic}"));
        let mut acknowledged = Vec::new();
        for _ in 0..burst {
            let kinds = [PayloadKind::Json, PayloadKind::Text, PayloadKind::Binary];
            let filling = self.random.below(self.plan.payload_bytes_max) as usize;
            let payload = self.record.compose(self.random.pick(&kinds), filling);
            let name = self.record.topic_name(topic);
            let key = random_key(&mut self.random);
            let now = self.record.now;
            let published = self.table.publish(name, &payload, key.as_deref(), &self.counters, now);
            let published = published.expect("a world has few topics and no large messages");
            let (epoch, offset) = (published.epoch.to_string(), published.offset);
            let place = Place { topic, epoch, offset };
            acknowledged.push((key, payload, (place, published.duplicate)));
        }
        self.record.write_down();
        for (key, payload, is) in acknowledged {
            let expected = match key {
                Some(key) => self.record.publish_with_key((topic, &key), &payload),
                None => Some((self.record.place(&payload).clone(), false)),
            };
            assert_eq!(Some(is), expected);
        }
    }

    /// Some of what clients have sent arrives.
    fn arrive(&mut self) {
        let Some(at) = self.pick_link(|link| link.wire.pipe().has_in_flight()) else { return };
        let bytes = self.random.pick(&[1, 3, 10, 100, usize::MAX]);
        self.trace.tell(|| format!("up to {bytes} bytes arrive on {}", self.links[at]));
        self.links[at].wire.pipe().arrive(bytes);
    }

    fn read_some(&mut self) {
        let is_congested = self.table.is_congested();
        let readable =
            |link: &Link| link.wire.pipe().is_readable && !(link.is_paused && is_congested);
        let Some(at) = self.pick_link(readable) else { return };
        let scratch = self.random.pick(&[16, 4_096]);
        self.read(at, scratch);
    }

    pub(super) fn read(&mut self, at: usize, scratch: usize) {
        self.note_ends();
        self.epochs_before = self.record.newest_epochs();
        self.heads_before = self.record.heads();
        let now = self.record.now;
        let link = &mut self.links[at];
        let event_loop = &mut self.loops[link.shard];
        event_loop.wake();
        let to_end = self.random.one_in(2) || !link.wire.pipe().is_open();
        link.own_bytes += std::mem::take(&mut link.wire.pipe().replies_due) * REPLY_BYTES;
        link.wire.pipe().is_readable = false;
        let outcome =
            event_loop.shard.handle_readable(link.key, &mut vec![0; scratch], to_end, now);
        self.trace.tell(|| format!("read {link}: {outcome:?}"));
        let comes_back = matches!(outcome, ReadOutcome::More | ReadOutcome::Congested);
        link.is_paused = outcome == ReadOutcome::Congested;
        link.wire.pipe().is_readable |= comes_back;
        if link.is_paused {
            self.record.summary.count("publishers made to wait");
        }
        self.record.write_down();
        self.take_in(at);
    }

    fn write_some(&mut self) {
        let writable = |link: &Link| link.wire.pipe().is_writable_again();
        if let Some(at) = self.pick_link(writable) {
            self.write(at);
        }
    }

    pub(super) fn write(&mut self, at: usize) {
        let now = self.record.now;
        let link = &self.links[at];
        self.trace.tell(|| format!("{link} is writable"));
        let event_loop = &mut self.loops[link.shard];
        event_loop.wake();
        link.wire.pipe().announce_writable();
        if event_loop.shard.is_waiting(link.key) {
            event_loop.shard.handle_writable(link.key, now);
        }
    }

    fn drain(&mut self) {
        let shard = self.random.index(self.loops.len());
        let messages = self.random.pick(&[1, 2, 5, usize::MAX]);
        if self.loops[shard].is_awake() {
            self.trace.tell(|| format!("shard {shard} takes {messages} messages"));
            self.loops[shard].shard.drain_mailbox(messages, self.record.now);
        }
    }

    fn flush(&mut self) {
        let shard = self.random.index(self.loops.len());
        let connections = self.random.pick(&[1, 2, 5, usize::MAX]);
        let now = self.record.now;
        if !self.loops[shard].is_awake() {
            return;
        }
        self.trace.tell(|| format!("shard {shard} writes to {connections} connections"));
        self.loops[shard].shard.flush(connections, now);
        if self.random.one_in(3) && self.loops[shard].try_sleep() {
            self.trace.tell(|| format!("shard {shard} sleeps"));
            self.record.summary.count("times that a shard fell asleep");
        }
    }

    /// A moment passes, and a shard does what waits for time alone.
    fn tick(&mut self) {
        let shard = self.random.index(self.loops.len());
        self.record.now.us += self.random.pick(&[0, 20_000, 60_000, 130_000]);
        self.trace.tell(|| format!("shard {shard} sends what it has held back"));
        self.loops[shard].wake();
        self.loops[shard].shard.release_tiers(self.record.now);
        self.tell_presence();
    }

    /// A slow client reads a little.
    fn take(&mut self) {
        let at = self.random.index(self.clients.len());
        let bytes = self.random.pick(&[1, 10, 100, 1_000, usize::MAX]);
        self.hear(at, bytes);
    }

    /// Lets a client read, and leave if the broker has said goodbye.
    pub(super) fn hear(&mut self, at: usize, bytes: usize) {
        let client = &mut self.clients[at];
        let is_prompt = client.is_prompt();
        let Some(session) = client.session.as_mut() else { return };
        if session.wire.pipe().waiting_bytes() > 0 {
            self.trace.tell(|| format!("client {at} reads up to {bytes} bytes"));
        }
        session.hear(bytes, &mut self.record);
        if let Some((code, reason)) = &session.closed {
            session.check_closed(is_prompt, &self.record);
            self.trace.tell(|| format!("client {at} was closed with {}: {reason}", code.0));
            let forgets = *code == CloseCode::NOT_RECOVERABLE;
            client.leave(Exit::Finish);
            if forgets {
                client.forget_positions();
            }
        }
    }

    fn command(&mut self) {
        let connected = |client: &Client| client.session.is_some();
        let Some(at) = self.pick_client(connected) else { return };
        let told = self.clients[at].act(&self.plan, &mut self.record, &mut self.random);
        self.trace.tell(|| format!("client {at}: {told}"));
    }

    fn come(&mut self) {
        let Some(at) = self.pick_client(|client| client.session.is_none()) else { return };
        let shard = self.random.index(self.loops.len());
        let client = &mut self.clients[at];
        let wire = Wire::new(client.capacity(), self.random.fork());
        wire.pipe().unrest = self.plan.unrest;
        let now = self.record.now;
        let event_loop = &mut self.loops[shard];
        event_loop.wake();
        event_loop.opened += 1;
        let id = ConnectionId { shard, serial: event_loop.opened };
        let key = match client.plan.form {
            WireForm::Sdk(codec) => {
                let kind = ConnectionKind::Sdk(codec);
                let key = event_loop.shard.open(wire.clone(), &kind, now);
                client.connect(wire.clone(), id, &mut self.record, &mut self.random);
                key
            }
            WireForm::Raw => {
                let (topic, wish, since) = client.raw_start(&mut self.random);
                let name = self.record.topic_name(topic).clone();
                let Wish { mode, rate: max_rate, snapshot } = wish;
                let options = StreamOptions { mode, max_rate, snapshot };
                let kind = ConnectionKind::Raw { topic: name, since: since.clone(), options };
                let key = event_loop.shard.open(wire.clone(), &kind, now);
                let mut session =
                    Session::new(wire.clone(), id, &client.plan, self.plan.topics.len());
                self.record.attendance.join(topic, id);
                session.begin_raw(topic, wish, since, &self.record);
                client.session = Some(session);
                key
            }
            WireForm::TopicEvents | WireForm::Events => {
                let sources = client.stream_start(&self.plan, &mut self.random);
                let kind = stream_kind(client.plan.form, &sources, &self.record);
                let key = event_loop.shard.open(wire.clone(), &kind, now);
                let mut session =
                    Session::new(wire.clone(), id, &client.plan, self.plan.topics.len());
                session.begin_stream(sources, &self.record);
                client.session = Some(session);
                key
            }
        };
        let number = self.record.summary.get("connections opened");
        self.record.summary.count("connections opened");
        let mut link = Link::new(number, id, key, wire, now);
        link.tells_place = client.plan.form == WireForm::Events;
        let asked = client.session.as_ref().map_or(Vec::new(), |session| session.sources.clone());
        link.own_bytes = asked.len() * REPLY_BYTES + PLACE_BYTES;
        // What a stream is opened for is carried out with its opening.
        for source in asked {
            let answer = self.carry_out(id, source, false);
            self.record.intake.answer(id, answer);
        }
        self.trace.tell(|| format!("client {at} opens {link}"));
        self.links.push(link);
    }

    fn go(&mut self) {
        let Some(at) = self.pick_client(|client| client.session.is_some()) else { return };
        let exit = self.random.pick(&Exit::ALL);
        self.trace.tell(|| format!("client {at} leaves: {exit:?}"));
        self.clients[at].leave(exit);
    }

    fn pick_client(&mut self, is_fit: impl Fn(&Client) -> bool) -> Option<usize> {
        let fit = (0..self.clients.len()).filter(|at| is_fit(&self.clients[*at]));
        let fit: Vec<usize> = fit.collect();
        (!fit.is_empty()).then(|| self.random.pick(&fit))
    }

    fn pick_link(&mut self, is_fit: impl Fn(&Link) -> bool) -> Option<usize> {
        let fit: Vec<usize> = (0..self.links.len()).filter(|at| is_fit(&self.links[*at])).collect();
        (!fit.is_empty()).then(|| self.random.pick(&fit))
    }
}

/// The event stream that is opened for these subscriptions, which have one wish.
fn stream_kind(form: WireForm, sources: &[Asked], record: &Record) -> ConnectionKind {
    let mut wish = Wish::default();
    let mut filters: Vec<(Filter, Option<Position>)> = Vec::new();
    for source in sources {
        let (filter, since) = match source {
            Asked::Subscribe { topic, since, .. } => {
                (Filter::Topic(record.topic_name(*topic).clone()), since.clone())
            }
            Asked::SubscribePattern { pattern, .. } => {
                (Filter::Pattern(record.pattern(*pattern).clone()), None)
            }
            other => panic!("no source of a stream: {other:?}"),
        };
        if let Asked::Subscribe { wish: one, .. } | Asked::SubscribePattern { wish: one, .. } =
            source
        {
            wish = *one;
        }
        filters.push((filter, since));
    }
    let Wish { mode, rate: max_rate, snapshot } = wish;
    let options = StreamOptions { mode, max_rate, snapshot };
    match (form, filters.as_slice()) {
        (WireForm::TopicEvents, [(Filter::Topic(topic), since)]) => {
            ConnectionKind::TopicEvents { topic: topic.clone(), since: since.clone(), options }
        }
        _ => {
            let source = |(filter, since)| EventSource { filter, since };
            ConnectionKind::Events { sources: filters.into_iter().map(source).collect(), options }
        }
    }
}
