//! Requests on their way to the driver, which may have no connection for them for a long time.
//!
//! What bounds the bytes of commands is the buffered amount. What nobody waits for any more is
//! thrown away here, so that a program which keeps trying does not fill its memory.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::request::Request;

/// Requests under which looking for abandoned ones is not worth it.
const FEW: usize = 64;

/// When no request has come for this long the few are looked at too: what they hold of the buffered
/// amount may be what keeps others from coming.
const QUIET: Duration = Duration::from_secs(1);

/// The driver's end of the queue.
#[derive(Debug)]
pub(crate) struct Queue {
    receiver: mpsc::UnboundedReceiver<Request>,
    /// Taken from the receiver while there was no connection.
    waiting: VecDeque<Request>,
    /// How many may wait until abandoned ones are looked for.
    sweep_at: usize,
}

impl Queue {
    pub(crate) fn new(receiver: mpsc::UnboundedReceiver<Request>) -> Self {
        Self { receiver, waiting: VecDeque::new(), sweep_at: FEW }
    }

    /// Whether every handle is gone and nothing is left.
    pub(crate) fn is_over(&self) -> bool {
        self.waiting.is_empty() && self.receiver.is_closed() && self.receiver.is_empty()
    }

    /// Waits for requests and appends up to `most` of them to `into`. Cancel safe.
    pub(crate) async fn take(&mut self, into: &mut Vec<Request>, most: usize) {
        if self.waiting.is_empty() {
            self.receiver.recv_many(into, most).await;
        } else {
            let count = most.min(self.waiting.len());
            into.extend(self.waiting.drain(..count));
        }
    }

    /// Holds requests for as long as it is awaited. Never ends. Cancel safe.
    pub(crate) async fn hold(&mut self) {
        loop {
            match timeout(QUIET, self.receiver.recv()).await {
                Ok(Some(request)) => self.waiting.push_back(request),
                Ok(None) => std::future::pending().await,
                Err(_) => self.sweep(),
            }
            // At least half of them have come since the last time.
            if self.waiting.len() >= self.sweep_at {
                self.sweep();
            }
        }
    }

    /// Takes no more requests and gives out what is left.
    pub(crate) fn close(&mut self) -> Vec<Request> {
        self.receiver.close();
        let mut left: Vec<_> = self.waiting.drain(..).collect();
        left.extend(std::iter::from_fn(|| self.receiver.try_recv().ok()));
        left
    }

    fn sweep(&mut self) {
        self.waiting.retain(|request| !request.is_abandoned());
        self.sweep_at = (2 * self.waiting.len()).max(FEW);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use tokio::sync::oneshot;
    use tokio_tungstenite::tungstenite::Message as Frame;

    use super::*;
    use crate::buffered::BufferedAmount;
    use crate::request::{Awaited, Outcome, Outgoing, Repeats};

    struct Sender {
        requests: mpsc::UnboundedSender<Request>,
        amount: Arc<BufferedAmount>,
    }

    impl Sender {
        /// Queues a command of one byte that nobody waits for if `is_abandoned`.
        fn send(&self, id: u64, is_abandoned: bool) {
            let (reply, outcome) = oneshot::channel();
            let outgoing =
                Outgoing { frame: Frame::text("x"), charge: Some(self.amount.charge(1)) };
            let outcome_end = Outcome::Presence(reply);
            let awaited = Some(Awaited { id, outcome: outcome_end, repeats: Repeats::Always });
            self.requests.send(Request::Command { outgoing, awaited }).unwrap();
            if !is_abandoned {
                std::mem::forget(outcome);
            }
        }
    }

    fn queue() -> (Sender, Queue) {
        let (requests, receiver) = mpsc::unbounded_channel();
        let amount = Arc::new(BufferedAmount::new(u64::MAX));
        (Sender { requests, amount }, Queue::new(receiver))
    }

    fn hold_what_has_come(queue: &mut Queue) {
        assert_eq!(tokio::task::unconstrained(queue.hold()).now_or_never(), None);
    }

    fn id(request: &Request) -> u64 {
        match request {
            Request::Command { awaited: Some(awaited), .. } => awaited.id,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn requests_keep_their_order_whether_they_were_held_or_not() {
        let (sender, mut queue) = queue();
        (0..10).for_each(|id| sender.send(id, false));
        hold_what_has_come(&mut queue);
        (10..20).for_each(|id| sender.send(id, false));
        let mut taken = Vec::new();
        while taken.len() < 12 {
            queue.take(&mut taken, 5).await;
        }
        taken.extend(queue.close());
        assert_eq!(taken.iter().map(id).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
        assert!(queue.is_over());
    }

    #[tokio::test]
    async fn what_is_abandoned_does_not_gather() {
        let (sender, mut queue) = queue();
        for id in 0..10_000 {
            sender.send(id, id % 1_000 != 0);
            hold_what_has_come(&mut queue);
            assert!(queue.waiting.len() <= FEW && sender.amount.bytes() <= FEW as u64);
        }
        queue.sweep();
        assert_eq!(queue.close().len(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn when_no_more_come_nothing_that_is_abandoned_is_left() {
        let (sender, mut queue) = queue();
        (0..FEW as u64 / 2).for_each(|id| sender.send(id, true));
        assert!(timeout(QUIET / 2, queue.hold()).await.is_err());
        assert_eq!(sender.amount.bytes(), FEW as u64 / 2);
        assert!(timeout(QUIET * 2, queue.hold()).await.is_err());
        assert_eq!((queue.waiting.len(), sender.amount.bytes()), (0, 0));
    }
}
