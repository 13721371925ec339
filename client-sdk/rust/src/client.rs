//! The handle of a client: what an application calls. Sends requests to the driver task and waits
//! for their outcome; owns no socket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanfare_protocol::{Command, Payload, Position, Publish, Request as Body, TopicName};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::builder::{ClientBuilder, Config};
use crate::connection;
use crate::error::Error;
use crate::event::{EventHub, Events};
use crate::request::{Control, Listener, Reply, Request};
use crate::subscription::{SubscribeOptions, Subscription};

/// A connection to a broker that comes back by itself when it is lost.
///
/// Cloning is cheap, and all clones share one connection, which one background task owns. The
/// connection is closed with [`close`](Self::close), or when the last clone and the last
/// [`Subscription`] have been dropped.
#[derive(Clone, Debug)]
pub struct Client {
    handle: Arc<Handle>,
}

impl Client {
    /// Connects to the broker at `url` with the default options; see [`ClientBuilder::connect`].
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder(url).connect().await
    }

    /// Options for a connection to the broker at `url`: `ws://host:port`, `http://host:port` or
    /// `host:port`. The path is `/v1/ws` unless the URL names one.
    pub fn builder(url: &str) -> ClientBuilder {
        ClientBuilder::new(url)
    }

    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle: Arc::new(handle) }
    }

    /// Subscribes to `topic` and waits until the subscription is live: every message published
    /// after this returns arrives, or is told as a gap. As [`subscribe_with`](Self::subscribe_with)
    /// with the default options.
    ///
    /// # Errors
    /// As [`subscribe_with`](Self::subscribe_with).
    pub async fn subscribe(&self, topic: &str) -> Result<Subscription, Error> {
        self.subscribe_with(topic, SubscribeOptions::new()).await
    }

    /// Subscribes to `topic` with a mode, or from a position that the application has kept.
    ///
    /// Subscriptions of one client to the same topic share one subscription on the wire. The first
    /// one chooses mode and position; a further one joins it where it stands, gets what comes from
    /// then on, and must ask for the same mode and no position.
    ///
    /// What comes waits in a bounded buffer (see [`ClientBuilder::subscription_buffer`]) until
    /// the application reads it. While a buffer is full the client stops reading its socket, so
    /// that the broker feels the backpressure; then all of the client's subscriptions wait.
    /// Subscriptions of very different speed belong on clients of their own.
    ///
    /// # Errors
    /// [`Error::BadTopic`], [`Error::TooLarge`], [`Error::SubscribedOtherwise`],
    /// [`Error::Refused`], [`Error::TimedOut`] (the subscription is then given up),
    /// [`Error::ClosedByBroker`] or [`Error::Closed`].
    pub async fn subscribe_with(
        &self,
        topic: &str,
        options: SubscribeOptions,
    ) -> Result<Subscription, Error> {
        let topic = TopicName::new(topic)?;
        self.check_subscribe(&topic, &options)?;
        let number = self.handle.shared.next_number();
        let ended = Arc::new(OnceLock::new());
        let (updates, receiver) = mpsc::channel(self.handle.config.subscription_buffer);
        // Made before the wait, so that giving up the wait ends the subscription like any other.
        let mut subscription =
            Subscription::new(self.handle.clone(), topic.clone(), number, receiver, ended.clone());
        let position = self
            .request(|begun| {
                let listener = Listener { number, updates, begun: Some(begun), ended };
                Request::Subscribe { topic, options, listener }
            })
            .await?;
        subscription.begin_at(position);
        Ok(subscription)
    }

    /// Publishes a message and waits for the broker's confirmation: where it stands in the topic.
    ///
    /// While the client is reconnecting the message waits in the outgoing queue. A message whose
    /// future is dropped before it is written is not sent.
    ///
    /// # Errors
    /// [`Error::BadTopic`], [`Error::TooLarge`], [`Error::Refused`], [`Error::ClosedByBroker`] or
    /// [`Error::Closed`]: it was not published. [`Error::ConnectionLost`] or [`Error::TimedOut`]:
    /// the outcome is unknown (see [`Error::outcome_is_unknown`]).
    pub async fn publish(&self, topic: &str, payload: Payload) -> Result<Position, Error> {
        let id = self.handle.shared.next_number();
        let frame = self.encode_publish(Some(id), topic, payload)?;
        self.request(|reply| Request::Publish { frame, confirm: Some((id, reply)) }).await
    }

    /// Publishes `value`, written as JSON; else as [`publish`](Self::publish).
    ///
    /// # Errors
    /// [`Error::BadPayload`] if the value cannot be written as JSON or is nested too deep; else
    /// as [`publish`](Self::publish).
    pub async fn publish_json<T>(&self, topic: &str, value: &T) -> Result<Position, Error>
    where
        T: Serialize + ?Sized,
    {
        let bad = |detail: String| Error::BadPayload { detail };
        let json = serde_json::to_vec(value).map_err(|e| bad(e.to_string()))?;
        let payload = Payload::json(json).ok_or_else(|| bad("it is nested too deep".to_owned()))?;
        self.publish(topic, payload).await
    }

    /// Publishes a message without confirmation: waits only for room in the outgoing queue. The
    /// message is lost if the connection is lost before it is written, or if the broker refuses
    /// it.
    ///
    /// # Errors
    /// [`Error::BadTopic`], [`Error::TooLarge`], [`Error::TimedOut`] if the queue stays full,
    /// [`Error::ClosedByBroker`] or [`Error::Closed`].
    pub async fn publish_unconfirmed(&self, topic: &str, payload: Payload) -> Result<(), Error> {
        let frame = self.encode_publish(None, topic, payload)?;
        let queued = self.handle.requests.send(Request::Publish { frame, confirm: None });
        match tokio::time::timeout(self.handle.command_timeout(), queued).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.handle.shared.end_error()),
            Err(_) => Err(Error::TimedOut { after: self.handle.command_timeout() }),
        }
    }

    /// The client's events, beginning with the newest one.
    #[must_use]
    pub fn events(&self) -> Events {
        self.handle.shared.events.listen()
    }

    /// Closes the client: what is queued is sent first, then the connection is closed with code
    /// 1000. Waits for that, at most for the command timeout. Messages already in the buffers of
    /// subscriptions stay readable. Closing a closed client does nothing.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        self.handle.control(Control::Close(done));
        // The sender is dropped, unused, when the driver has ended.
        closed.await.ok();
    }

    async fn request<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Error> {
        let (reply, outcome) = oneshot::channel();
        let request = request(reply);
        let after = self.handle.command_timeout();
        let exchange = async {
            let end_error = |_| self.handle.shared.end_error();
            self.handle.requests.send(request).await.map_err(end_error)?;
            outcome.await.unwrap_or_else(|_| Err(self.handle.shared.end_error()))
        };
        tokio::time::timeout(after, exchange).await.unwrap_or(Err(Error::TimedOut { after }))
    }

    /// Only the position comes from outside and has no limit of its own.
    fn check_subscribe(&self, topic: &TopicName, options: &SubscribeOptions) -> Result<(), Error> {
        let request = Body::Subscribe(options.clone().command(topic));
        let command = Command { id: Some(u64::MAX), request };
        let frame = connection::frame_of(self.handle.config.codec, &[command]);
        self.handle.shared.check_length(&frame)
    }

    fn encode_publish(
        &self,
        id: Option<u64>,
        topic: &str,
        payload: Payload,
    ) -> Result<Frame, Error> {
        TopicName::check(topic)?;
        let publish = Publish::new(topic, payload);
        let command = Command { id, request: Body::Publish(publish) };
        let frame = connection::frame_of(self.handle.config.codec, &[command]);
        self.handle.shared.check_length(&frame)?;
        Ok(frame)
    }
}

/// What all clones of a client and all its subscriptions share. The driver ends when it is gone.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) config: Arc<Config>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) controls: mpsc::UnboundedSender<Control>,
}

impl Handle {
    pub(crate) fn command_timeout(&self) -> Duration {
        self.config.command_timeout
    }

    /// Tells the driver something; one that has ended has nothing left to do.
    pub(crate) fn control(&self, control: Control) {
        self.controls.send(control).ok();
    }
}

/// What the driver and the handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) events: EventHub,
    /// Why the driver ended; set before its channels close.
    pub(crate) ended: OnceLock<Error>,
    /// The broker's limit for one frame, learned from its answer to `connect`.
    pub(crate) message_bytes_max: AtomicU64,
    numbers: AtomicU64,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            events: EventHub::new(),
            ended: OnceLock::new(),
            message_bytes_max: AtomicU64::new(u64::MAX),
            numbers: AtomicU64::new(1),
        }
    }

    /// A number that this client has not used yet, for a command or a subscription.
    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Checks a frame against the broker's limit. One that is too long would cost the connection.
    pub(crate) fn check_length(&self, frame: &Frame) -> Result<(), Error> {
        let bytes_max = self.message_bytes_max.load(Ordering::Relaxed);
        match frame.len() {
            bytes if bytes as u64 > bytes_max => Err(Error::TooLarge { bytes, bytes_max }),
            _ => Ok(()),
        }
    }

    /// Why the client takes no more requests.
    pub(crate) fn end_error(&self) -> Error {
        self.ended.get().cloned().unwrap_or(Error::Closed)
    }
}
