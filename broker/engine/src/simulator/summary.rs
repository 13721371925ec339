//! What happened in simulated worlds, so that a search which looked at nothing is noticed.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

/// How often each thing happened, over one world or several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary(BTreeMap<&'static str, u64>);

impl Summary {
    /// Counts one more of `what`.
    pub(super) fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub(super) fn add(&mut self, what: &'static str, n: u64) {
        *self.0.entry(what).or_default() += n;
    }

    /// How often `what` happened.
    #[must_use]
    pub fn get(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        other.0.into_iter().for_each(|(what, n)| self.add(what, n));
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self.0.iter().map(|(what, n)| format!("{n} {what}")).collect();
        f.write_str(&counts.join(", "))
    }
}
