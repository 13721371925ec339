//! A broker that soon finds out who has vanished, and what it tells of its connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fanfare::{Server, ServerConfig};
use fanfare_client::{Client, ClientBuilder, Transport};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::SOON;
use crate::namespace::FAR;

/// How long a connection may take nothing.
const STALL_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) struct Broker {
    server: Server,
}

impl Broker {
    /// A broker that ends who does not answer a ping for so long. It keeps all that a test
    /// publishes.
    pub(crate) fn start(pong_timeout: Duration) -> Self {
        let mut config = ServerConfig::default_for_tests();
        config.listen = (Ipv4Addr::UNSPECIFIED, 0).into();
        let limits = &mut config.limits;
        limits.ping_interval_ms = 300;
        limits.pong_timeout_ms = pong_timeout.as_millis() as u64;
        limits.stall_timeout_ms = STALL_TIMEOUT.as_millis() as u64;
        limits.close_timeout_ms = 500;
        limits.namespaces.default_mut().history_messages = 100_000;
        limits.namespaces.default_mut().history_bytes = 256 * 1024 * 1024;
        Self { server: Server::start(config).expect("a broker") }
    }

    fn builder(&self, address: Ipv4Addr) -> ClientBuilder {
        let builder = Client::builder(&format!("ws://{address}:{}", self.port()));
        // All is read at once, also what a test looks at later.
        let builder = builder.subscription_buffer(10_000);
        builder.backoff(Duration::from_millis(20), Duration::from_millis(500))
    }

    /// A client that nothing happens to.
    pub(crate) async fn near(&self) -> Client {
        self.builder(Ipv4Addr::LOCALHOST).connect().await.expect("connected")
    }

    /// A client whose network can be cut.
    pub(crate) async fn far(&self) -> Client {
        self.far_over(&[Transport::WebSocket]).await
    }

    /// One that uses these transports.
    pub(crate) async fn far_over(&self, transports: &[Transport]) -> Client {
        let builder = self.builder(FAR).transports(transports.iter().copied());
        // Long enough for a busy machine, and short enough not to wait for.
        let builder = builder.liveness_grace(Duration::from_secs(5));
        builder.connect_timeout(Duration::from_secs(2)).connect().await.expect("connected")
    }

    fn port(&self) -> u16 {
        self.server.addr().port()
    }

    /// The connections that `GET /v1/connections` lists.
    pub(crate) async fn connections(&self) -> Vec<Value> {
        let answer = get(self.server.admin_addr(), "/v1/connections?limit=1000").await;
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        answer["connections"].as_array().expect("a list").clone()
    }

    /// The value of a metric; 0 if there is no such series yet.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let answer = get(self.server.admin_addr(), "/metrics").await;
        let mut lines = answer.lines();
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Connections that were closed with this code.
    pub(crate) async fn closed(&self, code: &str) -> f64 {
        self.metric(&format!("fanfare_connections_closed_total{{code=\"{code}\"}}")).await
    }

    /// Waits until so many were closed with this code.
    pub(crate) async fn closes(&self, code: &str, count: f64) {
        let deadline = Instant::now() + SOON;
        while self.closed(code).await < count {
            assert!(Instant::now() < deadline, "not {count} closed with {code}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the kernel holds for sockets of the broker's whose peer may vanish: how many there are,
    /// and their bytes that no peer has acknowledged.
    pub(crate) fn far_sockets(&self) -> (usize, u64) {
        let sockets = std::fs::read_to_string("/proc/self/net/tcp").expect("the kernel's sockets");
        let address = u32::from_le_bytes(FAR.octets());
        let local = format!("{address:08X}:{:04X}", self.port());
        let fields = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let queues: Vec<u64> = fields
            .filter(|fields| fields[1] == local)
            .map(|fields| fields[4].split_once(':').expect("two queues").0)
            .map(|unacknowledged| u64::from_str_radix(unacknowledged, 16).expect("a number"))
            .collect();
        (queues.len(), queues.iter().sum())
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }
}

async fn get(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.expect("the admin port");
    let request = format!("GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    assert!(head.contains(" 200 "), "{head}");
    body.to_owned()
}
