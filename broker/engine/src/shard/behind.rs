//! The subscriptions of one connection whose messages are not queued but owed.
//!
//! For each there is one number, the offset up to which the subscriber is served, however many
//! messages are published meanwhile: what a slow reader costs does not grow with the feed.

use std::collections::BTreeMap;

/// Topics that are behind, by their place in the shard.
#[derive(Debug)]
pub(super) struct Behind {
    entries: BTreeMap<u32, u64>,
    /// Where the next turn begins, so that a busy topic does not keep the others waiting.
    turn: u32,
    /// When the first of them fell behind.
    pub(super) since_ms: u64,
}

impl Behind {
    pub(super) fn new(since_ms: u64) -> Self {
        Self { entries: BTreeMap::new(), turn: 0, since_ms }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The offset up to which the subscriber of `local` is served, if it is behind.
    pub(super) fn get(&self, local: u32) -> Option<u64> {
        self.entries.get(&local).copied()
    }

    /// Notes that the subscriber of `local` is served up to `after`; whether it was not behind.
    pub(super) fn set(&mut self, local: u32, after: u64) -> bool {
        self.entries.insert(local, after).is_none()
    }

    /// Whether it was behind.
    pub(super) fn remove(&mut self, local: u32) -> bool {
        self.entries.remove(&local).is_some()
    }

    /// The next topic in turn and the offset up to which it is served.
    pub(super) fn next(&mut self) -> Option<(u32, u64)> {
        let mut from_here = self.entries.range(self.turn..);
        let (&local, &after) = from_here.next().or_else(|| self.entries.iter().next())?;
        self.turn = local + 1;
        Some((local, after))
    }

    /// Makes it the turn of `local` again.
    pub(super) fn turn_back(&mut self, local: u32) {
        self.turn = local;
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = u32> {
        self.entries.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_gets_its_turn_and_one_number() {
        let mut behind = Behind::new(0);
        let news: Vec<bool> =
            [(7, 10), (2, 20), (5, 30), (7, 11)].map(|(at, after)| behind.set(at, after)).into();
        assert_eq!(news, [true, true, true, false]);
        let turns: Vec<_> = (0..4).filter_map(|_| behind.next()).collect();
        assert_eq!(turns, [(2, 20), (5, 30), (7, 11), (2, 20)]);
        behind.turn_back(5);
        assert_eq!(behind.next(), Some((5, 30)));
        assert!(behind.remove(5) && !behind.remove(5));
        assert_eq!((behind.get(7), behind.get(5)), (Some(11), None));
        behind.remove(2);
        behind.remove(7);
        assert!(behind.is_empty() && behind.next().is_none());
    }
}
