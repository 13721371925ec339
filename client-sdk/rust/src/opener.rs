//! One attempt to open a session: one transport after the other, until one gets through.

use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::Connected;
use hyper::header::HeaderValue;
use tokio::time::timeout;

use crate::address::Address;
use crate::builder::Config;
use crate::client::Shared;
use crate::connection::Connection;
use crate::error::Error;
use crate::event::Event;
use crate::fallback::{Dialer, HttpLink, Plan};
use crate::link::Link;
use crate::proxy;
use crate::request::Outgoing;
use crate::transport::Transport;

/// How long a broker may take to answer over HTTP at least, whatever the application's patience.
const ANSWER_TIMEOUT_MIN: Duration = Duration::from_secs(10);

/// Opens sessions with one broker.
#[derive(Clone, Debug)]
pub(crate) struct Opener {
    pub(crate) address: Arc<Address>,
    pub(crate) config: Arc<Config>,
    pub(crate) shared: Arc<Shared>,
}

/// An open session.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) link: Link,
    pub(crate) connected: Connected,
    pub(crate) transport: Transport,
}

/// Why there is none.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// The host was reached, so that another transport may get through.
    pub(crate) is_blocked: bool,
}

impl Opener {
    /// Tries the transports of `order`. `frames` open the session; the command `connect_id` in
    /// them is `connect`.
    ///
    /// # Errors
    /// That of the first transport, which is the preferred one.
    pub(crate) async fn open(
        self,
        order: Vec<Transport>,
        connect_id: u64,
        frames: Vec<Outgoing>,
    ) -> Result<Opened, Failure> {
        let mut first_failure = None;
        for (place, &transport) in order.iter().enumerate() {
            let next = order.get(place + 1);
            let failure = match self.open_over(transport, next.is_none(), connect_id, &frames).await
            {
                Ok((link, connected)) => return Ok(Opened { link, connected, transport }),
                Err(failure) => failure,
            };
            let Failure { error, is_blocked } = &failure;
            if let Some(&to) = next.filter(|_| *is_blocked) {
                let reason = error.to_string();
                self.shared.events.emit(Event::FallingBack { from: transport, to, reason });
            }
            let is_over = !is_blocked;
            first_failure.get_or_insert(failure);
            if is_over {
                break;
            }
        }
        Err(first_failure.unwrap_or(Failure { error: Error::Closed, is_blocked: false }))
    }

    async fn open_over(
        &self,
        transport: Transport,
        is_last: bool,
        connect_id: u64,
        frames: &[Outgoing],
    ) -> Result<(Link, Connected), Failure> {
        let Config { connect_timeout, fallback_after, .. } = *self.config;
        let is_http = transport != Transport::WebSocket;
        let proxy = self.config.proxy.as_ref();
        let reaching = proxy::connect(&self.address, proxy, is_http);
        let route = timeout(connect_timeout, reaching).await;
        let route = route.unwrap_or_else(|_| Err(self.timed_out(connect_timeout)));
        let route = route.map_err(|error| {
            let is_blocked = matches!(error, Error::ProxyRefused { status, .. } if status != 407);
            Failure { error, is_blocked }
        })?;
        let limit = if is_last { connect_timeout } else { fallback_after.min(connect_timeout) };
        let opening = self.begin(transport, route, connect_id, frames);
        let opened = timeout(limit, opening).await;
        opened.unwrap_or_else(|_| Err(self.timed_out(limit))).map_err(|error| {
            // Who says when to come back is the broker, and another transport would ask it again.
            let is_answer = matches!(error, Error::Refused(_) | Error::ClosedByBroker { .. })
                || error.retry_after().is_some();
            Failure { error, is_blocked: !is_answer }
        })
    }

    async fn begin(
        &self,
        transport: Transport,
        route: proxy::Route,
        connect_id: u64,
        frames: &[Outgoing],
    ) -> Result<(Link, Connected), Error> {
        let frames = frames.iter().map(|outgoing| {
            let frame = outgoing.frame.clone();
            Outgoing { frame, charge: None }
        });
        if transport == Transport::WebSocket {
            let codec = self.config.codec;
            let frames = frames.collect();
            let opening = Connection::open(route.stream, &self.address, codec, connect_id, frames);
            let (connection, connected) = opening.await?;
            return Ok((Link::WebSocket(Box::new(connection)), connected));
        }
        let (mut link, connected) = HttpLink::open(self.plan(transport), route).await?;
        frames.for_each(|outgoing| link.send(outgoing));
        Ok((Link::Http(Box::new(link)), connected))
    }

    fn plan(&self, transport: Transport) -> Plan {
        let authorization = self.config.token.as_ref().and_then(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        let dialer = Dialer {
            address: self.address.clone(),
            proxy: self.config.proxy.clone(),
            authorization,
            topics: self.address.topics.clone().unwrap_or_default(),
        };
        Plan {
            transport,
            codec: self.config.codec,
            dialer: Arc::new(dialer),
            grace: self.config.liveness_grace,
            answer_timeout: self.config.command_timeout.max(ANSWER_TIMEOUT_MIN),
            poll_wait: self.config.poll_wait,
        }
    }

    fn timed_out(&self, limit: Duration) -> Error {
        let detail = format!("no session within {limit:?}");
        Error::Unreachable { address: self.address.host_port.clone(), detail }
    }
}
