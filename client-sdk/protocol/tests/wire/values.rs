//! The values of the golden vectors: what each text and each hex string in `vectors/` means.

use fanfare_protocol::{
    Command, Connect, Connected, Drain, ErrorCode, ErrorReply, Event, Gap, History, HistoryMessage,
    HistoryPage, Member, MessagePush, Mode, PatternSubscribed, Payload, Ping, Position, Presence,
    PresenceChange, PresenceList, Publish, Published, Reply, ReplyBody, Request, ServerFrame,
    SnapshotEnd, Subscribe, Subscribed, Unsubscribe, Unsubscribed,
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
    Request::Connect(Connect { token: token.map(str::to_owned), name: None })
}

fn subscribe(topic: &str) -> Request {
    Request::Subscribe(Subscribe::new(topic))
}

fn position(offset: u64) -> Position {
    Position { epoch: "k3f9q2xw".to_owned(), offset }
}

fn subscribe_with(since: Option<Position>, mode: Option<Mode>) -> Request {
    Request::Subscribe(Subscribe { since, mode, ..Subscribe::new("ticks.AAPL") })
}

fn publish(topic: &str, payload: Payload) -> Request {
    Request::Publish(Publish::new(topic, payload))
}

/// Frames of a client. More than one command is a batch.
pub(crate) fn commands() -> Vec<Named<Vec<Command>>> {
    let topic = "ticks.AAPL";
    let unsubscribe = Request::Unsubscribe(Unsubscribe { topic: topic.to_owned() });
    let one = |name, description, command| named(name, description, vec![command]);
    let mut commands = vec![
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
            "Both options; without a mode the namespace decides.",
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
    ];
    commands.extend(commands_of_delivery());
    commands
}

/// Rates, newest values, patterns, presence, history and keys.
fn commands_of_delivery() -> Vec<Named<Vec<Command>>> {
    let topic = "ticks.AAPL".to_owned();
    let one = |name, description, request| named(name, description, vec![command(1, request)]);
    let subscribe = |subscribe| Request::Subscribe(subscribe);
    let named_client = Connect { token: None, name: Some("alice".to_owned()) };
    let keyed = Publish::new("ticks.AAPL", json("1"));
    let unsubscribe = Unsubscribe { topic: "ticks.*".to_owned() };
    let page = History { topic, after: Some(position(41)), limit: Some(100) };
    vec![
        one("connect_name", "What presence calls the client.", Request::Connect(named_client)),
        one(
            "subscribe_max_rate",
            "At most 5 messages a second.",
            subscribe(Subscribe { max_rate: Some(5), ..Subscribe::new("ticks.AAPL") }),
        ),
        one(
            "subscribe_snapshot",
            "The newest message first, then every one.",
            subscribe(Subscribe {
                mode: Some(Mode::All),
                snapshot: Some(true),
                ..Subscribe::new("ticks.AAPL")
            }),
        ),
        one(
            "subscribe_no_snapshot",
            "Only what is published from now on.",
            subscribe(Subscribe {
                mode: Some(Mode::Latest),
                snapshot: Some(false),
                ..Subscribe::new("ticks.AAPL")
            }),
        ),
        one(
            "subscribe_presence",
            "Presence events too.",
            subscribe(Subscribe { presence: true, ..Subscribe::new("rooms.lobby") }),
        ),
        one("subscribe_pattern", "One level of anything.", subscribe(Subscribe::new("ticks.*"))),
        one(
            "subscribe_pattern_rest",
            "Everything below a level, newest values only.",
            subscribe(Subscribe { mode: Some(Mode::Latest), ..Subscribe::new("news.*.>") }),
        ),
        one("unsubscribe_pattern", "The pattern's text.", Request::Unsubscribe(unsubscribe)),
        one(
            "publish_key",
            "Published once, however often it is sent.",
            Request::Publish(Publish { key: Some("order-17".to_owned()), ..keyed }),
        ),
        one("history", "The newest messages.", Request::History(History::new("ticks.AAPL"))),
        one("history_after", "The oldest ones behind a position.", Request::History(page)),
        one("presence", "Who is there.", Request::Presence(Presence::new("rooms.lobby"))),
        one(
            "presence_limit",
            "At most so many of them.",
            Request::Presence(Presence { limit: Some(1_000), ..Presence::new("rooms.lobby") }),
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
        ReplyBody::Subscribe(Subscribed {
            epoch: epoch.clone(),
            offset,
            recovered,
            ..Subscribed::default()
        })
    };
    let published = Published { epoch: epoch.clone(), offset: 123_457, duplicate: false };
    let mut replies = vec![
        named("connect", "The session is open.", reply(1, ReplyBody::Connect(connected))),
        named("subscribe", "The subscription is live.", reply(2, subscribed(123_456, false))),
        named("subscribe_new_topic", "Nothing was published yet.", reply(3, subscribed(0, false))),
        named("subscribe_recovered", "Nothing was missed.", reply(3, subscribed(57, true))),
        named(
            "unsubscribe",
            "The subscription has ended.",
            reply(4, ReplyBody::Unsubscribe(Unsubscribed {})),
        ),
        named("publish", "Where the message stands.", reply(5, ReplyBody::Publish(published))),
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
    ];
    replies.extend(replies_of_delivery());
    replies
}

fn member(connection: &str, name: Option<&str>) -> Member {
    Member { connection: connection.to_owned(), name: name.map(str::to_owned) }
}

/// Newest values, patterns, presence, history and keys.
fn replies_of_delivery() -> Vec<Named<Reply>> {
    let epoch = "k3f9q2xw".to_owned();
    let snapshot = Subscribed {
        epoch: epoch.clone(),
        offset: 57,
        recovered: false,
        mode: Mode::Latest,
        snapshot: true,
    };
    let pattern = |topics, mode| ReplyBody::SubscribePattern(PatternSubscribed { topics, mode });
    let duplicate = Published { epoch: epoch.clone(), offset: 12, duplicate: true };
    let page = HistoryPage {
        epoch,
        offset: 57,
        recovered: true,
        more: true,
        messages: vec![
            HistoryMessage { offset: 42, prev: None, payload: json(r#"{"p":187.23}"#) },
            HistoryMessage { offset: 44, prev: Some(42), payload: Payload::text("halt") },
            HistoryMessage { offset: 45, prev: None, payload: Payload::binary(vec![0, 255]) },
        ],
    };
    let empty = HistoryPage { recovered: false, more: false, messages: Vec::new(), ..page.clone() };
    let members = vec![member("5f0c2a91-0-7", Some("alice")), member("5f0c2a91-0-9", None)];
    let list = PresenceList { count: 3, version: 17, members };
    vec![
        named(
            "subscribe_snapshot",
            "Message 57 follows, then newer ones as mode `latest` says.",
            reply(1, ReplyBody::Subscribe(snapshot)),
        ),
        named("subscribe_pattern", "123 topics match now.", reply(2, pattern(123, Mode::All))),
        named(
            "subscribe_pattern_latest",
            "None matches yet; the mode is not `all`.",
            reply(3, pattern(0, Mode::Latest)),
        ),
        named(
            "publish_duplicate",
            "Where the first message with this key stands.",
            reply(4, ReplyBody::Publish(duplicate)),
        ),
        named("history", "A message of each kind, and more.", reply(5, ReplyBody::History(page))),
        named("history_empty", "Nothing is kept.", reply(6, ReplyBody::History(empty))),
        named("presence", "Two of three.", reply(7, ReplyBody::Presence(list))),
        named(
            "error_not_enabled",
            "The namespace does not have it.",
            error(8, ErrorCode::NotEnabled, "the namespace `ticks` has no presence"),
        ),
        named(
            "error_unknown_topic",
            "There is no such topic.",
            error(9, ErrorCode::UnknownTopic, "there is no topic `ticks.AAPL`"),
        ),
    ]
}

/// A message on the ten-character topic by which the envelope is measured.
pub(crate) fn message(offset: u64, prev: Option<u64>, payload: Payload) -> MessagePush {
    MessagePush { topic: "ticks.AAPL".to_owned(), offset, prev, payload }
}

/// A page of history with this one message.
pub(crate) fn page_of(payload: Payload) -> Reply {
    let page = HistoryPage {
        epoch: "k3f9q2xw".to_owned(),
        offset: 1,
        recovered: false,
        more: false,
        messages: vec![HistoryMessage { offset: 1, prev: None, payload }],
    };
    reply(1, ReplyBody::History(page))
}

fn gap(from: u64, to: u64) -> ServerFrame {
    let Position { epoch, .. } = position(0);
    ServerFrame::Event(Event::Gap(Gap { topic: "ticks.AAPL".to_owned(), epoch, from, to }))
}

/// What the broker sends unasked.
pub(crate) fn pushes() -> Vec<Named<ServerFrame>> {
    let push = |name, description, message| named(name, description, ServerFrame::Message(message));
    let event = |name, description, event| named(name, description, ServerFrame::Event(event));
    let heads = [("ticks.AAPL".to_owned(), 123_456), ("news.wire".to_owned(), 12)].into();
    let change = PresenceChange {
        topic: "rooms.lobby".to_owned(),
        version: 18,
        count: 3,
        joined: vec![member("5f0c2a91-0-7", Some("alice"))],
        left: vec!["5f0c2a91-0-3".to_owned()],
        truncated: false,
    };
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
        event("ping", "The broker is alive.", Event::Ping(Ping::default())),
        event("ping_heads", "So far it has come.", Event::Ping(Ping { heads })),
        event("presence", "One came, one left.", Event::Presence(change.clone())),
        event(
            "presence_truncated",
            "More came and left than one event names.",
            Event::Presence(PresenceChange { truncated: true, ..change }),
        ),
        event("drain", "The broker will close.", Event::Drain(Drain { window_ms: 15_000 })),
        named("gap", "Messages 42 to 57 are lost.", gap(42, 57)),
        named("gap_of_one", "A gap holds one message at least.", gap(u64::MAX, u64::MAX)),
        event("snapshot", "The newest messages of 57 topics came before it.", snapshot(0)),
        event("snapshot_in_parts", "Those of three more are still to come.", snapshot(3)),
    ]
}

fn snapshot(later: u64) -> Event {
    Event::Snapshot(SnapshotEnd { topic: "ticks.*".to_owned(), messages: 57, later })
}
