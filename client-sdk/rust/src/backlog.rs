//! Updates that do not fit into the buffer of a subscription which the application is slow to
//! read. While there are any the socket is not read, and the broker sees backpressure.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::update::Update;

/// How many times the buffer of one subscription the backlog may hold. It grows past a few
/// messages only while a reply is awaited that may stand behind messages in the socket.
const BUFFERS_MAX: usize = 16;

/// Updates in the order in which they came, each with the subscription that it is for.
#[derive(Debug)]
pub(crate) struct Backlog {
    waiting: VecDeque<(mpsc::Sender<Update>, Update)>,
    len_max: usize,
}

impl Backlog {
    /// A backlog for subscriptions with buffers of `buffer` updates.
    pub(crate) fn new(buffer: usize) -> Self {
        Self { waiting: VecDeque::new(), len_max: buffer.saturating_mul(BUFFERS_MAX) }
    }

    /// Hands `update` to a subscription, or keeps it until there is room. One that has ended
    /// gets nothing.
    pub(crate) fn deliver(&mut self, to: &mpsc::Sender<Update>, update: Update) {
        if !self.waiting.is_empty() {
            self.waiting.push_back((to.clone(), update));
        } else if let Err(TrySendError::Full(update)) = to.try_send(update) {
            self.waiting.push_back((to.clone(), update));
        }
    }

    /// Whether another frame may be read. A program that waits for a reply inside its loop over
    /// messages would wait for ever if the socket rested until it reads, so that one gets leave.
    pub(crate) fn has_room(&self, reply_awaited: bool) -> bool {
        self.waiting.is_empty() || (reply_awaited && self.waiting.len() < self.len_max)
    }

    /// Waits until the first subscription has room, then hands over what fits. Never ends while
    /// nothing waits. Cancel safe.
    pub(crate) async fn drain(&mut self) {
        let Some((first, _)) = self.waiting.front() else {
            return std::future::pending().await;
        };
        // An error means that the subscription has ended; its updates go nowhere below.
        first.reserve().await.map(drop).ok();
        while let Some((to, update)) = self.waiting.pop_front() {
            if let Err(TrySendError::Full(update)) = to.try_send(update) {
                self.waiting.push_front((to, update));
                return;
            }
        }
    }

    /// Forgets everything; for a client that closes.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}
