//! Event streams: server-sent events of one topic, or of several with the stream's place.
//!
//! Such a connection is one like any other; here is what it is told beside messages, and what
//! becomes of what its client says.

use bytes::Bytes;
use fanfare_protocol::{
    CloseCode, Filter, Gap, Mode, Position, StreamEvent, Subscribed, TopicName,
};

use super::connection::{Connection, EventSource, Phase, Place, StreamOptions, Terms};
use super::subscriptions::Wishes;
use super::{Key, Shard, Socket};
use crate::event_frame::event_frame;
use crate::time::Now;
use crate::topics::{FrameParts, JoinError, WireForm};

/// How often a stream of several topics is told its place while it moves: what a client that comes
/// back gets twice is no more than came in this time.
pub(super) const PLACE_INTERVAL_MS: u64 = 1_000;

impl<S: Socket> Shard<S> {
    /// Starts the event stream of one topic.
    pub(super) fn open_topic_events(
        &mut self,
        key: Key,
        topic: &TopicName,
        since: Option<&Position>,
        options: StreamOptions,
        now: Now,
    ) {
        let mut begin = Vec::with_capacity(192);
        StreamEvent::encode_retry(&mut begin);
        match self.join(key, topic, Wishes { since, options, listens: false }, now) {
            Err(error) => return self.refuse_stream(key, &error, now),
            Ok(subscribed) => {
                let offset = begins_after(&subscribed, since);
                let id = Position { epoch: subscribed.epoch.clone(), offset };
                let (topic, id) = (topic.as_str(), Some(&id));
                let subscribed = &subscribed;
                let ping_interval_ms = self.limits.ping_interval_ms;
                StreamEvent::Subscribed { topic, subscribed, id, ping_interval_ms }
                    .encode(&mut begin);
            }
        }
        self.send(key, begin.into(), now);
        self.flush_outbox(key, now);
    }

    /// Starts the event stream of several topics and patterns.
    pub(super) fn open_events(
        &mut self,
        key: Key,
        sources: &[EventSource],
        options: StreamOptions,
        now: Now,
    ) {
        let mut begin = Vec::new();
        StreamEvent::encode_retry(&mut begin);
        self.send(key, begin.into(), now);
        for EventSource { filter, since } in sources {
            if self.place_of(key, filter).is_some() || !self.is_live(key) {
                continue;
            }
            let wishes = Wishes { since: since.as_ref(), options, listens: false };
            if let Err(error) = self.begin_source(key, filter, wishes, now) {
                return self.refuse_stream(key, &error, now);
            }
        }
        self.update_places(key);
        let Some(connection) = self.connections.get(key) else { return };
        if connection.phase == Phase::Closing {
            return;
        }
        let (event, serial) = (self.place_event(connection), connection.serial);
        let has_names = !connection.subscriptions.is_empty();
        self.send(key, event, now);
        self.flush_outbox(key, now);
        if has_names {
            self.places.push(key, serial, now.ms());
        }
    }

    /// Subscribes to one source of a stream and says so.
    fn begin_source(
        &mut self,
        key: Key,
        filter: &Filter,
        wishes: Wishes<'_>,
        now: Now,
    ) -> Result<(), JoinError> {
        // As for a `subscribe` command: what is marked, or owed, goes out first.
        if let Filter::Pattern(_) = filter {
            self.flush_outbox(key, now);
            self.drain_mailbox(usize::MAX, now);
        }
        self.stage_pending(key, now);
        let ping_interval_ms = self.limits.ping_interval_ms;
        let mut told = Vec::with_capacity(160);
        let (mut place, mut taken) = (None, None);
        match filter {
            Filter::Topic(name) => {
                let subscribed = self.join(key, name, wishes, now)?;
                let (topic, subscribed) = (name.as_str(), &subscribed);
                let event =
                    StreamEvent::Subscribed { topic, subscribed, id: None, ping_interval_ms };
                event.encode(&mut told);
                let local = self.topics.id_of(name).and_then(|id| self.locals.find(id));
                let offset = begins_after(subscribed, wishes.since);
                let began_at = subscribed.offset;
                place = local.map(|local| Place { local, offset, began_at });
            }
            Filter::Pattern(pattern) => {
                let (subscribed, snapshot) = self.join_pattern(key, pattern, wishes, now)?;
                taken = snapshot;
                let pattern = pattern.as_str();
                StreamEvent::PatternSubscribed { pattern, subscribed, ping_interval_ms }
                    .encode(&mut told);
            }
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.extras_mut().places.push(place);
        }
        self.send(key, told.into(), now);
        if let Some(snapshot) = taken {
            self.send_snapshot(key, snapshot, now);
        }
        Ok(())
    }

    fn refuse_stream(&mut self, key: Key, error: &JoinError, now: Now) {
        self.close(key, CloseCode::TRY_AGAIN_LATER, &error.to_string(), now);
    }

    /// Tells streams of several topics how far they have come, where that has changed. A part of
    /// them at a time, as with pings.
    pub(super) fn tell_places(&mut self, now: Now, call_interval_ms: u64) {
        const FEWEST: u64 = 32;
        let share = 2 * self.places.len() as u64 * call_interval_ms / PLACE_INTERVAL_MS;
        for _ in 0..share.max(FEWEST) {
            let Some((key, serial)) = self.places.pop_due(now.ms()) else { return };
            let Some(connection) = self.connections.get(key) else { continue };
            if connection.serial != serial || connection.phase == Phase::Closing {
                continue;
            }
            self.places.push(key, serial, now.ms());
            // Who does not keep up has no use for places of messages that are still to come.
            if !connection.is_lagging {
                self.tell_place(key, now);
            }
        }
    }

    fn tell_place(&mut self, key: Key, now: Now) {
        // What is marked goes first, so that the place is one that was reached.
        self.stage_pending(key, now);
        if !self.update_places(key) {
            return;
        }
        let Some(connection) = self.connections.get(key) else { return };
        let event = self.place_event(connection);
        self.send(key, event, now);
        self.flush_outbox(key, now);
    }

    /// Notes how far a stream has come: never further than it was sent, or passed over for newer
    /// messages. Whether that has changed.
    pub(super) fn update_places(&mut self, key: Key) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return false };
        if connection.form != WireForm::Events {
            return false;
        }
        let mut places = std::mem::take(&mut connection.extras_mut().places);
        let mut has_moved = false;
        for Place { local, offset, began_at } in places.iter_mut().flatten() {
            let (Some(topic), Some(at)) =
                (self.locals.get(*local), connection.subscription(*local))
            else {
                continue;
            };
            let Terms { mode, tier, .. } = connection.subscriptions[at].terms;
            let reached = match connection.behind().and_then(|behind| behind.get(*local)) {
                // What it is owed stands for all that it was not sent: told once it has caught up.
                Some(_) if mode == Mode::Latest => continue,
                Some(after) => after,
                None => topic.served(key, tier).max(*began_at),
            };
            has_moved |= reached > *offset;
            *offset = reached.max(*offset);
        }
        connection.extras_mut().places = places;
        has_moved
    }

    /// The event that tells a stream its place.
    pub(super) fn place_event(&self, connection: &Connection<S>) -> Bytes {
        let places = connection.extras().map_or(&[][..], |extras| &extras.places);
        let position = |place: &Option<Place>| {
            let Place { local, offset, .. } = (*place)?;
            let epoch = self.locals.get(local)?.topic.epoch().to_string();
            Some(Position { epoch, offset })
        };
        let positions: Vec<Option<Position>> = places.iter().map(position).collect();
        event_frame(StreamEvent::Place(&positions), 8 + 24 * positions.len())
    }

    /// Throws away what the reader of an event stream sends, such as further requests; too much of
    /// it ends the stream.
    pub(super) fn ignore_input(&mut self, key: Key, bytes: usize, now: Now) {
        let most = self.limits.message_bytes_max;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let parts = FrameParts { envelope: bytes as u64, ..FrameParts::default() };
        self.counters.of(connection.form).count_incoming(parts);
        if connection.idle_input.add(bytes as u32, now) as usize > most {
            let reason = format!("over {most} bytes in one second on a stream that is only read");
            self.close(key, CloseCode::POLICY_VIOLATION, &reason, now);
        }
    }
}

/// The offset after which messages follow.
fn begins_after(subscribed: &Subscribed, since: Option<&Position>) -> u64 {
    let newest = subscribed.offset - u64::from(subscribed.snapshot);
    since.filter(|_| subscribed.recovered).map_or(newest, |since| since.offset)
}

/// The event that tells which messages are lost.
pub(super) fn gap(form: WireForm, gap: &Gap) -> Bytes {
    let after = Position { epoch: gap.epoch.clone(), offset: gap.to };
    let id = (form == WireForm::TopicEvents).then_some(&after);
    event_frame(StreamEvent::Gap { gap, id }, 160)
}
