//! One socket's life: opening it, frames in and out, closing it. Knows nothing of subscriptions.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use fanfare_protocol::{CloseCode, Codec, Command, Connected, Reply, ReplyBody, ServerFrame};
use futures_util::{Sink, Stream};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};

use crate::address::Address;
use crate::backoff::retry_after;
use crate::buffered::Charge;
use crate::error::Error;
use crate::link::{Loss, Progress};
use crate::meter::{Metered, wire_bytes};
use crate::request::Outgoing;

/// What one read takes from the socket at most; every connection owns such a buffer.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// The part of a refusal's body that is shown.
const REFUSAL_CHARS_MAX: usize = 200;

/// A socket whose upgrade succeeded.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: WebSocketStream<Metered<TcpStream>>,
    codec: Codec,
    /// The data frames that the kernel has not taken whole, in their order.
    unsent: VecDeque<Unsent>,
    /// Frames were given to the socket that the kernel has not taken yet.
    unflushed: bool,
    /// How the connection ended; told after the answer to a close frame has been written.
    loss: Option<Loss>,
}

/// What the kernel has not taken of one frame.
#[derive(Debug)]
struct Unsent {
    bytes: u64,
    charge: Option<Charge>,
}

/// The bytes of a frame on the wire.
pub(crate) fn frame_bytes(frame: &Frame) -> u64 {
    wire_bytes(frame.len())
}

/// The content of one client frame.
pub(crate) fn frame_of(codec: Codec, commands: &[Command]) -> Frame {
    let mut bytes = Vec::new();
    match commands {
        [command] => command.encode(codec, &mut bytes),
        commands => Command::encode_batch(commands, codec, &mut bytes),
    }
    match codec {
        // JSON is UTF-8, so nothing is lost.
        Codec::Json => Frame::text(String::from_utf8(bytes).unwrap_or_default()),
        Codec::MsgPack => Frame::binary(bytes),
    }
}

impl Connection {
    /// Upgrades a stream, sends `opening` and waits for the answer to the `connect` command
    /// `connect_id` in it.
    pub(crate) async fn open(
        stream: TcpStream,
        address: &Address,
        codec: Codec,
        connect_id: u64,
        opening: Vec<Outgoing>,
    ) -> Result<(Self, Connected), Error> {
        let mut connection = Self::upgrade(stream, address, codec).await?;
        opening.into_iter().for_each(|frame| connection.send(frame));
        loop {
            match connection.progress(true).await {
                Progress::Received(ServerFrame::Reply(Reply { id, result }))
                    if id == connect_id =>
                {
                    return match result {
                        Ok(ReplyBody::Connect(connected)) => Ok((connection, connected)),
                        Ok(_) => Err(not_a_broker(address, "it answered another command")),
                        Err(error) => Err(Error::Refused(error)),
                    };
                }
                Progress::Received(_)
                | Progress::Born { .. }
                | Progress::Heard
                | Progress::Flushed => {}
                Progress::Lost(Loss { code: Some(code), reason, .. }) => {
                    return Err(Error::ClosedByBroker { code, reason });
                }
                Progress::Lost(Loss { code: None, reason, .. }) => {
                    return Err(not_a_broker(address, reason));
                }
            }
        }
    }

    async fn upgrade(stream: TcpStream, address: &Address, codec: Codec) -> Result<Self, Error> {
        let stream = Metered::new(stream);
        let refused = |error| refusal(address, error);
        let mut request = address.uri.clone().into_client_request().map_err(refused)?;
        let subprotocol = HeaderValue::from_static(codec.subprotocol());
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
        let upgraded =
            tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
        let (mut socket, _) = upgraded.map_err(refused)?;
        socket.get_mut().begin_frames();
        Ok(Self { socket, codec, unsent: VecDeque::new(), unflushed: false, loss: None })
    }

    /// Gives a frame to the socket; [`progress`](Self::progress) writes it. A failure shows there.
    pub(crate) fn send(&mut self, outgoing: Outgoing) {
        let Outgoing { frame, charge } = outgoing;
        self.unsent.push_back(Unsent { bytes: frame_bytes(&frame), charge });
        self.give(frame);
    }

    fn give(&mut self, frame: Frame) {
        self.unflushed = true;
        // The socket buffers any frame; an error here repeats when it is flushed or read.
        Pin::new(&mut self.socket).start_send(frame).ok();
    }

    /// Sends a close frame; no frame may be sent after it.
    pub(crate) fn send_close(&mut self, code: CloseCode) {
        self.give(Frame::Close(Some(CloseFrame { code: code.0.into(), reason: "".into() })));
    }

    /// Whether the kernel has taken everything, so that more may be sent.
    pub(crate) fn is_flushed(&self) -> bool {
        !self.unflushed
    }

    /// Writes what was sent and, if `read`, reads until something has happened. Cancel safe.
    pub(crate) async fn progress(&mut self, read: bool) -> Progress {
        poll_fn(|cx| {
            let polled = self.poll_progress(read, cx);
            self.release_written();
            polled
        })
        .await
    }

    /// What the kernel has taken is not buffered any more.
    fn release_written(&mut self) {
        let mut written = self.socket.get_mut().take_written();
        while let Some(frame) = self.unsent.front_mut().filter(|_| written > 0) {
            let taken = written.min(frame.bytes);
            written -= taken;
            frame.bytes -= taken;
            if let Some(charge) = &mut frame.charge {
                charge.release(taken);
            }
            if frame.bytes == 0 {
                self.unsent.pop_front();
            }
        }
    }

    fn poll_progress(&mut self, read: bool, cx: &mut Context<'_>) -> Poll<Progress> {
        if self.unflushed {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    self.unflushed = false;
                    return Poll::Ready(self.loss.take().map_or(Progress::Flushed, Progress::Lost));
                }
                // The broker's close frame may still wait to be read: it says more.
                Poll::Ready(Err(error)) if !read || self.loss.is_some() => {
                    let lost = || Loss::without_code(error.to_string());
                    return Poll::Ready(Progress::Lost(self.loss.take().unwrap_or_else(lost)));
                }
                Poll::Ready(Err(_)) | Poll::Pending => {}
            }
        }
        if !read || self.loss.is_some() {
            return Poll::Pending;
        }
        let received = ready!(Pin::new(&mut self.socket).poll_next(cx));
        if let Some(Ok(Frame::Close(close))) = received {
            self.loss = Some(loss_of(close));
            // The socket has prepared the answer.
            self.unflushed = true;
            return self.poll_progress(read, cx);
        }
        Poll::Ready(self.read(received))
    }

    fn read(&self, received: Option<Result<Frame, WsError>>) -> Progress {
        let bytes = match (&received, self.codec) {
            (Some(Ok(Frame::Text(text))), Codec::Json) => text.as_bytes(),
            (Some(Ok(Frame::Binary(bytes))), Codec::MsgPack) => bytes,
            (Some(Ok(Frame::Text(_) | Frame::Binary(_))), _) => {
                return Progress::Lost(Loss::without_code("a frame of the wrong kind came"));
            }
            (Some(Ok(_)), _) => return Progress::Heard,
            (Some(Err(error)), _) => return Progress::Lost(Loss::without_code(error.to_string())),
            (None, _) => return Progress::Lost(Loss::without_code("the connection ended")),
        };
        match ServerFrame::decode(self.codec, bytes) {
            Ok(frame) => Progress::Received(frame),
            Err(error) => Progress::Lost(Loss::without_code(error.to_string())),
        }
    }
}

fn loss_of(close: Option<CloseFrame>) -> Loss {
    match close {
        Some(close) => Loss::with_code(CloseCode(close.code.into()), close.reason.as_str()),
        None => Loss::without_code("the broker closed the connection without a code"),
    }
}

fn not_a_broker(address: &Address, detail: impl Into<String>) -> Error {
    Error::NotABroker { address: address.host_port.clone(), detail: detail.into() }
}

fn refusal(address: &Address, error: WsError) -> Error {
    match error {
        WsError::Http(response) => {
            let detail = refusal_detail(response.body().as_deref().unwrap_or_default());
            Error::UpgradeRefused {
                address: address.host_port.clone(),
                status: response.status().as_u16(),
                detail,
                retry_after: retry_after(response.status(), response.headers()),
            }
        }
        WsError::Io(error) => {
            Error::Unreachable { address: address.host_port.clone(), detail: error.to_string() }
        }
        other => not_a_broker(address, other.to_string()),
    }
}

/// The sentence in a problem document (RFC 9457), which is what the broker sends, or else the
/// whole body.
pub(crate) fn refusal_detail(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Problem {
        detail: String,
    }
    let detail = serde_json::from_slice::<Problem>(body)
        .map_or_else(|_| String::from_utf8_lossy(body).into_owned(), |problem| problem.detail);
    detail.trim().chars().take(REFUSAL_CHARS_MAX).collect()
}
