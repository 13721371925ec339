//! The handle of a client: what an application calls. Sends requests to the driver task and waits
//! for their outcome; owns no socket. Publishing is in `publish`, asking in `query`.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanfare_protocol::{Command, Filter, Request as Body};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::buffered::{BufferedAmount, NoRoom};
use crate::builder::{ClientBuilder, Config};
use crate::connection::{frame_bytes, frame_of};
use crate::error::Error;
use crate::event::{EventHub, Events};
use crate::options::SubscribeOptions;
use crate::request::{Awaited, Control, Listener, Outgoing, Reply, Request};
use crate::subscription::Subscription;
use crate::transport::Transport;

/// A connection to a broker that comes back by itself when it is lost.
///
/// Cloning is cheap, and all clones share one connection, which one background task owns. The
/// connection is closed with [`close`](Self::close), or when the last clone and the last
/// [`Subscription`] have been dropped.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) handle: Arc<Handle>,
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

    /// Subscribes to a topic, or to all topics that match a pattern such as `ticks.*` or
    /// `news.>`, and waits until the subscription is live: every message published after this
    /// returns arrives, or is told as a gap. As [`subscribe_with`](Self::subscribe_with) with the
    /// default options.
    ///
    /// # Errors
    /// As [`subscribe_with`](Self::subscribe_with).
    pub async fn subscribe(&self, filter: &str) -> Result<Subscription, Error> {
        self.subscribe_with(filter, SubscribeOptions::new()).await
    }

    /// Subscribes to a topic or a pattern with a mode, a rate, the newest messages or presence,
    /// or from a position that the application has kept.
    ///
    /// In a pattern a level `*` stands for exactly one level of a topic's name, and a last level
    /// `>` for one or more. Topics that come into being later are included.
    ///
    /// Subscriptions of one client to the same topic or pattern share one subscription on the
    /// wire. The first one chooses the options; a further one joins it where it stands, gets what
    /// comes from then on, and must ask for the same options and no position.
    ///
    /// Where several subscriptions of a client match a message, each of them gets it, but it
    /// travels once. So they share what decides whether it is sent at all: mode and rate of a
    /// subscription by name decide over those of a pattern, and those of an earlier pattern over
    /// those of a later one. Whoever needs them apart gives each a client of its own.
    ///
    /// What comes waits in a bounded buffer (see [`ClientBuilder::subscription_buffer`]) until
    /// the application reads it. While a buffer is full the client stops reading its socket, so
    /// that the broker feels the backpressure; then all of the client's subscriptions wait.
    /// Subscriptions of very different speed belong on clients of their own.
    ///
    /// # Errors
    /// [`Error::BadTopic`], [`Error::BadOption`], [`Error::TooLarge`],
    /// [`Error::SubscribedOtherwise`], [`Error::Refused`], [`Error::TimedOut`] (the subscription
    /// is then given up), [`Error::ClosedByBroker`] or [`Error::Closed`].
    pub async fn subscribe_with(
        &self,
        filter: &str,
        options: SubscribeOptions,
    ) -> Result<Subscription, Error> {
        let filter = Filter::new(filter)?;
        // Only to refuse what is wrong at once; the driver asks, and each time anew.
        let request = Body::Subscribe(options.command(&filter)?);
        self.encode(&Command { id: Some(u64::MAX), request })?;
        let number = self.handle.shared.next_number();
        let ended = Arc::new(OnceLock::new());
        let (updates, receiver) = mpsc::channel(self.handle.config.subscription_buffer);
        // Made before the wait, so that giving up the wait ends the subscription like any other.
        let handle = self.handle.clone();
        let mut subscription =
            Subscription::new(handle, filter.clone(), number, receiver, ended.clone());
        let began = Instant::now();
        let (begun, outcome) = oneshot::channel();
        let listener = Listener { number, updates, begun: Some(begun), ended };
        self.enqueue(Request::Subscribe { filter, options, listener })?;
        subscription.begin_at(self.outcome(outcome, began).await?);
        Ok(subscription)
    }

    /// How many subscriptions were made anew because something that the broker had sent did not
    /// arrive (see [`Event::Repairing`](crate::Event::Repairing)). On a network and a broker that
    /// work this stays 0.
    #[must_use]
    pub fn repairs(&self) -> u64 {
        self.handle.shared.repairs.load(Ordering::Relaxed)
    }

    /// How the client and the broker talk: over the connection that there is, or was last. Where
    /// networks refuse WebSockets this is another [`Transport`] than the preferred one.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.handle.shared.transport()
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

    /// Sends a command and waits for its reply, at most for the command timeout in all.
    pub(crate) async fn command<T>(
        &self,
        command: &Command,
        wait_for_room: bool,
        awaited: impl FnOnce(Reply<T>) -> Awaited,
    ) -> Result<T, Error> {
        let began = Instant::now();
        let outgoing = self.reserve(command, wait_for_room).await?;
        let (reply, outcome) = oneshot::channel();
        self.enqueue(Request::Command { outgoing, awaited: Some(awaited(reply)) })?;
        self.outcome(outcome, began).await
    }

    /// Waits for the outcome of a request that began at this time.
    async fn outcome<T>(
        &self,
        outcome: oneshot::Receiver<Result<T, Error>>,
        began: Instant,
    ) -> Result<T, Error> {
        let after = self.handle.command_timeout();
        match timeout(after.saturating_sub(began.elapsed()), outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(self.handle.shared.end_error()),
            Err(_) => Err(Error::TimedOut { after }),
        }
    }

    /// Encodes a command and finds room for it, at most for the command timeout.
    pub(crate) async fn reserve(&self, command: &Command, wait: bool) -> Result<Outgoing, Error> {
        let frame = self.encode(command)?;
        if !wait {
            return self.reserve_now(frame);
        }
        let room = self.handle.shared.buffered.reserve(frame_bytes(&frame));
        match timeout(self.handle.command_timeout(), room).await {
            Ok(charge) => Ok(Outgoing { frame, charge: Some(charge) }),
            Err(_) => Err(self.buffer_full(self.buffered_amount())),
        }
    }

    /// Finds room for a frame that is there now.
    pub(crate) fn reserve_now(&self, frame: Frame) -> Result<Outgoing, Error> {
        match self.handle.shared.buffered.try_reserve(frame_bytes(&frame)) {
            Ok(charge) => Ok(Outgoing { frame, charge: Some(charge) }),
            Err(NoRoom(buffered)) => Err(self.buffer_full(buffered)),
        }
    }

    /// Puts a request into the queue of the driver.
    pub(crate) fn enqueue(&self, request: Request) -> Result<(), Error> {
        self.handle.requests.send(request).map_err(|_| self.handle.shared.end_error())
    }

    pub(crate) fn encode(&self, command: &Command) -> Result<Frame, Error> {
        let frame = frame_of(self.handle.config.codec, std::slice::from_ref(command));
        self.handle.shared.check_length(&frame)?;
        Ok(frame)
    }

    fn buffer_full(&self, buffered: u64) -> Error {
        Error::BufferFull { buffered, high_water: self.handle.shared.buffered.high_water_bytes() }
    }
}

/// What all clones of a client and all its subscriptions share. The driver ends when it is gone.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) config: Arc<Config>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) requests: mpsc::UnboundedSender<Request>,
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
    /// What is still to be handed to the network.
    pub(crate) buffered: Arc<BufferedAmount>,
    /// Subscriptions that were made anew because something had not arrived.
    pub(crate) repairs: AtomicU64,
    /// The place in [`Transport::ALL`] of the one in use.
    transport: AtomicUsize,
    numbers: AtomicU64,
}

impl Shared {
    pub(crate) fn new(high_water_bytes: u64) -> Self {
        Self {
            events: EventHub::new(),
            ended: OnceLock::new(),
            message_bytes_max: AtomicU64::new(u64::MAX),
            buffered: Arc::new(BufferedAmount::new(high_water_bytes)),
            repairs: AtomicU64::new(0),
            transport: AtomicUsize::new(0),
            numbers: AtomicU64::new(1),
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        let place = self.transport.load(Ordering::Relaxed);
        Transport::ALL.get(place).copied().unwrap_or(Transport::WebSocket)
    }

    pub(crate) fn set_transport(&self, transport: Transport) {
        let place = Transport::ALL.iter().position(|one| *one == transport).unwrap_or(0);
        self.transport.store(place, Ordering::Relaxed);
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
