//! The SDK protocol on one connection: commands in, replies out.

use fanfare_protocol::{
    CloseCode, Codec, Command, Connected, DecodedCommand, ErrorCode, ErrorReply, Publish,
    Published, Reply, ReplyBody, Request, Subscribe, TopicName, Unsubscribe, Unsubscribed,
};

use super::connection::Phase;
use super::{Key, Shard, Socket};
use crate::time::Now;
use crate::topics::{JoinError, PublishError};
use crate::ws::{FrameBuilder, Opcode};

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
            self.reply(key, codec, id, result, now);
        }
    }

    fn awaits_connect(&self, key: Key) -> bool {
        self.connections.get(key.0 as usize).is_some_and(|c| c.phase == Phase::AwaitingConnect)
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
        let mut frame = FrameBuilder::with_capacity(96);
        Reply { id, result }.encode(codec, frame.payload());
        let opcode = if codec == Codec::Json { Opcode::Text } else { Opcode::Binary };
        self.send(key, frame.finish(opcode).0, now);
    }

    fn handle_request(
        &mut self,
        key: Key,
        request: Request,
        now: Now,
    ) -> Result<ReplyBody, ErrorReply> {
        match request {
            Request::Connect(_) => self.connect(key),
            Request::Subscribe(subscribe) => self.subscribe(key, &subscribe),
            Request::Unsubscribe(unsubscribe) => self.unsubscribe(key, &unsubscribe, now),
            Request::Publish(publish) => self.publish(&publish, now),
            _ => Err(ErrorReply::new(ErrorCode::UnknownCommand, "this broker has no such command")),
        }
    }

    fn connect(&mut self, key: Key) -> Result<ReplyBody, ErrorReply> {
        let connection = self.connection_mut(key)?;
        if connection.phase != Phase::AwaitingConnect {
            let message = "this connection is connected already; send connect once";
            return Err(ErrorReply::new(ErrorCode::AlreadyConnected, message));
        }
        connection.phase = Phase::Open;
        let serial = connection.serial;
        Ok(ReplyBody::Connect(Connected {
            connection: format!("{}-{}-{serial}", self.node, self.index),
            node: self.node.to_string(),
            ping_interval_ms: self.limits.ping_interval_ms,
            message_bytes_max: self.limits.message_bytes_max as u64,
        }))
    }

    fn subscribe(&mut self, key: Key, subscribe: &Subscribe) -> Result<ReplyBody, ErrorReply> {
        let name = topic_name(&subscribe.topic)?;
        let most = self.limits.subscriptions_per_connection_max;
        if self.position_of(key, &name).is_some() {
            let message = format!("this connection subscribes to {name} already");
            return Err(ErrorReply::new(ErrorCode::AlreadySubscribed, message));
        }
        if self.connection_mut(key)?.subscriptions.len() >= most {
            let message = format!("this connection has {most} subscriptions, the most allowed");
            return Err(ErrorReply::new(ErrorCode::LimitExceeded, message));
        }
        let mode = subscribe.mode.unwrap_or_default();
        self.join(key, &name, subscribe.since.as_ref(), mode).map(ReplyBody::Subscribe).map_err(
            |error| {
                let JoinError::TooManyTopics(_) = error;
                ErrorReply::new(ErrorCode::LimitExceeded, error.to_string())
            },
        )
    }

    fn unsubscribe(
        &mut self,
        key: Key,
        unsubscribe: &Unsubscribe,
        now: Now,
    ) -> Result<ReplyBody, ErrorReply> {
        let name = topic_name(&unsubscribe.topic)?;
        let Some(at) = self.position_of(key, &name) else {
            let message = format!("this connection does not subscribe to {name}");
            return Err(ErrorReply::new(ErrorCode::NotSubscribed, message));
        };
        // What is marked already still belongs before the reply.
        self.stage_pending(key, now);
        self.leave(key, at);
        Ok(ReplyBody::Unsubscribe(Unsubscribed {}))
    }

    fn publish(&mut self, publish: &Publish, now: Now) -> Result<ReplyBody, ErrorReply> {
        let name = topic_name(&publish.topic)?;
        self.has_published = true;
        let published = self
            .topics
            .publish(&name, &publish.payload, &self.counters, now)
            .map_err(|error| publish_error(&error))?;
        let (epoch, offset) = (published.epoch.to_string(), published.offset);
        Ok(ReplyBody::Publish(Published { epoch, offset, duplicate: false }))
    }

    /// The place of a topic among the connection's subscriptions.
    fn position_of(&self, key: Key, name: &TopicName) -> Option<usize> {
        let local = self.locals.find(self.topics.id_of(name)?)?;
        self.connections.get(key.0 as usize)?.subscription(local)
    }

    fn connection_mut(
        &mut self,
        key: Key,
    ) -> Result<&mut super::connection::Connection<S>, ErrorReply> {
        // A command of a connection that is gone: its reply goes nowhere.
        self.connections
            .get_mut(key.0 as usize)
            .ok_or_else(|| ErrorReply::new(ErrorCode::Unavailable, "the connection is gone"))
    }
}

fn topic_name(text: &str) -> Result<TopicName, ErrorReply> {
    TopicName::new(text).map_err(|e| ErrorReply::new(ErrorCode::BadTopic, e.to_string()))
}

fn publish_error(error: &PublishError) -> ErrorReply {
    let code = match error {
        PublishError::TooBig(..) => ErrorCode::BadRequest,
        PublishError::TooManyTopics(_) => ErrorCode::LimitExceeded,
    };
    ErrorReply::new(code, error.to_string())
}
