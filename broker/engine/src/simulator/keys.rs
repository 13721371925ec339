//! Which keys of publishes the node must still know, and where their messages stand.

use std::collections::{BTreeMap, VecDeque};

use super::record::Place;
use crate::limits::Limits;
use crate::time::Now;

/// The keys of every topic, in the order of their publishes, whoever published.
#[derive(Debug, Default)]
pub(super) struct Keys(BTreeMap<usize, VecDeque<Known>>);

#[derive(Debug)]
struct Known {
    key: String,
    place: Place,
    at: Now,
}

impl Keys {
    /// A publish with a key was carried out. `published`: where its message stands, if it was
    /// published. What the answer must be, and whether that is the place of an earlier one.
    ///
    /// `must_know`: whether the node has room for every key.
    pub(super) fn publish(
        &mut self,
        (topic, key): (usize, &str),
        published: Option<Place>,
        must_know: bool,
        (limits, now): (&Limits, Now),
    ) -> Option<(Place, bool)> {
        let known = self.0.entry(topic).or_default();
        let earlier = known.iter().position(|known| known.key == key);
        let Some(place) = published else {
            // Without an earlier one the connection ended before the command's turn.
            return earlier.map(|at| (known[at].place.clone(), true));
        };
        if let Some(earlier) = earlier.and_then(|at| known.remove(at)) {
            let age_ms = now.ms() - earlier.at.ms();
            let is_recent = age_ms <= limits.publish_key_window_ms;
            assert!(!is_recent || !must_know, "published twice: {earlier:?} and {place:?}");
        }
        known.push_back(Known { key: key.to_owned(), place: place.clone(), at: now });
        if known.len() > limits.publish_keys_max {
            known.pop_front();
        }
        Some((place, false))
    }

    /// The node has forgotten the keys that are too old.
    pub(super) fn forget_old(&mut self, limits: &Limits, now: Now) {
        for known in self.0.values_mut() {
            known.retain(|known| now.ms() - known.at.ms() <= limits.publish_key_window_ms);
        }
    }
}
