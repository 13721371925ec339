//! The SDK protocol on one connection: commands in, replies out.

use fanfare_protocol::{
    CloseCode, Codec, Command, Connect, Connected, DecodedCommand, ErrorCode, ErrorReply, Filter,
    Publish, Published, Reply, ReplyBody, Request, Subscribe, TopicError, TopicName, Unsubscribe,
    Unsubscribed,
};

use super::connection::{Phase, StreamOptions};
use super::snapshot::Snapshot;
use super::subscriptions::Wishes;
use super::{Key, Shard, Socket};
use crate::sdk_frame::sdk_frame;
use crate::time::Now;
use crate::topics::{self, JoinError, MemberId, PublishError};

/// What a command came to.
struct Answer {
    body: ReplyBody,
    /// What follows the reply.
    snapshot: Option<Snapshot>,
}

impl From<ReplyBody> for Answer {
    fn from(body: ReplyBody) -> Self {
        Self { body, snapshot: None }
    }
}

impl<S: Socket> Shard<S> {
    /// Carries out the commands of one frame, in order.
    pub(super) fn handle_commands(&mut self, key: Key, codec: Codec, frame: &[u8], now: Now) {
        let commands = match Command::decode_frame(codec, frame) {
            Ok(commands) => commands,
            Err(error) => {
                return self.close(key, CloseCode::BAD_COMMAND, &error.to_string(), now);
            }
        };
        for DecodedCommand { id, request } in commands {
            if !self.is_live(key) {
                return;
            }
            if self.awaits_connect(key) && !matches!(request, Ok(Request::Connect(_))) {
                return self.refuse_unconnected(key, codec, id, request, now);
            }
            let result = request.and_then(|request| self.handle_request(key, request, now));
            let (result, snapshot) = match result {
                Ok(Answer { body, snapshot }) => (Ok(body), snapshot),
                Err(error) => (Err(error), None),
            };
            self.reply(key, codec, id, result, now);
            if let Some(snapshot) = snapshot {
                self.send_snapshot(key, snapshot, now);
            }
            // Many large replies to one frame are no sign of a slow reader: let it take them.
            if self.connections.get(key).is_some_and(|c| c.is_lagging) {
                self.flush_outbox(key, now);
            }
        }
    }

    fn awaits_connect(&self, key: Key) -> bool {
        self.connections.get(key).is_some_and(|c| c.phase == Phase::AwaitingConnect)
    }

    /// A first command that is not `connect`, or a wrong one, ends the connection: nothing that
    /// follows it in the pipeline could be carried out.
    fn refuse_unconnected(
        &mut self,
        key: Key,
        codec: Codec,
        id: Option<u64>,
        request: Result<Request, ErrorReply>,
        now: Now,
    ) {
        let reason = match request {
            Ok(_) => "the first command must be connect".to_owned(),
            Err(error) => format!("the first command must be connect: {}", error.message),
        };
        let error = ErrorReply::new(ErrorCode::BadRequest, reason.clone());
        self.reply(key, codec, id, Err(error), now);
        self.close(key, CloseCode::CONNECT_REQUIRED, &reason, now);
    }

    fn reply(
        &mut self,
        key: Key,
        codec: Codec,
        id: Option<u64>,
        result: Result<ReplyBody, ErrorReply>,
        now: Now,
    ) {
        if result.is_err() {
            self.counters.command_errors.add(1);
        }
        let Some(id) = id else { return };
        let reply = Reply { id, result };
        self.send(key, sdk_frame(codec, 96, |out| reply.encode(codec, out)), now);
    }

    fn handle_request(
        &mut self,
        key: Key,
        request: Request,
        now: Now,
    ) -> Result<Answer, ErrorReply> {
        let body = match request {
            Request::Subscribe(subscribe) => return self.subscribe(key, &subscribe, now),
            Request::Connect(connect) => self.connect(key, &connect),
            Request::Unsubscribe(unsubscribe) => self.unsubscribe(key, &unsubscribe, now),
            Request::Publish(publish) => self.publish(&publish, now),
            Request::History(history) => self.history(&history),
            Request::Presence(presence) => self.presence(&presence),
            _ => Err(ErrorReply::new(ErrorCode::UnknownCommand, "this broker has no such command")),
        };
        body.map(Answer::from)
    }

    fn connect(&mut self, key: Key, connect: &Connect) -> Result<ReplyBody, ErrorReply> {
        let connection = self.connection_mut(key)?;
        if connection.phase != Phase::AwaitingConnect {
            let message = "this connection is connected already; send connect once";
            return Err(ErrorReply::new(ErrorCode::AlreadyConnected, message));
        }
        connection.phase = Phase::Open;
        if let Some(name) = &connect.name {
            connection.extras_mut().name = Some(name.as_str().into());
        }
        let serial = connection.serial;
        let id = MemberId { shard: self.index as u32, serial };
        Ok(ReplyBody::Connect(Connected {
            connection: id.connection(&self.node),
            node: self.node.to_string(),
            ping_interval_ms: self.limits.ping_interval_ms,
            message_bytes_max: self.limits.message_bytes_max as u64,
        }))
    }

    fn subscribe(
        &mut self,
        key: Key,
        subscribe: &Subscribe,
        now: Now,
    ) -> Result<Answer, ErrorReply> {
        let filter = filter(&subscribe.topic)?;
        if let Filter::Pattern(_) = filter {
            // Mail that waits is for those who were here before, and much of it may be for this
            // connection: with a reply in its outbox it would look blocked.
            self.flush_outbox(key, now);
            self.drain_mailbox(usize::MAX, now);
        }
        // What is marked goes out first: a connection that is owed something counts as waiting.
        self.stage_pending(key, now);
        if self.place_of(key, &filter).is_some() {
            let message = format!("this connection subscribes to {filter} already");
            return Err(ErrorReply::new(ErrorCode::AlreadySubscribed, message));
        }
        let most = self.limits.subscriptions_per_connection_max;
        let connection = self.connection_mut(key)?;
        if connection.subscriptions.len() + connection.patterns().len() >= most {
            let message = format!("this connection has {most} subscriptions, the most allowed");
            return Err(ErrorReply::new(ErrorCode::LimitExceeded, message));
        }
        let Subscribe { mode, max_rate, snapshot, .. } = *subscribe;
        let options = StreamOptions { mode, max_rate, snapshot };
        let since = subscribe.since.as_ref();
        let wishes = Wishes { since, options, listens: subscribe.presence };
        let subscribed = match &filter {
            Filter::Topic(name) => {
                self.join(key, name, wishes, now).map(|joined| ReplyBody::Subscribe(joined).into())
            }
            Filter::Pattern(pattern) => {
                self.join_pattern(key, pattern, wishes, now).map(|(joined, snapshot)| Answer {
                    body: ReplyBody::SubscribePattern(joined),
                    snapshot,
                })
            }
        };
        subscribed.map_err(|error| join_error(&error))
    }

    fn unsubscribe(
        &mut self,
        key: Key,
        unsubscribe: &Unsubscribe,
        now: Now,
    ) -> Result<ReplyBody, ErrorReply> {
        let filter = filter(&unsubscribe.topic)?;
        // What is marked already still belongs before the reply. It may be too much for the
        // connection, which has no subscriptions then.
        self.stage_pending(key, now);
        let Some(place) = self.place_of(key, &filter) else {
            let message = format!("this connection does not subscribe to {filter}");
            return Err(ErrorReply::new(ErrorCode::NotSubscribed, message));
        };
        match filter {
            Filter::Topic(_) => self.end_subscription(key, place, now),
            Filter::Pattern(_) => self.end_pattern(key, place, now),
        }
        Ok(ReplyBody::Unsubscribe(Unsubscribed {}))
    }

    fn publish(&mut self, publish: &Publish, now: Now) -> Result<ReplyBody, ErrorReply> {
        let name = topic_name(&publish.topic)?;
        self.note_publish(publish.payload.bytes().len());
        let key = publish.key.as_deref();
        let published = self
            .topics
            .publish(&name, &publish.payload, key, &self.counters, now)
            .map_err(|error| publish_error(&error))?;
        let topics::Published { epoch, offset, duplicate } = published;
        Ok(ReplyBody::Publish(Published { epoch: epoch.to_string(), offset, duplicate }))
    }

    /// The place of a topic or pattern among the connection's subscriptions of its kind.
    pub(super) fn place_of(&self, key: Key, filter: &Filter) -> Option<usize> {
        let connection = self.connections.get(key)?;
        match filter {
            Filter::Topic(name) => {
                connection.subscription(self.locals.find(self.topics.id_of(name)?)?)
            }
            Filter::Pattern(pattern) => {
                let place = self.locals.find_pattern(pattern)?;
                connection.patterns().iter().position(|one| one.pattern == place)
            }
        }
    }

    fn connection_mut(
        &mut self,
        key: Key,
    ) -> Result<&mut super::connection::Connection<S>, ErrorReply> {
        // A command of a connection that is gone, or closing: its reply goes nowhere.
        self.connections
            .get_mut(key)
            .filter(|connection| connection.phase != Phase::Closing)
            .ok_or_else(|| ErrorReply::new(ErrorCode::Unavailable, "the connection is gone"))
    }
}

pub(super) fn topic_name(text: &str) -> Result<TopicName, ErrorReply> {
    TopicName::new(text).map_err(bad_topic)
}

fn filter(text: &str) -> Result<Filter, ErrorReply> {
    Filter::new(text).map_err(bad_topic)
}

fn bad_topic(error: TopicError) -> ErrorReply {
    ErrorReply::new(ErrorCode::BadTopic, error.to_string())
}

pub(super) fn join_error(error: &JoinError) -> ErrorReply {
    let code = match error {
        JoinError::TooManyTopics(_)
        | JoinError::TooManyPatterns(_)
        | JoinError::PatternsOfConnection(_) => ErrorCode::LimitExceeded,
        JoinError::TooMuchSearched(_) => ErrorCode::Unavailable,
        JoinError::NoPresence => ErrorCode::NotEnabled,
    };
    ErrorReply::new(code, error.to_string())
}

fn publish_error(error: &PublishError) -> ErrorReply {
    let code = match error {
        PublishError::TooBig(..) => ErrorCode::BadRequest,
        PublishError::TooManyTopics(_) => ErrorCode::LimitExceeded,
    };
    ErrorReply::new(code, error.to_string())
}
