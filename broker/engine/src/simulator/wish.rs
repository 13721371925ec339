//! What a subscription asks for, and what that comes to in its namespace.

use fanfare_protocol::limits::MAX_RATES;
use fanfare_protocol::{Mode, Subscribe};

use super::random::Random;
use crate::namespace::NamespaceOptions;

/// The options of a subscription, as its client names them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wish {
    pub(super) mode: Option<Mode>,
    pub(super) rate: Option<u32>,
    pub(super) snapshot: Option<bool>,
}

/// What a subscriber gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) mode: Mode,
    pub(super) rate: Option<u32>,
}

impl Wish {
    /// What somebody asks for who mostly has the rate `usual`.
    pub(super) fn random(random: &mut Random, usual: Option<u32>) -> Self {
        let rate = match usual {
            Some(_) if !random.one_in(4) => usual,
            _ => random.one_in(4).then(|| random.pick(&MAX_RATES)),
        };
        let modes = [Some(Mode::All), Some(Mode::Latest), None];
        let mode = random.pick(if rate.is_some() { &modes[1..] } else { &modes });
        Self { mode, rate, snapshot: random.pick(&[None, None, Some(true), Some(false)]) }
    }

    /// The command with these options.
    pub(super) fn subscribe(self, filter: &str) -> Subscribe {
        let mut subscribe = Subscribe::new(filter);
        (subscribe.mode, subscribe.max_rate) = (self.mode, self.rate);
        subscribe.snapshot = self.snapshot;
        subscribe
    }

    pub(super) fn terms(self, options: &NamespaceOptions) -> Terms {
        let usual = if self.rate.is_some() { Mode::Latest } else { options.mode };
        Terms { mode: self.mode.unwrap_or(usual), rate: self.rate }
    }

    /// Whether the newest message that is kept comes at once.
    pub(super) fn wants_newest(self, options: &NamespaceOptions) -> bool {
        let is_latest = self.terms(options).mode == Mode::Latest;
        self.snapshot.unwrap_or(is_latest || options.latest)
    }
}
