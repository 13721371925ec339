//! That subscribers with the same rate get the same messages, whichever shards they are on.

use std::collections::HashMap;

use super::track::{Paced, Track};
use super::world::World;

impl World {
    /// Demands that whoever reads at once has had the same as everybody with its rate, since the
    /// later of two began. To be called at rest, when nothing is held back.
    pub(super) fn check_tiers(&mut self) {
        let prompt = self.clients.iter().filter(|client| client.is_prompt());
        let sessions = prompt.filter_map(|client| client.session.as_ref());
        let mut first: HashMap<(usize, &str, u32), &Paced> = HashMap::new();
        let mut compared = 0;
        for track in sessions.flat_map(|session| session.ways.named()) {
            let (Some(rate), Some(paced)) = (track.terms.rate, track.paced()) else { continue };
            let Track { topic, epoch, .. } = track;
            match first.get(&(*topic, epoch.as_str(), rate)) {
                None => drop(first.insert((*topic, epoch, rate), paced)),
                Some(other) => {
                    let after = paced.after.max(other.after);
                    let (mine, others) = (paced.since(after), other.since(after));
                    assert_eq!(mine, others, "topic {topic} at {rate} a second, after {after}");
                    compared += mine.len() as u64;
                }
            }
        }
        self.record.summary.add("messages at a rate compared", compared);
    }
}
