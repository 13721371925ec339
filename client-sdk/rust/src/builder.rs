//! The options of a client and their defaults.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{Codec, Connect};

use crate::address::Address;
use crate::backoff::Backoff;
use crate::client::Client;
use crate::driver;
use crate::error::Error;
use crate::proxy::{Proxy, Secret};
use crate::transport::Transport;

/// The longest buffer that an option may ask for.
const BUFFER_MAX: usize = 1 << 20;

/// Sixteen frames of the default message limit: enough to keep a connection of 100 Mbit/s busy for
/// 80 ms, more than a round trip across a continent, and so little that a publisher which is too
/// fast for its network learns of it within a second at 10 Mbit/s.
const HIGH_WATER_BYTES: u64 = 1 << 20;

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
    proxy: Option<Secret>,
    config: Config,
}

/// What the options come to.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) codec: Codec,
    pub(crate) token: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) backoff: Backoff,
    pub(crate) connect_timeout: Duration,
    pub(crate) command_timeout: Duration,
    pub(crate) liveness_grace: Duration,
    pub(crate) subscription_buffer: usize,
    pub(crate) high_water_bytes: u64,
    pub(crate) transports: Vec<Transport>,
    pub(crate) fallback_after: Duration,
    pub(crate) transport_retry: Duration,
    pub(crate) poll_wait: Duration,
    pub(crate) proxy: Option<Proxy>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            codec: Codec::Json,
            token: None,
            name: None,
            backoff: Backoff::default(),
            connect_timeout: Duration::from_secs(10),
            command_timeout: Duration::from_secs(10),
            liveness_grace: Duration::from_secs(10),
            subscription_buffer: 256,
            high_water_bytes: HIGH_WATER_BYTES,
            transports: Transport::ALL.to_vec(),
            fallback_after: Duration::from_secs(5),
            transport_retry: Duration::from_secs(60),
            poll_wait: Duration::from_secs(25),
            proxy: None,
        }
    }
}

impl Config {
    /// The fields of the `connect` command.
    pub(crate) fn connect(&self) -> Connect {
        Connect { token: self.token.clone(), name: self.name.clone() }
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
        Self { url: url.to_owned(), proxy: None, config: Config::default() }
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

    /// What presence calls the client, in at most 64 bytes. Nobody checks whether it is true. The
    /// default is none.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into());
        self
    }

    /// The waits between attempts to reconnect: each is random, at least `min`, and the range
    /// doubles from one to the next until it reaches `max`. A connection that lived for `max`
    /// starts over. The default is 500 ms to 20 s; a `max` under `min` counts as `min`. Where the
    /// broker has said that it drains, the first wait is what it asked for instead.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.config.backoff = Backoff::new(min, max);
        self
    }

    /// The longest time for one attempt to connect over one transport: for TCP, and then for
    /// upgrade and `connect` command together. The default is 10 s.
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
        self.config.subscription_buffer = messages.clamp(1, BUFFER_MAX);
        self
    }

    /// The high-water mark of the [buffered amount](Client::buffered_amount): how many bytes may
    /// wait for the network before publishing has to wait too. A larger frame goes when nothing
    /// else waits. The default is 1 MiB.
    pub fn high_water_mark(mut self, bytes: u64) -> Self {
        self.config.high_water_bytes = bytes;
        self
    }

    /// The transports that may be used, the preferred one first. One that does not get through is
    /// followed by the next; one that has worked is kept until it fails three times in a row. The
    /// default is all of them: [`Transport::WebSocket`], [`Transport::Sse`],
    /// [`Transport::LongPoll`].
    pub fn transports(mut self, allowed: impl IntoIterator<Item = Transport>) -> Self {
        self.config.transports.clear();
        for transport in allowed {
            if !self.config.transports.contains(&transport) {
                self.config.transports.push(transport);
            }
        }
        self
    }

    /// How long a transport may take to open a session before the next one is tried, at most the
    /// [connect timeout](Self::connect_timeout). The default is 5 s.
    pub fn fallback_after(mut self, after: Duration) -> Self {
        self.config.fallback_after = after;
        self
    }

    /// How long after a better transport has failed it is tried again. That happens when the
    /// client reconnects, never while a connection lives, and the time doubles with each failure
    /// in a row, up to an hour. The default is 1 minute.
    pub fn transport_retry(mut self, after: Duration) -> Self {
        self.config.transport_retry = after;
        self
    }

    /// How long the broker shall hold the answer to a long poll, 1 to 60 s (a value outside counts
    /// as the nearest). The default is 25 s; where a proxy ends quiet requests earlier, less.
    pub fn poll_wait(mut self, wait: Duration) -> Self {
        self.config.poll_wait = wait.clamp(Duration::from_secs(1), Duration::from_secs(60));
        self
    }

    /// An HTTP proxy to go through, such as `http://proxy.example:3128` or
    /// `http://user:password@proxy.example:3128`. The client asks it for a tunnel by `CONNECT`. If
    /// it refuses one, requests without a WebSocket are made through the proxy as they are, with
    /// the whole URL in each. The environment is not asked. The default is none.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(Secret(url.into()));
        self
    }

    /// Connects. Makes one attempt, so that a wrong address is told at once; once connected, the
    /// client comes back by itself as often as it takes.
    ///
    /// Must be called inside a tokio runtime, which then runs the client's background task.
    ///
    /// # Errors
    /// [`Error::BadUrl`], [`Error::BadOption`], [`Error::Unreachable`], [`Error::ProxyRefused`],
    /// [`Error::UpgradeRefused`], [`Error::NotABroker`], [`Error::Refused`] or
    /// [`Error::ClosedByBroker`]; that of the preferred transport if none gets through.
    pub async fn connect(mut self) -> Result<Client, Error> {
        let address = Address::parse(&self.url)?;
        self.config.proxy = self.proxy.as_ref().map(|url| Proxy::parse(&url.0)).transpose()?;
        if address.topics.is_none() {
            self.config.transports.retain(|transport| *transport == Transport::WebSocket);
        }
        if self.config.transports.is_empty() {
            let detail = "no transport is left: allow at least one, and only the WebSocket where \
                          the address names a path of its own";
            return Err(Error::BadOption { detail: detail.to_owned() });
        }
        let connect = self.config.connect();
        connect.check().map_err(|error| Error::BadOption { detail: error.message })?;
        driver::start(address, Arc::new(self.config)).await
    }
}
