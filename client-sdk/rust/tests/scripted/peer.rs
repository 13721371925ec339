//! The scripted peer: a WebSocket server that says exactly what a test tells it to say.

use std::time::Duration;

use fanfare_client::{
    Client, ClientBuilder, CloseCode, Codec, ErrorReply, Gap, Message, Mode, Payload, Position,
    Subscription, Transport, Update,
};
use fanfare_protocol::{
    Command, Connected, Event, Gap as GapEvent, MessagePush, PatternSubscribed, Ping, Published,
    Reply, ReplyBody, Request, Subscribe, Subscribed, Unsubscribed,
};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Upgrade, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// Long enough for anything that does happen, on a busy machine too.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Long enough for a client to do something that it must not do.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(60);

/// The longest frame that the peer says it takes.
pub(crate) const MESSAGE_BYTES_MAX: u64 = 1_000;

pub(crate) struct Peer {
    listener: TcpListener,
}

impl Peer {
    pub(crate) async fn bind() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port") }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.listener.local_addr().expect("an address"))
    }

    /// A builder with waits that suit a test, for the one transport that the peer speaks.
    pub(crate) fn builder(&self) -> ClientBuilder {
        Client::builder(&self.url())
            .transports([Transport::WebSocket])
            .backoff(Duration::from_millis(5), Duration::from_millis(40))
            .command_timeout(SOON)
    }

    pub(crate) async fn accept_tcp(&self) -> TcpStream {
        timeout(SOON, self.listener.accept()).await.expect("a connection").expect("accepted").0
    }

    /// Accepts a connection and upgrades it, taking the subprotocol that the client offers.
    pub(crate) async fn accept(&self) -> Link {
        self.accept_over(self.accept_tcp().await).await
    }

    /// Upgrades a connection that was accepted elsewhere.
    pub(crate) async fn accept_over(&self, stream: TcpStream) -> Link {
        let mut offered = None;
        #[allow(clippy::result_large_err, reason = "the signature is tungstenite's")]
        let choose = |upgrade: &Upgrade, mut response: Response| {
            assert_eq!(upgrade.uri().path(), "/v1/ws");
            let header = upgrade.headers().get("Sec-WebSocket-Protocol");
            offered = header.and_then(|name| Codec::from_subprotocol(name.to_str().ok()?));
            if let Some(codec) = offered {
                let name = HeaderValue::from_static(codec.subprotocol());
                response.headers_mut().insert("Sec-WebSocket-Protocol", name);
            }
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, choose).await.expect("an upgrade");
        Link { socket, codec: offered.expect("a subprotocol") }
    }

    /// Accepts a connection and answers its `connect`; other commands of that frame are returned.
    pub(crate) async fn serve(&self) -> (Link, Vec<Command>) {
        self.serve_with_ping_interval(Duration::from_secs(25)).await
    }

    pub(crate) async fn serve_with_ping_interval(&self, every: Duration) -> (Link, Vec<Command>) {
        let mut link = self.accept().await;
        let mut commands = link.commands().await;
        let connect = commands.remove(0);
        assert!(matches!(connect.request, Request::Connect(_)), "{connect:?} comes first");
        link.confirm_connect(&connect, every).await;
        (link, commands)
    }

    /// A client of this peer and the peer's end of its connection.
    pub(crate) async fn client(&self, builder: ClientBuilder) -> (Client, Link) {
        let (client, (link, rest)) = tokio::join!(builder.connect(), self.serve());
        assert!(rest.is_empty(), "{rest:?}");
        (client.expect("connected"), link)
    }
}

/// The peer's end of one connection.
pub(crate) struct Link {
    pub(crate) socket: WebSocketStream<TcpStream>,
    pub(crate) codec: Codec,
}

impl Link {
    /// The next frame of the client, close frames included.
    pub(crate) async fn frame(&mut self) -> Frame {
        loop {
            let frame = timeout(SOON, self.socket.next()).await.expect("a frame in time");
            match frame.expect("an open connection").expect("a valid frame") {
                Frame::Ping(_) | Frame::Pong(_) => {}
                frame => return frame,
            }
        }
    }

    /// The commands of the client's next frame.
    pub(crate) async fn commands(&mut self) -> Vec<Command> {
        let frame = self.frame().await;
        assert_eq!(frame.is_text(), self.codec == Codec::Json, "{frame:?}");
        assert!(frame.is_text() || frame.is_binary(), "{frame:?}");
        let decoded = Command::decode_frame(self.codec, &frame.into_data()).expect("commands");
        let commands = decoded.into_iter().map(|decoded| Command {
            id: decoded.id,
            request: decoded.request.expect("a good command"),
        });
        commands.collect()
    }

    /// The client's next frame, which must hold one command.
    pub(crate) async fn command(&mut self) -> Command {
        let mut commands = self.commands().await;
        assert_eq!(commands.len(), 1, "{commands:?}");
        commands.remove(0)
    }

    /// Expects that the client stays quiet for a moment.
    pub(crate) async fn nothing(&mut self) {
        let frame = timeout(A_MOMENT, self.socket.next()).await;
        assert!(frame.is_err(), "{frame:?}");
    }

    /// Expects a close frame and lets the answer to it out.
    pub(crate) async fn closed_with(&mut self) -> CloseCode {
        match self.frame().await {
            Frame::Close(Some(close)) => {
                // An error means that the client answered ours and is gone.
                self.socket.flush().await.ok();
                CloseCode(close.code.into())
            }
            other => panic!("{other:?} instead of a close frame"),
        }
    }

    pub(crate) async fn send(&mut self, content: Vec<u8>) {
        let frame = match self.codec {
            Codec::Json => Frame::text(String::from_utf8(content).expect("JSON")),
            Codec::MsgPack => Frame::binary(content),
        };
        self.socket.send(frame).await.expect("an open connection");
    }

    pub(crate) async fn confirm(&mut self, command: &Command, body: ReplyBody) {
        let reply = Reply { id: command.id.expect("an id"), result: Ok(body) };
        self.reply(&reply).await;
    }

    pub(crate) async fn refuse(&mut self, command: &Command, error: ErrorReply) {
        self.reply(&Reply { id: command.id.expect("an id"), result: Err(error) }).await;
    }

    async fn reply(&mut self, reply: &Reply) {
        let mut content = Vec::new();
        reply.encode(self.codec, &mut content);
        self.send(content).await;
    }

    pub(crate) async fn confirm_connect(&mut self, command: &Command, ping_interval: Duration) {
        let connected = Connected {
            connection: "c1".to_owned(),
            node: "n1".to_owned(),
            ping_interval_ms: u64::try_from(ping_interval.as_millis()).expect("a sane interval"),
            message_bytes_max: MESSAGE_BYTES_MAX,
        };
        self.confirm(command, ReplyBody::Connect(connected)).await;
    }

    /// Says that the subscription is live and begins behind `offset`.
    pub(crate) async fn confirm_subscribe(&mut self, command: &Command, epoch: &str, offset: u64) {
        let subscribed = Subscribed { epoch: epoch.to_owned(), offset, ..Subscribed::default() };
        self.confirm(command, ReplyBody::Subscribe(subscribed)).await;
    }

    /// Says that the subscription is live and that everything missed up to `offset` follows.
    pub(crate) async fn confirm_recovered(&mut self, command: &Command, epoch: &str, offset: u64) {
        let epoch = epoch.to_owned();
        let subscribed = Subscribed { epoch, offset, recovered: true, ..Subscribed::default() };
        self.confirm(command, ReplyBody::Subscribe(subscribed)).await;
    }

    /// Says that the subscription is live and that the newest message, `offset`, follows.
    pub(crate) async fn confirm_snapshot(
        &mut self,
        command: &Command,
        mode: Mode,
        epoch: &str,
        offset: u64,
    ) {
        let epoch = epoch.to_owned();
        let subscribed = Subscribed { epoch, offset, mode, snapshot: true, recovered: false };
        self.confirm(command, ReplyBody::Subscribe(subscribed)).await;
    }

    /// Says that the subscription to a pattern is live.
    pub(crate) async fn confirm_pattern(&mut self, command: &Command, mode: Mode) {
        let subscribed = PatternSubscribed { topics: 3, mode };
        self.confirm(command, ReplyBody::SubscribePattern(subscribed)).await;
    }

    pub(crate) async fn confirm_unsubscribe(&mut self, command: &Command) {
        self.confirm(command, ReplyBody::Unsubscribe(Unsubscribed {})).await;
    }

    pub(crate) async fn confirm_publish(&mut self, command: &Command, offset: u64) {
        let position = Published { epoch: "e1".to_owned(), offset, duplicate: false };
        self.confirm(command, ReplyBody::Publish(position)).await;
    }

    pub(crate) async fn message(&mut self, topic: &str, offset: u64, text: &str) {
        self.message_after(topic, offset, None, text).await;
    }

    pub(crate) async fn message_after(
        &mut self,
        topic: &str,
        offset: u64,
        prev: Option<u64>,
        text: &str,
    ) {
        let topic = topic.to_owned();
        let push = MessagePush { topic, offset, prev, payload: Payload::text(text) };
        let mut content = Vec::new();
        push.encode(self.codec, &mut content);
        self.send(content).await;
    }

    pub(crate) async fn ping_event(&mut self) {
        self.heads(&[]).await;
    }

    /// Says that everything up to these offsets was sent.
    pub(crate) async fn heads(&mut self, heads: &[(&str, u64)]) {
        let heads = heads.iter().map(|(topic, offset)| ((*topic).to_owned(), *offset)).collect();
        self.event(&Event::Ping(Ping { heads })).await;
    }

    pub(crate) async fn gap_event(&mut self, topic: &str, epoch: &str, from: u64, to: u64) {
        let (topic, epoch) = (topic.to_owned(), epoch.to_owned());
        self.event(&Event::Gap(GapEvent { topic, epoch, from, to })).await;
    }

    pub(crate) async fn event(&mut self, event: &Event) {
        let mut content = Vec::new();
        event.encode(self.codec, &mut content);
        self.send(content).await;
    }

    /// Closes with `code` and waits for the client's answer.
    pub(crate) async fn close(mut self, code: CloseCode, reason: &str) {
        let close = CloseFrame { code: code.0.into(), reason: reason.to_owned().into() };
        self.socket.close(Some(close)).await.expect("an open connection");
        assert_eq!(self.closed_with().await, code);
    }

    /// Subscribes `client` to `topic`; the reply says epoch `e1` and offset 0.
    pub(crate) async fn subscribe(&mut self, client: &Client, topic: &str) -> Subscription {
        let (subscription, ()) = tokio::join!(client.subscribe(topic), async {
            let command = self.command().await;
            assert_eq!(subscribed_topic(&command), topic);
            self.confirm_subscribe(&command, "e1", 0).await;
        });
        subscription.expect("subscribed")
    }
}

pub(crate) fn subscribe_of(command: &Command) -> &Subscribe {
    match &command.request {
        Request::Subscribe(subscribe) => subscribe,
        other => panic!("{other:?} instead of subscribe"),
    }
}

pub(crate) fn subscribed_topic(command: &Command) -> &str {
    &subscribe_of(command).topic
}

pub(crate) fn unsubscribed_topic(command: &Command) -> &str {
    match &command.request {
        Request::Unsubscribe(unsubscribe) => &unsubscribe.topic,
        other => panic!("{other:?} instead of unsubscribe"),
    }
}

pub(crate) fn published_text(command: &Command) -> &str {
    match &command.request {
        Request::Publish(publish) => publish.payload.as_text().expect("text"),
        other => panic!("{other:?} instead of publish"),
    }
}

pub(crate) fn position(epoch: &str, offset: u64) -> Position {
    Position { epoch: epoch.to_owned(), offset }
}

/// Where a topic's subscription stands.
pub(crate) fn position_of(subscription: &Subscription) -> Position {
    subscription.position().expect("a topic has a position")
}

pub(crate) async fn next_update(subscription: &mut Subscription) -> Update {
    let update = timeout(SOON, subscription.next()).await.expect("an update in time");
    update.expect("a live subscription")
}

pub(crate) async fn next_message(subscription: &mut Subscription) -> Message {
    match next_update(subscription).await {
        Update::Message(message) => message,
        other => panic!("{other:?} instead of a message"),
    }
}

pub(crate) async fn next_gap(subscription: &mut Subscription) -> Gap {
    match next_update(subscription).await {
        Update::Gap(gap) => gap,
        other => panic!("{other:?} instead of a gap"),
    }
}

/// The text of the next message.
pub(crate) async fn next_text(subscription: &mut Subscription) -> String {
    next_message(subscription).await.payload.as_text().expect("text").to_owned()
}
