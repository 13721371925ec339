//! What the scenario tests share: a broker in this process, plain HTTP, and a WebSocket client
//! that shows frames as they are.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that fails")]
#![allow(dead_code, reason = "each test program uses a part of this")]

use std::time::Duration;

use fanfare::{Limits, Server, ServerConfig};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Long enough for anything that does happen, on a busy machine too.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A broker with some limits changed.
pub(crate) fn start_with(change: impl FnOnce(&mut Limits)) -> Server {
    let mut config = ServerConfig::default_for_tests();
    // Clients of tests seldom say goodbye; do not wait for it.
    config.limits.close_timeout_ms = 300;
    change(&mut config.limits);
    Server::start(config).expect("a broker")
}

pub(crate) fn start() -> Server {
    start_with(|_| {})
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Sends these bytes and returns all that comes until the broker ends the connection.
pub(crate) async fn exchange(server: &Server, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(SOON, read).await.expect("an end in time").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A response: its status, its head and its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap_or_default().to_owned()
    }
}

/// One HTTP request on a connection of its own.
pub(crate) async fn http(server: &Server, start: &str, headers: &[&str], body: &[u8]) -> Answer {
    let mut request = format!("{start} HTTP/1.1\r\nHost: {}\r\n", server.addr());
    if !headers.iter().any(|h| h.to_ascii_lowercase().starts_with("connection:")) {
        request.push_str("Connection: close\r\n");
    }
    if !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    parse(&exchange(server, &[request.as_bytes(), body].concat()).await)
}

pub(crate) fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// A page of the admin port.
pub(crate) async fn admin(server: &Server, path: &str) -> Answer {
    let mut stream = TcpStream::connect(server.admin_addr()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    parse(&answer)
}

/// The value of a metric, `name` or `name{label="value"}`.
pub(crate) async fn metric(server: &Server, name: &str) -> f64 {
    let text = admin(server, "/metrics").await.body;
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    let value = line.and_then(|line| line.split(' ').nth(1)).and_then(|v| v.parse().ok());
    value.unwrap_or_else(|| panic!("no metric {name} in:\n{text}"))
}

/// A WebSocket client without manners of its own.
pub(crate) struct Ws(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Ws {
    pub(crate) async fn open(server: &Server, path: &str, subprotocol: Option<&str>) -> Self {
        let url = format!("{}{path}", server.url());
        let mut request = url.into_client_request().unwrap();
        if let Some(name) = subprotocol {
            request.headers_mut().insert("Sec-WebSocket-Protocol", name.parse().unwrap());
        }
        let (stream, _) = tokio_tungstenite::connect_async(request).await.expect("a handshake");
        Self(stream)
    }

    /// The raw stream of a topic.
    pub(crate) async fn raw(server: &Server, topic: &str) -> Self {
        Self::open(server, &format!("/v1/topics/{topic}"), None).await
    }

    /// An SDK connection in JSON that has connected and subscribed.
    pub(crate) async fn subscriber(server: &Server, topics: &[&str]) -> Self {
        let mut ws = Self::open(server, "/v1/ws", Some("fanfare.v1.json")).await;
        ws.send(r#"{"id":1,"connect":{}}"#).await;
        ws.json().await;
        for topic in topics {
            ws.send(&format!(r#"{{"id":2,"subscribe":{{"topic":"{topic}"}}}}"#)).await;
            assert!(ws.json().await["subscribe"].is_object());
        }
        ws
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Option<Result<Message, tungstenite::Error>> {
        tokio::time::timeout(SOON, self.0.next()).await.expect("a frame in time")
    }

    /// The next data frame.
    pub(crate) async fn data(&mut self) -> Message {
        loop {
            match self.next().await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return message,
                other => panic!("no data: {other:?}"),
            }
        }
    }

    /// The next data frame as JSON.
    pub(crate) async fn json(&mut self) -> Value {
        let message = self.data().await;
        serde_json::from_str(message.to_text().unwrap())
            .unwrap_or_else(|e| panic!("{e}: {message:?}"))
    }

    /// Reads on until the broker closes; the code and the reason.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("no close frame: {other:?}"),
            }
        }
    }
}

/// A client frame, masked with zeros.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// A handshake done by hand, for frames that no client library would send.
pub(crate) async fn handshake(server: &Server, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        server.addr()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// The close code in what the broker sends until it ends the connection.
pub(crate) async fn close_code(stream: &mut TcpStream) -> Option<u16> {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    tokio::time::timeout(SOON, read).await.expect("an end in time").ok();
    let mut rest = &bytes[..];
    while let [first, second, after @ ..] = rest {
        let (len, content) = match second {
            126 => (usize::from(after[0]) << 8 | usize::from(after[1]), &after[2..]),
            short => (usize::from(*short), after),
        };
        if *first == 0x88 {
            return Some(u16::from_be_bytes([content[0], content[1]]));
        }
        rest = &content[len..];
    }
    None
}
