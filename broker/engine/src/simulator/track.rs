//! What one subscriber has of one life of a topic, and what it may be told next: promises 1 and 2.

use fanfare_protocol::{Gap, Mode, Position};

use super::record::{Place, Record};
use super::wish::Terms;
use crate::time::Now;

/// A subscriber's way along one life of a topic.
#[derive(Clone, Debug)]
pub(super) struct Track {
    pub(super) topic: usize,
    pub(super) epoch: String,
    pub(super) terms: Terms,
    /// Everything up to here it has, or knows that it misses, or does not want.
    last: u64,
    /// The next message may be any up to here, once: nothing told the client where the
    /// subscription begins, or which messages another one has passed over.
    first_max: Option<u64>,
    /// Up to here nothing need come, unless it wants the newest that is kept.
    excused: u64,
    wants_newest: bool,
    /// Whether it has anything, so that it can name a position.
    has_position: bool,
    /// Since when it has its rate, and how many messages came since.
    paced_since: Now,
    heard: u64,
    /// `None` where what came says nothing of what others get.
    paced: Option<Paced>,
}

/// What came to one with a rate.
#[derive(Clone, Debug)]
pub(super) struct Paced {
    /// The newest message when it began.
    pub(super) after: u64,
    heard: Vec<u64>,
}

impl Paced {
    /// What came after the message at `offset`.
    pub(super) fn since(&self, offset: u64) -> &[u64] {
        let begin = self.heard.partition_point(|heard| *heard <= offset);
        &self.heard[begin..]
    }
}

/// How a subscription by name began, as its reply or its handshake told.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) topic: usize,
    pub(super) terms: Terms,
    pub(super) epoch: String,
    pub(super) offset: u64,
    /// The position that was asked for, if it is recovered.
    pub(super) recovered: Option<u64>,
    /// Whether the message at `offset` comes first.
    pub(super) snapshot: bool,
    /// When it was asked for.
    pub(super) asked: Now,
}

/// How a subscription by pattern began on one life of a topic: between asking and the reply.
#[derive(Clone, Debug)]
pub(super) struct Between {
    /// Nothing up to here comes.
    pub(super) after: u64,
    /// The newest message when the reply came.
    pub(super) known: u64,
    pub(super) wants_newest: bool,
    pub(super) asked: Now,
}

/// What a rate allows beside itself: the newest at the start, and what another subscription owed.
const BESIDE_RATE: u64 = 3;

impl Track {
    pub(super) fn new(start: Start) -> Self {
        let Start { topic, terms, epoch, offset, recovered, snapshot, asked } = start;
        let last = match (terms.mode, recovered) {
            (Mode::All, Some(since)) => since,
            // Of what it missed it gets the newest.
            (Mode::Latest, Some(since)) if since < offset => offset - 1,
            _ => offset - u64::from(snapshot),
        };
        Self {
            topic,
            epoch,
            terms,
            last,
            first_max: None,
            excused: 0,
            wants_newest: false,
            has_position: terms.mode == Mode::All || last == offset,
            paced_since: asked,
            heard: 0,
            paced: terms.rate.map(|_| Paced { after: offset, heard: Vec::new() }),
        }
    }

    pub(super) fn by_pattern(topic: usize, epoch: &str, terms: Terms, begin: &Between) -> Self {
        Self {
            topic,
            epoch: epoch.to_owned(),
            terms,
            last: begin.after,
            first_max: Some(begin.known + 1),
            excused: begin.known,
            wants_newest: begin.wants_newest,
            has_position: false,
            paced_since: begin.asked,
            heard: 0,
            paced: None,
        }
    }

    /// A subscription by name begins over one by pattern, whose way is `before`. What the pattern
    /// has not brought yet may still come, even where the name begins later. `since`: the position
    /// that the name goes on from; the topic's place on the connection moves back to it.
    pub(super) fn over(mut self, before: &Self, is_plain: bool, since: Option<u64>) -> Self {
        let begins = since.unwrap_or(self.last);
        let was_exact = before.terms.mode == Mode::All && is_plain;
        self.first_max =
            Some(if was_exact { before.first_max.unwrap_or(before.last + 1) } else { begins + 1 });
        (self.last, self.excused) = (begins.min(before.last), begins);
        if is_plain {
            self.last = before.last;
            (self.excused, self.wants_newest) = (before.excused, before.wants_newest);
        }
        self.has_position = self.terms.mode == Mode::All || before.has_position;
        self.paced = None;
        self
    }

    /// Another subscription goes on with what this one has. `asked`: when that was asked for.
    pub(super) fn go_on(&mut self, terms: Terms, record: &Record, asked: Now) {
        let head = record.head(self.topic, &self.epoch);
        if terms.mode == Mode::All && self.terms.mode == Mode::Latest {
            // How much was passed over by then nobody tells.
            self.first_max = Some(head + 1);
            if !record.rings_have_room() {
                // Nor may there have been a newest one to give.
                self.excused = self.excused.max(head);
            }
        }
        (self.terms, self.paced_since, self.heard) = (terms, asked, 0);
        self.paced = None;
    }

    /// What came since it has its rate, where others who have it get the same.
    pub(super) fn paced(&self) -> Option<&Paced> {
        self.paced.as_ref()
    }

    /// The place of the message with this offset.
    pub(super) fn place(&self, offset: u64) -> Place {
        Place { topic: self.topic, epoch: self.epoch.clone(), offset }
    }

    /// A message came; how many were passed over since the one before.
    pub(super) fn hear(&mut self, offset: u64) -> u64 {
        let Self { topic, last, .. } = self;
        let first_max = self.first_max.take().unwrap_or(*last + 1);
        assert!(offset > *last, "topic {topic}: {offset} after {last}");
        if self.terms.mode == Mode::All {
            assert!(offset <= first_max, "topic {topic}: in order, {offset} after {last}");
        }
        let passed_over = offset - self.last - 1;
        self.last = offset;
        self.has_position = true;
        self.heard += 1;
        if let Some(paced) = &mut self.paced {
            paced.heard.push(offset);
        }
        passed_over
    }

    /// Demands that no more came than the rate allows, of one who is never behind.
    pub(super) fn check_rate(&self, now: Now) {
        let Some(rate) = self.terms.rate else { return };
        let most = (now.ms() - self.paced_since.ms()) * u64::from(rate) / 1_000 + BESIDE_RATE;
        let Self { topic, heard, .. } = self;
        assert!(*heard <= most, "topic {topic}: {heard} messages at {rate} a second, not {most}");
    }

    /// A gap was told.
    pub(super) fn miss(&mut self, gap: &Gap, record: &Record, oldest_kept: Option<u64>) {
        assert_eq!(self.terms.mode, Mode::All, "who wants the latest misses nothing");
        assert_eq!(gap.epoch, self.epoch);
        let first_max = self.first_max.take().unwrap_or(self.last + 1);
        let is_next = (self.last + 1..=first_max).contains(&gap.from);
        assert!(is_next, "the gap begins where it must, behind {}: {gap:?}", self.last);
        assert!(gap.to >= gap.from && gap.to <= record.head(self.topic, &self.epoch), "{gap:?}");
        let is_gone = oldest_kept.is_none_or(|oldest| oldest > gap.to);
        assert!(is_gone, "{gap:?}, but the ring still begins at {oldest_kept:?}");
        self.last = gap.to;
    }

    /// Whether the subscriber stands at this offset or behind it.
    pub(super) fn has(&self, offset: u64) -> bool {
        // What was published before it subscribed, or changed its mode, is behind it as well.
        let begun = self.first_max.map_or(0, |first_max| first_max - 1);
        self.last.max(self.excused).max(begun) >= offset
    }

    /// Whether what follows the last message that it has is still to be had.
    pub(super) fn could_recover(&self, record: &Record) -> bool {
        self.is_complete(record) || record.must_be_kept(&self.place(self.last + 1))
    }

    /// Whether it has everything up to the newest message.
    pub(super) fn is_complete(&self, record: &Record) -> bool {
        let head = record.head(self.topic, &self.epoch);
        let is_owed = || self.wants_newest && record.must_be_kept(&self.place(head));
        self.last == head || (head <= self.excused && !is_owed())
    }

    /// Demands that it has everything, or the newest that is to be had.
    pub(super) fn check_complete(&self, record: &Record, is_by_name: bool) {
        let head = record.head(self.topic, &self.epoch);
        // While someone subscribes by name the newest is kept, unless the node has no room at all;
        // a pattern keeps it for a while.
        let is_kept = match is_by_name {
            true => record.rings_have_room(),
            false => record.oldest_kept(self.topic, &self.epoch).is_some(),
        };
        assert!(
            self.is_complete(record) || (self.terms.mode == Mode::Latest && !is_kept),
            "topic {}, {:?}: ends at {} of {head}",
            self.topic,
            self.terms,
            self.last
        );
    }

    /// Where to go on after the connection is lost.
    pub(super) fn position(&self) -> Option<Position> {
        let position = Position { epoch: self.epoch.clone(), offset: self.last };
        self.has_position.then_some(position)
    }
}
