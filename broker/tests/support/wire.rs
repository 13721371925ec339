//! A WebSocket client by hand, over a plain socket: it sends what no library would, and it alone
//! decides when bytes are read.

use std::net::SocketAddr;
use std::time::Duration;

use fanfare::Server;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::SOON;

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
    handshake_at(server.addr(), path).await
}

/// As [`handshake`], with a broker in another process.
pub(crate) async fn handshake_at(addr: SocketAddr, path: &str) -> TcpStream {
    let stream = TcpStream::connect(addr).await.unwrap();
    upgrade(stream, addr, path).await
}

async fn upgrade(mut stream: TcpStream, addr: SocketAddr, path: &str) -> TcpStream {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
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
    let mut come = Vec::new();
    let read = stream.read_to_end(&mut come);
    tokio::time::timeout(SOON, read).await.expect("an end in time").ok();
    while let Some(frame) = Frame::take(&mut come) {
        if frame.opcode == 8 {
            return Some(frame.close().0);
        }
    }
    None
}

/// One frame of the broker.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
    /// All of it, header included.
    pub(crate) bytes: Vec<u8>,
    /// How many bytes of the stream came before it, behind the handshake.
    pub(crate) at: u64,
}

impl Frame {
    /// Takes the first frame of `come`, once it is whole; it must be one that a broker may send.
    fn take(come: &mut Vec<u8>) -> Option<Self> {
        let (first, second) = (*come.first()?, *come.get(1)?);
        assert_eq!(first & 0xf0, 0x80, "whole, without reserved bits: {first:02x}");
        assert_eq!(second & 0x80, 0, "a broker does not mask");
        let extended = match second {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let head = 2 + extended;
        let long = come.get(2..head)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
        let len = if extended > 0 { long } else { usize::from(second) };
        if come.len() < head + len {
            return None;
        }
        let bytes: Vec<u8> = come.drain(..head + len).collect();
        Some(Self { opcode: first & 0xf, payload: bytes[head..].to_vec(), bytes, at: 0 })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The code and the reason of a close frame.
    pub(crate) fn close(&self) -> (u16, String) {
        assert_eq!(self.opcode, 8, "{self:?}");
        let code = u16::from_be_bytes([self.payload[0], self.payload[1]]);
        (code, String::from_utf8(self.payload[2..].to_vec()).unwrap())
    }
}

/// Bytes that the kernel takes for a client that does not read: little, so that a few messages
/// are enough to block it.
pub(crate) const RECEIVE_BYTES: u32 = 16 * 1_024;

/// A client that reads when it is told to. It answers no pings.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    come: Vec<u8>,
    /// Bytes read since the handshake.
    pub(crate) received: u64,
}

impl Wire {
    pub(crate) async fn open(server: &Server, path: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(RECEIVE_BYTES).unwrap();
        let stream = socket.connect(server.addr()).await.unwrap();
        let stream = upgrade(stream, server.addr(), path).await;
        Self { stream, come: Vec::new(), received: 0 }
    }

    /// An SDK connection in JSON that has connected, and the broker's name for it.
    pub(crate) async fn named(server: &Server) -> (Self, String) {
        let mut wire = Self::open(server, "/v1/ws").await;
        let reply = wire.ask(json!({"connect": {}})).await;
        let name = reply["connect"]["connection"].as_str().expect("a name").to_owned();
        (wire, name)
    }

    /// An SDK connection that has sent these commands.
    pub(crate) async fn sdk(server: &Server, commands: &[Value]) -> Self {
        let (mut wire, _) = Self::named(server).await;
        for command in commands {
            wire.ask(command.clone()).await;
        }
        wire
    }

    /// An SDK connection that subscribes with these options.
    pub(crate) async fn subscriber(server: &Server, options: Value) -> Self {
        Self::sdk(server, &[json!({"subscribe": options})]).await
    }

    pub(crate) async fn send(&mut self, command: &Value) {
        let text = command.to_string();
        self.stream.write_all(&frame(0x81, text.as_bytes())).await.unwrap();
    }

    /// Sends a command and returns its reply, which must be the next frame.
    pub(crate) async fn ask(&mut self, mut command: Value) -> Value {
        command["id"] = 1.into();
        self.send(&command).await;
        let reply = self.json().await;
        assert!(reply["id"] == 1 && reply["error"].is_null(), "{command}: {reply}");
        reply
    }

    /// Reads at most `bytes` of what has come. Whether anything had.
    pub(crate) fn trickle(&mut self, bytes: usize) -> bool {
        let mut buffer = vec![0; bytes];
        let Ok(n @ 1..) = self.stream.try_read(&mut buffer) else { return false };
        self.received += n as u64;
        self.come.extend_from_slice(&buffer[..n]);
        true
    }

    /// The next frame, pings left out; `None` at the end of the stream.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            let at = self.received - self.come.len() as u64;
            match Frame::take(&mut self.come) {
                Some(ping) if ping.opcode == 9 => continue,
                Some(frame) => return Some(Frame { at, ..frame }),
                None => {}
            }
            let read = self.stream.read_buf(&mut self.come);
            let read = tokio::time::timeout(SOON, read).await.expect("bytes in time");
            match read {
                Ok(n @ 1..) => self.received += n as u64,
                _ => return None,
            }
        }
    }

    /// The next data frame as JSON, `ping` events left out.
    pub(crate) async fn json(&mut self) -> Value {
        loop {
            let json = self.frame().await.expect("a frame").json();
            if json["event"] != "ping" {
                return json;
            }
        }
    }

    /// Reads on until the broker closes; the code and the reason.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            let frame = self.frame().await.expect("a close frame");
            if frame.opcode == 8 {
                return frame.close();
            }
        }
    }

    /// Vanishes: the peer gets a reset when it next sends, and no goodbye.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}
