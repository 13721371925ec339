//! When connections have to be looked at, each at a time of its own that mostly moves on before
//! it has come. Moving it on costs a store; only when an old time comes is the new one queued.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The times of all connections of a shard, by their places.
#[derive(Debug, Default)]
pub(super) struct Timers {
    slots: Vec<Slot>,
    queue: BinaryHeap<Reverse<(u64, usize, u64)>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    serial: u64,
    due_ms: u64,
    /// The time under which it stands in the queue, if it does. What else is queued is out of date.
    queued_ms: Option<u64>,
}

impl Timers {
    /// Sets the time of the connection at `index`, which has this serial number, from 1.
    pub(super) fn set(&mut self, index: usize, serial: u64, due_ms: u64) {
        if index >= self.slots.len() {
            self.slots.resize(index + 1, Slot::default());
        }
        let slot = &mut self.slots[index];
        if slot.serial != serial {
            *slot = Slot { serial, ..Slot::default() };
        }
        slot.due_ms = due_ms;
        if slot.queued_ms.is_none_or(|queued_ms| due_ms < queued_ms) {
            slot.queued_ms = Some(due_ms);
            self.drop_outdated();
            self.queue.push(Reverse((due_ms, index, serial)));
        }
    }

    /// Forgets the connection at `index`.
    pub(super) fn forget(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Slot::default();
        }
    }

    /// Most connections have become something else long before their first time comes. So what is
    /// left of them is dropped, and costs no memory after a wave.
    fn drop_outdated(&mut self) {
        while let Some(&Reverse((_, index, serial))) = self.queue.peek()
            && self.slots[index].serial != serial
        {
            self.queue.pop();
        }
    }

    /// A connection whose time has come.
    pub(super) fn pop_due(&mut self, now_ms: u64) -> Option<(usize, u64)> {
        while let Some(&Reverse((time_ms, index, serial))) = self.queue.peek() {
            if time_ms > now_ms {
                return None;
            }
            self.queue.pop();
            let slot = &mut self.slots[index];
            if slot.serial != serial || slot.queued_ms != Some(time_ms) {
                continue;
            }
            slot.queued_ms = None;
            if slot.due_ms <= now_ms {
                return Some((index, serial));
            }
            let due_ms = slot.due_ms;
            self.set(index, serial, due_ms);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_when_they_were_last_set_to() {
        let mut timers = Timers::default();
        timers.set(3, 1, 100);
        timers.set(0, 2, 50);
        timers.set(0, 2, 150);
        timers.set(1, 3, 200);
        timers.set(1, 3, 80);
        assert_eq!(timers.pop_due(79), None);
        assert_eq!(timers.pop_due(99), Some((1, 3)));
        assert_eq!(timers.pop_due(99), None);
        assert_eq!(timers.pop_due(1_000), Some((3, 1)));
        assert_eq!(timers.pop_due(1_000), Some((0, 2)));
        assert_eq!(timers.pop_due(1_000), None, "each once");
    }

    #[test]
    fn who_takes_the_place_of_another_does_not_inherit_its_time() {
        let mut timers = Timers::default();
        timers.set(0, 1, 100);
        timers.forget(0);
        assert_eq!(timers.pop_due(100), None);
        timers.set(0, 1, 100);
        timers.set(0, 2, 300);
        assert_eq!(timers.pop_due(200), None);
        assert_eq!(timers.pop_due(300), Some((0, 2)));
    }

    #[test]
    fn moving_on_does_not_grow_the_queue() {
        let mut timers = Timers::default();
        for now in 0..10_000 {
            timers.set(0, 1, now + 75_000);
            timers.set(1, 2, now + if now % 2 == 0 { 25_000 } else { 75_000 });
            assert_eq!(timers.pop_due(now), None);
        }
        assert!(timers.queue.len() <= 4, "{}", timers.queue.len());
    }

    #[test]
    fn who_is_forgotten_leaves_nothing() {
        let mut timers = Timers::default();
        for serial in 1..10_000 {
            timers.set(0, serial, serial + 10_000);
            timers.forget(0);
        }
        assert_eq!(timers.queue.len(), 1);
    }
}
