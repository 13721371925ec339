//! What was chosen for the tiers of a topic, so that their subscribers get the same on all shards.
//!
//! The shard whose time comes first chooses the newest message that it has; the others follow,
//! also where they have a newer one by then. Owns what was chosen and when the next choice may be;
//! what a shard holds back, and for whom, is its own business.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};

use fanfare_protocol::limits::MAX_RATES;
use smallvec::SmallVec;

use super::message::Message;
use crate::fault::{Fault, planted};
use crate::sync::{Mutex, MutexGuard};

/// The choices of one topic; no more than a pointer while nobody has a rate. Locked once for each
/// message that is sent to a tier and shard, never by a publish.
#[derive(Debug, Default)]
pub(crate) struct Choices(OnceLock<Box<Mutex<Tiers>>>);

#[derive(Debug, Default)]
struct Tiers {
    chosen: [Chosen; MAX_RATES.len()],
    /// The topic is out of the table: messages hold their topics, so it keeps none any more.
    is_closed: bool,
}

/// How many of the last choices a shard that lags can still follow: over a second's at the fastest
/// rate.
const RECENT: usize = 16;

/// The choices for one tier.
#[derive(Debug, Default)]
struct Chosen {
    /// The last ones, in their order: they are there while the ring has them.
    recent: VecDeque<(u64, Weak<Message>)>,
    newest: u64,
    /// The newest, until the tier rests, so that nothing is kept for a quiet topic.
    kept: Option<Arc<Message>>,
    /// When the next choice may be.
    due_ms: u64,
}

/// What becomes of a message that comes when its shard waits for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It is chosen. `due_ms`: when the next choice may be, unless that was made already.
    Taken { due_ms: Option<u64> },
    /// It has to wait until then.
    Early { due_ms: u64 },
    /// A newer one is chosen, and on its way to the shard.
    PassedOver,
}

/// What a shard sends whose time has come.
#[derive(Debug)]
pub(crate) struct Turn {
    /// In their order.
    pub(crate) chosen: SmallVec<[Arc<Message>; 1]>,
    /// When its time comes again; `None` if a newer message is chosen and on its way.
    pub(crate) due_ms: Option<u64>,
}

impl Choices {
    /// A message of the tier at `place` has come.
    pub(crate) fn offer(
        &self,
        place: usize,
        message: &Arc<Message>,
        now_ms: u64,
        interval_ms: u64,
    ) -> Offer {
        if planted(Fault::ChooseAlone) {
            return Offer::Taken { due_ms: Some(now_ms + interval_ms) };
        }
        let mut tiers = self.lock();
        if message.offset() > tiers.chosen[place].newest {
            let due_ms = tiers.chosen[place].due_ms;
            if due_ms > now_ms {
                return Offer::Early { due_ms };
            }
            tiers.choose(place, message, now_ms + interval_ms);
        }
        let chosen = &tiers.chosen[place];
        if message.offset() == chosen.newest {
            return Offer::Taken { due_ms: Some(chosen.due_ms) };
        }
        match chosen.recent.iter().any(|(offset, _)| *offset == message.offset()) {
            true => Offer::Taken { due_ms: None },
            false => Offer::PassedOver,
        }
    }

    /// The time of a shard has come that has sent what was chosen up to `after`, and holds the
    /// newest message that it has.
    pub(crate) fn turn(
        &self,
        place: usize,
        after: u64,
        held: &Arc<Message>,
        now_ms: u64,
        interval_ms: u64,
    ) -> Turn {
        if planted(Fault::ChooseAlone) {
            let due_ms = Some(now_ms + interval_ms);
            return Turn { chosen: SmallVec::from_iter([held.clone()]), due_ms };
        }
        let mut tiers = self.lock();
        let is_newer = held.offset() > tiers.chosen[place].newest;
        if is_newer && tiers.chosen[place].due_ms <= now_ms {
            tiers.choose(place, held, now_ms + interval_ms);
        }
        let chosen = &tiers.chosen[place];
        let mine = after + 1..=held.offset();
        let mine = chosen.recent.iter().filter(|(offset, _)| mine.contains(offset));
        let messages = mine.filter_map(|(offset, message)| match *offset == held.offset() {
            true => Some(held.clone()),
            false => message.upgrade(),
        });
        let is_on_its_way = chosen.newest > held.offset();
        let due_ms = (!is_on_its_way).then_some(chosen.due_ms);
        Turn { chosen: messages.collect(), due_ms }
    }

    /// Lets go of what is kept of a tier that has rested: a shard's time has come, and it holds
    /// nothing.
    pub(crate) fn rest(&self, place: usize, now_ms: u64) {
        self.let_go(|at, chosen| at == place && chosen.due_ms <= now_ms);
    }

    /// As [`Self::rest`] for every tier, where no shard has come to do it.
    pub(super) fn sweep(&self, now_ms: u64) {
        self.let_go(|_, chosen| chosen.due_ms <= now_ms);
    }

    /// The topic is leaving the table.
    pub(super) fn close(&self) {
        if self.0.get().is_some() {
            self.lock().is_closed = true;
            self.let_go(|_, _| true);
        }
    }

    fn let_go(&self, is_meant: impl Fn(usize, &Chosen) -> bool) {
        if self.0.get().is_none() {
            return;
        }
        let mut tiers = self.lock();
        for (place, chosen) in tiers.chosen.iter_mut().enumerate() {
            if is_meant(place, chosen) {
                chosen.kept = None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tiers> {
        self.0.get_or_init(Box::default).lock()
    }
}

impl Tiers {
    fn choose(&mut self, place: usize, message: &Arc<Message>, due_ms: u64) {
        let chosen = &mut self.chosen[place];
        if chosen.recent.len() == RECENT {
            chosen.recent.pop_front();
        }
        chosen.recent.push_back((message.offset(), Arc::downgrade(message)));
        chosen.kept = (!self.is_closed).then(|| message.clone());
        (chosen.newest, chosen.due_ms) = (message.offset(), due_ms);
    }
}
