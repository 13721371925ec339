//! Judges the snapshot of a pattern: that it comes whole and in one piece behind the reply, and
//! that all of it was newest at one moment.

use fanfare_protocol::SnapshotEnd;

use super::record::{Heads, Place, Record};

/// A snapshot whose end was not told yet.
#[derive(Debug)]
pub(super) struct Snapshot {
    pattern: usize,
    /// The topics that the connection got already, which are no part of it.
    known: Vec<bool>,
    /// How far the topics were when the subscription was asked for.
    before: Heads,
    heard: Vec<Place>,
}

impl Snapshot {
    pub(super) fn new(pattern: usize, known: Vec<bool>, before: Heads) -> Self {
        Self { pattern, known, before, heard: Vec::new() }
    }

    /// A message has come before the end.
    pub(super) fn hear(&mut self, place: &Place, record: &Record) {
        let Place { topic, epoch, offset } = place;
        assert!(record.matches(self.pattern, *topic), "in a snapshot of others: {place:?}");
        assert!(!self.known[*topic], "in a snapshot, although it came already: {place:?}");
        assert!(self.heard.iter().all(|known| known.topic != *topic), "twice: {place:?}");
        let (lives, head) = self.before.0[*topic];
        let is_old = record.life(*topic, epoch) + 1 < lives
            || (record.life(*topic, epoch) + 1 == lives && *offset < head);
        assert!(!is_old, "in a snapshot, although it was not the newest: {place:?}");
        self.heard.push(place.clone());
    }

    /// The snapshot has ended. Returns what is to follow later, as far as it is known.
    pub(super) fn end(self, end: &SnapshotEnd, record: &mut Record) -> Vec<Place> {
        assert_eq!(end.topic, record.pattern(self.pattern).as_str(), "whose snapshot it is");
        assert_eq!(end.messages, self.heard.len() as u64, "how many came: {self:?}");
        let youngest = self.heard.iter().map(|place| record.published(place)).max();
        for place in &self.heard {
            let next = Place { offset: place.offset + 1, ..place.clone() };
            let is_newest = record.head(place.topic, &place.epoch) == place.offset;
            let replaced = (!is_newest).then(|| record.published(&next));
            assert!(replaced.is_none() || replaced >= youngest, "not of one moment: {self:?}");
        }
        let missing = self.missing(record);
        assert!(end.later >= missing.len() as u64, "not in the snapshot: {missing:?}, {self:?}");
        let what = if end.later == 0 { "whole snapshots" } else { "snapshots in parts" };
        record.summary.count(what);
        missing
    }

    /// The newest message of every topic that has not moved since, surely keeps it, and was not
    /// heard of.
    fn missing(&self, record: &Record) -> Vec<Place> {
        let heads = record.heads();
        let matching = (0..self.known.len())
            .filter(|topic| record.matches(self.pattern, *topic) && !self.known[*topic])
            .filter(|topic| self.before.0[*topic] == heads.0[*topic]);
        let newest = matching.filter_map(|topic| {
            let epoch = record.epoch(topic)?.to_owned();
            let offset = record.head(topic, &epoch);
            Some(Place { topic, epoch, offset })
        });
        newest.filter(|place| record.must_be_kept(place) && !self.heard.contains(place)).collect()
    }
}
