//! The values of the golden vectors: what each text and each hex string in `vectors/` means.

use fanfare_protocol::{
    Command, Connect, Connected, ErrorCode, ErrorReply, Event, Gap, MessagePush, Mode, Payload,
    Position, Publish, Reply, ReplyBody, Request, ServerFrame, Subscribe, Subscribed, Unsubscribe,
    Unsubscribed,
};

/// A value with what its vector is for.
pub(crate) struct Named<T> {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) value: T,
}

fn named<T>(name: &'static str, description: &'static str, value: T) -> Named<T> {
    Named { name, description, value }
}

pub(crate) fn json(text: &'static str) -> Payload {
    Payload::json(text).expect("valid JSON")
}

fn command(id: impl Into<Option<u64>>, request: Request) -> Command {
    Command { id: id.into(), request }
}

fn connect(token: Option<&str>) -> Request {
    Request::Connect(Connect { token: token.map(str::to_owned) })
}

fn subscribe(topic: &str) -> Request {
    Request::Subscribe(Subscribe::new(topic))
}

fn position(offset: u64) -> Position {
    Position { epoch: "k3f9q2xw".to_owned(), offset }
}

fn subscribe_with(since: Option<Position>, mode: Option<Mode>) -> Request {
    Request::Subscribe(Subscribe { topic: "ticks.AAPL".to_owned(), since, mode })
}

fn publish(topic: &str, payload: Payload) -> Request {
    Request::Publish(Publish { topic: topic.to_owned(), payload })
}

/// Frames of a client. More than one command is a batch.
pub(crate) fn commands() -> Vec<Named<Vec<Command>>> {
    let topic = "ticks.AAPL";
    let unsubscribe = Request::Unsubscribe(Unsubscribe { topic: topic.to_owned() });
    let one = |name, description, command| named(name, description, vec![command]);
    vec![
        one("connect", "Opens the session without a token.", command(1, connect(None))),
        one("connect_token", "Opens the session.", command(1, connect(Some("tok-1")))),
        one("subscribe", "Starts a subscription.", command(2, subscribe(topic))),
        one("subscribe_unicode", "A name beyond ASCII.", command(3, subscribe("news.zürich.市場"))),
        one(
            "subscribe_since",
            "Everything after this message too.",
            command(4, subscribe_with(Some(position(41)), None)),
        ),
        one(
            "subscribe_latest",
            "The newest message, whatever is passed over.",
            command(5, subscribe_with(None, Some(Mode::Latest))),
        ),
        one(
            "subscribe_since_all",
            "Both options; `all` is the default mode.",
            command(6, subscribe_with(Some(position(0)), Some(Mode::All))),
        ),
        one("unsubscribe", "Ends a subscription.", command(4, unsubscribe)),
        one(
            "publish_data",
            "JSON is embedded verbatim in JSON and transcoded in MessagePack.",
            command(5, publish(topic, json(r#"{"p":187.23,"v":[100,-1,null,true]}"#))),
        ),
        one(
            "publish_data_null",
            "A null payload is a payload; a missing one is an error.",
            command(6, publish(topic, json("null"))),
        ),
        one("publish_text", "Text.", command(7, publish(topic, Payload::text("héllo \"you\"\n")))),
        one(
            "publish_binary",
            "Bytes: `base64` in JSON, `bin` in MessagePack.",
            command(8, publish(topic, Payload::binary(vec![0, 1, 254, 255]))),
        ),
        one(
            "publish_empty_binary",
            "No bytes are a payload too.",
            command(9, publish(topic, Payload::binary(Vec::new()))),
        ),
        one(
            "publish_without_id",
            "No id: no reply is wanted.",
            command(None, publish(topic, json("1"))),
        ),
        one("id_max", "The largest id.", command(u64::MAX, subscribe(topic))),
        named(
            "batch",
            "Several commands in one frame, pipelined behind connect.",
            vec![command(1, connect(None)), command(2, subscribe("a")), command(3, subscribe("b"))],
        ),
    ]
}

fn reply(id: u64, body: ReplyBody) -> Reply {
    Reply { id, result: Ok(body) }
}

fn error(id: u64, code: ErrorCode, message: &str) -> Reply {
    Reply { id, result: Err(ErrorReply::new(code, message)) }
}

/// Replies of the broker.
pub(crate) fn replies() -> Vec<Named<Reply>> {
    let epoch = "k3f9q2xw".to_owned();
    let connected = Connected {
        connection: "5f0c2a91-0-17".to_owned(),
        node: "5f0c2a91".to_owned(),
        ping_interval_ms: 25_000,
        message_bytes_max: 65_536,
    };
    let subscribed = |offset, recovered| {
        ReplyBody::Subscribe(Subscribed { epoch: epoch.clone(), offset, recovered })
    };
    let position = Position { epoch: epoch.clone(), offset: 123_457 };
    vec![
        named("connect", "The session is open.", reply(1, ReplyBody::Connect(connected))),
        named("subscribe", "The subscription is live.", reply(2, subscribed(123_456, false))),
        named("subscribe_new_topic", "Nothing was published yet.", reply(3, subscribed(0, false))),
        named("subscribe_recovered", "Nothing was missed.", reply(3, subscribed(57, true))),
        named(
            "unsubscribe",
            "The subscription has ended.",
            reply(4, ReplyBody::Unsubscribe(Unsubscribed {})),
        ),
        named("publish", "Where the message stands.", reply(5, ReplyBody::Publish(position))),
        named(
            "error_final",
            "The same command would fail again.",
            error(6, ErrorCode::BadTopic, "a topic name is empty; use 1 to 255 bytes"),
        ),
        named(
            "error_retry",
            "The same command may succeed later.",
            error(u64::MAX, ErrorCode::Unavailable, "the node is draining"),
        ),
    ]
}

/// A message on the ten-character topic by which the envelope is measured.
pub(crate) fn message(offset: u64, prev: Option<u64>, payload: Payload) -> MessagePush {
    MessagePush { topic: "ticks.AAPL".to_owned(), offset, prev, payload }
}

fn gap(from: u64, to: u64) -> ServerFrame {
    let Position { epoch, .. } = position(0);
    ServerFrame::Event(Event::Gap(Gap { topic: "ticks.AAPL".to_owned(), epoch, from, to }))
}

/// What the broker sends unasked.
pub(crate) fn pushes() -> Vec<Named<ServerFrame>> {
    let push = |name, description, message| named(name, description, ServerFrame::Message(message));
    vec![
        push(
            "message_data",
            "A JSON payload.",
            message(123_456, None, json(r#"{"p":187.23,"s":"AAPL"}"#)),
        ),
        push("message_data_null", "A null payload.", message(1, None, json("null"))),
        push(
            "message_numbers",
            "Integers stay integers; others are doubles.",
            message(2, None, json("[0,-1,127,128,-32,-33,65536,18446744073709551615,1.5,-0.0]")),
        ),
        push("message_text", "A text payload.", message(3, None, Payload::text("héllo \u{1F3BA}"))),
        push(
            "message_binary",
            "A binary payload.",
            message(4, None, Payload::binary(vec![0, 1, 254, 255])),
        ),
        push(
            "message_prev",
            "The message before has another offset than offset - 1.",
            message(123_456, Some(123_400), json("1")),
        ),
        push("message_offset_max", "The largest offset.", message(u64::MAX, None, json("1"))),
        named("ping", "The broker is alive.", ServerFrame::Event(Event::Ping)),
        named("gap", "Messages 42 to 57 are lost.", gap(42, 57)),
        named("gap_of_one", "A gap holds one message at least.", gap(u64::MAX, u64::MAX)),
    ]
}
