//! What an application asks of a subscription and what it holds of it.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use fanfare_protocol::{Mode, Position, Subscribe, TopicName};
use futures_util::Stream;
use tokio::sync::{mpsc, oneshot};

use crate::client::Handle;
use crate::error::Error;
use crate::request::Control;
use crate::update::{Message, Update};

/// Options of a subscription, for [`Client::subscribe_with`](crate::Client::subscribe_with).
///
/// ```
/// use fanfare_client::{Mode, Position, SubscribeOptions};
///
/// // A page that shows the newest price and nothing else.
/// let newest = SubscribeOptions::new().mode(Mode::Latest);
///
/// // A program that goes on where it ended yesterday.
/// let kept = Position { epoch: "k3f9q2xw".to_owned(), offset: 41 };
/// let everything_since = SubscribeOptions::new().since(kept);
/// # drop((newest, everything_since));
/// ```
#[must_use = "options do nothing until something is subscribed with them"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    pub(crate) mode: Mode,
    pub(crate) since: Option<Position>,
}

impl SubscribeOptions {
    /// The defaults: mode [`Mode::All`], from now on.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the broker delivers while this client does not keep up. With [`Mode::All`] every
    /// message comes in order, or a [`Gap`](crate::Gap) says which do not. With [`Mode::Latest`]
    /// the topic's newest message comes at once and again whenever there was no time for the ones
    /// before it; those are passed over without a word. The default is [`Mode::All`].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The last message that the application has, such as a [`Subscription::position`] that it
    /// kept: what came after it is delivered first, as far as the broker still holds it. If it
    /// does not hold everything, the subscription begins with a [`Gap`](crate::Gap).
    pub fn since(mut self, position: Position) -> Self {
        self.since = Some(position);
        self
    }

    /// The command that asks for it.
    pub(crate) fn command(self, topic: &TopicName) -> Subscribe {
        let mode = (self.mode != Mode::default()).then_some(self.mode);
        Subscribe { since: self.since, mode, ..Subscribe::new(topic.as_str()) }
    }
}

/// A live subscription: a [`Stream`] of [`Update`]s, which are the topic's messages in order, each
/// once, and a [`Gap`](crate::Gap) wherever messages are missing.
///
/// It survives lost connections: the client comes back, subscribes again from where it was, and
/// the stream goes on. What was published in between comes too if the broker still holds it; if
/// not, a gap stands in its place. For a program that has no use for gaps there is
/// [`messages`](Self::messages).
///
/// The stream ends when the client is closed, when the broker closes the connection with a code
/// that forbids to come back, or when it refuses to renew the subscription;
/// [`error`](Self::error) then says which. Dropping a subscription ends it on the broker too,
/// unless another subscription of the same client listens to the topic.
///
/// A subscription keeps its client connected, also when every [`Client`](crate::Client) has been
/// dropped.
#[derive(Debug)]
pub struct Subscription {
    handle: Arc<Handle>,
    topic: TopicName,
    number: u64,
    position: Position,
    updates: mpsc::Receiver<Update>,
    ended: Arc<OnceLock<Error>>,
    /// Whether the driver has been told to end it.
    left: bool,
}

impl Subscription {
    pub(crate) fn new(
        handle: Arc<Handle>,
        topic: TopicName,
        number: u64,
        updates: mpsc::Receiver<Update>,
        ended: Arc<OnceLock<Error>>,
    ) -> Self {
        let position = Position { epoch: String::new(), offset: 0 };
        Self { handle, topic, number, position, updates, ended, left: false }
    }

    pub(crate) fn begin_at(&mut self, position: Position) {
        self.position = position;
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// How far the application has read: the place of the message that was taken last, or the end
    /// of a gap; before the first of them, where the subscription began. Kept over a restart of
    /// the program it is what [`SubscribeOptions::since`] wants.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position.clone()
    }

    /// The next message or gap; `None` once the subscription has ended. Cancel safe: nothing is
    /// lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Update> {
        std::future::poll_fn(|cx| self.poll_update(cx)).await
    }

    /// The messages alone: gaps are passed over. For programs to which a missing message is no
    /// different from one that was never published.
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
    /// client's last one of its topic.
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
            let (topic, number) = (self.topic.clone(), self.number);
            self.handle.control(Control::Leave { topic, number, done });
        }
    }

    fn poll_update(&mut self, cx: &mut Context<'_>) -> Poll<Option<Update>> {
        let polled = self.updates.poll_recv(cx);
        match &polled {
            Poll::Ready(Some(Update::Message(message))) => {
                self.position.offset = message.offset;
                if *self.position.epoch != *message.epoch {
                    self.position.epoch = message.epoch.to_string();
                }
            }
            Poll::Ready(Some(Update::Gap(gap))) => self.position.clone_from(&gap.resumes_after),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
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
                Some(Update::Gap(_)) => {}
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
