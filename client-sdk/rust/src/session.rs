//! What outlives a connection: the subscriptions and the commands that wait for replies. Turns
//! requests into frames and frames into outcomes; does no input or output itself.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use fanfare_protocol::limits::COMMANDS_PER_FRAME_MAX;
use fanfare_protocol::{
    Codec, Command, ErrorReply, Event, Position, Published, Reply as ReplyFrame, ReplyBody,
    Request as Body, ServerFrame, Subscribe, TopicName, Unsubscribe,
};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::backlog::Backlog;
use crate::client::Shared;
use crate::connection::frame_of;
use crate::error::Error;
use crate::request::{Listener, Reply, Request};
use crate::route::{Route, Wire};
use crate::subscription::SubscribeOptions;

/// A batch of commands is cut into frames of about this many bytes, well under the message limit
/// of any sensible broker.
const BATCH_BYTES_GOAL: usize = 32 * 1024;

/// The subscriptions and open commands of one client.
#[derive(Debug)]
pub(crate) struct Session {
    codec: Codec,
    shared: Arc<Shared>,
    routes: HashMap<TopicName, Route>,
    pending: HashMap<u64, Pending>,
    pub(crate) backlog: Backlog,
    /// Frames that the connection should send.
    outgoing: Vec<Frame>,
    /// A subscription was refused for now.
    renewal_wanted: bool,
}

/// A command whose reply is awaited.
#[derive(Debug)]
enum Pending {
    Subscribe(TopicName),
    Unsubscribe(oneshot::Sender<()>),
    Publish(Reply<Position>),
}

/// A reply that does not fit its command: the broker's fault.
#[derive(Debug)]
pub(crate) struct Mismatch;

impl Session {
    pub(crate) fn new(codec: Codec, shared: Arc<Shared>, backlog: Backlog) -> Self {
        Self {
            codec,
            shared,
            routes: HashMap::new(),
            pending: HashMap::new(),
            backlog,
            outgoing: Vec::new(),
            renewal_wanted: false,
        }
    }

    /// Whether a command waits for its reply.
    pub(crate) fn awaits_reply(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes the frames that should be sent.
    pub(crate) fn take_outgoing(&mut self) -> std::vec::Drain<'_, Frame> {
        self.outgoing.drain(..)
    }

    /// Whether a subscription was refused since the last call, but may succeed later.
    pub(crate) fn take_renewal_wanted(&mut self) -> bool {
        std::mem::take(&mut self.renewal_wanted)
    }

    /// The frames that open a new connection: `connect`, and every subscription again.
    pub(crate) fn open(&mut self, connect: Command) -> Vec<Frame> {
        self.outgoing.clear();
        self.subscribe_wanted(Some(connect));
        std::mem::take(&mut self.outgoing)
    }

    /// Subscribes again to what was refused for now.
    pub(crate) fn renew(&mut self) {
        self.subscribe_wanted(None);
    }

    /// The connection is gone: what was in flight has an unknown outcome, and every subscription
    /// must be made again.
    pub(crate) fn disconnected(&mut self) {
        self.outgoing.clear();
        self.routes.values_mut().for_each(|route| route.wire = Wire::Wanted);
        for (_, pending) in self.pending.drain() {
            if let Pending::Publish(reply) = pending {
                reply.send(Err(Error::ConnectionLost)).ok();
            }
        }
    }

    /// Ends every subscription. Replies are still taken.
    pub(crate) fn end_subscriptions(&mut self, error: &Error) {
        self.routes.drain().for_each(|(_, route)| route.end(error));
        self.backlog.clear();
    }

    /// Carries out a request on the live connection.
    pub(crate) fn request(&mut self, request: Request) {
        if request.is_abandoned() {
            return;
        }
        match request {
            Request::Subscribe { topic, options, listener } => self.join(topic, &options, listener),
            Request::Publish { frame, confirm } => self.publish(frame, confirm),
        }
    }

    /// Removes one subscription of the application, and the one on the wire with the last.
    pub(crate) fn leave(
        &mut self,
        topic: &TopicName,
        number: u64,
        done: Option<oneshot::Sender<()>>,
    ) {
        let Some(route) = self.routes.get_mut(topic) else {
            return;
        };
        if !route.leave(number) {
            return;
        }
        let on_the_wire = route.wire != Wire::Wanted;
        self.routes.remove(topic);
        if on_the_wire {
            let id = done.is_some().then(|| self.shared.next_number());
            self.pending.extend(id.zip(done).map(|(id, done)| (id, Pending::Unsubscribe(done))));
            let request = Body::Unsubscribe(Unsubscribe { topic: topic.to_string() });
            self.send(&[Command { id, request }]);
        }
    }

    /// Acts on a frame of the broker.
    pub(crate) fn receive(&mut self, frame: ServerFrame) -> Result<(), Mismatch> {
        match frame {
            ServerFrame::Message(push) => {
                if let Some(route) = self.routes.get_mut(push.topic.as_str()) {
                    route.deliver(push, &mut self.backlog);
                }
                Ok(())
            }
            ServerFrame::Reply(reply) => self.resolve(reply),
            ServerFrame::Event(Event::Gap(gap)) => {
                if let Some(route) = self.routes.get_mut(gap.topic.as_str()) {
                    route.miss(&gap, &mut self.backlog);
                }
                Ok(())
            }
            ServerFrame::Event(_) => Ok(()),
        }
    }

    fn join(&mut self, topic: TopicName, options: &SubscribeOptions, listener: Listener) {
        let route = match self.routes.entry(topic.clone()) {
            Entry::Vacant(vacant) => vacant.insert(Route::new(topic.clone(), options)),
            Entry::Occupied(running) if running.get().admits(options) => running.into_mut(),
            Entry::Occupied(running) => {
                let mode = running.get().mode();
                return listener.end(Error::SubscribedOtherwise { topic, mode });
            }
        };
        route.join(listener);
        if route.wire == Wire::Wanted {
            let asked = self.ask(topic);
            self.send(asked.map(|(command, _)| command).as_slice());
        }
    }

    fn publish(&mut self, frame: Frame, confirm: Option<(u64, Reply<Position>)>) {
        // The limit was checked when the frame was made, but may be another one since.
        match (self.shared.check_length(&frame), confirm) {
            (Ok(()), confirm) => {
                self.pending.extend(confirm.map(|(id, reply)| (id, Pending::Publish(reply))));
                self.outgoing.push(frame);
            }
            (Err(error), Some((_, reply))) => drop(reply.send(Err(error))),
            (Err(_), None) => {}
        }
    }

    fn resolve(&mut self, reply: ReplyFrame) -> Result<(), Mismatch> {
        let Some(pending) = self.pending.remove(&reply.id) else {
            return Ok(());
        };
        match (pending, reply.result) {
            (Pending::Publish(outcome), Ok(ReplyBody::Publish(position))) => {
                let Published { epoch, offset, .. } = position;
                outcome.send(Ok(Position { epoch, offset })).ok();
            }
            (Pending::Publish(outcome), Err(error)) => {
                outcome.send(Err(Error::Refused(error))).ok();
            }
            (Pending::Unsubscribe(done), Ok(ReplyBody::Unsubscribe(_)) | Err(_)) => {
                done.send(()).ok();
            }
            (Pending::Subscribe(topic), Ok(ReplyBody::Subscribe(subscribed))) => {
                let asked = Wire::Asked(reply.id);
                let route = self.routes.get_mut(&topic).filter(|route| route.wire == asked);
                if let Some(route) = route {
                    route.begin(&subscribed, &mut self.backlog);
                }
            }
            (Pending::Subscribe(topic), Err(error)) => self.refused(&topic, reply.id, &error),
            (_, Ok(_)) => return Err(Mismatch),
        }
        Ok(())
    }

    fn refused(&mut self, topic: &TopicName, id: u64, error: &ErrorReply) {
        let asked = Wire::Asked(id);
        let Some(route) = self.routes.get_mut(topic).filter(|route| route.wire == asked) else {
            return;
        };
        if route.refuse(error) {
            self.routes.remove(topic);
        } else {
            self.renewal_wanted = true;
        }
    }

    fn subscribe_wanted(&mut self, first: Option<Command>) {
        let wanted: Vec<_> = self
            .routes
            .iter()
            .filter(|(_, route)| route.wire == Wire::Wanted)
            .map(|(topic, _)| topic.clone())
            .collect();
        let mut batch = Vec::from_iter(first);
        let mut bytes = 0;
        for topic in wanted {
            let Some((command, length)) = self.ask(topic) else { continue };
            bytes += length;
            if bytes > BATCH_BYTES_GOAL || batch.len() == COMMANDS_PER_FRAME_MAX {
                self.send(&std::mem::take(&mut batch));
                bytes = length;
            }
            batch.push(command);
        }
        self.send(&batch);
    }

    /// The command that asks for a topic that has a route, and the most bytes that it can have.
    fn ask(&mut self, topic: TopicName) -> Option<(Command, usize)> {
        let route = self.routes.get_mut(&topic)?;
        let id = self.shared.next_number();
        route.wire = Wire::Asked(id);
        self.pending.insert(id, Pending::Subscribe(topic));
        let subscribe = route.subscribe_command();
        let length = subscribe_bytes_max(&subscribe);
        Some((Command { id: Some(id), request: Body::Subscribe(subscribe) }, length))
    }

    fn send(&mut self, commands: &[Command]) {
        if !commands.is_empty() {
            self.outgoing.push(frame_of(self.codec, commands));
        }
    }
}

/// The longest that a `subscribe` command can be in either codec: each byte of a topic's name may
/// need an escape of two and each of an epoch one of six; the rest with the longest numbers has
/// 120.
fn subscribe_bytes_max(subscribe: &Subscribe) -> usize {
    let epoch_bytes = subscribe.since.as_ref().map_or(0, |since| since.epoch.len());
    2 * subscribe.topic.len() + 6 * epoch_bytes + 120
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::Mode;

    use super::*;

    #[test]
    fn no_subscribe_command_is_longer_than_the_most_that_is_reckoned_with() {
        let subscribe = Subscribe {
            since: Some(Position { epoch: "\u{1}".repeat(40), offset: u64::MAX }),
            mode: Some(Mode::Latest),
            ..Subscribe::new("\"".repeat(255))
        };
        let most = subscribe_bytes_max(&subscribe);
        let command = Command { id: Some(u64::MAX), request: Body::Subscribe(subscribe) };
        let comma = 1;
        assert_eq!(frame_of(Codec::Json, std::slice::from_ref(&command)).len() + comma, most);
        assert!(frame_of(Codec::MsgPack, &[command]).len() < most);
    }
}
