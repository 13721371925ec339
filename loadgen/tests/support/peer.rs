//! A small broker of threads that speaks the SDK protocol through an independent WebSocket
//! implementation, and can be told to misbehave.
//!
//! It keeps every message, so that subscribers can come back, and queues without bound for those
//! that do not read. Mode `latest` means nothing to it.

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use fanfare_protocol::{
    Codec, Command, Connected, ErrorCode, ErrorReply, Event, MessagePush, Payload, Position,
    Publish, Reply, ReplyBody, Request, Subscribe, Subscribed,
};
use socket2::SockRef;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Upgrade, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};
use tokio_tungstenite::tungstenite::{Message, accept_hdr};

/// What a [`Peer`] does wrong. The first four meddle with every seventh message of each
/// subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Drop,
    Double,
    /// The seventh comes after the eighth.
    Swap,
    /// The connection is closed instead.
    Close,
    /// Subscriptions are refused.
    Refuse,
    /// As `Drop`, but only of those who subscribed after the first so many.
    DropBeyond(usize),
    /// The connections of those are cut off at their seventh message.
    CutBeyond(usize),
    /// Those get so many messages and no more.
    FallSilentBeyond(usize, u64),
    /// Everybody waits for whoever does not read.
    HoldUp,
    /// The seventh of the missed messages does not come.
    LoseMissed,
    /// It comes twice.
    DoubleMissed,
    /// Who comes back gets everything, and is told that it did not.
    DenyRecovery,
    /// The first so many who come back are cut off.
    CutReturning(usize),
    /// When it drains it cuts connections off instead of closing them.
    CutAtDrain,
    /// It closes them with another code.
    SayGoingAway,
    /// It delivers nothing any more, and then closes them as it should.
    LoseAtDrain,
    /// It drains as it should and ends with exit code 1.
    FailAtExit,
    /// It closes nobody, and ends when all have gone by themselves.
    CloseNobody,
}

/// What the kernel may hold for a reader that does not read.
const SEND_BUFFER_BYTES: usize = 16 * 1024;

/// A small broker of threads.
pub(crate) struct Peer {
    pub address: SocketAddr,
    pub(super) state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(super) struct State {
    /// Whoever is connected, in the order in which they came.
    pub(super) connections: Vec<Arc<Mutex<Subscriber>>>,
    pub(super) is_draining: bool,
    topics: HashMap<String, Topic>,
    published: Vec<Publish>,
    addresses: Vec<SocketAddr>,
    subscribers: usize,
    returning: usize,
}

#[derive(Default)]
struct Topic {
    messages: Vec<Payload>,
    subscribers: Vec<Arc<Mutex<Subscriber>>>,
}

pub(super) struct Subscriber {
    codec: Codec,
    /// Whether the client is still there.
    pub(super) is_open: bool,
    /// Its place among all that ever subscribed.
    place: usize,
    messages: u64,
    held: Option<Message>,
    outgoing: mpsc::Sender<Message>,
    /// To cut it off.
    stream: Option<TcpStream>,
    /// Messages that are not written yet.
    waiting: Arc<AtomicUsize>,
}

impl Peer {
    pub(crate) fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &state, fault));
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Everything that was published so far.
    pub(crate) fn published(&self) -> Vec<Publish> {
        self.state.lock().expect("no panic").published.clone()
    }

    /// Where clients came from.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.state.lock().expect("no panic").addresses.clone()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>, fault: Fault) {
    let mut codec = Codec::Json;
    SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES).expect("a buffer");
    let writer = stream.try_clone().expect("a second handle");
    let third = stream.try_clone().expect("a third handle");
    let from = stream.peer_addr().expect("a peer");
    state.lock().expect("no panic").addresses.push(from);
    #[allow(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
    let choose = |upgrade: &Upgrade, mut response: Response| {
        let offered = upgrade.headers().get("sec-websocket-protocol");
        let name = offered.and_then(|name| name.to_str().ok()).unwrap_or_default();
        codec = Codec::from_subprotocol(name).unwrap_or(codec);
        let chosen = HeaderValue::from_static(codec.subprotocol());
        response.headers_mut().insert("sec-websocket-protocol", chosen);
        Ok(response)
    };
    let Ok(mut reader) = accept_hdr(stream, choose) else { return };
    let (outgoing, taken) = mpsc::channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let written = Arc::clone(&waiting);
    std::thread::spawn(move || write(writer, &taken, &written));
    let subscriber = Arc::new(Mutex::new(Subscriber {
        codec,
        is_open: true,
        place: usize::MAX,
        messages: 0,
        held: None,
        outgoing,
        stream: Some(third),
        waiting,
    }));
    let mut shared = state.lock().expect("no panic");
    if shared.is_draining {
        return;
    }
    shared.connections.push(Arc::clone(&subscriber));
    drop(shared);
    take_commands(&mut reader, codec, state, &subscriber, fault);
    subscriber.lock().expect("no panic").is_open = false;
    // What holds a connection keeps its socket open.
    let is_other = |other: &Arc<Mutex<Subscriber>>| !Arc::ptr_eq(other, &subscriber);
    state.lock().expect("no panic").connections.retain(is_other);
}

fn take_commands(
    reader: &mut WebSocket<TcpStream>,
    codec: Codec,
    state: &Mutex<State>,
    subscriber: &Arc<Mutex<Subscriber>>,
    fault: Fault,
) {
    while let Ok(message) = reader.read() {
        if !message.is_text() && !message.is_binary() {
            continue;
        }
        let commands = Command::decode_frame(codec, &message.into_data()).expect("commands");
        for command in commands {
            let request = command.request.expect("a valid command");
            let mut state = state.lock().expect("no panic");
            if !carry_out(&mut state, subscriber, command.id, request, fault) {
                return;
            }
        }
    }
}

/// Writes what is queued, however long the reader takes.
fn write(stream: TcpStream, taken: &mpsc::Receiver<Message>, waiting: &AtomicUsize) {
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    for message in taken {
        let sent = socket.send(message);
        waiting.fetch_sub(1, Ordering::AcqRel);
        if sent.is_err() {
            // The client is gone, and with it everything that waits.
            break;
        }
    }
    waiting.store(0, Ordering::Release);
}

/// False if the connection is to be cut.
fn carry_out(
    state: &mut State,
    subscriber: &Arc<Mutex<Subscriber>>,
    id: Option<u64>,
    request: Request,
    fault: Fault,
) -> bool {
    let subscribe = match request {
        Request::Connect(_) => {
            let connected = Connected {
                connection: "c".to_owned(),
                node: "n".to_owned(),
                ping_interval_ms: 25_000,
                message_bytes_max: 65_536,
            };
            let subscriber = subscriber.lock().expect("no panic");
            subscriber.reply(id, Ok(ReplyBody::Connect(connected)));
            return true;
        }
        Request::Publish(publish) => {
            fan_out(state, publish, fault);
            return true;
        }
        Request::Subscribe(subscribe) => subscribe,
        other => panic!("{other:?} is not what loadgen sends"),
    };
    if fault == Fault::Refuse {
        let error = ErrorReply::new(ErrorCode::LimitExceeded, "no room for you");
        subscriber.lock().expect("no panic").reply(id, Err(error));
        return true;
    }
    if subscribe.since.is_some() {
        state.returning += 1;
        if matches!(fault, Fault::CutReturning(first) if state.returning <= first) {
            return false;
        }
    }
    join(state, subscriber, id, subscribe, fault);
    true
}

/// Subscribes, and sends what was missed.
fn join(
    state: &mut State,
    subscriber: &Arc<Mutex<Subscriber>>,
    id: Option<u64>,
    subscribe: Subscribe,
    fault: Fault,
) {
    let Subscribe { topic: name, since, .. } = subscribe;
    let topic = state.topics.entry(name.clone()).or_default();
    topic.subscribers.push(Arc::clone(subscriber));
    let mut subscriber = subscriber.lock().expect("no panic");
    if subscriber.place == usize::MAX {
        subscriber.place = state.subscribers;
        state.subscribers += 1;
    }
    let (epoch, offset) = ("e".to_owned(), topic.messages.len() as u64);
    let recovered = since.is_some() && fault != Fault::DenyRecovery;
    let subscribed = Subscribed { epoch, offset, recovered, ..Subscribed::default() };
    subscriber.reply(id, Ok(ReplyBody::Subscribe(subscribed)));
    let Some(Position { epoch, offset: after }) = since else { return };
    assert_eq!(epoch, "e", "loadgen comes back with the epoch that it was told");
    for (number, offset) in (1..).zip(after + 1..=offset) {
        let content = push(&name, offset, &topic.messages, subscriber.codec);
        let times = match (fault, number) {
            (Fault::LoseMissed, 7) => 0,
            (Fault::DoubleMissed, 7) => 2,
            _ => 1,
        };
        (0..times).for_each(|_| subscriber.send(&content));
    }
}

fn push(topic: &str, offset: u64, messages: &[Payload], codec: Codec) -> Vec<u8> {
    let payload = messages[offset as usize - 1].clone();
    let push = MessagePush { topic: topic.to_owned(), offset, prev: None, payload };
    let mut content = Vec::new();
    push.encode(codec, &mut content);
    content
}

fn fan_out(state: &mut State, publish: Publish, fault: Fault) {
    let topic = state.topics.entry(publish.topic.clone()).or_default();
    topic.messages.push(publish.payload.clone());
    let offset = topic.messages.len() as u64;
    let hears = !(state.is_draining && fault == Fault::LoseAtDrain);
    for subscriber in topic.subscribers.iter().filter(|_| hears) {
        let mut subscriber = subscriber.lock().expect("no panic");
        let content = push(&publish.topic, offset, &topic.messages, subscriber.codec);
        subscriber.deliver(&content, fault);
        while fault == Fault::HoldUp && subscriber.waiting.load(Ordering::Acquire) > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    state.published.push(publish);
}

impl Subscriber {
    pub(super) fn event(&self, event: &Event) {
        let mut content = Vec::new();
        event.encode(self.codec, &mut content);
        self.send(&content);
    }

    fn message(&self, content: &[u8]) -> Message {
        match self.codec {
            Codec::Json => Message::text(std::str::from_utf8(content).expect("JSON is UTF-8")),
            Codec::MsgPack => Message::binary(content.to_vec()),
        }
    }

    fn reply(&self, id: Option<u64>, result: Result<ReplyBody, ErrorReply>) {
        let mut content = Vec::new();
        Reply { id: id.expect("a reply is wanted"), result }.encode(self.codec, &mut content);
        self.send(&content);
    }

    fn send(&self, content: &[u8]) {
        self.queue(self.message(content));
    }

    pub(super) fn queue(&self, message: Message) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        if self.outgoing.send(message).is_err() {
            self.waiting.store(0, Ordering::Release);
        }
    }

    /// Ends the connection with RST as soon as its threads have seen it.
    pub(super) fn cut(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        let socket = SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO)).expect("a socket");
        // The client may be gone.
        let _ = socket.shutdown(Shutdown::Both);
    }

    fn deliver(&mut self, content: &[u8], fault: Fault) {
        self.messages += 1;
        let is_seventh = self.messages.is_multiple_of(7);
        match fault {
            Fault::Drop if is_seventh => {}
            Fault::DropBeyond(first) if is_seventh && self.place >= first => {}
            Fault::FallSilentBeyond(first, most) if self.place >= first && self.messages > most => {
            }
            Fault::Double if is_seventh => {
                self.send(content);
                self.send(content);
            }
            Fault::Swap if is_seventh => self.held = Some(self.message(content)),
            Fault::Close if is_seventh => self.queue(Message::Close(None)),
            Fault::CutBeyond(first) if is_seventh && self.place >= first => self.cut(),
            _ => {
                self.send(content);
                let held = self.held.take();
                held.into_iter().for_each(|message| self.queue(message));
            }
        }
    }
}
