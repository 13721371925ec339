//! A WebSocket client on top of a library: it answers pings while it reads, and keeps to the rules.

use std::collections::VecDeque;

use fanfare::Server;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::SOON;

/// A WebSocket client without manners of its own.
pub(crate) struct Ws {
    pub(crate) stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What came before a reply that was waited for.
    kept: VecDeque<Message>,
    last_id: u64,
}

impl Ws {
    pub(crate) async fn open(server: &Server, path: &str, subprotocol: Option<&str>) -> Self {
        Self::open_at(&format!("{}{path}", server.url()), subprotocol).await
    }

    pub(crate) async fn open_at(url: &str, subprotocol: Option<&str>) -> Self {
        let mut request = url.into_client_request().unwrap();
        if let Some(name) = subprotocol {
            request.headers_mut().insert("Sec-WebSocket-Protocol", name.parse().unwrap());
        }
        let (stream, _) = tokio_tungstenite::connect_async(request).await.expect("a handshake");
        Self { stream, kept: VecDeque::new(), last_id: 0 }
    }

    /// The raw stream of a topic.
    pub(crate) async fn raw(server: &Server, topic: &str) -> Self {
        Self::open(server, &format!("/v1/topics/{topic}"), None).await
    }

    /// An SDK connection in JSON that has connected and subscribed.
    pub(crate) async fn subscriber(server: &Server, topics: &[&str]) -> Self {
        let mut ws = Self::connected(&server.url()).await;
        for topic in topics {
            ws.subscribe(json!({"topic": topic})).await;
        }
        ws
    }

    /// An SDK connection in JSON to the broker at `url` that has connected.
    pub(crate) async fn connected(url: &str) -> Self {
        let mut ws = Self::open_at(&format!("{url}/v1/ws"), Some("fanfare.v1.json")).await;
        ws.ask(json!({"connect": {}})).await;
        ws
    }

    /// An SDK connection that lands on this shard; the kernel spreads them.
    pub(crate) async fn on_shard(server: &Server, shard: usize) -> Self {
        loop {
            let mut ws = Self::open(server, "/v1/ws", Some("fanfare.v1.json")).await;
            let reply = ws.ask(json!({"connect": {}})).await;
            let name = reply["connect"]["connection"].as_str().expect("a name").to_owned();
            if name.split('-').nth(1) == Some(&shard.to_string()) {
                return ws;
            }
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    /// Sends a command and returns its reply; what comes before it is kept for later.
    pub(crate) async fn ask(&mut self, mut command: Value) -> Value {
        self.last_id += 1;
        command["id"] = self.last_id.into();
        self.send(&command.to_string()).await;
        let mut before = std::mem::take(&mut self.kept);
        let reply = loop {
            let message = self.data().await;
            let frame: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
            if frame["id"] == command["id"] {
                break frame;
            }
            before.push_back(message);
        };
        self.kept = before;
        reply
    }

    /// Subscribes; what the reply says.
    pub(crate) async fn subscribe(&mut self, options: Value) -> Value {
        let reply = self.ask(json!({"subscribe": options})).await;
        assert!(reply["subscribe"].is_object(), "{reply}");
        reply["subscribe"].clone()
    }

    pub(crate) async fn unsubscribe(&mut self, topic: &str) {
        let reply = self.ask(json!({"unsubscribe": {"topic": topic}})).await;
        assert!(reply["unsubscribe"].is_object(), "{reply}");
    }

    /// Publishes and waits for the reply; the offset.
    pub(crate) async fn publish(&mut self, topic: &str, data: impl Into<Value>) -> u64 {
        let publish = json!({"topic": topic, "data": data.into()});
        let reply = self.ask(json!({"publish": publish})).await;
        reply["publish"]["offset"].as_u64().unwrap_or_else(|| panic!("{reply}"))
    }

    /// Sends a wrong command; the code and the message of the error.
    pub(crate) async fn refused(&mut self, command: Value) -> (String, String) {
        let reply = self.ask(command).await;
        let text = |field: &str| reply["error"][field].as_str().map(str::to_owned);
        let error = text("code").zip(text("message"));
        error.unwrap_or_else(|| panic!("no error: {reply}"))
    }

    pub(crate) async fn next(&mut self) -> Option<Result<Message, tungstenite::Error>> {
        tokio::time::timeout(SOON, self.stream.next()).await.expect("a frame in time")
    }

    /// The next data frame.
    pub(crate) async fn data(&mut self) -> Message {
        if let Some(kept) = self.kept.pop_front() {
            return kept;
        }
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

    /// The next data frame as JSON, or `None` once the broker closes.
    pub(crate) async fn json_or_close(&mut self) -> Option<Value> {
        loop {
            match self.next().await {
                Some(Ok(Message::Close(_))) | None => return None,
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                    return Some(serde_json::from_str(message.to_text().unwrap()).unwrap());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("no close frame: {error}"),
            }
        }
    }

    /// The next push, `ping` events left out.
    pub(crate) async fn push(&mut self) -> Value {
        loop {
            let push = self.json().await;
            if push["event"] != "ping" {
                return push;
            }
        }
    }

    /// Data frames that have come by the time that the broker has answered a question: whatever
    /// was sent to this connection before is among them.
    pub(crate) async fn come(&mut self) -> Vec<Value> {
        self.ask(json!({"unsubscribe": {"topic": "not-subscribed"}})).await;
        let come = std::mem::take(&mut self.kept).into_iter();
        come.map(|message| serde_json::from_str(message.to_text().unwrap()).unwrap()).collect()
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
