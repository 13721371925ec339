//! That subscribers with the same rate get the same messages, whichever shards they are on.

use std::collections::HashMap;

use super::track::{Paced, Track};
use super::world::World;

impl World {
    /// Demands that whoever reads at once has had the same as everybody with its rate, since the
    /// later of two has begun. To be called at rest, when nothing is held back. Where messages
    /// are lost to the ring, a shard that lags may not have what another one chose.
    pub(super) fn check_tiers(&mut self) {
        let prompt = self.clients.iter().filter(|client| client.is_prompt());
        let sessions = prompt.filter_map(|client| client.session.as_ref());
        let mut others: HashMap<(usize, &str, u32), &Paced> = HashMap::new();
        let mut compared = 0;
        for track in sessions.flat_map(|session| session.ways.named()) {
            let (Some(rate), Some(paced)) = (track.terms.rate, track.paced()) else { continue };
            let Track { topic, epoch, .. } = track;
            let other = others.entry((*topic, epoch, rate)).or_insert(paced);
            let (Some(mine), Some(its)) = (paced.begun(), other.begun()) else { continue };
            if self.record.keeps_everything(*topic) {
                let after = mine.max(its);
                let (mine, its) = (paced.since(after), other.since(after));
                assert_eq!(mine, its, "topic {topic} at {rate} a second, after {after}");
                compared += if std::ptr::eq(paced, *other) { 0 } else { mine.len() as u64 };
            }
        }
        self.record.summary.add("messages at a rate compared", compared);
    }
}
