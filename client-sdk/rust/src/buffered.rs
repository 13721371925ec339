//! How many bytes a client still has to hand to the network, and the mark at which publishing
//! waits. Counts only; the bytes are with the requests and the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{Mutex, Notify};

/// The buffered amount of one client: bytes of encoded frames, their headers included, that were
/// accepted and that the kernel has not taken.
#[derive(Debug)]
pub(crate) struct BufferedAmount {
    bytes: AtomicU64,
    /// Whoever would raise the amount over this waits.
    high_water_bytes: u64,
    /// How many wait for room.
    waiting: AtomicUsize,
    /// They wait one behind the other, so that none is passed by.
    turn: Mutex<()>,
    /// Wakes the one whose turn it is.
    lowered: Notify,
}

/// There was no room; the amount that was in the way, in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoRoom(pub(crate) u64);

impl BufferedAmount {
    pub(crate) fn new(high_water_bytes: u64) -> Self {
        Self {
            bytes: AtomicU64::new(0),
            high_water_bytes,
            waiting: AtomicUsize::new(0),
            turn: Mutex::new(()),
            lowered: Notify::new(),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn high_water_bytes(&self) -> u64 {
        self.high_water_bytes
    }

    /// Waits until there is room for `bytes`. A frame larger than the mark has room when nothing
    /// else is buffered. Whoever waits when the client ends gets room, because nothing is buffered
    /// any more, and hears of the end when it puts its frame into the queue. Cancel safe.
    pub(crate) async fn reserve(self: &Arc<Self>, bytes: u64) -> Charge {
        if let Ok(charge) = self.try_reserve(bytes) {
            return charge;
        }
        let _waiting = Waiting::begin(&self.waiting);
        let _turn = self.turn.lock().await;
        loop {
            if let Ok(charge) = self.take(bytes) {
                return charge;
            }
            self.lowered.notified().await;
        }
    }

    /// Takes room for `bytes` if there is some now and nobody waits for it.
    pub(crate) fn try_reserve(self: &Arc<Self>, bytes: u64) -> Result<Charge, NoRoom> {
        match self.waiting.load(Ordering::Acquire) {
            0 => self.take(bytes),
            _ => Err(NoRoom(self.bytes())),
        }
    }

    /// Counts `bytes` that were accepted before and have to be sent once more, whether there is
    /// room or not.
    pub(crate) fn charge(self: &Arc<Self>, bytes: u64) -> Charge {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Charge { amount: self.clone(), bytes }
    }

    fn take(self: &Arc<Self>, bytes: u64) -> Result<Charge, NoRoom> {
        let raised = |before: u64| {
            let after = before.checked_add(bytes)?;
            (before == 0 || after <= self.high_water_bytes).then_some(after)
        };
        match self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, raised) {
            Ok(_) => Ok(Charge { amount: self.clone(), bytes }),
            Err(before) => Err(NoRoom(before)),
        }
    }

    fn lower(&self, bytes: u64) {
        if bytes > 0 {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.lowered.notify_one();
        }
    }
}

/// Somebody who waits for room, until this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::AcqRel);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Bytes that count as buffered for as long as this lives: whatever becomes of a frame, its bytes
/// are given back.
#[derive(Debug)]
pub(crate) struct Charge {
    amount: Arc<BufferedAmount>,
    bytes: u64,
}

impl Charge {
    /// Gives back `bytes` of it, at most what there is.
    pub(crate) fn release(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.amount.lower(bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.amount.lower(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;

    const A_MOMENT: Duration = Duration::from_millis(20);
    const SOON: Duration = Duration::from_secs(10);

    fn amount(high_water_bytes: u64) -> Arc<BufferedAmount> {
        Arc::new(BufferedAmount::new(high_water_bytes))
    }

    #[tokio::test]
    async fn room_ends_at_the_mark_and_comes_back_with_what_is_released() {
        let amount = amount(100);
        let mut first = amount.reserve(60).await;
        let second = amount.try_reserve(40).unwrap();
        assert_eq!(amount.try_reserve(1).unwrap_err(), NoRoom(100));
        first.release(25);
        drop(second);
        assert_eq!(amount.bytes(), 35);
        assert!(amount.try_reserve(66).is_err());
        assert!(amount.try_reserve(65).is_ok());
        first.release(1_000);
        assert_eq!(amount.bytes(), 0);
    }

    #[tokio::test]
    async fn a_frame_over_the_mark_goes_alone() {
        let amount = amount(100);
        let small = amount.reserve(1).await;
        assert!(amount.try_reserve(500).is_err());
        drop(small);
        let large = amount.try_reserve(500).unwrap();
        assert_eq!(amount.bytes(), 500);
        drop(large);
    }

    /// Waits for room for each of these, and tells who gets it.
    async fn wait(
        amount: &Arc<BufferedAmount>,
        waiters: &[(&'static str, u64)],
    ) -> mpsc::UnboundedReceiver<(&'static str, Charge)> {
        let (order, served) = mpsc::unbounded_channel();
        for &(name, bytes) in waiters {
            let (amount, order) = (amount.clone(), order.clone());
            tokio::spawn(async move {
                let charge = amount.reserve(bytes).await;
                order.send((name, charge)).expect("a listener");
            });
            tokio::task::yield_now().await;
        }
        served
    }

    #[tokio::test]
    async fn waiters_get_room_in_the_order_in_which_they_came() {
        let amount = amount(100);
        let held = amount.reserve(50).await;
        let mut served = wait(&amount, &[("large", 90), ("small", 10), ("other", 80)]).await;
        assert!(timeout(A_MOMENT, served.recv()).await.is_err());
        assert!(amount.try_reserve(1).is_err(), "it went past those who wait");
        drop(held);
        let mut next = async || timeout(SOON, served.recv()).await.expect("room").expect("one");
        let (large, charge) = next().await;
        let (small, _charge) = next().await;
        assert_eq!((large, small), ("large", "small"));
        assert!(timeout(A_MOMENT, next()).await.is_err());
        drop(charge);
        assert_eq!(next().await.0, "other");
    }

    #[tokio::test]
    async fn who_gives_up_waiting_lets_the_next_one_on() {
        let amount = amount(100);
        let held = amount.reserve(50).await;
        assert!(timeout(A_MOMENT, amount.reserve(90)).await.is_err());
        assert!(timeout(SOON, amount.reserve(50)).await.is_ok());
        drop(held);
    }

    #[tokio::test]
    async fn what_is_sent_once_more_is_counted_and_does_not_wait() {
        let amount = amount(100);
        let mut again = amount.charge(200);
        assert_eq!(amount.bytes(), 200);
        again.release(190);
        assert_eq!(amount.bytes(), 10);
        drop(again);
        assert_eq!(amount.bytes(), 0);
    }
}
