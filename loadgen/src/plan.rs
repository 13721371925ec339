//! What one run does: whom it connects to, who subscribes to what, and how it is shared out.
//!
//! Owns the shape of a load as plain data that a worker process can be handed. The shape is
//! arithmetic, so a receiver needs no lookup table: the subscriptions of all connections, written
//! one after the other, walk round and round through the topics.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use fanfare_protocol::{Codec, Mode};
use serde::{Deserialize, Serialize};

use crate::stamp::TOPICS_MAX;

/// Most connections that one process opens: all of them share a source address, and Linux has
/// 28,232 ephemeral ports for each by default.
pub(crate) const PROCESS_CONNECTIONS_MAX: u32 = 25_000;

/// File descriptors of a process that are not subscribers: pipes, polls, publishers, files.
const DESCRIPTORS_RESERVED: u64 = 100;

/// How messages reach a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// `/v1/ws`, text frames of JSON
    Json,
    /// `/v1/ws`, binary frames of MessagePack
    #[value(name = "msgpack")]
    MsgPack,
    /// `/v1/topics/{topic}`, bare payloads; one topic a connection
    Raw,
}

impl Transport {
    /// The codec of the SDK protocol; `None` for the raw stream.
    #[must_use]
    pub(crate) fn codec(self) -> Option<Codec> {
        match self {
            Self::Json => Some(Codec::Json),
            Self::MsgPack => Some(Codec::MsgPack),
            Self::Raw => None,
        }
    }

    /// The name on the command line and in the floor's URL.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::MsgPack => "msgpack",
            Self::Raw => "raw",
        }
    }

    /// The transport of a name.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Json, Self::MsgPack, Self::Raw].into_iter().find(|t| t.name() == name)
    }
}

/// What stands at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    /// A Fanfare broker.
    Broker,
    /// `loadgen floor`.
    Floor,
}

/// Where to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    /// Address of the data port.
    pub address: SocketAddr,
    /// What is expected there.
    pub peer: Peer,
}

/// Why a URL names no target. The caller's fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// The URL has another scheme or path than the ones we speak.
    #[error(
        "{0:?} is no target; use ws://HOST:PORT for a broker, ws://HOST:PORT/floor for a floor"
    )]
    NotATarget(String),
    /// The host has no address.
    #[error("{host} cannot be resolved: {source}")]
    Unresolved {
        /// Host and port.
        host: String,
        /// What the resolver said.
        source: std::io::Error,
    },
}

impl Target {
    /// Reads `ws://HOST:PORT` (a broker) or `ws://HOST:PORT/floor`.
    ///
    /// # Errors
    /// [`TargetError`] for other URLs and for hosts without an address.
    pub(crate) fn parse(url: &str) -> Result<Self, TargetError> {
        let not_a_target = || TargetError::NotATarget(url.to_owned());
        let rest = url.strip_prefix("ws://").or_else(|| url.strip_prefix("http://"));
        let (host, path) = match rest.ok_or_else(not_a_target)?.split_once('/') {
            Some((host, path)) => (host, path),
            None => (rest.unwrap_or_default(), ""),
        };
        let peer = match path {
            "" => Peer::Broker,
            "floor" => Peer::Floor,
            _ => return Err(not_a_target()),
        };
        if !host.contains(':') {
            return Err(not_a_target());
        }
        let unresolved = |source| TargetError::Unresolved { host: host.to_owned(), source };
        let addresses: Vec<SocketAddr> = host.to_socket_addrs().map_err(unresolved)?.collect();
        // `localhost` often resolves to IPv6 first, while most servers listen on IPv4.
        let address =
            addresses.iter().find(|address| address.is_ipv4()).or_else(|| addresses.first());
        Ok(Self { address: *address.ok_or_else(not_a_target)?, peer })
    }

    /// The source address of process number `process`: on loopback each has its own, so that each
    /// has its own ephemeral ports; elsewhere the kernel chooses.
    #[must_use]
    pub(crate) fn source(&self, process: u32) -> Option<IpAddr> {
        let last = u8::try_from(process).ok()?.checked_add(1)?;
        let loopback = matches!(self.address.ip(), IpAddr::V4(ip) if ip.is_loopback());
        (loopback && process > 0).then_some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))
    }
}

/// Who subscribes to what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// Number of subscribing connections.
    pub connections: u32,
    /// Names of the topics.
    pub topics: Vec<String>,
    /// Subscriptions of each connection; at most the number of topics.
    pub topics_per_connection: u32,
}

/// Why a shape cannot be run. The caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ShapeError {
    /// No topic, or more than a stamp can name.
    #[error("{0} topics; 1 to {TOPICS_MAX} are allowed")]
    Topics(usize),
    /// More subscriptions of one connection than topics, or none.
    #[error("{wanted} topics per connection; 1 to {topics} (the number of topics) are allowed")]
    TopicsPerConnection {
        /// What was asked for.
        wanted: u32,
        /// How many topics there are.
        topics: usize,
    },
}

impl Shape {
    /// Checks what the arithmetic below relies on.
    ///
    /// # Errors
    /// [`ShapeError`] says which number is out of range.
    pub(crate) fn check(&self) -> Result<(), ShapeError> {
        let topics = self.topics.len();
        if !(1..=TOPICS_MAX).contains(&topics) {
            return Err(ShapeError::Topics(topics));
        }
        let wanted = self.topics_per_connection;
        if wanted == 0 || wanted as usize > topics {
            return Err(ShapeError::TopicsPerConnection { wanted, topics });
        }
        Ok(())
    }

    /// The topics of connection number `connection`, as indexes.
    pub(crate) fn topics_of(&self, connection: u32) -> impl Iterator<Item = u32> {
        let topics = self.topics.len() as u32;
        let first = self.first_topic(connection);
        (0..self.topics_per_connection).map(move |k| (first + k) % topics)
    }

    /// The first of a connection's topics; the others follow it, round through the last.
    #[must_use]
    pub(crate) fn first_topic(&self, connection: u32) -> u32 {
        let start = u64::from(connection) * u64::from(self.topics_per_connection);
        (start % self.topics.len() as u64) as u32
    }

    /// How many connections subscribe to a topic.
    #[must_use]
    pub(crate) fn subscribers(&self, topic: u32) -> u32 {
        let subscriptions = u64::from(self.connections) * u64::from(self.topics_per_connection);
        let topics = self.topics.len() as u64;
        let one_more = u64::from(topic) < subscriptions % topics;
        (subscriptions / topics) as u32 + u32::from(one_more)
    }
}

/// Everything that a receiver must know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Where to connect to.
    pub target: Target,
    /// How messages come.
    pub transport: Transport,
    /// Who subscribes to what.
    pub shape: Shape,
    /// How many publishers there are.
    pub publishers: u8,
    /// The number that this run's stamps carry.
    pub run: u8,
    /// What subscribers ask for; `None` leaves it to the server.
    pub mode: Option<Mode>,
    /// `SO_RCVBUF` of subscribers; `None` leaves it to the kernel.
    pub receive_buffer_bytes: Option<usize>,
    /// Whether messages may be missing if the server tells of the gap; with one publisher only.
    pub gaps_are_excused: bool,
    /// Messages that each publisher has sent to each topic before anybody subscribed.
    pub first_sequence: u32,
}

/// A part of the connections: those that one process, or one thread of it, opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Share {
    /// The first connection's number.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// The source address to bind, if one must be chosen.
    pub source: Option<IpAddr>,
}

impl Share {
    /// Splits this share as evenly as possible into `parts` that follow each other.
    pub(crate) fn split(self, parts: u32) -> impl Iterator<Item = Self> {
        let (base, extra) = (self.count / parts, self.count % parts);
        (0..parts).map(move |part| Self {
            first: self.first + part * base + part.min(extra),
            count: base + u32::from(part < extra),
            source: self.source,
        })
    }
}

impl Plan {
    /// A run of one publisher whose subscribers take what comes.
    #[must_use]
    pub(crate) fn new(target: Target, transport: Transport, shape: Shape) -> Self {
        Self {
            target,
            transport,
            shape,
            publishers: 1,
            run: fastrand::u8(..),
            mode: None,
            receive_buffer_bytes: None,
            gaps_are_excused: false,
            first_sequence: 0,
        }
    }

    /// Whether subscribers may be passed over for newer messages.
    #[must_use]
    pub(crate) fn is_latest(&self) -> bool {
        self.mode == Some(Mode::Latest)
    }

    /// One share for each process that is needed if none may open over `process_max` connections.
    #[must_use]
    pub(crate) fn shares(&self, process_max: u32) -> Vec<Share> {
        let all = Share { first: 0, count: self.shape.connections, source: None };
        let processes = all.count.div_ceil(process_max.max(1)).max(1);
        let with_source = |(process, share)| Share { source: self.target.source(process), ..share };
        (0..processes).zip(all.split(processes)).map(with_source).collect()
    }
}

/// How many connections one process may open, after raising its limit of open files to the
/// hard one.
#[must_use]
pub(crate) fn process_connections_max() -> u32 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where raising is not permitted the soft limit still holds.
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let connections = files.map_or(u64::MAX, |files| files.saturating_sub(DESCRIPTORS_RESERVED));
    connections.clamp(1, u64::from(PROCESS_CONNECTIONS_MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(connections: u32, topics: u32, topics_per_connection: u32) -> Shape {
        let topics = (0..topics).map(|t| format!("t.{t}")).collect();
        Shape { connections, topics, topics_per_connection }
    }

    #[test]
    fn every_topic_gets_the_same_number_of_subscribers() {
        for (connections, topics, each) in
            [(18_000, 1_260, 7), (10_000, 9, 3), (7, 3, 2), (5, 8, 1)]
        {
            let shape = shape(connections, topics, each);
            let mut counted = vec![0; topics as usize];
            for connection in 0..connections {
                for topic in shape.topics_of(connection) {
                    counted[topic as usize] += 1;
                }
            }
            let told: Vec<u32> = (0..topics).map(|t| shape.subscribers(t)).collect();
            assert_eq!(counted, told);
            let (least, most) = (counted.iter().min().unwrap(), counted.iter().max().unwrap());
            assert!(most - least <= 1, "{least} to {most}");
        }
    }

    #[test]
    fn a_connection_never_has_a_topic_twice() {
        let shape = shape(1_000, 9, 9);
        for connection in 0..1_000 {
            let mut topics: Vec<u32> = shape.topics_of(connection).collect();
            topics.sort_unstable();
            topics.dedup();
            assert_eq!(topics.len(), 9);
        }
    }

    #[test]
    fn shapes_that_cannot_be_are_refused() {
        assert_eq!(shape(1, 0, 1).check(), Err(ShapeError::Topics(0)));
        assert!(shape(1, 2, 3).check().is_err());
        assert!(shape(1, 2, 0).check().is_err());
        assert_eq!(shape(0, 1, 1).check(), Ok(()));
    }

    #[test]
    fn urls_name_a_broker_or_a_floor() {
        let address = "127.0.0.1:8080".parse().unwrap();
        let broker = Target { address, peer: Peer::Broker };
        assert_eq!(Target::parse("ws://127.0.0.1:8080").unwrap(), broker);
        assert_eq!(Target::parse("ws://127.0.0.1:8080/").unwrap(), broker);
        assert_eq!(Target::parse("ws://127.0.0.1:8080/floor").unwrap().peer, Peer::Floor);
        for bad in ["127.0.0.1:8080", "wss://a:1", "ws://a", "ws://127.0.0.1:1/v1/ws", ""] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_further_process_has_its_own_loopback_address() {
        let target = Target::parse("ws://127.0.0.1:8080").unwrap();
        let plan = Plan::new(target, Transport::Json, shape(60_000, 1, 1));
        let shares = plan.shares(25_000);
        assert_eq!(shares.len(), 3);
        assert_eq!(shares.iter().map(|share| share.count).sum::<u32>(), 60_000);
        assert_eq!(shares[1].first, shares[0].count);
        assert_eq!(shares[0].source, None);
        assert_eq!(shares[2].source, Some("127.0.0.3".parse().unwrap()));
        assert_eq!(plan.shares(60_000).len(), 1);
    }
}
