//! Questions that another thread asks a shard about its connections.

use fanfare_engine::{ConnectionReport, Now, Shard};
use tokio::sync::{mpsc, oneshot};

use super::socket::DataSocket;

/// Asks for the connections with the most unsent.
#[derive(Debug)]
pub(crate) struct Question {
    limit: usize,
    answer: oneshot::Sender<Vec<ConnectionReport>>,
}

/// The way to a shard.
pub(crate) type Questions = mpsc::Sender<Question>;

/// Questions that may wait for one shard; it answers some twenty times a second.
pub(super) const QUESTIONS_MAX: usize = 16;

impl Question {
    pub(super) fn answer(self, shard: &Shard<DataSocket>, now: Now) {
        // Whoever asked may have given up.
        let _ = self.answer.send(shard.worst_connections(self.limit, now));
    }
}

/// The `limit` connections of all shards with the most unsent, most first. A shard that is gone
/// is left out.
pub(crate) async fn worst_connections(shards: &[Questions], limit: usize) -> Vec<ConnectionReport> {
    let mut waiting = Vec::with_capacity(shards.len());
    for shard in shards {
        let (answer, answered) = oneshot::channel();
        if shard.send(Question { limit, answer }).await.is_ok() {
            waiting.push(answered);
        }
    }
    let mut worst = Vec::new();
    for answered in waiting {
        worst.extend(answered.await.unwrap_or_default());
    }
    worst.sort_by_key(|report| std::cmp::Reverse((report.buffered_amount, report.topics_behind)));
    worst.truncate(limit);
    worst
}
