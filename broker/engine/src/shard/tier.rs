//! How often a subscription is sent a topic's newest message, at most: full rate, or one of a few
//! tiers.
//!
//! All subscribers of a topic in one tier get the same messages, on all shards, so the cost grows
//! with tiers and not with subscribers.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;

use fanfare_protocol::limits::MAX_RATES;

use crate::fault::{Fault, planted};
use crate::topics::{Message, Offer, Turn, WireForm};

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

    /// How long it waits between two messages of a topic; 0 for full rate.
    fn interval_ms(self) -> u64 {
        self.place().map_or(0, |place| 1_000 / u64::from(MAX_RATES[place]))
    }

    pub(super) fn place(self) -> Option<usize> {
        usize::from(self.0).checked_sub(1)
    }
}

/// Where a subscriber stands in its list. Counted from one, so that having none takes no room in
/// the record of each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListPlace(NonZeroU32);

impl ListPlace {
    fn last_of(list: &[Key]) -> Self {
        Self(NonZeroU32::new(list.len() as u32).unwrap_or(NonZeroU32::MIN))
    }

    pub(super) fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Subscribers of one topic or pattern, by tier and wire form: bare keys, so that a fan-out walks
/// plain numbers.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Full rate over WebSockets.
    full: [Vec<Key>; WireForm::WEBSOCKET_COUNT],
    /// `None` while nobody has anything else, so that most topics pay nothing for it.
    rare: Option<Box<RareLists>>,
}

#[derive(Debug, Default)]
struct RareLists {
    /// Full rate as server-sent events.
    events: [Vec<Key>; EVENT_FORMS],
    /// `None` while nobody has a rate.
    limited: Option<Box<[[Vec<Key>; WireForm::ALL.len()]; MAX_RATES.len()]>>,
}

const EVENT_FORMS: usize = WireForm::ALL.len() - WireForm::WEBSOCKET_COUNT;

impl Lists {
    /// Each form that has subscribers in this tier, with their keys.
    pub(super) fn of(&self, tier: Tier) -> impl Iterator<Item = (WireForm, &[Key])> {
        let rare = self.rare.as_deref();
        let (first, second): (&[Vec<Key>], &[Vec<Key>]) = match tier.place() {
            None => (&self.full, rare.map_or(&[], |rare| &rare.events)),
            Some(place) => {
                let limited = rare.and_then(|rare| rare.limited.as_deref());
                (limited.map_or(&[], |limited| &limited[place]), &[])
            }
        };
        let lists = WireForm::ALL.into_iter().zip(first.iter().chain(second));
        lists.filter(|(_, keys)| !keys.is_empty()).map(|(form, keys)| (form, keys.as_slice()))
    }

    /// Adds a subscriber; its place.
    pub(super) fn add(&mut self, tier: Tier, form: WireForm, key: Key) -> ListPlace {
        let list = self.list_mut(tier, form);
        list.push(key);
        ListPlace::last_of(list)
    }

    /// Removes the subscriber at `place`. Returns who has moved to that place, if anyone.
    pub(super) fn remove(&mut self, tier: Tier, form: WireForm, place: ListPlace) -> Option<Key> {
        let list = self.list_mut(tier, form);
        list.swap_remove(place.index());
        let moved = list.get(place.index()).copied();
        if let Some(rare) = self.rare.as_deref_mut() {
            rare.limited.take_if(|tiers| tiers.iter().flatten().all(Vec::is_empty));
        }
        self.rare.take_if(|rare| rare.limited.is_none() && rare.events.iter().all(Vec::is_empty));
        moved
    }

    /// Whether someone has a rate.
    pub(super) fn has_rates(&self) -> bool {
        self.rare.as_deref().is_some_and(|rare| rare.limited.is_some())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rare.is_none() && self.full.iter().all(Vec::is_empty)
    }

    fn list_mut(&mut self, tier: Tier, form: WireForm) -> &mut Vec<Key> {
        let index = form.index();
        match (tier.place(), index.checked_sub(WireForm::WEBSOCKET_COUNT)) {
            (None, None) => &mut self.full[index],
            (None, Some(index)) => &mut self.rare.get_or_insert_default().events[index],
            (Some(place), _) => {
                let limited = &mut self.rare.get_or_insert_default().limited;
                &mut limited.get_or_insert_default()[place][index]
            }
        }
    }
}

/// What the tiers of one topic have sent and hold back.
#[derive(Debug, Default)]
pub(super) struct TierStates([TierState; MAX_RATES.len()]);

/// What one tier of one topic has sent and holds back.
#[derive(Debug, Default)]
pub(super) struct TierState {
    /// Until when the tier must wait before it sends again.
    due_ms: Option<u64>,
    /// Whether it waits for a newer message than it has, which is chosen and on its way.
    is_passed_over: bool,
    /// The newest message that came while it waited.
    held: Option<Arc<Message>>,
    /// The offset before the first message that came while it waited.
    held_after: u64,
    /// The offset after which nothing was sent although nothing is held: what was held is left
    /// out for a newer message, which has not come yet.
    left_after: Option<u64>,
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

    /// What a tier holds back, if anything, and the offset after which it has sent nothing.
    pub(super) fn held(&self, tier: Tier) -> Option<(&Arc<Message>, u64)> {
        let state = self.get(tier)?;
        Some((state.held.as_ref()?, state.held_after))
    }

    /// The offset after which a tier has sent nothing, if that is not the newest.
    pub(super) fn unsent_after(&self, tier: Tier) -> Option<u64> {
        let state = self.get(tier)?;
        state.left_after.or_else(|| state.holds().then_some(state.held_after))
    }

    pub(super) fn get(&self, tier: Tier) -> Option<&TierState> {
        self.0.get(tier.place()?)
    }

    /// Whether `message` is to be sent at once; otherwise it is held, in place of an older one. And
    /// the time for which the tier has to wait now, if it does not wait already.
    pub(super) fn admit(
        &mut self,
        tier: Tier,
        message: &Arc<Message>,
        now_ms: u64,
    ) -> (bool, Option<u64>) {
        let Some(place) = tier.place() else { return (true, None) };
        let state = &mut self.0[place];
        let mut due_ms = None;
        // A tier that waits asks when its time has come.
        if state.due_ms.is_none() || state.is_passed_over {
            let choices = &message.topic().choices;
            let offer = choices.offer(place, message, now_ms, tier.interval_ms());
            state.is_passed_over = offer == Offer::PassedOver;
            due_ms = match offer {
                Offer::Taken { due_ms } => {
                    state.sent(message.offset(), now_ms);
                    (state.held, state.due_ms) = (None, due_ms);
                    return (true, due_ms);
                }
                Offer::Early { due_ms } => Some(due_ms),
                Offer::PassedOver => Some(now_ms + tier.interval_ms()),
            };
            state.due_ms = due_ms;
        }
        if state.held.is_none() {
            state.held_after = message.offset() - 1;
        }
        state.held = Some(message.clone());
        (false, due_ms)
    }

    /// Nobody waits for what the tier holds back.
    pub(super) fn forget_held(&mut self, tier: Tier) {
        if let Some(place) = tier.place() {
            self.0[place].held = None;
        }
    }

    /// The time `due_ms` of the tier has come: what is to be sent of what was held, in its order,
    /// and until when it waits now, if it does. Nothing if the tier does not wait for that time,
    /// which is of subscribers who have left, or if nothing is held.
    pub(super) fn release(&mut self, tier: Tier, due_ms: u64, now_ms: u64) -> Option<Turn> {
        let place = tier.place()?;
        let state = &mut self.0[place];
        state.due_ms.take_if(|due| *due == due_ms)?;
        let held = state.held.take().filter(|_| !planted(Fault::ForgetHeld))?;
        let choices = &held.topic().choices;
        let interval_ms = tier.interval_ms();
        let mut turn = choices.turn(place, state.held_after, &held, now_ms, interval_ms);
        if let Some(last) = turn.chosen.last() {
            state.sent(last.offset(), now_ms);
            state.held_after = last.offset();
        }
        let is_sent = state.held_after == held.offset();
        // What has not come in all the time comes to nobody who is here.
        let is_left = turn.due_ms.is_none() && state.is_passed_over;
        state.is_passed_over = turn.due_ms.is_none() && !is_left;
        if state.is_passed_over {
            turn.due_ms = Some(now_ms + interval_ms);
        }
        state.due_ms = turn.due_ms;
        state.left_after = (!is_sent && is_left).then_some(state.held_after);
        state.held = (!is_sent && !is_left).then_some(held);
        Some(turn)
    }
}

impl TierState {
    /// Whether it holds a message back.
    pub(super) fn holds(&self) -> bool {
        self.held.is_some()
    }

    fn sent(&mut self, offset: u64, now_ms: u64) {
        (self.sent_offset, self.sent_ms) = (offset, now_ms);
        self.left_after = None;
    }
}

/// When which topics may send to a tier again. In each tier all waits are equally long, so plain
/// queues keep them in order, but for the moment by which another shard was quicker to choose.
#[derive(Debug, Default)]
pub(super) struct TierQueue {
    queues: [VecDeque<Due>; MAX_RATES.len()],
}

/// When a topic may send to a tier again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) ms: u64,
    pub(super) local: u32,
    pub(super) topic_id: u64,
}

impl TierQueue {
    /// This topic waits until `ms` before it sends to `tier` again.
    pub(super) fn push(&mut self, tier: Tier, (local, topic_id): (u32, u64), ms: u64) {
        let Some(place) = tier.place() else { return };
        self.queues[place].push_back(Due { ms, local, topic_id });
    }

    /// The next tier whose time has come.
    pub(super) fn pop_due(&mut self, now_ms: u64) -> Option<(Tier, Due)> {
        for (queue, tier) in self.queues.iter_mut().zip(Tier::limited()) {
            if let Some(due) = queue.pop_front_if(|due| due.ms <= now_ms) {
                return Some((tier, due));
            }
        }
        None
    }

    /// When the next tier's time comes.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.queues.iter().filter_map(|queue| queue.front()).map(|due| due.ms).min()
    }
}
