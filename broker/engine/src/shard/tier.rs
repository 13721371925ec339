//! How often a subscription is sent a topic's newest message, at most: full rate, or one of a few
//! tiers.
//!
//! All subscribers of a topic in one tier get the same messages at the same moments, so the cost
//! grows with tiers and not with subscribers.

use std::collections::VecDeque;
use std::sync::Arc;

use fanfare_protocol::limits::MAX_RATES;

use crate::fault::{Fault, planted};
use crate::topics::{Message, WireForm};

use super::Key;

/// Full rate or the place of a rate in [`MAX_RATES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tier(u8);

impl Tier {
    /// Every message.
    pub(super) const FULL: Self = Self(0);

    /// The tiers with a rate.
    pub(super) fn limited() -> impl Iterator<Item = Self> {
        (1..=MAX_RATES.len()).map(|tier| Self(tier as u8))
    }

    /// The fastest tier within `max_rate` messages per second, or the slowest of all.
    pub(super) fn within(max_rate: Option<u32>) -> Self {
        let Some(max_rate) = max_rate else { return Self::FULL };
        let place = MAX_RATES.iter().rposition(|rate| *rate <= max_rate).unwrap_or(0);
        Self(place as u8 + 1)
    }

    fn place(self) -> Option<usize> {
        usize::from(self.0).checked_sub(1)
    }
}

type FormLists = [Vec<Key>; WireForm::ALL.len()];

/// Subscribers of one topic or pattern, by tier and wire form: bare keys, so that a fan-out walks
/// plain numbers.
#[derive(Debug, Default)]
pub(super) struct Lists {
    full: FormLists,
    /// `None` while nobody has a rate, which is nearly always.
    limited: Option<Box<[FormLists; MAX_RATES.len()]>>,
}

impl Lists {
    /// Each form that has subscribers in this tier, with their keys.
    pub(super) fn of(&self, tier: Tier) -> impl Iterator<Item = (WireForm, &[Key])> {
        let lists = match tier.place() {
            None => Some(&self.full),
            Some(place) => self.limited.as_deref().map(|limited| &limited[place]),
        };
        let lists = lists.into_iter().flat_map(|lists| WireForm::ALL.into_iter().zip(lists));
        lists.filter(|(_, keys)| !keys.is_empty()).map(|(form, keys)| (form, keys.as_slice()))
    }

    /// Adds a subscriber; its position.
    pub(super) fn add(&mut self, tier: Tier, form: WireForm, key: Key) -> u32 {
        let list = self.list_mut(tier, form);
        list.push(key);
        list.len() as u32 - 1
    }

    /// Removes the subscriber at `position`. Returns who has moved to that position, if anyone.
    pub(super) fn remove(&mut self, tier: Tier, form: WireForm, position: u32) -> Option<Key> {
        let list = self.list_mut(tier, form);
        list.swap_remove(position as usize);
        let moved = list.get(position as usize).copied();
        self.limited.take_if(|tiers| tiers.iter().flatten().all(Vec::is_empty));
        moved
    }

    /// Whether someone has a rate.
    pub(super) fn has_rates(&self) -> bool {
        self.limited.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.limited.is_none() && self.full.iter().all(Vec::is_empty)
    }

    fn list_mut(&mut self, tier: Tier, form: WireForm) -> &mut Vec<Key> {
        let lists = match tier.place() {
            None => &mut self.full,
            Some(place) => &mut self.limited.get_or_insert_default()[place],
        };
        &mut lists[form.index()]
    }
}

/// What the tiers of one topic have sent and hold back.
#[derive(Debug, Default)]
pub(super) struct TierStates([TierState; MAX_RATES.len()]);

/// What one tier of one topic has sent and holds back.
#[derive(Debug, Default)]
pub(super) struct TierState {
    /// Whether the tier must wait before it sends again.
    waits: bool,
    /// The newest message that came while it waited.
    held: Option<Arc<Message>>,
    /// The newest message that was sent.
    pub(super) sent_offset: u64,
    /// When it was sent, or since when the next ping is to tell it again.
    pub(super) sent_ms: u64,
}

impl TierStates {
    /// Whether some tier holds a message back.
    pub(super) fn hold_any(&self) -> bool {
        self.0.iter().any(TierState::holds)
    }

    /// What a tier holds back, if anything.
    pub(super) fn held(&self, tier: Tier) -> Option<&Arc<Message>> {
        self.get(tier)?.held.as_ref()
    }

    pub(super) fn get(&self, tier: Tier) -> Option<&TierState> {
        self.0.get(tier.place()?)
    }

    /// Whether `message` is to be sent at once; otherwise it is held, in place of an older one.
    pub(super) fn admit(&mut self, tier: Tier, message: &Arc<Message>, now_ms: u64) -> bool {
        let Some(state) = tier.place().map(|place| &mut self.0[place]) else { return true };
        if state.waits {
            state.held = Some(message.clone());
            return false;
        }
        state.send(message.offset(), now_ms);
        true
    }

    /// The tier's time has come: the message that was held, which is to be sent now.
    pub(super) fn release(&mut self, tier: Tier, now_ms: u64) -> Option<Arc<Message>> {
        let state = &mut self.0[tier.place()?];
        state.waits = false;
        let message = state.held.take().filter(|_| !planted(Fault::ForgetHeld))?;
        state.send(message.offset(), now_ms);
        Some(message)
    }
}

impl TierState {
    /// Whether it holds a message back.
    pub(super) fn holds(&self) -> bool {
        self.held.is_some()
    }

    fn send(&mut self, offset: u64, now_ms: u64) {
        self.waits = true;
        self.sent_offset = offset;
        self.sent_ms = now_ms;
    }
}

/// When which topics may send to a tier again. In each tier all waits are equally long, so plain
/// queues keep them in order.
#[derive(Debug, Default)]
pub(super) struct TierQueue {
    queues: [VecDeque<Due>; MAX_RATES.len()],
}

#[derive(Clone, Copy, Debug)]
struct Due {
    ms: u64,
    local: u32,
    topic_id: u64,
}

impl TierQueue {
    /// A message of this topic has been sent to `tier`.
    pub(super) fn push(&mut self, tier: Tier, (local, topic_id): (u32, u64), now_ms: u64) {
        let Some(place) = tier.place() else { return };
        let interval_ms = 1_000 / u64::from(MAX_RATES[place]);
        self.queues[place].push_back(Due { ms: now_ms + interval_ms, local, topic_id });
    }

    /// The next tier whose time has come, its topic's place and its topic's id.
    pub(super) fn pop_due(&mut self, now_ms: u64) -> Option<(Tier, u32, u64)> {
        for (queue, tier) in self.queues.iter_mut().zip(Tier::limited()) {
            if let Some(due) = queue.pop_front_if(|due| due.ms <= now_ms) {
                return Some((tier, due.local, due.topic_id));
            }
        }
        None
    }

    /// When the next tier's time comes.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.queues.iter().filter_map(|queue| queue.front()).map(|due| due.ms).min()
    }
}
