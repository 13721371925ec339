//! The scripted web server: a broker without WebSockets, or what a proxy makes of one. A test
//! takes each request and says what is answered.

use std::collections::HashMap;
use std::time::Duration;

use fanfare_client::{Client, ClientBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::peer::{A_MOMENT, SOON};

pub(crate) struct Web {
    pub(crate) url: String,
    asked: mpsc::UnboundedReceiver<Asked>,
    accepting: JoinHandle<()>,
    /// Upgrades that were refused.
    pub(crate) upgrades: usize,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
    stream: TcpStream,
    back: mpsc::UnboundedSender<Self>,
}

impl Web {
    pub(crate) async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (back, asked) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(read_request(stream, back.clone()));
            }
        });
        Self { url, asked, accepting, upgrades: 0 }
    }

    /// A builder with waits that suit a test.
    pub(crate) fn builder(&self) -> ClientBuilder {
        Client::builder(&self.url)
            .backoff(Duration::from_millis(5), Duration::from_millis(40))
            .command_timeout(SOON)
    }

    /// The next request, upgrades included.
    pub(crate) async fn any(&mut self) -> Asked {
        timeout(SOON, self.asked.recv()).await.expect("a request in time").expect("a server")
    }

    /// The next request that is no upgrade; upgrades are refused.
    pub(crate) async fn asked(&mut self) -> Asked {
        loop {
            let asked = self.any().await;
            if !asked.is_upgrade() {
                return asked;
            }
            self.upgrades += 1;
            asked.problem(403, "no WebSockets here").await;
        }
    }

    /// Expects that the client asks nothing for a moment.
    pub(crate) async fn nothing(&mut self) {
        let asked = timeout(A_MOMENT, self.asked.recv()).await;
        assert!(asked.is_err(), "{asked:?}");
    }

    /// Refuses the upgrade and lets the client see that streams of events work.
    pub(crate) async fn let_in_over_sse(&mut self) {
        let asked = self.asked().await;
        assert_eq!(asked.target, "/v1/topics?topic=fanfare.probe.%3E");
        assert_eq!(asked.headers["accept"], "text/event-stream");
        let mut events = asked.events().await;
        events.begin_pattern("fanfare.probe.>").await;
        events.is_closed().await;
    }

    /// Refuses the upgrade and streams of events, and lets the client see that polling works.
    pub(crate) async fn let_in_over_long_poll(&mut self) {
        loop {
            let asked = self.asked().await;
            if asked.headers["accept"] == "text/event-stream" {
                asked.problem(406, "no streams here").await;
                continue;
            }
            assert_eq!(asked.target, "/v1/topics?topic=fanfare.probe&limit=1");
            return asked.pages(&[UNKNOWN]).await;
        }
    }

    /// A client over server-sent events.
    pub(crate) async fn sse_client(&mut self, builder: ClientBuilder) -> Client {
        let (client, ()) = tokio::join!(builder.connect(), self.let_in_over_sse());
        client.expect("connected")
    }

    /// A client over long polling.
    pub(crate) async fn polling_client(&mut self, builder: ClientBuilder) -> Client {
        let (client, ()) = tokio::join!(builder.connect(), self.let_in_over_long_poll());
        client.expect("connected")
    }
}

/// The page of a topic that does not exist.
pub(crate) const UNKNOWN: &str = r#"{"topic":"t","messages":[],"offset":0}"#;

/// The page of a topic, its messages texts.
pub(crate) fn page(
    topic: &str,
    epoch: &str,
    offset: u64,
    recovered: bool,
    messages: &[(u64, &str)],
) -> String {
    let more = messages.last().is_some_and(|(last, _)| *last < offset);
    let messages: Vec<_> = messages
        .iter()
        .map(|(offset, text)| format!(r#"{{"offset":{offset},"text":"{text}"}}"#))
        .collect();
    let messages = messages.join(",");
    let place = format!(r#""epoch":"{epoch}","offset":{offset},"recovered":{recovered}"#);
    format!(r#"{{"topic":"{topic}",{place},"more":{more},"messages":[{messages}]}}"#)
}

async fn read_request(mut stream: TcpStream, back: mpsc::UnboundedSender<Asked>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).expect("text");
    let mut lines = head.lines();
    let mut words = lines.next().expect("a request line").split(' ').map(str::to_owned);
    let (method, target) = (words.next().expect("a method"), words.next().expect("a target"));
    let headers: HashMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |text| text.parse().expect("a length"));
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    let body = String::from_utf8(body).expect("text");
    back.clone().send(Asked { method, target, headers, body, stream, back }).ok();
}

impl Asked {
    pub(crate) fn is_upgrade(&self) -> bool {
        self.headers.contains_key("upgrade")
    }

    /// The method and the target.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    /// Writes a whole answer; another request may follow on the connection.
    pub(crate) async fn answer(mut self, status: u16, headers: &str, body: &str) {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} Whatever\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        // An error means that the client has given up.
        self.stream.write_all(answer.as_bytes()).await.ok();
        tokio::spawn(read_request(self.stream, self.back));
    }

    pub(crate) async fn json(self, body: &str) {
        self.answer(200, "Content-Type: application/json\r\n", body).await;
    }

    pub(crate) async fn problem(self, status: u16, detail: &str) {
        let body = format!(r#"{{"title":"x","status":{status},"detail":"{detail}"}}"#);
        self.answer(status, "Content-Type: application/problem+json\r\n", &body).await;
    }

    pub(crate) async fn busy(self) {
        let headers = "Content-Type: application/problem+json\r\nRetry-After: 0\r\n";
        self.answer(503, headers, r#"{"title":"x","status":503,"detail":"busy"}"#).await;
    }

    pub(crate) async fn published(self, offset: u64) {
        self.json(&format!(r#"{{"epoch":"e1","offset":{offset}}}"#)).await;
    }

    /// Answers a list of pages.
    pub(crate) async fn pages(self, pages: &[&str]) {
        self.json(&format!(r#"{{"topics":[{}]}}"#, pages.join(","))).await;
    }

    /// Begins a stream of events.
    pub(crate) async fn events(self) -> Events {
        let mut events = Events { stream: self.stream };
        events
            .write(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
                 X-Accel-Buffering: no\r\nConnection: close\r\n\r\n",
            )
            .await;
        events
    }

    /// The client's port, which tells connections apart.
    pub(crate) fn port(&self) -> u16 {
        self.stream.peer_addr().expect("an address").port()
    }

    /// The connection, for a test that answers nothing.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

/// A stream of events.
pub(crate) struct Events {
    pub(crate) stream: TcpStream,
}

impl Events {
    pub(crate) async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("an open stream");
    }

    pub(crate) async fn begin_pattern(&mut self, pattern: &str) {
        let data = format!(r#"{{"pattern":"{pattern}","topics":0}}"#);
        self.write(&format!("retry: 1000\nevent: subscribed\ndata: {data}\n\n")).await;
    }

    pub(crate) async fn begin(&mut self, topic: &str, epoch: &str, offset: u64, recovered: bool) {
        let fields = format!(r#""epoch":"{epoch}","offset":{offset},"recovered":{recovered}"#);
        self.begin_with(topic, &fields).await;
    }

    pub(crate) async fn begin_with(&mut self, topic: &str, fields: &str) {
        self.write(&format!("event: subscribed\ndata: {{\"topic\":\"{topic}\",{fields}}}\n\n"))
            .await;
    }

    pub(crate) async fn message(&mut self, topic: &str, offset: u64, text: &str) {
        let data = format!(r#"{{"topic":"{topic}","offset":{offset},"text":"{text}"}}"#);
        self.write(&format!("data: {data}\n\n")).await;
    }

    pub(crate) async fn gap(&mut self, topic: &str, epoch: &str, from: u64, to: u64) {
        let data = format!(
            r#"{{"event":"gap","topic":"{topic}","epoch":"{epoch}","from":{from},"to":{to}}}"#
        );
        self.write(&format!("event: gap\ndata: {data}\n\n")).await;
    }

    pub(crate) async fn heartbeat(&mut self) {
        self.write(":\n\n").await;
    }

    /// Waits until the client has closed the stream.
    pub(crate) async fn is_closed(&mut self) {
        let read = timeout(SOON, self.stream.read(&mut [0; 1])).await.expect("closed in time");
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
}
