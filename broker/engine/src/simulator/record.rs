//! Everything that was published, as one that listens to every topic and is never slow has heard
//! it: what all others are judged by.

use std::collections::HashMap;
use std::sync::Arc;

use fanfare_protocol::{Codec, HistoryMessage, Payload, PayloadKind, TopicName, TopicPattern};

use super::intake::Intake;
use super::keys::Keys;
use super::plan::Plan;
use super::presence::Attendance;
use super::summary::Summary;
use super::wire::{BINARY, Frame, TEXT};
use crate::mailbox::Mail;
use crate::namespace::NamespaceOptions;
use crate::time::Now;
use crate::topics::{Message, TopicTable, WireForm};

/// What was published on each topic, and what clients have told so far.
#[derive(Debug)]
pub(super) struct Record {
    plan: Plan,
    pub(super) table: Arc<TopicTable>,
    pub(super) now: Now,
    pub(super) summary: Summary,
    pub(super) intake: Intake,
    pub(super) attendance: Attendance,
    keys: Keys,
    topics: Vec<Vec<Life>>,
    /// Where the message with each number stands.
    places: HashMap<u64, Place>,
    /// What was meant to be published, by number.
    meant: Vec<Payload>,
}

/// By topic: how many lives it has had, and the newest offset of the last.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads(pub(super) Vec<(usize, u64)>);

/// One life of a topic's sequence.
#[derive(Debug)]
struct Life {
    epoch: String,
    messages: Vec<Told>,
}

#[derive(Debug)]
struct Told {
    payload: Payload,
    published: Now,
    /// The frame of each form as the first subscriber got it.
    frames: [Option<Vec<u8>>; WireForm::ALL.len()],
}

/// A message's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) topic: usize,
    pub(super) epoch: String,
    pub(super) offset: u64,
}

impl Record {
    /// A record of `table`, whose last mailbox is for the record alone.
    pub(super) fn new(plan: &Plan, table: Arc<TopicTable>) -> Self {
        // Unlike a subscription by name, a pattern holds no topic in the table.
        let everything = TopicPattern::new(">").expect("a pattern");
        table.watch(&everything, plan.shards).expect("the first pattern");
        Self {
            topics: plan.topics.iter().map(|_| Vec::new()).collect(),
            plan: plan.clone(),
            table,
            now: Now::default(),
            summary: Summary::default(),
            intake: Intake::default(),
            attendance: Attendance::default(),
            keys: Keys::default(),
            places: HashMap::new(),
            meant: Vec::new(),
        }
    }

    pub(super) fn topic_name(&self, topic: usize) -> &TopicName {
        &self.plan.topics[topic]
    }

    /// The topic of this name.
    pub(super) fn topic(&self, name: &str) -> usize {
        let topic = self.plan.topics.iter().position(|topic| topic.as_str() == name);
        topic.unwrap_or_else(|| panic!("a topic of another world: {name}"))
    }

    /// A new message with about so many bytes of filling; its number is in it.
    pub(super) fn compose(&mut self, kind: PayloadKind, filling: usize) -> Payload {
        let number = self.meant.len();
        let filling = "x".repeat(filling);
        let payload = match kind {
            PayloadKind::Json => {
                let text = format!(r#"{{"n":{number},"x":"{filling}"}}"#);
                Payload::from_checked(kind, text.into())
            }
            PayloadKind::Text => Payload::text(format!("n={number} {filling}")),
            PayloadKind::Binary => {
                let bytes = [&(number as u64).to_be_bytes()[..], &[0xff, 0], filling.as_bytes()];
                Payload::binary(bytes.concat())
            }
        };
        self.meant.push(payload.clone());
        payload
    }

    /// Writes down what was published since the last time.
    pub(super) fn write_down(&mut self) {
        while let Some(mail) = self.table.mailboxes()[self.plan.shards].pop() {
            if let Mail::Message(message) = mail {
                self.note(&message);
            }
        }
        for topic in 0..self.topics.len() {
            if let Some(ring) = self.table.ring(&self.plan.topics[topic]) {
                let epoch = ring.epoch.to_string();
                self.begin(topic, &epoch);
                let head = self.head(topic, &epoch);
                assert_eq!(head, ring.head, "the record has heard everything on {topic}");
            }
        }
    }

    /// Notes that a topic has this epoch now.
    fn begin(&mut self, topic: usize, epoch: &str) {
        let lives = &mut self.topics[topic];
        if lives.last().is_none_or(|life| life.epoch != epoch) {
            assert!(lives.iter().all(|life| life.epoch != epoch), "an epoch comes twice");
            lives.push(Life { epoch: epoch.to_owned(), messages: Vec::new() });
            self.summary.count("lives of topics");
        }
    }

    fn note(&mut self, message: &Message) {
        let (offset, payload) = (message.offset(), message.payload());
        let topic = self.topic(message.topic().name().as_str());
        let epoch = message.topic().epoch().to_string();
        self.begin(topic, &epoch);
        let number = number_of(payload.kind(), payload.bytes());
        let meant = &self.meant[number as usize];
        assert!(is_same(payload, meant), "message {number} was taken as {payload:?}");
        let life = self.topics[topic].last_mut().expect("a life that has begun");
        let (published, frames) = (message.published(), Default::default());
        life.messages.push(Told { payload: payload.clone(), published, frames });
        assert_eq!(offset, life.messages.len() as u64, "offsets are dense");
        let place = Place { topic, epoch, offset };
        assert_eq!(self.places.insert(number, place), None, "message {number} comes twice");
        self.summary.count("messages published");
    }

    /// A publish with a key was carried out: where its message must stand, and whether that is
    /// where an earlier one with this key stands.
    pub(super) fn publish_with_key(
        &mut self,
        (topic, key): (usize, &str),
        payload: &Payload,
    ) -> Option<(Place, bool)> {
        let number = number_of(payload.kind(), payload.bytes());
        let published = self.places.get(&number).cloned();
        let clock = (&self.plan.limits, self.now);
        self.keys.publish((topic, key), published, self.plan.rings_have_room, clock)
    }

    /// For how many replies of usual length a message in a reply counts.
    pub(super) fn message_weight(&self) -> usize {
        1 + self.plan.payload_bytes_max as usize * 4 / 3 / 150
    }

    /// Whether no more messages go into a page that has these.
    pub(super) fn fills_page(&self, messages: &[HistoryMessage]) -> bool {
        let bytes = |message: &HistoryMessage| {
            let place = self.place(&message.payload);
            let told = &self.messages(place.topic, &place.epoch)[place.offset as usize - 1];
            told.payload.bytes().len()
        };
        messages.iter().map(bytes).sum::<usize>() >= self.plan.limits.history_page_bytes_max
    }

    /// The table was swept.
    pub(super) fn sweep(&mut self) {
        self.keys.forget_old(&self.plan.limits, self.now);
    }

    /// Where the message with this content stands.
    pub(super) fn place(&self, payload: &Payload) -> &Place {
        let number = number_of(payload.kind(), payload.bytes());
        self.places.get(&number).unwrap_or_else(|| panic!("message {number} was never accepted"))
    }

    /// The newest offset of a life; 0 for one in which nothing was published.
    pub(super) fn head(&self, topic: usize, epoch: &str) -> u64 {
        self.messages(topic, epoch).len() as u64
    }

    /// The present epoch of a topic, if it has one.
    pub(super) fn epoch(&self, topic: usize) -> Option<&str> {
        self.topics[topic].last().map(|life| life.epoch.as_str())
    }

    /// The present epoch of every topic.
    pub(super) fn newest_epochs(&self) -> Vec<Option<String>> {
        (0..self.topics.len()).map(|topic| self.epoch(topic).map(str::to_owned)).collect()
    }

    /// How far every topic has come.
    pub(super) fn heads(&self) -> Heads {
        let head = |life: &Life| life.messages.len() as u64;
        let of = |lives: &Vec<Life>| (lives.len(), lives.last().map_or(0, head));
        Heads(self.topics.iter().map(of).collect())
    }

    /// The epochs that a topic has had.
    pub(super) fn epochs(&self, topic: usize) -> impl Iterator<Item = &str> {
        self.topics[topic].iter().map(|life| life.epoch.as_str())
    }

    /// Which of the topic's lives has this epoch, from 0.
    pub(super) fn life(&self, topic: usize, epoch: &str) -> usize {
        let life = self.epochs(topic).position(|known| known == epoch);
        life.unwrap_or_else(|| panic!("topic {topic} never had the epoch {epoch}"))
    }

    /// Whether a pattern of the plan matches a topic.
    pub(super) fn matches(&self, pattern: usize, topic: usize) -> bool {
        self.plan.patterns[pattern].matches(&self.plan.topics[topic])
    }

    pub(super) fn pattern(&self, pattern: usize) -> &TopicPattern {
        &self.plan.patterns[pattern]
    }

    /// What subscriptions to a pattern get if they do not say.
    pub(super) fn pattern_options(&self, pattern: usize) -> &NamespaceOptions {
        self.plan.limits.namespaces.of(self.plan.patterns[pattern].as_str())
    }

    fn messages(&self, topic: usize, epoch: &str) -> &[Told] {
        let life = self.topics[topic].iter().find(|life| life.epoch == epoch);
        life.map_or(&[], |life| &life.messages)
    }

    /// When a message was published.
    pub(super) fn published(&self, place: &Place) -> Now {
        self.messages(place.topic, &place.epoch)[place.offset as usize - 1].published
    }

    /// Demands that a message came with the content that was published, and in the same bytes as
    /// to everyone else: promise 6.
    pub(super) fn check_frame(
        &mut self,
        place: &Place,
        form: WireForm,
        frame: Frame,
        payload: &Payload,
    ) {
        self.summary.count("messages heard");
        let life = self.topics[place.topic].iter_mut().find(|life| life.epoch == place.epoch);
        let told = life.and_then(|life| life.messages.get_mut(place.offset as usize - 1));
        let told = told.unwrap_or_else(|| panic!("a message that was never published: {place:?}"));
        assert!(is_same(payload, &told.payload), "{place:?} came as {payload:?}");
        let opcode = match (form, told.payload.kind()) {
            (WireForm::Raw | WireForm::TopicEvents, PayloadKind::Binary)
            | (WireForm::Sdk(Codec::MsgPack), _) => BINARY,
            _ => TEXT,
        };
        assert_eq!(frame.opcode, opcode, "{place:?}");
        let first = told.frames[form.index()].get_or_insert_with(|| frame.bytes.clone());
        assert!(*first == frame.bytes, "all subscribers of one form get the same bytes: {place:?}");
    }

    /// The oldest message that the topic's ring holds, if this is its present epoch.
    pub(super) fn oldest_kept(&self, topic: usize, epoch: &str) -> Option<u64> {
        let ring = self.table.ring(&self.plan.topics[topic])?;
        let is_present = ring.epoch.to_string() == epoch;
        ring.messages.first().filter(|_| is_present).map(|message| message.offset())
    }

    /// What the topics of one namespace do.
    pub(super) fn options(&self, topic: usize) -> &NamespaceOptions {
        self.plan.limits.namespaces.of(self.plan.topics[topic].as_str())
    }

    /// Whether what the node may keep in all is more than is ever published.
    pub(super) fn rings_have_room(&self) -> bool {
        self.plan.rings_have_room
    }

    /// Whether the limits say that the topic's ring holds this message now.
    pub(super) fn must_be_kept(&self, place: &Place) -> bool {
        let messages = self.messages(place.topic, &place.epoch);
        let at = (place.offset as usize).checked_sub(1);
        let Some(told) = at.and_then(|at| messages.get(at)) else { return false };
        let newer = messages.len() - place.offset as usize;
        let age_ms = self.now.ms() - told.published.ms();
        let options = self.options(place.topic);
        let is_recent = newer < options.history_messages && age_ms <= options.history_age_ms;
        self.epoch(place.topic) == Some(&place.epoch)
            && self.plan.rings_have_room
            && (is_recent || (options.latest && newer == 0))
    }

    /// Demands of every ring that it ends with the newest message, has no hole, and holds what it
    /// must.
    pub(super) fn check_rings(&self) {
        for (topic, name) in self.plan.topics.iter().enumerate() {
            let Some(ring) = self.table.ring(name) else { continue };
            let epoch = ring.epoch.to_string();
            let told = self.messages(topic, &epoch);
            let skip = told.len() - ring.messages.len();
            for (at, message) in (skip..).zip(&ring.messages) {
                assert_eq!(message.offset(), at as u64 + 1, "no hole in the ring of {name}");
                assert_eq!(*message.payload(), told[at].payload, "what the ring of {name} holds");
            }
            let options = self.options(topic);
            // The newest stays while someone subscribes, and where the namespace says so.
            let most = options.history_messages.max(1);
            assert!(ring.messages.len() <= most, "the ring of {name} holds too much");
            let before = Place { topic, epoch, offset: skip as u64 };
            assert!(!self.must_be_kept(&before), "the ring of {name} lost {before:?}");
        }
    }
}

/// The number in a message's content.
fn number_of(kind: PayloadKind, bytes: &[u8]) -> u64 {
    if kind == PayloadKind::Binary {
        return bytes.first_chunk().map_or(u64::MAX, |number| u64::from_be_bytes(*number));
    }
    let digits = bytes.iter().skip_while(|byte| !byte.is_ascii_digit());
    let digits = digits.take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

/// JSON that went through MessagePack says the same, if with other blanks.
fn is_same(one: &Payload, other: &Payload) -> bool {
    if one.kind() != PayloadKind::Json || other.kind() != PayloadKind::Json {
        return one == other;
    }
    let without_blanks = |payload: &Payload| -> Vec<u8> {
        payload.bytes().iter().copied().filter(|byte| *byte != b' ').collect()
    };
    without_blanks(one) == without_blanks(other)
}
