//! The node's budget for what waits for its connections: how often the marks may, and must, have
//! been halved, and that whoever is over them has given way.

use super::settle::SLICE_MS;
use super::world::World;
use crate::limits::Limits;

/// Most halvings.
const HALVINGS_MAX: u32 = 4;

/// What pings and close frames may change for each connection while a shard looks after time.
const CHANGE_BYTES: usize = 400;

/// Bounds for each shard, because what exactly it had when it looked nobody has seen.
#[derive(Debug)]
pub(super) struct Budget(Vec<Share>);

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    /// Fewest and most bytes that the shard may have told last.
    fewest_bytes: usize,
    most_bytes: usize,
    /// Fewest and most halvings of its marks.
    fewest: u32,
    most: u32,
}

impl Budget {
    pub(super) fn new(shards: usize) -> Self {
        Self(vec![Share::default(); shards])
    }

    /// A shard had `before` bytes, looked after time, and has `after`, all but for `slack`.
    fn look(
        &mut self,
        shard: usize,
        (before, after, slack): (usize, usize, usize),
        limits: &Limits,
    ) {
        let share = &mut self.0[shard];
        share.fewest_bytes = before.min(after).saturating_sub(slack);
        share.most_bytes = before.max(after) + slack;
        let least: usize = self.0.iter().map(|share| share.fewest_bytes).sum();
        let most: usize = self.0.iter().map(|share| share.most_bytes).sum();
        let budget = limits.outbox_total_bytes_max;
        let has_room = |bytes: usize| bytes < budget / 4 * 3;
        let next = |halvings: u32, is_over: bool, has_room: bool| match (is_over, has_room) {
            (true, _) => (halvings + 1).min(HALVINGS_MAX),
            (false, true) => halvings.saturating_sub(1),
            (false, false) => halvings,
        };
        let share = &mut self.0[shard];
        share.fewest = next(share.fewest, least > budget, has_room(least));
        share.most = next(share.most, most > budget, has_room(most));
    }
}

impl World {
    /// A shard looks after time.
    pub(super) fn time_out(&mut self, shard: usize) {
        let before = self.waiting_bytes(shard);
        let event_loop = &mut self.loops[shard];
        event_loop.wake();
        event_loop.shard.handle_timeouts(self.record.now, SLICE_MS);
        let halvings = event_loop.shard.halvings();
        let after = self.waiting_bytes(shard);
        let slack = if before == after { 0 } else { CHANGE_BYTES * self.links.len() };
        self.budget.look(shard, (before, after, slack), &self.plan.limits);
        let Share { fewest, most, .. } = self.budget.0[shard];
        assert!((fewest..=most).contains(&halvings), "{halvings}, not {fewest} to {most} halvings");
        if halvings > 0 {
            self.record.summary.count("turns with lower marks");
            self.check_worst(shard, halvings);
        }
    }

    fn waiting_bytes(&self, shard: usize) -> usize {
        let links = self.links.iter().filter(|link| link.shard == shard);
        links.filter_map(|link| self.loops[shard].shard.buffered_amount(link.key)).sum()
    }

    /// Demands that nobody has as much waiting as lower marks allow at most.
    fn check_worst(&self, shard: usize, halvings: u32) {
        let (shard_index, shard) = (shard, &self.loops[shard].shard);
        let most = self.plan.limits.outbox_bytes_max >> halvings;
        for link in self.links.iter().filter(|link| link.shard == shard_index) {
            let waiting = shard.buffered_amount(link.key).unwrap_or_default();
            let gives_way = shard.is_closing(link.key);
            assert!(waiting < most || gives_way, "{waiting} of {most} bytes wait for {link}");
        }
    }
}
