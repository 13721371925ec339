//! What an application holds of a subscription, and the messages that come out of it.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use fanfare_protocol::{Payload, Position, TopicName};
use futures_util::Stream;
use tokio::sync::{mpsc, oneshot};

use crate::client::Handle;
use crate::error::Error;
use crate::request::Control;

/// A message of a subscription. Cloning shares the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The topic to which it was published.
    pub topic: TopicName,
    /// The life of the topic's sequence; offsets of different epochs do not compare.
    pub epoch: Arc<str>,
    /// Its place in the topic's sequence, from 1.
    pub offset: u64,
    /// The place of the message before it, where that is not `offset - 1`.
    pub prev: Option<u64>,
    /// The content.
    pub payload: Payload,
}

impl Message {
    /// The place of the message before this one; 0 if this is the topic's first. If the message
    /// taken before it has another offset, messages in between were missed, as happens when a
    /// connection is lost.
    #[must_use]
    pub fn previous_offset(&self) -> u64 {
        self.prev.unwrap_or_else(|| self.offset.saturating_sub(1))
    }

    /// Its place, as a publisher gets it from [`Client::publish`](crate::Client::publish).
    #[must_use]
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch.to_string(), offset: self.offset }
    }
}

/// A live subscription: a [`Stream`] of the topic's messages in order, each once.
///
/// It survives lost connections: the client comes back, subscribes again and the stream goes on.
/// Messages published in between are missing; [`Message::previous_offset`] shows it.
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
    messages: mpsc::Receiver<Message>,
    ended: Arc<OnceLock<Error>>,
    /// Whether the driver has been told to end it.
    left: bool,
}

impl Subscription {
    pub(crate) fn new(
        handle: Arc<Handle>,
        topic: TopicName,
        number: u64,
        messages: mpsc::Receiver<Message>,
        ended: Arc<OnceLock<Error>>,
    ) -> Self {
        let position = Position { epoch: String::new(), offset: 0 };
        Self { handle, topic, number, position, messages, ended, left: false }
    }

    pub(crate) fn begin_at(&mut self, position: Position) {
        self.position = position;
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The place of the message that was taken last; before the first one, where the
    /// subscription began.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position.clone()
    }

    /// The next message; `None` once the subscription has ended. Cancel safe: no message is lost
    /// if the future is dropped.
    pub async fn next(&mut self) -> Option<Message> {
        std::future::poll_fn(|cx| self.poll_message(cx)).await
    }

    /// Why the messages ended; `None` while they have not.
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
        self.messages.close();
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

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let polled = self.messages.poll_recv(cx);
        if let Poll::Ready(Some(message)) = &polled {
            self.position.offset = message.offset;
            if *self.position.epoch != *message.epoch {
                self.position.epoch = message.epoch.to_string();
            }
        }
        polled
    }
}

impl Stream for Subscription {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.poll_message(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.leave(None);
    }
}
