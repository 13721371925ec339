//! The options of a client and their defaults.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::Codec;

use crate::address::Address;
use crate::client::Client;
use crate::driver;
use crate::error::Error;

/// The longest queue or buffer that an option may ask for.
const QUEUE_MAX: usize = 1 << 20;

/// Options of a [`Client`], from [`Client::builder`].
///
/// ```
/// use std::time::Duration;
///
/// use fanfare_client::{Client, Codec};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = fanfare::Server::start(fanfare::ServerConfig::default_for_tests())?;
/// # let url = server.url();
/// let client = Client::builder(&url)
///     .codec(Codec::MsgPack)
///     .command_timeout(Duration::from_secs(3))
///     .subscription_buffer(1_000)
///     .connect()
///     .await?;
/// # client.close().await;
/// # server.stop().await;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `connect` is called"]
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    url: String,
    config: Config,
}

/// What the options come to.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) codec: Codec,
    pub(crate) token: Option<String>,
    pub(crate) backoff_min: Duration,
    pub(crate) backoff_max: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) command_timeout: Duration,
    pub(crate) liveness_grace: Duration,
    pub(crate) subscription_buffer: usize,
    pub(crate) request_queue: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            codec: Codec::Json,
            token: None,
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(10),
            command_timeout: Duration::from_secs(10),
            liveness_grace: Duration::from_secs(10),
            subscription_buffer: 256,
            request_queue: 1_024,
        }
    }
}

/// Leaves out the token, which is a secret.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("codec", &self.codec).finish_non_exhaustive()
    }
}

impl ClientBuilder {
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), config: Config::default() }
    }

    /// How the connection is encoded. The default is [`Codec::Json`]; [`Codec::MsgPack`] is
    /// smaller, above all for binary payloads.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.config.codec = codec;
        self
    }

    /// Who the client is; sent with every `connect` command. The default is none.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.config.token = Some(token.into());
        self
    }

    /// The waits between attempts to reconnect: each is random, at least `min`, and the range
    /// doubles from one to the next until it reaches `max`. A connection that lived for `max`
    /// starts over. The default is 500 ms to 20 s; a `max` under `min` counts as `min`.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        (self.config.backoff_min, self.config.backoff_max) = (min, max);
        self
    }

    /// The longest time for one attempt to connect: TCP, upgrade and the `connect` command
    /// together. The default is 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// The longest time for one command, the wait for a connection included. The default is 10 s.
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.config.command_timeout = timeout;
        self
    }

    /// How much longer than the broker's ping interval it may be silent before the connection
    /// counts as dead. The default is 10 s.
    pub fn liveness_grace(mut self, grace: Duration) -> Self {
        self.config.liveness_grace = grace;
        self
    }

    /// How many messages and gaps each subscription buffers for the application, 1 to 1,048,576
    /// (a value outside counts as the nearest). The default is 256.
    ///
    /// A full buffer stops the whole connection from being read, with one exception: while the
    /// reply to a command is awaited, up to 16 times as many messages are kept to get at it, so
    /// that a program may publish from inside its loop over messages.
    pub fn subscription_buffer(mut self, messages: usize) -> Self {
        self.config.subscription_buffer = messages.clamp(1, QUEUE_MAX);
        self
    }

    /// How many commands wait for the connection before callers have to wait too, 1 to 1,048,576
    /// (a value outside counts as the nearest). The default is 1,024.
    pub fn request_queue(mut self, requests: usize) -> Self {
        self.config.request_queue = requests.clamp(1, QUEUE_MAX);
        self
    }

    /// Connects. Makes one attempt, so that a wrong address is told at once; once connected, the
    /// client comes back by itself as often as it takes.
    ///
    /// Must be called inside a tokio runtime, which then runs the client's background task.
    ///
    /// # Errors
    /// [`Error::BadUrl`], [`Error::Unreachable`], [`Error::UpgradeRefused`],
    /// [`Error::NotABroker`], [`Error::Refused`] or [`Error::ClosedByBroker`].
    pub async fn connect(self) -> Result<Client, Error> {
        let address = Address::parse(&self.url)?;
        driver::start(address, Arc::new(self.config)).await
    }
}
