//! A client over all its connections: what it does next, and what it remembers when it comes
//! back.

use fanfare_protocol::{ErrorCode, PayloadKind, Position};

use super::asked::{Asked, random_key};
use super::event_loop::Link;
use super::intake::ConnectionId;
use super::pages::PageWish;
use super::plan::{ClientPlan, Pace, Plan};
use super::random::Random;
use super::record::Record;
use super::session::Session;
use super::wire::Wire;
use super::wish::{Terms, Wish};
use crate::topics::WireForm;

/// A client, connected or away.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) plan: ClientPlan,
    pub(super) session: Option<Session>,
    /// What it subscribed to when it was last connected, by topic, and how far it had come.
    memory: Vec<Option<(Wish, Option<Position>)>>,
}

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// With a close frame.
    Close,
    /// Without, but so that the broker notices.
    Finish,
    /// Its system cuts the connection.
    Reset,
    /// Nobody tells the broker.
    Vanish,
}

impl Exit {
    pub(super) const ALL: [Self; 4] = [Self::Close, Self::Finish, Self::Reset, Self::Vanish];
}

impl Client {
    pub(super) fn new(plan: ClientPlan, topics: usize) -> Self {
        Self { plan, session: None, memory: vec![None; topics] }
    }

    pub(super) fn is_prompt(&self) -> bool {
        self.plan.pace == Pace::Prompt
    }

    /// Whether this is its connection.
    pub(super) fn is_on(&self, link: &Link) -> bool {
        self.session.as_ref().is_some_and(|session| session.wire.is_same(&link.wire))
    }

    /// Bytes that its system buffers of what it has not read.
    pub(super) fn capacity(&self) -> usize {
        match self.plan.pace {
            Pace::Prompt => usize::MAX,
            Pace::Slow { capacity } => capacity,
        }
    }

    /// The topic, wish and position with which it opens a raw stream.
    pub(super) fn raw_start(&self, random: &mut Random) -> (usize, Wish, Option<Position>) {
        let topic = random.index(self.memory.len());
        match &self.memory[topic] {
            Some((wish, position)) => (topic, *wish, position.clone()),
            None => (topic, Wish { snapshot: None, ..Wish::random(random, self.plan.rate) }, None),
        }
    }

    /// What it opens an event stream for: mostly what it had, and from where it was.
    pub(super) fn stream_start(&self, plan: &Plan, random: &mut Random) -> Vec<Asked> {
        let (first, wish, since) = self.raw_start(random);
        let mut sources = vec![Asked::Subscribe { topic: first, wish, since, presence: false }];
        if self.plan.form == WireForm::TopicEvents {
            return sources;
        }
        for (topic, memory) in self.memory.iter().enumerate() {
            if topic != first && random.one_in(2) {
                let since = memory.as_ref().and_then(|(_, position)| position.clone());
                sources.push(Asked::Subscribe { topic, wish, since, presence: false });
            }
        }
        for pattern in 0..plan.patterns.len() {
            if random.one_in(4) {
                sources.push(Asked::SubscribePattern { pattern, wish });
            }
        }
        sources
    }

    /// Begins an SDK session: connects, and mostly subscribes to what it had.
    pub(super) fn connect(
        &mut self,
        wire: Wire,
        id: ConnectionId,
        record: &mut Record,
        random: &mut Random,
    ) {
        let mut session = Session::new(wire, id, &self.plan, self.memory.len());
        let name = random.one_in(2).then(|| format!("c{}", random.below(100)));
        session.ask(vec![Asked::Connect { name }], record);
        if !random.one_in(5) {
            let remembered = self.memory.iter().enumerate().filter_map(|(topic, memory)| {
                let (wish, since) = memory.clone()?;
                let presence = record.options(topic).presence && random.one_in(2);
                Some(Asked::Subscribe { topic, wish, since, presence })
            });
            let remembered: Vec<Asked> = remembered.collect();
            if !remembered.is_empty() {
                session.ask(remembered, record);
            }
        }
        self.session = Some(session);
    }

    /// Ends the session, on this side.
    pub(super) fn leave(&mut self, exit: Exit) {
        let Some(session) = self.session.take() else { return };
        for track in session.ways.named() {
            let Terms { mode, rate } = track.terms;
            let wish = Wish { mode: Some(mode), rate, snapshot: None };
            self.memory[track.topic] = Some((wish, track.position()));
        }
        let mut pipe = session.wire.pipe();
        match exit {
            Exit::Close => {
                pipe.send(super::wire::CLOSE, &1000u16.to_be_bytes());
                pipe.finish();
            }
            Exit::Finish => pipe.finish(),
            Exit::Reset => pipe.reset(),
            // Nobody asks a reader of events for a sign of life; its system gives one, or none.
            Exit::Vanish if session.form().is_events() => pipe.reset(),
            Exit::Vanish => {}
        }
    }

    /// What it knows is of no use any more.
    pub(super) fn forget_positions(&mut self) {
        self.memory.iter_mut().flatten().for_each(|(_, position)| *position = None);
    }

    /// Does one of the things that clients do; what, for the trace.
    pub(super) fn act(&mut self, plan: &Plan, record: &mut Record, random: &mut Random) -> String {
        let Some(session) = self.session.as_mut() else { return "nothing".to_owned() };
        if self.plan.form.is_events() {
            session.wire.pipe().send(super::wire::TEXT, b"nobody listens");
            return "say something on an event stream".to_owned();
        }
        if random.one_in(12) {
            session.ping(vec![b'p'; random.below(10) as usize]);
            return "ping".to_owned();
        }
        if self.plan.form == WireForm::Raw {
            let topic = session.ways.named().next().map_or(0, |track| track.topic);
            let bytes = random.below(plan.payload_bytes_max) as usize;
            session.send_raw(&record.compose(kind(random), bytes));
            return format!("publish on the raw stream of {topic}");
        }
        let mut asked: Vec<Asked> = Vec::new();
        for _ in 0..random.pick(&[1, 1, 1, 2, 4]) {
            let next = self.choose(&asked, plan, record, random);
            asked.push(next);
        }
        let told = format!("{asked:?}");
        if let Some(session) = self.session.as_mut() {
            session.ask(asked, record);
        }
        told.chars().take(300).collect()
    }

    /// A command that makes sense behind those that are in the same frame already.
    fn choose(
        &self,
        before: &[Asked],
        plan: &Plan,
        record: &mut Record,
        random: &mut Random,
    ) -> Asked {
        if !plan.patterns.is_empty() && random.one_in(3) {
            return self.choose_pattern(before, plan, random);
        }
        let topic = random.index(plan.topics.len());
        let wants = before.iter().rev().find_map(|asked| match asked {
            Asked::Subscribe { topic: t, .. } if *t == topic => Some(true),
            Asked::Unsubscribe { topic: t } if *t == topic => Some(false),
            _ => None,
        });
        let wants = wants
            .unwrap_or_else(|| self.session.as_ref().is_some_and(|session| session.wants(topic)));
        if random.one_in(8) {
            let page_end = self.session.as_ref().and_then(|s| s.page_ends[topic].clone());
            let after = page_end.or_else(|| self.since(topic, record, random));
            let limit = random.pick(&[1, 3, 10]);
            return Asked::History(PageWish { topic, after, limit });
        }
        if random.one_in(8) {
            let limit = random.pick(&[1, 4, 30]);
            return match record.options(topic).presence {
                true => Asked::Presence { topic, limit },
                false => Asked::Mistake { topic, code: ErrorCode::NotEnabled },
            };
        }
        if random.one_in(3) {
            let bytes = random.below(plan.payload_bytes_max) as usize;
            return Asked::Publish {
                topic,
                payload: record.compose(kind(random), bytes),
                key: random_key(random),
            };
        }
        match (wants, random.one_in(12)) {
            (true, true) => Asked::Mistake { topic, code: ErrorCode::AlreadySubscribed },
            (false, true) => Asked::Mistake { topic, code: ErrorCode::NotSubscribed },
            (true, false) if random.one_in(2) => Asked::Unsubscribe { topic },
            (true, false) => {
                let bytes = random.below(plan.payload_bytes_max) as usize;
                Asked::Publish {
                    topic,
                    payload: record.compose(kind(random), bytes),
                    key: random_key(random),
                }
            }
            (false, false) => {
                let since = self.since(topic, record, random);
                let presence = record.options(topic).presence && random.one_in(2);
                Asked::Subscribe {
                    topic,
                    wish: Wish::random(random, self.plan.rate),
                    since,
                    presence,
                }
            }
        }
    }

    /// As [`Self::choose`], of patterns.
    fn choose_pattern(&self, before: &[Asked], plan: &Plan, random: &mut Random) -> Asked {
        let pattern = random.index(plan.patterns.len());
        let wants = before.iter().rev().find_map(|asked| match asked {
            Asked::SubscribePattern { pattern: p, .. } if *p == pattern => Some(true),
            Asked::UnsubscribePattern { pattern: p } if *p == pattern => Some(false),
            _ => None,
        });
        let wants = wants.unwrap_or_else(|| {
            self.session.as_ref().is_some_and(|session| session.wants_pattern(pattern))
        });
        match wants {
            true => Asked::UnsubscribePattern { pattern },
            false => {
                Asked::SubscribePattern { pattern, wish: Wish::random(random, self.plan.rate) }
            }
        }
    }

    /// A position to subscribe from: none, the one that it had, or an odd one.
    fn since(&self, topic: usize, record: &Record, random: &mut Random) -> Option<Position> {
        let known = self.session.as_ref().and_then(|session| session.ways.of_name(topic));
        let remembered = self.memory[topic].as_ref().and_then(|(_, position)| position.clone());
        match random.below(6) {
            0 | 1 => None,
            2 => {
                let epoch = record.epoch(topic)?.to_owned();
                let offset = random.below(record.head(topic, &epoch) + 3);
                Some(Position { epoch, offset })
            }
            _ => known.map_or(remembered, super::track::Track::position),
        }
    }
}

fn kind(random: &mut Random) -> PayloadKind {
    random.pick(&[PayloadKind::Json, PayloadKind::Text, PayloadKind::Binary])
}
