//! What another thread asks of a shard about its connections, and has done to them.

use std::cmp::Reverse;
use std::sync::Arc;

use fanfare_engine::{ConnectionQuery, ConnectionReport, ConnectionTarget, Now, Shard};
use fanfare_protocol::CloseCode;
use tokio::sync::{mpsc, oneshot};

use super::socket::DataSocket;

/// Something that a shard is asked. Whoever asked may give up before the answer.
#[derive(Debug)]
pub(crate) enum Question {
    /// Which connections there are.
    Report(Arc<ConnectionQuery>, oneshot::Sender<Vec<ConnectionReport>>),
    /// To close connections, [`CLOSES_MAX`] at most; how many were closed.
    Disconnect(Arc<Disconnect>, oneshot::Sender<usize>),
}

/// Connections that an operator wants closed.
#[derive(Debug)]
pub(crate) struct Disconnect {
    pub(crate) target: ConnectionTarget,
    pub(crate) code: CloseCode,
    pub(crate) reason: String,
}

/// The way to a shard.
pub(crate) type Questions = mpsc::Sender<Question>;

/// Questions that may wait for one shard; it answers some twenty times a second.
pub(super) const QUESTIONS_MAX: usize = 16;

/// Connections that one shard closes at once: about as many as a drain does, so
/// that the others do not feel it.
const CLOSES_MAX: usize = 64;

impl Question {
    pub(super) fn answer(self, shard: &mut Shard<DataSocket>, now: Now) {
        match self {
            Self::Report(query, answer) => {
                let _ = answer.send(shard.report(&query, now));
            }
            Self::Disconnect(order, answer) => {
                let end = (order.code, order.reason.as_str());
                let _ = answer.send(shard.disconnect(&order.target, end, CLOSES_MAX, now));
            }
        }
    }
}

/// The connections of all shards that `query` asks for, the greatest first.
pub(crate) async fn report_connections(
    shards: &[Questions],
    query: ConnectionQuery,
) -> Vec<ConnectionReport> {
    let query = Arc::new(query);
    let answers = ask(shards, |answer| Question::Report(query.clone(), answer)).await;
    let mut all: Vec<ConnectionReport> = answers.into_iter().flatten().collect();
    all.sort_by_key(|report| Reverse((report.rank, report.topics_behind)));
    all.truncate(query.limit);
    all
}

/// Closes all connections that `order` means; how many they were.
pub(crate) async fn disconnect(shards: &[Questions], order: Disconnect) -> usize {
    let order = Arc::new(order);
    let mut closed = 0;
    loop {
        let answers = ask(shards, |answer| Question::Disconnect(order.clone(), answer)).await;
        closed += answers.iter().sum::<usize>();
        if answers.iter().all(|count| *count < CLOSES_MAX) {
            return closed;
        }
    }
}

/// Asks all shards. One that is gone is left out.
async fn ask<A>(shards: &[Questions], question: impl Fn(oneshot::Sender<A>) -> Question) -> Vec<A> {
    let mut waiting = Vec::with_capacity(shards.len());
    for shard in shards {
        let (answer, answered) = oneshot::channel();
        if shard.send(question(answer)).await.is_ok() {
            waiting.push(answered);
        }
    }
    let mut answers = Vec::with_capacity(waiting.len());
    for answered in waiting {
        answers.extend(answered.await);
    }
    answers
}
