//! A reader of server-sent events by hand, over a plain socket: it parses by the standard and
//! decides when bytes are read.

use fanfare::Server;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::SOON;
use super::wire::RECEIVE_BYTES;

/// One event as it is dispatched (HTML Living Standard, section 9.2.6), or one that only sets the
/// last event's id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Empty for messages.
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) retry: Option<u64>,
    pub(crate) data: Option<String>,
}

impl Event {
    fn parse(block: &str) -> Self {
        let mut event = Self::default();
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => event.name = value.to_owned(),
                "id" => event.id = Some(value.to_owned()),
                "retry" => event.retry = Some(value.parse().unwrap()),
                "data" => match &mut event.data {
                    Some(data) => *data = format!("{data}\n{value}"),
                    none => *none = Some(value.to_owned()),
                },
                "" => {}
                other => panic!("no field of an event: {other:?} in {block:?}"),
            }
        }
        event
    }

    pub(crate) fn json(&self) -> Value {
        let data = self.data.as_deref().unwrap_or_else(|| panic!("no data: {self:?}"));
        serde_json::from_str(data).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The offset in its id.
    pub(crate) fn offset(&self) -> u64 {
        let id = self.id.as_deref().and_then(|id| id.split_once(':'));
        let offset = id.and_then(|(_, offset)| offset.parse().ok());
        offset.unwrap_or_else(|| panic!("no offset: {self:?}"))
    }
}

/// A stream that is read when it is told to.
pub(crate) struct EventReader {
    pub(crate) stream: TcpStream,
    /// In lower case.
    pub(crate) head: String,
    come: Vec<u8>,
    /// As a browser keeps it, to name it when it comes back.
    pub(crate) last_event_id: String,
    /// Bytes read behind the head.
    pub(crate) received: u64,
}

impl EventReader {
    /// Asks for the events at `path`.
    pub(crate) async fn open(server: &Server, path: &str) -> Self {
        Self::open_with(server, path, &[]).await
    }

    /// As [`Self::open`], with more headers.
    pub(crate) async fn open_with(server: &Server, path: &str, headers: &[&str]) -> Self {
        let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n{more}\r\n",
            server.addr()
        );
        Self::request(server, &[&request]).await
    }

    /// Sends a request in these pieces.
    pub(crate) async fn request(server: &Server, pieces: &[&str]) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(RECEIVE_BYTES).unwrap();
        let mut stream = socket.connect(server.addr()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in pieces {
            stream.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        Self::after_request(stream).await
    }

    /// Reads the head that answers a request on `stream`.
    pub(crate) async fn after_request(mut stream: TcpStream) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = tokio::time::timeout(SOON, stream.read_u8()).await.expect("a head in time");
            head.push(byte.expect("a head"));
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-type: text/event-stream\r\n"), "{head}");
        let last_event_id = String::new();
        Self { stream, head, come: Vec::new(), last_event_id, received: 0 }
    }

    /// The next event that is not a heartbeat; `None` at the end of the stream.
    pub(crate) async fn event(&mut self) -> Option<Event> {
        loop {
            match self.take() {
                Some(event) if event == Event::default() => continue,
                Some(event) => return Some(event),
                None => {}
            }
            let read = self.stream.read_buf(&mut self.come);
            match tokio::time::timeout(SOON, read).await.expect("bytes in time") {
                Ok(n @ 1..) => self.received += n as u64,
                _ => return None,
            }
        }
    }

    fn take(&mut self) -> Option<Event> {
        let end = self.come.windows(2).position(|two| two == b"\n\n")?;
        let block: Vec<u8> = self.come.drain(..end + 2).collect();
        let event = Event::parse(std::str::from_utf8(&block).unwrap());
        if let Some(id) = &event.id {
            self.last_event_id.clone_from(id);
        }
        Some(event)
    }

    /// The next event, which must be there and have this name.
    pub(crate) async fn named(&mut self, name: &str) -> Event {
        let event = self.event().await.expect("an event");
        assert_eq!(event.name, name, "{event:?}");
        event
    }

    /// The next message; events without data are left out.
    pub(crate) async fn message(&mut self) -> Event {
        loop {
            let event = self.event().await.expect("a message");
            if event.data.is_some() {
                assert!(event.name.is_empty() || event.name == "binary", "{event:?}");
                return event;
            }
        }
    }

    /// Reads on until the broker ends the stream; the last event.
    pub(crate) async fn closed(&mut self) -> Event {
        let mut last = None;
        while let Some(event) = self.event().await {
            last = Some(event);
        }
        let last = last.expect("a last word");
        assert_eq!(last.name, "close", "{last:?}");
        last
    }
}
