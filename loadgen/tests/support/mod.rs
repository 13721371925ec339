//! What the tests share: running `loadgen`, and a peer that speaks the SDK protocol through an
//! independent WebSocket implementation and can be told to misbehave.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};
use std::sync::{Arc, Mutex};

use fanfare_protocol::{
    Codec, Command, Connected, MessagePush, Publish, Reply, ReplyBody, Request, Subscribed,
};
use serde_json::Value;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Upgrade, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};
use tokio_tungstenite::tungstenite::{Message, accept_hdr};

/// What a run left behind.
pub(crate) struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// The result file, if one was written.
    pub result: Value,
}

impl Run {
    /// Faults of all rounds: lost, doubled, reordered, closed.
    pub(crate) fn faults(&self) -> [u64; 4] {
        ["lost", "doubled", "reordered", "closed"]
            .map(|name| self.result["faults"][name].as_u64().expect(name))
    }

    pub(crate) fn round(&self, number: usize) -> &Value {
        &self.result["rounds"][number]
    }
}

/// Runs `loadgen` with these arguments and reads its result file.
pub(crate) fn loadgen(name: &str, args: &[&str]) -> Run {
    let out = scratch_file(&format!("{name}.json"));
    let _ = std::fs::remove_file(&out);
    let output = Process::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(args)
        .arg("--out")
        .arg(&out)
        .output()
        .expect("loadgen runs");
    let result = std::fs::read_to_string(&out).unwrap_or_else(|_| "null".to_owned());
    Run {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        result: serde_json::from_str(&result).expect("the result is JSON"),
    }
}

/// A file of this name that this run of the tests may write.
pub(crate) fn scratch_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// `loadgen floor` in a process of its own, ended when dropped.
pub(crate) struct Floor {
    child: Child,
    pub url: String,
}

impl Floor {
    pub(crate) fn start() -> Self {
        let mut child = Process::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["floor", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the floor starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the floor says where it is");
        let (_, url) = line.trim().split_once("listening on ").expect("a line with the URL");
        Self { child, url: url.to_owned() }
    }

    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a [`Peer`] does to every seventh message of each subscriber.
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
}

/// A small broker of threads.
pub(crate) struct Peer {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    offsets: HashMap<String, u64>,
    subscribers: HashMap<String, Vec<Arc<Mutex<Subscriber>>>>,
    published: Vec<Publish>,
    addresses: Vec<SocketAddr>,
}

struct Subscriber {
    socket: WebSocket<TcpStream>,
    codec: Codec,
    messages: u64,
    held: Option<Message>,
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
    let writer = stream.try_clone().expect("a second handle");
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
    let socket = WebSocket::from_raw_socket(writer, Role::Server, None);
    let subscriber = Subscriber { socket, codec, messages: 0, held: None };
    let subscriber = Arc::new(Mutex::new(subscriber));
    while let Ok(message) = reader.read() {
        if !message.is_text() && !message.is_binary() {
            continue;
        }
        let commands = Command::decode_frame(codec, &message.into_data()).expect("commands");
        for command in commands {
            let request = command.request.expect("a valid command");
            carry_out(state, &subscriber, command.id, request, fault);
        }
    }
}

fn carry_out(
    state: &Mutex<State>,
    subscriber: &Arc<Mutex<Subscriber>>,
    id: Option<u64>,
    request: Request,
    fault: Fault,
) {
    let body = match request {
        Request::Connect(_) => ReplyBody::Connect(Connected {
            connection: "c".to_owned(),
            node: "n".to_owned(),
            ping_interval_ms: 25_000,
            message_bytes_max: 65_536,
        }),
        Request::Subscribe(subscribe) => {
            let mut state = state.lock().expect("no panic");
            let subscribers = state.subscribers.entry(subscribe.topic).or_default();
            subscribers.push(Arc::clone(subscriber));
            ReplyBody::Subscribe(Subscribed { epoch: "e".to_owned(), ..Subscribed::default() })
        }
        Request::Publish(publish) => {
            return fan_out(&mut state.lock().expect("no panic"), publish, fault);
        }
        other => panic!("{other:?} is not what loadgen sends"),
    };
    let refused = fault == Fault::Refuse && matches!(body, ReplyBody::Subscribe(_));
    let error = fanfare_protocol::ErrorReply::new(
        fanfare_protocol::ErrorCode::LimitExceeded,
        "no room for you",
    );
    let result = if refused { Err(error) } else { Ok(body) };
    let reply = Reply { id: id.expect("a reply is wanted"), result };
    let mut subscriber = subscriber.lock().expect("no panic");
    let mut content = Vec::new();
    reply.encode(subscriber.codec, &mut content);
    subscriber.send(content);
}

fn fan_out(state: &mut State, publish: Publish, fault: Fault) {
    let offset = state.offsets.entry(publish.topic.clone()).or_insert(0);
    *offset += 1;
    let push = MessagePush {
        topic: publish.topic.clone(),
        offset: *offset,
        prev: None,
        payload: publish.payload.clone(),
    };
    state.published.push(publish);
    for subscriber in state.subscribers.get(&push.topic).into_iter().flatten() {
        let mut subscriber = subscriber.lock().expect("no panic");
        let mut content = Vec::new();
        push.encode(subscriber.codec, &mut content);
        subscriber.deliver(content, fault);
    }
}

impl Subscriber {
    fn message(&self, content: Vec<u8>) -> Message {
        match self.codec {
            Codec::Json => Message::text(String::from_utf8(content).expect("JSON is UTF-8")),
            Codec::MsgPack => Message::binary(content),
        }
    }

    fn send(&mut self, content: Vec<u8>) {
        let message = self.message(content);
        // The client may be gone.
        let _ = self.socket.send(message);
    }

    fn deliver(&mut self, content: Vec<u8>, fault: Fault) {
        self.messages += 1;
        match (fault, self.messages % 7) {
            (Fault::Drop, 0) => {}
            (Fault::Double, 0) => {
                self.send(content.clone());
                self.send(content);
            }
            (Fault::Swap, 0) => self.held = Some(self.message(content)),
            (Fault::Close, 0) => drop(self.socket.close(None)),
            _ => {
                self.send(content);
                if let Some(held) = self.held.take() {
                    let _ = self.socket.send(held);
                }
            }
        }
    }
}
