//! What one subscriber has of one topic, and what it may be told next: promises 1 and 2.

use fanfare_protocol::{Gap, Mode, Position};

use super::record::{Place, Record};

/// A subscriber's way along one life of a topic.
#[derive(Clone, Debug)]
pub(super) struct Track {
    pub(super) topic: usize,
    epoch: String,
    pub(super) mode: Mode,
    /// Everything up to here it has, or knows that it misses, or does not want.
    last: u64,
    /// Whether it has anything, so that it can name a position.
    has_position: bool,
}

/// How a subscription began, as its reply or its handshake told.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) topic: usize,
    pub(super) mode: Mode,
    pub(super) epoch: String,
    pub(super) offset: u64,
    /// The position that was asked for, if it is recovered.
    pub(super) recovered: Option<u64>,
    /// Whether the message at `offset` comes first.
    pub(super) snapshot: bool,
}

impl Track {
    pub(super) fn new(start: Start) -> Self {
        let Start { topic, mode, epoch, offset, recovered, snapshot } = start;
        let last = match (mode, recovered) {
            (Mode::All, Some(since)) => since,
            // Of what it missed it gets the newest.
            (Mode::Latest, Some(since)) if since < offset => offset - 1,
            _ => offset - u64::from(snapshot),
        };
        let has_position = mode == Mode::All || last == offset;
        Self { topic, epoch, mode, last, has_position }
    }

    /// The place of the message with this offset.
    pub(super) fn place(&self, offset: u64) -> Place {
        Place { topic: self.topic, epoch: self.epoch.clone(), offset }
    }

    /// A message came; how many were passed over since the one before.
    pub(super) fn hear(&mut self, offset: u64) -> u64 {
        let Self { topic, last, .. } = self;
        match self.mode {
            Mode::All => assert_eq!(offset, *last + 1, "topic {topic}: in order, each once"),
            Mode::Latest => assert!(offset > *last, "topic {topic}: {offset} after {last}"),
        }
        let passed_over = offset - self.last - 1;
        self.last = offset;
        self.has_position = true;
        passed_over
    }

    /// A gap was told.
    pub(super) fn miss(&mut self, gap: &Gap, record: &Record, oldest_kept: Option<u64>) {
        assert_eq!(self.mode, Mode::All, "who wants the latest misses nothing");
        assert_eq!(gap.epoch, self.epoch);
        assert_eq!(gap.from, self.last + 1, "the gap begins where it must");
        assert!(gap.to >= gap.from && gap.to <= record.head(self.topic, &self.epoch), "{gap:?}");
        let is_gone = oldest_kept.is_none_or(|oldest| oldest > gap.to);
        assert!(is_gone, "{gap:?}, but the ring still begins at {oldest_kept:?}");
        self.last = gap.to;
    }

    /// Whether what follows the last message that it has is still to be had.
    pub(super) fn could_recover(&self, record: &Record) -> bool {
        self.is_complete(record) || record.must_be_kept(&self.place(self.last + 1))
    }

    /// Whether it has everything up to the newest message.
    pub(super) fn is_complete(&self, record: &Record) -> bool {
        self.last == record.head(self.topic, &self.epoch)
    }

    /// Demands that it has everything, or the newest that is to be had.
    pub(super) fn check_complete(&self, record: &Record) {
        let head = record.head(self.topic, &self.epoch);
        // While someone subscribes the newest is kept, unless the node has no room at all.
        let newest_is_gone = self.mode == Mode::Latest && !record.rings_have_room();
        assert!(
            self.is_complete(record) || newest_is_gone,
            "topic {}, mode {:?}: ends at {} of {head}",
            self.topic,
            self.mode,
            self.last
        );
    }

    /// Where to go on after the connection is lost.
    pub(super) fn position(&self) -> Option<Position> {
        let position = Position { epoch: self.epoch.clone(), offset: self.last };
        self.has_position.then_some(position)
    }
}
