//! Plain HTTP on the data port and the admin port.

use std::net::SocketAddr;

use fanfare::Server;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::SOON;

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

    /// The value of a header, whose name is given in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
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

/// Publishes a body on a topic; its position.
pub(crate) async fn publish(server: &Server, topic: &str, body: &str) -> String {
    let answer = http(server, &format!("POST /v1/topics/{topic}"), &[], body.as_bytes()).await;
    position(&answer.json())
}

/// The position that a page or the answer to a publish tells.
pub(crate) fn position(told: &Value) -> String {
    format!("{}:{}", told["epoch"].as_str().unwrap(), told["offset"])
}

/// An HTTP connection that is kept for several requests.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

impl Kept {
    pub(crate) async fn connect(server: &Server) -> Self {
        Self::connect_to(&server.addr().to_string()).await
    }

    pub(crate) async fn connect_to(addr: &str) -> Self {
        Self { stream: TcpStream::connect(addr).await.unwrap(), unread: Vec::new() }
    }

    pub(crate) async fn send(&mut self, start: &str, headers: &[&str], body: &[u8]) {
        let mut request = format!("{start} HTTP/1.1\r\nHost: broker.example\r\n");
        if !body.is_empty() {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        self.stream.write_all(&[request.as_bytes(), body].concat()).await.unwrap();
    }

    /// The next answer, exactly as long as its head says.
    pub(crate) async fn answer(&mut self) -> Answer {
        tokio::time::timeout(SOON, self.read_answer()).await.expect("an answer in time")
    }

    async fn read_answer(&mut self) -> Answer {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            let read = self.stream.read_buf(&mut self.unread).await.unwrap();
            assert_ne!(read, 0, "ended: {:?}", String::from_utf8_lossy(&self.unread));
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).unwrap();
        let mut answer = parse(&head);
        let len = answer.header("content-length").map_or(0, |len| len.parse().unwrap());
        if answer.status != 304 {
            while self.unread.len() < len {
                assert_ne!(self.stream.read_buf(&mut self.unread).await.unwrap(), 0);
            }
            answer.body = String::from_utf8(self.unread.drain(..len).collect()).unwrap();
        }
        answer
    }

    pub(crate) async fn request(&mut self, start: &str, headers: &[&str], body: &[u8]) -> Answer {
        self.send(start, headers, body).await;
        self.answer().await
    }

    /// Waits for the end of the connection; what still came.
    pub(crate) async fn rest(mut self) -> String {
        let read = self.stream.read_to_end(&mut self.unread);
        tokio::time::timeout(SOON, read).await.expect("an end in time").ok();
        String::from_utf8_lossy(&self.unread).into_owned()
    }
}

pub(crate) fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    let (head, body) = (lower_names(head), body.to_owned());
    Answer { status, head, body }
}

/// The names of headers in small letters; values as they are.
fn lower_names(head: &str) -> String {
    let line = |line: &str| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_ascii_lowercase()),
        None => line.to_owned(),
    };
    head.lines().map(line).collect::<Vec<_>>().join("\r\n")
}

/// A page of the admin port.
pub(crate) async fn admin(server: &Server, path: &str) -> Answer {
    admin_at(server.admin_addr(), path).await
}

/// As [`admin`], of a broker that is elsewhere, or being stopped.
pub(crate) async fn admin_at(addr: SocketAddr, path: &str) -> Answer {
    ask_admin(addr, &format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n"))
        .await
}

/// Posts a body to the admin port, with headers that each end their line.
pub(crate) async fn admin_post(server: &Server, path: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n{headers}");
    let request = format!("{head}Content-Length: {length}\r\n\r\n{body}");
    ask_admin(server.admin_addr(), &request).await
}

async fn ask_admin(addr: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(addr).await.unwrap();
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
