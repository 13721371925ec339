//! The async Rust client of the Fanfare pub/sub broker.
//!
//! A [`Client`] is one connection to a broker that comes back by itself when it is lost. A
//! [`Subscription`] is a stream of a topic's messages that survives that, and says where messages
//! are missing.
//!
//! ```
//! use fanfare_client::{Client, Payload, Update};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = fanfare::Server::start(fanfare::ServerConfig::default_for_tests())?;
//! # let url = server.url();
//! let client = Client::connect(&url).await?; // such as "ws://127.0.0.1:8080"
//! let mut ticks = client.subscribe("ticks.AAPL").await?;
//!
//! let position = client.publish_json("ticks.AAPL", &serde_json::json!({ "p": 187.2 })).await?;
//! assert_eq!(position.offset, 1);
//! client.publish("ticks.AAPL", Payload::text("closing bell")).await?;
//!
//! while let Some(update) = ticks.next().await {
//!     match update {
//!         Update::Message(message) => {
//!             println!("{} #{}: {:?}", message.topic, message.offset, message.payload.as_text());
//! #           if message.offset == 2 { break }
//!         }
//!         Update::Gap(gap) => eprintln!("{gap}"), // "ticks.AAPL: messages 42 to 57 were missed"
//!         _ => {}
//!     }
//! }
//! client.close().await;
//! # server.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # When the connection is lost
//!
//! The client reconnects with random, growing waits ([`ClientBuilder::backoff`]), or within the
//! time that the broker has named before a restart, and subscribes again to everything in one
//! batch. [`CloseCode::reconnects`] decides whether it may come back; if not, every call fails
//! with [`Error::ClosedByBroker`] and the streams end.
//!
//! * Calls made meanwhile wait for the next connection, up to
//!   [`ClientBuilder::command_timeout`].
//! * A publish that was in flight fails with [`Error::ConnectionLost`]: whether the broker
//!   carried it out is unknown. With a [key](PublishOptions::key) the client repeats it, and the
//!   broker publishes it once.
//! * Messages published between the loss and the new subscription arrive from the topic's history,
//!   in order and each once, before newer ones. Only where the broker does not hold them any more,
//!   or has begun to count anew, does the stream hold an [`Update::Gap`] in their place.
//!
//! The same holds for an application that restarts: it keeps [`Subscription::position`] and hands
//! it to [`SubscribeOptions::since`].
//!
//! Nor does a silent topic leave a doubt: with each ping the broker tells how far it has sent, and
//! the client compares that with what has come. A difference, which no sound network makes, is
//! mended like a lost connection and told as [`Event::Repairing`].
//!
//! [`Client::events`] tells of each step:
//!
//! ```
//! use fanfare_client::{Client, Event};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = fanfare::Server::start(fanfare::ServerConfig::default_for_tests())?;
//! # let url = server.url();
//! let client = Client::connect(&url).await?;
//! let mut events = client.events();
//! # server.stop().await;
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::Connecting { attempt } => println!("connecting, attempt {attempt}"),
//!         Event::Connected { node, .. } => println!("connected to {node}"),
//!         Event::Disconnected { code, reason, retry_in } => {
//!             println!("lost: {code:?} {reason}; next attempt in {retry_in:?}");
//! #           break;
//!         }
//!         Event::Closed => println!("closed"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Where WebSockets do not get through
//!
//! Some proxies refuse the upgrade, cut it or let nothing through it. The client then takes
//! server-sent events and `POST`, and where even those are held back long polling and `POST`, over
//! the broker's public URLs. The promises are the same: in order, once, or an exact gap.
//! [`Client::transport`] and [`Event::Connected`] tell what is in use, [`Event::FallingBack`] why.
//!
//! ```
//! use fanfare_client::{Client, Payload, Transport};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = fanfare::Server::start(fanfare::ServerConfig::default_for_tests())?;
//! # let url = server.url();
//! let client = Client::builder(&url)
//!     .transports([Transport::Sse, Transport::LongPoll]) // by default the WebSocket comes first
//!     .connect()
//!     .await?;
//! assert_eq!(client.transport(), Transport::Sse);
//!
//! let mut ticks = client.subscribe("ticks.AAPL").await?.messages();
//! client.publish("ticks.AAPL", Payload::text("187.2")).await?;
//! assert_eq!(ticks.next().await.expect("the client is open").offset, 1);
//! # client.close().await;
//! # server.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! * **When.** An attempt to connect tries the [allowed](ClientBuilder::transports) transports one
//!   after the other, each for at most [`ClientBuilder::fallback_after`], the last one for the
//!   whole connect timeout. A host that cannot be reached at all is not asked over each of them. A
//!   transport that has carried a session is given up only after three failed attempts in a row, or
//!   three connections in a row that were cut within 10 s.
//! * **And back.** What works is kept. A better transport is tried again at the first reconnect a
//!   minute after it failed, and then ever less often ([`ClientBuilder::transport_retry`]).
//! * **What differs.** Presence needs a WebSocket, patterns a WebSocket or events; elsewhere they
//!   are refused with [`ErrorCode::NotEnabled`]. The node and the connection have no name. The
//!   [buffered amount](Client::buffered_amount) holds a message until the broker has answered. A
//!   message of a subscriber of several kinds of subscriptions may show as a gap when one of them
//!   ends. A stream that is silent for 25 s, the broker's default ping interval, and the
//!   [grace](ClientBuilder::liveness_grace) counts as dead; where the operator has chosen a longer
//!   interval, raise the grace.
//! * **Proxies.** With [`ClientBuilder::proxy`] everything goes through a tunnel by `CONNECT`, or,
//!   without a WebSocket, as forwarded requests where the proxy opens none.
//!
//! # Many topics at once
//!
//! A pattern subscribes to every topic that matches, those that come into being later too. Each
//! message names its topic:
//!
//! ```
//! use fanfare_client::{Client, Payload};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = fanfare::Server::start(fanfare::ServerConfig::default_for_tests())?;
//! # let client = Client::connect(&server.url()).await?;
//! let mut ticks = client.subscribe("ticks.*").await?.messages(); // one level; "ticks.>" is all
//! client.publish("ticks.AAPL", Payload::text("187.2")).await?;
//! let tick = ticks.next().await.expect("the client is open");
//! assert_eq!(tick.topic.as_str(), "ticks.AAPL");
//! # client.close().await;
//! # server.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Only the newest value
//!
//! A price board does not want every tick, it wants the last one. With [`Mode::Latest`] the broker
//! sends a topic's newest message at once, and to a client that is slow always the newest one next.
//! [`SubscribeOptions::max_rate`] does the same to one that is quick:
//!
//! ```
//! use fanfare_client::{Client, Mode, Payload, SubscribeOptions};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = fanfare::Server::start(fanfare::ServerConfig::default_for_tests())?;
//! # let url = server.url();
//! # let client = Client::connect(&url).await?;
//! client.publish("ticks.AAPL", Payload::text("187.2")).await?;
//! let options = SubscribeOptions::new().mode(Mode::Latest).max_rate(5); // a second, at most
//! let mut newest = client.subscribe_with("ticks.AAPL", options).await?.messages();
//! let price = newest.next().await.expect("the client is open");
//! assert_eq!(price.payload.as_text(), Some("187.2"));
//! # client.close().await;
//! # server.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Backpressure
//!
//! Each subscription buffers a bounded number of messages
//! ([`ClientBuilder::subscription_buffer`]). While a buffer is full, the client stops reading its
//! socket, so TCP makes the broker wait and the subscription's [`Mode`] says what comes next. A
//! connection from which nothing at all is read for long is closed by the broker, with
//! [`CloseCode::SLOW_CONSUMER`] or [`CloseCode::NO_PONG`], and the client comes back.
//!
//! A full buffer stops every subscription of the client: give a slow reader a [`Client`] of its
//! own. A subscription that is no longer wanted should be dropped, not just left unread.
//!
//! Publishing feels it too. What the network has not taken is the client's
//! [`buffered_amount`](Client::buffered_amount); at the
//! [high-water mark](ClientBuilder::high_water_mark) publishing waits, or is refused where the
//! application prefers that:
//!
//! ```
//! use fanfare_client::{Client, Error, Payload};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = fanfare::Server::start(fanfare::ServerConfig::default_for_tests())?;
//! # let client = Client::connect(&server.url()).await?;
//! # let mut quotes_left_out = 0;
//! match client.try_publish("ticks.AAPL", Payload::text("187.2")) {
//!     Ok(()) => {}
//!     Err(Error::BufferFull { .. }) => quotes_left_out += 1, // the next one will be newer
//!     Err(error) => return Err(error.into()),
//! }
//! # assert_eq!(quotes_left_out, 0);
//! # client.close().await;
//! # server.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What was and who is there
//!
//! [`Client::history`] reads what the broker keeps of a topic, page by page. [`Client::presence`]
//! tells who is subscribed to it, and a subscription with [`SubscribeOptions::presence`] who comes
//! and goes.
#![warn(missing_docs)]

mod address;
mod alarm;
mod audience;
mod backlog;
mod backoff;
mod batch;
mod buffered;
mod builder;
mod client;
mod connection;
mod driver;
mod error;
mod event;
mod fallback;
mod link;
mod meter;
mod opener;
mod options;
mod pattern_route;
mod proxy;
mod publish;
mod query;
mod queue;
mod request;
mod route;
mod routes;
mod session;
mod subscription;
mod transport;
mod update;

pub use backoff::Backoff;
pub use builder::ClientBuilder;
pub use client::Client;
pub use error::Error;
pub use event::{Event, Events};
pub use fanfare_protocol::{
    CloseCode, Codec, ErrorCode, ErrorReply, Filter, Member, Mode, Payload, PayloadKind, Position,
    PresenceList, Published, TopicError, TopicName, TopicPattern,
};
pub use options::{HistoryOptions, PublishOptions, SubscribeOptions};
pub use query::HistoryPage;
pub use subscription::{Messages, Subscription};
pub use transport::{Transport, UnknownTransport};
pub use update::{Gap, Message, Missed, PresenceChange, Snapshot, Update};
