//! What one connection subscribes to, by name and by pattern, and how far it has come on each
//! topic. Of several subscriptions to one topic the one by name decides, or the oldest pattern.

use super::record::{Heads, Record};
use super::track::{Between, Start, Track};
use super::wish::Terms;
use crate::time::Now;

/// All subscriptions of a connection.
#[derive(Debug)]
pub(super) struct Ways {
    /// Subscriptions by name, by topic: the life that they follow.
    named: Vec<Option<(String, Terms)>>,
    /// In the order in which they began.
    patterns: Vec<PatternWay>,
    /// By topic, one for each of its lives that is known to be followed.
    tracks: Vec<Vec<Track>>,
}

/// A subscription by pattern.
#[derive(Clone, Debug)]
pub(super) struct PatternWay {
    pub(super) pattern: usize,
    pub(super) terms: Terms,
    pub(super) wants_newest: bool,
    /// The topics when it was asked for, and when the reply came.
    pub(super) before: Heads,
    pub(super) after: Heads,
    pub(super) asked: Now,
}

/// Which subscription decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decider {
    Name,
    Pattern(usize),
}

impl Ways {
    pub(super) fn new(topics: usize) -> Self {
        Self { named: vec![None; topics], patterns: Vec::new(), tracks: vec![Vec::new(); topics] }
    }

    /// How far the subscriptions by name have come.
    pub(super) fn named(&self) -> impl Iterator<Item = &Track> {
        self.tracks.iter().flatten().filter(|track| self.is_named(track.topic, &track.epoch))
    }

    /// How far the subscription to `topic` by name has come.
    pub(super) fn of_name(&self, topic: usize) -> Option<&Track> {
        self.tracks[topic].iter().find(|track| self.is_named(topic, &track.epoch))
    }

    fn is_named(&self, topic: usize, epoch: &str) -> bool {
        self.named[topic].as_ref().is_some_and(|(named, _)| named == epoch)
    }

    fn decider(&self, topic: usize, epoch: &str, record: &Record) -> Option<(Decider, Terms)> {
        if let Some((named, terms)) = &self.named[topic]
            && named == epoch
        {
            return Some((Decider::Name, *terms));
        }
        let way = self.patterns.iter().find(|way| record.matches(way.pattern, topic))?;
        Some((Decider::Pattern(way.pattern), way.terms))
    }

    /// The way along this life of a topic, if something of it has come.
    pub(super) fn track_of(&self, topic: usize, epoch: &str) -> Option<&Track> {
        self.tracks[topic].iter().find(|track| track.epoch == epoch)
    }

    /// Of each topic, whether its messages come through some subscription.
    pub(super) fn known(&self, record: &Record) -> Vec<bool> {
        let is_named = self.named.iter().enumerate();
        let by_pattern = |topic| self.patterns.iter().any(|way| record.matches(way.pattern, topic));
        is_named.map(|(topic, named)| named.is_some() || by_pattern(topic)).collect()
    }

    /// The way along this life of a topic, if anything of it may come.
    pub(super) fn track(
        &mut self,
        topic: usize,
        epoch: &str,
        record: &Record,
    ) -> Option<&mut Track> {
        if let Some(at) = self.tracks[topic].iter().position(|track| track.epoch == epoch) {
            return Some(&mut self.tracks[topic][at]);
        }
        let track = self.begun(topic, epoch, record)?;
        self.tracks[topic].push(track);
        self.tracks[topic].last_mut()
    }

    /// The beginning of a life that a pattern follows and of which nothing was heard.
    fn begun(&self, topic: usize, epoch: &str, record: &Record) -> Option<Track> {
        let way = self.patterns.iter().find(|way| record.matches(way.pattern, topic))?;
        let life = record.life(topic, epoch);
        let ((lives, head), (lives_after, head_after)) = (way.before.0[topic], way.after.0[topic]);
        if life + 1 < lives {
            return None;
        }
        let is_first = life + 1 == lives;
        let after = if is_first { head.saturating_sub(u64::from(way.wants_newest)) } else { 0 };
        let known = match (life + 1).cmp(&lives_after) {
            std::cmp::Ordering::Less => record.head(topic, epoch),
            std::cmp::Ordering::Equal => head_after,
            std::cmp::Ordering::Greater => 0,
        };
        let begin = Between { after, known, wants_newest: way.wants_newest, asked: way.asked };
        Some(Track::by_pattern(topic, epoch, way.terms, &begin))
    }

    /// Every way that it is on, including those of which it has heard nothing.
    pub(super) fn all(&self, record: &Record) -> Vec<(Track, bool)> {
        let mut all = Vec::new();
        for (topic, tracks) in self.tracks.iter().enumerate() {
            for epoch in record.epochs(topic) {
                let known = tracks.iter().find(|track| track.epoch == epoch).cloned();
                let track = known.or_else(|| self.begun(topic, epoch, record));
                all.extend(track.map(|track| (track, self.is_named(topic, epoch))));
            }
        }
        all
    }

    /// Notes how far every way has come of which it has heard nothing.
    fn write_down(&mut self, record: &Record) {
        for (track, _) in self.all(record) {
            let tracks = &mut self.tracks[track.topic];
            if tracks.iter().all(|known| known.epoch != track.epoch) {
                tracks.push(track);
            }
        }
    }

    /// Begins a subscription by name. `is_plain`: it names no position and gets no snapshot.
    pub(super) fn begin(&mut self, start: Start, record: &Record) {
        let Start { topic, ref epoch, terms, .. } = start;
        let is_plain = start.recovered.is_none() && !start.snapshot;
        assert!(self.named[topic].is_none(), "subscribed to {topic} twice");
        self.write_down(record);
        let at = self.tracks[topic].iter().position(|track| track.epoch == *epoch);
        self.named[topic] = Some((epoch.clone(), terms));
        match at {
            None => self.tracks[topic].push(Track::new(start)),
            Some(at) => {
                let before = &mut self.tracks[topic][at];
                let since = start.recovered;
                *before = Track::new(start).over(before, is_plain, since);
            }
        }
    }

    pub(super) fn end(&mut self, topic: usize, asked: Now, record: &Record) {
        self.change(asked, record, |ways| ways.named[topic] = None);
    }

    pub(super) fn begin_pattern(&mut self, way: PatternWay, record: &Record) {
        // What an older one follows, a younger one does not touch.
        self.write_down(record);
        self.patterns.push(way);
    }

    pub(super) fn end_pattern(&mut self, pattern: usize, asked: Now, record: &Record) {
        self.change(asked, record, |ways| ways.patterns.retain(|way| way.pattern != pattern));
    }

    /// Ends a subscription, so that others go on in its place or nobody does.
    fn change(&mut self, asked: Now, record: &Record, change: impl FnOnce(&mut Self)) {
        self.write_down(record);
        let decider = |ways: &Self, track: &Track| ways.decider(track.topic, &track.epoch, record);
        let mut tracks = std::mem::take(&mut self.tracks);
        let before: Vec<Vec<_>> = tracks
            .iter()
            .map(|tracks| tracks.iter().map(|track| decider(self, track)).collect())
            .collect();
        change(self);
        for (tracks, before) in tracks.iter_mut().zip(before) {
            let mut before = before.into_iter();
            tracks.retain_mut(|track| {
                let (before, after) = (before.next().flatten(), decider(self, track));
                let Some((next, terms)) = after else { return false };
                if before.is_none_or(|(decider, _)| decider != next) {
                    track.go_on(terms, record, asked);
                }
                true
            });
        }
        self.tracks = tracks;
    }
}
