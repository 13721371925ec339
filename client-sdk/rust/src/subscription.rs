//! What an application holds of a subscription.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use fanfare_protocol::{Filter, Position};
use futures_util::Stream;
use tokio::sync::{mpsc, oneshot};

use crate::client::Handle;
use crate::error::Error;
use crate::request::Control;
use crate::update::{Gap, Message, Update};

/// A live subscription to a topic or a pattern: a [`Stream`] of [`Update`]s, which are each topic's
/// messages in order, each once, and a [`Gap`](crate::Gap) wherever messages are missing.
///
/// It survives lost connections: the client comes back, subscribes again from where it was, and
/// the stream goes on. What was published in between comes too if the broker still holds it; if
/// not, a gap stands in its place. For a program that has no use for gaps there is
/// [`messages`](Self::messages).
///
/// A pattern has no position, so what it missed while there was no connection does not come. In
/// mode [`All`](crate::Mode::All) a gap of the whole pattern says so
/// ([`Missed::Unknown`](crate::Missed::Unknown)). Where it has a snapshot, the newest message of
/// each topic comes behind that, also if it came before.
///
/// The stream ends when the client is closed, when the broker closes the connection with a code
/// that forbids to come back, or when it refuses to renew the subscription;
/// [`error`](Self::error) then says which. Dropping a subscription ends it on the broker too,
/// unless another subscription of the same client listens to the same topic or pattern.
///
/// A subscription keeps its client connected, also when every [`Client`](crate::Client) has been
/// dropped.
#[derive(Debug)]
pub struct Subscription {
    handle: Arc<Handle>,
    filter: Filter,
    number: u64,
    position: Option<Position>,
    updates: mpsc::Receiver<Update>,
    ended: Arc<OnceLock<Error>>,
    /// Whether the driver has been told to end it.
    left: bool,
}

impl Subscription {
    pub(crate) fn new(
        handle: Arc<Handle>,
        filter: Filter,
        number: u64,
        updates: mpsc::Receiver<Update>,
        ended: Arc<OnceLock<Error>>,
    ) -> Self {
        Self { handle, filter, number, position: None, updates, ended, left: false }
    }

    pub(crate) fn begin_at(&mut self, position: Option<Position>) {
        self.position = position.filter(|position| !position.epoch.is_empty());
    }

    /// The topic or pattern.
    #[must_use]
    pub fn subscribed_to(&self) -> &Filter {
        &self.filter
    }

    /// How far the application has read: the place of the message that was taken last, or the end
    /// of a gap; before the first of them, where the subscription began. Kept over a restart of
    /// the program it is what [`SubscribeOptions::since`](crate::SubscribeOptions::since) wants.
    /// `None` for a pattern, and over long polling until the topic has its first message.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.position.clone()
    }

    /// The next message, gap or change of presence; `None` once the subscription has ended. Cancel
    /// safe: nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Update> {
        std::future::poll_fn(|cx| self.poll_update(cx)).await
    }

    /// The messages alone: gaps and presence are passed over. For programs to which a missing
    /// message is no different from one that was never published.
    #[must_use]
    pub fn messages(self) -> Messages {
        Messages { subscription: self }
    }

    /// Why the updates ended; `None` while they have not.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        self.ended.get()
    }

    /// Ends the subscription and waits until the broker has confirmed it, if this was the
    /// client's last one of its topic or pattern.
    ///
    /// # Errors
    /// [`Error::TimedOut`] if no confirmation came in time; the subscription has ended all the
    /// same.
    pub async fn unsubscribe(mut self) -> Result<(), Error> {
        let (done, confirmed) = oneshot::channel();
        self.updates.close();
        self.leave(Some(done));
        let after = self.handle.command_timeout();
        // An error of the channel means that the client has ended, and with it the subscription.
        tokio::time::timeout(after, confirmed)
            .await
            .map_or(Err(Error::TimedOut { after }), |_| Ok(()))
    }

    fn leave(&mut self, done: Option<oneshot::Sender<()>>) {
        if !std::mem::replace(&mut self.left, true) {
            let (filter, number) = (self.filter.clone(), self.number);
            self.handle.control(Control::Leave { filter, number, done });
        }
    }

    fn poll_update(&mut self, cx: &mut Context<'_>) -> Poll<Option<Update>> {
        let polled = self.updates.poll_recv(cx);
        if let (Filter::Topic(_), Poll::Ready(Some(update))) = (&self.filter, &polled) {
            follow(&mut self.position, update);
        }
        polled
    }
}

/// Moves the position of a topic's subscription to what was read.
fn follow(position: &mut Option<Position>, update: &Update) {
    match (position, update) {
        (Some(position), Update::Message(Message { epoch: Some(epoch), offset, .. }))
            if *position.epoch == **epoch =>
        {
            position.offset = *offset;
        }
        (position, Update::Message(message)) => {
            *position = message.position().or_else(|| position.take());
        }
        (position, Update::Gap(Gap { resumes_after: Some(behind), .. })) => {
            *position = Some(behind.clone());
        }
        (_, Update::Gap(_) | Update::Snapshot(_) | Update::Presence(_)) => {}
    }
}

impl Stream for Subscription {
    type Item = Update;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Update>> {
        self.poll_update(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.leave(None);
    }
}

/// A [`Subscription`] of which only the messages are read, from [`Subscription::messages`].
#[derive(Debug)]
pub struct Messages {
    subscription: Subscription,
}

impl Messages {
    /// The next message; `None` once the subscription has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Message> {
        std::future::poll_fn(|cx| self.poll_message(cx)).await
    }

    /// The subscription, for its position or the error that ended it.
    #[must_use]
    pub fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// The subscription, gaps included from here on.
    #[must_use]
    pub fn into_subscription(self) -> Subscription {
        self.subscription
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        loop {
            match std::task::ready!(self.subscription.poll_update(cx)) {
                Some(Update::Message(message)) => return Poll::Ready(Some(message)),
                Some(Update::Gap(_) | Update::Snapshot(_) | Update::Presence(_)) => {}
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Stream for Messages {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.poll_message(cx)
    }
}
