//! What outlives a connection: the subscriptions and the commands that wait for replies. Turns
//! requests into frames and frames into outcomes; does no input or output itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fanfare_protocol::{
    Codec, Command, ErrorReply, Event as Pushed, Filter, Ping, Reply as ReplyFrame, ReplyBody,
    Request as Body, ServerFrame, Unsubscribe,
};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::audience::{Audience, Wire};
use crate::backlog::Backlog;
use crate::batch::Batch;
use crate::client::Shared;
use crate::connection::{frame_bytes, frame_of};
use crate::error::Error;
use crate::event::Event;
use crate::request::{Awaited, Outcome, Outgoing, Repeats, Request};
use crate::routes::Routes;

/// The longest time over which a broker may have its clients spread their return.
const DRAIN_WINDOW_MAX: Duration = Duration::from_secs(3_600);

/// The subscriptions and open commands of one client.
#[derive(Debug)]
pub(crate) struct Session {
    codec: Codec,
    shared: Arc<Shared>,
    routes: Routes,
    pending: HashMap<u64, Pending>,
    /// Commands to be sent again on the next connection.
    repeats: Vec<Repeat>,
    pub(crate) backlog: Backlog,
    /// Frames that the connection should send.
    outgoing: Vec<Outgoing>,
    /// A subscription was refused for now.
    renewal_wanted: bool,
    /// The broker will close the connection and wants its clients back within this time.
    drain_window: Option<Duration>,
}

/// A command whose reply is awaited.
#[derive(Debug)]
enum Pending {
    Subscribe(Filter),
    Unsubscribe(oneshot::Sender<()>),
    /// With the frame, if it may be sent again.
    Command(Awaited, Option<Frame>),
}

/// A command that is sent again.
#[derive(Debug)]
struct Repeat {
    awaited: Awaited,
    outgoing: Outgoing,
}

/// A reply that does not fit its command: the broker's fault.
#[derive(Debug)]
pub(crate) struct Mismatch;

impl Session {
    pub(crate) fn new(codec: Codec, shared: Arc<Shared>, backlog: Backlog) -> Self {
        Self {
            codec,
            shared,
            routes: Routes::default(),
            pending: HashMap::new(),
            repeats: Vec::new(),
            backlog,
            outgoing: Vec::new(),
            renewal_wanted: false,
            drain_window: None,
        }
    }

    /// Whether a command waits for its reply.
    pub(crate) fn awaits_reply(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes the frames that should be sent.
    pub(crate) fn take_outgoing(&mut self) -> std::vec::Drain<'_, Outgoing> {
        self.outgoing.drain(..)
    }

    /// Whether a subscription was refused since the last call, but may succeed later.
    pub(crate) fn take_renewal_wanted(&mut self) -> bool {
        std::mem::take(&mut self.renewal_wanted)
    }

    /// Over what time the broker wanted the return of its clients spread, if it said so.
    pub(crate) fn take_drain_window(&mut self) -> Option<Duration> {
        self.drain_window.take()
    }

    /// The frames that open a new connection: `connect`, and every subscription again.
    pub(crate) fn open(&mut self, connect: Command) -> Vec<Outgoing> {
        self.outgoing.clear();
        self.subscribe_wanted(Some(connect));
        std::mem::take(&mut self.outgoing)
    }

    /// The connection is open: what may be repeated goes first.
    pub(crate) fn opened(&mut self) {
        for Repeat { awaited, outgoing } in std::mem::take(&mut self.repeats) {
            if awaited.repeats.allows_another() {
                self.command(outgoing, Some(awaited));
            } else {
                awaited.outcome.fail(Error::ConnectionLost);
            }
        }
    }

    /// Subscribes again to what was refused for now.
    pub(crate) fn renew(&mut self) {
        self.subscribe_wanted(None);
    }

    /// The connection is gone: what was in flight has an unknown outcome unless it may be
    /// repeated, and every subscription must be made again.
    pub(crate) fn disconnected(&mut self) {
        self.outgoing.clear();
        self.routes.want_all();
        let pending = std::mem::take(&mut self.pending);
        for pending in pending.into_values() {
            match pending {
                Pending::Command(awaited, Some(frame)) => {
                    let charge = Some(self.shared.buffered.charge(frame_bytes(&frame)));
                    self.repeats.push(Repeat { awaited, outgoing: Outgoing { frame, charge } });
                }
                Pending::Command(awaited, None) => awaited.outcome.fail(Error::ConnectionLost),
                Pending::Subscribe(_) | Pending::Unsubscribe(_) => {}
            }
        }
        // In the order in which they were made.
        self.repeats.sort_unstable_by_key(|repeat| repeat.awaited.id);
    }

    /// Ends every subscription. Replies are still taken.
    pub(crate) fn end_subscriptions(&mut self, error: &Error) {
        self.routes.end(error);
        self.backlog.clear();
    }

    /// Ends everything: there will be no further connection.
    pub(crate) fn end(&mut self, error: &Error) {
        self.end_subscriptions(error);
        self.disconnected();
        let repeats = self.repeats.drain(..);
        repeats.for_each(|repeat| repeat.awaited.outcome.fail(Error::ConnectionLost));
    }

    /// Carries out a request on the live connection.
    pub(crate) fn request(&mut self, request: Request) {
        if request.is_abandoned() {
            return;
        }
        match request {
            Request::Subscribe { filter, options, listener } => {
                self.routes.join(&filter, options, listener);
                let joined = self.routes.audience(&filter);
                if joined.is_some_and(|(audience, _)| audience.wire == Wire::Wanted) {
                    let asked = self.ask(&filter);
                    self.send(asked.as_slice());
                }
            }
            Request::Command { outgoing, awaited } => self.command(outgoing, awaited),
        }
    }

    /// Removes one subscription of the application, and the one on the wire with the last.
    pub(crate) fn leave(
        &mut self,
        filter: &Filter,
        number: u64,
        done: Option<oneshot::Sender<()>>,
    ) {
        let Some(audience) = self.routes.audience_mut(filter) else {
            return;
        };
        if !audience.leave(number) {
            return;
        }
        let on_the_wire = audience.wire != Wire::Wanted;
        self.routes.remove(filter);
        if on_the_wire {
            let id = done.is_some().then(|| self.shared.next_number());
            self.pending.extend(id.zip(done).map(|(id, done)| (id, Pending::Unsubscribe(done))));
            self.send(&[unsubscribe(filter, id)]);
        }
    }

    /// Acts on a frame of the broker.
    pub(crate) fn receive(&mut self, frame: ServerFrame) -> Result<(), Mismatch> {
        match frame {
            ServerFrame::Message(push) => self.routes.deliver(&push, &mut self.backlog),
            ServerFrame::Reply(reply) => return self.resolve(reply),
            ServerFrame::Event(Pushed::Gap(gap)) => self.routes.miss(&gap, &mut self.backlog),
            ServerFrame::Event(Pushed::Snapshot(end)) => {
                self.routes.end_snapshot(&end, &mut self.backlog);
            }
            ServerFrame::Event(Pushed::Presence(change)) => {
                self.routes.tell_presence(change, &mut self.backlog);
            }
            ServerFrame::Event(Pushed::Ping(ping)) => self.compare(&ping),
            ServerFrame::Event(Pushed::Drain(drain)) => {
                let window = Duration::from_millis(drain.window_ms).min(DRAIN_WINDOW_MAX);
                self.drain_window = Some(window);
                self.shared.events.emit(Event::Draining { window });
            }
            ServerFrame::Event(_) => {}
        }
        Ok(())
    }

    /// A topic has come into being after it was subscribed to.
    pub(crate) fn bear(&mut self, topic: &str, epoch: &Arc<str>) {
        self.routes.bear(topic, epoch);
    }

    /// Compares how far the broker has sent with how far the subscriptions have come. One that is
    /// behind is made anew from where it is: what it lacks follows, or becomes a gap.
    fn compare(&mut self, ping: &Ping) {
        let topics = self.routes.short_of(ping);
        if topics.is_empty() {
            return;
        }
        let mut batch = Batch::new();
        for topic in &topics {
            let filter = Filter::Topic(topic.clone());
            let Some(again) = self.ask(&filter) else { continue };
            // Both in one frame, so that they are carried out together.
            batch.push_together([unsubscribe(&filter, None), again]);
        }
        self.send_batch(batch);
        self.shared.repairs.fetch_add(topics.len() as u64, Ordering::Relaxed);
        self.shared.events.emit(Event::Repairing { topics });
    }

    fn command(&mut self, outgoing: Outgoing, awaited: Option<Awaited>) {
        // The limit was checked when the frame was made, but may be another one since.
        match (self.shared.check_length(&outgoing.frame), awaited) {
            (Ok(()), Some(awaited)) if awaited.outcome.is_abandoned() => {}
            (Ok(()), awaited) => {
                if let Some(awaited) = awaited {
                    let may_repeat = !matches!(awaited.repeats, Repeats::Never);
                    let again = may_repeat.then(|| outgoing.frame.clone());
                    self.pending.insert(awaited.id, Pending::Command(awaited, again));
                }
                self.outgoing.push(outgoing);
            }
            (Err(error), Some(awaited)) => awaited.outcome.fail(error),
            (Err(_), None) => {}
        }
    }

    fn resolve(&mut self, reply: ReplyFrame) -> Result<(), Mismatch> {
        let Some(pending) = self.pending.remove(&reply.id) else {
            return Ok(());
        };
        match (pending, reply.result) {
            (Pending::Command(awaited, _), result) => return answer(awaited.outcome, result),
            (Pending::Unsubscribe(done), Ok(ReplyBody::Unsubscribe(_)) | Err(_)) => {
                done.send(()).ok();
            }
            (Pending::Subscribe(filter), Ok(body)) => return self.begin(&filter, reply.id, body),
            (Pending::Subscribe(filter), Err(error)) => self.refused(&filter, reply.id, &error),
            (Pending::Unsubscribe(_), Ok(_)) => return Err(Mismatch),
        }
        Ok(())
    }

    /// The broker has begun a subscription.
    fn begin(&mut self, filter: &Filter, id: u64, body: ReplyBody) -> Result<(), Mismatch> {
        let Some(audience) = self.asked(filter, id) else {
            return Ok(());
        };
        audience.wire = Wire::Live(id);
        match (filter, body) {
            (Filter::Topic(topic), ReplyBody::Subscribe(subscribed)) => {
                self.routes.begin(topic, &subscribed, &mut self.backlog);
            }
            (Filter::Pattern(pattern), ReplyBody::SubscribePattern(subscribed)) => {
                self.routes.begin_pattern(pattern, subscribed, &mut self.backlog);
            }
            _ => return Err(Mismatch),
        }
        Ok(())
    }

    fn refused(&mut self, filter: &Filter, id: u64, error: &ErrorReply) {
        let Some(audience) = self.asked(filter, id) else {
            return;
        };
        if audience.refuse(error) {
            self.routes.remove(filter);
        } else {
            self.renewal_wanted = true;
        }
    }

    /// The subscription that was asked for in the command `id`, unless it has ended or been asked
    /// for anew since.
    fn asked(&mut self, filter: &Filter, id: u64) -> Option<&mut Audience> {
        self.routes.audience_mut(filter).filter(|audience| audience.wire == Wire::Asked(id))
    }

    fn subscribe_wanted(&mut self, first: Option<Command>) {
        let mut batch = Batch::new();
        batch.push_together(first);
        for filter in self.routes.wanted() {
            batch.push_together(self.ask(&filter));
        }
        self.send_batch(batch);
    }

    /// The command that subscribes to a filter of the application.
    fn ask(&mut self, filter: &Filter) -> Option<Command> {
        let subscribe = self.routes.subscribe_command(filter)?;
        let id = self.shared.next_number();
        self.routes.audience_mut(filter)?.wire = Wire::Asked(id);
        self.pending.insert(id, Pending::Subscribe(filter.clone()));
        Some(Command { id: Some(id), request: Body::Subscribe(subscribe) })
    }

    fn send_batch(&mut self, batch: Batch) {
        batch.frames().for_each(|commands| self.send(&commands));
    }

    fn send(&mut self, commands: &[Command]) {
        if !commands.is_empty() {
            let frame = frame_of(self.codec, commands);
            self.outgoing.push(Outgoing { frame, charge: None });
        }
    }
}

fn unsubscribe(filter: &Filter, id: Option<u64>) -> Command {
    Command { id, request: Body::Unsubscribe(Unsubscribe { topic: filter.to_string() }) }
}

/// Tells the caller what came of its command.
fn answer(outcome: Outcome, result: Result<ReplyBody, ErrorReply>) -> Result<(), Mismatch> {
    match (outcome, result) {
        (outcome, Err(error)) => outcome.fail(Error::Refused(error)),
        (Outcome::Publish(reply), Ok(ReplyBody::Publish(published))) => {
            reply.send(Ok(published)).ok();
        }
        (Outcome::History(reply), Ok(ReplyBody::History(page))) => {
            reply.send(Ok(page)).ok();
        }
        (Outcome::Presence(reply), Ok(ReplyBody::Presence(list))) => {
            reply.send(Ok(list)).ok();
        }
        (outcome, Ok(_)) => {
            outcome.fail(Error::ConnectionLost);
            return Err(Mismatch);
        }
    }
    Ok(())
}
