//! The subscriptions of one connection whose messages are not queued but owed.
//!
//! For each there is one number, the offset up to which the subscriber is served, however many
//! messages are published meanwhile: what a slow reader costs does not grow with the feed.

/// Topics that are behind, by their place in the shard.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// Place and offset, sorted by place.
    entries: Vec<(u32, u64)>,
    /// The entry whose turn it is, so that a busy topic does not keep the others waiting.
    turn: usize,
}

impl Behind {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn contains(&self, local: u32) -> bool {
        self.find(local).is_ok()
    }

    /// Notes that the subscriber of `local` is served up to `after`.
    pub(super) fn set(&mut self, local: u32, after: u64) {
        match self.find(local) {
            Ok(at) => self.entries[at].1 = after,
            Err(at) => self.entries.insert(at, (local, after)),
        }
    }

    pub(super) fn remove(&mut self, local: u32) {
        if let Ok(at) = self.find(local) {
            self.entries.remove(at);
        }
    }

    /// The next topic in turn and the offset up to which it is served.
    pub(super) fn next(&mut self) -> Option<(u32, u64)> {
        if self.turn >= self.entries.len() {
            self.turn = 0;
        }
        let entry = *self.entries.get(self.turn)?;
        self.turn += 1;
        Some(entry)
    }

    #[cfg(any(test, feature = "simulator"))]
    pub(super) fn topics(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().map(|(local, _)| *local)
    }

    fn find(&self, local: u32) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&local, |(local, _)| *local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_gets_its_turn_and_one_number() {
        let mut behind = Behind::default();
        for (local, after) in [(7, 10), (2, 20), (5, 30), (7, 11)] {
            behind.set(local, after);
        }
        let turns: Vec<_> = (0..4).filter_map(|_| behind.next()).collect();
        assert_eq!(turns, [(2, 20), (5, 30), (7, 11), (2, 20)]);
        behind.remove(5);
        assert!(behind.contains(7) && !behind.contains(5));
        behind.remove(2);
        behind.remove(7);
        assert!(behind.is_empty() && behind.next().is_none());
    }
}
