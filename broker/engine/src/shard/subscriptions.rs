//! Starting and ending subscriptions of connections, in the shard's lists and in the table.

use fanfare_protocol::{CloseCode, Mode, Position, Subscribed, TopicName};

use super::connection::Subscription;
use super::{Key, Shard, Socket};
use crate::time::Now;
use crate::topics::JoinError;

impl<S: Socket> Shard<S> {
    /// Subscribes a connection; what is owed of the past is noted, to be sent behind the reply.
    pub(super) fn join(
        &mut self,
        key: Key,
        name: &TopicName,
        since: Option<&Position>,
        mode: Mode,
    ) -> Result<Subscribed, JoinError> {
        let joined = self.topics.join(name, self.index, since)?;
        let local = self.locals.locate(&joined.topic);
        let epoch = joined.topic.epoch().to_string();
        let offset = joined.head;
        let recovered = joined.can_recover;
        if let Some(connection) = self.connections.get_mut(key.0 as usize) {
            let after = joined.has_older_mail.then_some(offset);
            let position = self.locals.add(local, connection.form, key, after);
            let at = connection.subscriptions.partition_point(|s| s.local < local);
            connection.subscriptions.insert(at, Subscription { local, position, mode });
            let known = since.filter(|_| recovered).map(|since| since.offset);
            // The newest value is owed to whoever wants values; the past only to who asked.
            let owed_after = if mode == Mode::Latest { known.or(Some(0)) } else { known };
            if let Some(after) = owed_after.filter(|after| *after < offset) {
                connection.fall_behind(local, after);
            }
            self.counters.subscriptions.add(1);
        }
        Ok(Subscribed { epoch, offset, recovered, ..Subscribed::default() })
    }

    /// Starts a raw stream. It has no words for what it cannot recover, so it is closed then.
    pub(super) fn open_raw(
        &mut self,
        key: Key,
        topic: &TopicName,
        since: Option<&Position>,
        mode: Mode,
        now: Now,
    ) {
        match self.join(key, topic, since, mode) {
            Err(error) => self.close(key, CloseCode::TRY_AGAIN_LATER, &error.to_string(), now),
            Ok(joined) if since.is_some() && mode == Mode::All && !joined.recovered => {
                let reason = format!(
                    "the position cannot be recovered; come back without since, now at {}:{}",
                    joined.epoch, joined.offset
                );
                self.close(key, CloseCode::NOT_RECOVERABLE, &reason, now);
            }
            Ok(_) => self.flush_outbox(key, now),
        }
    }

    /// Ends one subscription of a connection.
    pub(super) fn leave(&mut self, key: Key, at: usize) {
        let Some(connection) = self.connections.get_mut(key.0 as usize) else { return };
        let Subscription { local, position, .. } = connection.subscriptions.remove(at);
        connection.forget_behind(local);
        let (topic, moved) = self.locals.remove(local, connection.form, position);
        self.topics.leave(&topic, self.index);
        self.counters.subscriptions.sub(1);
        let moved = moved.and_then(|moved| self.connections.get_mut(moved.0 as usize));
        if let Some(moved) = moved
            && let Some(at) = moved.subscription(local)
        {
            moved.subscriptions[at].position = position;
        }
    }

    pub(super) fn leave_all(&mut self, key: Key) {
        while let Some(last) = self
            .connections
            .get(key.0 as usize)
            .and_then(|connection| connection.subscriptions.len().checked_sub(1))
        {
            self.leave(key, last);
        }
    }
}
