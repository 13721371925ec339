//! A WebSocket proxy before the broker that swallows messages when a test tells it to: what no
//! network does, but a broker or a proxy with a fault might.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fanfare_protocol::{Codec, ServerFrame};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

const PROTOCOL: &str = "Sec-WebSocket-Protocol";

/// Forwards the JSON connections of a client to the broker, frame by frame.
pub(crate) struct Lossy {
    addr: SocketAddr,
    to_swallow: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Lossy {
    pub(crate) async fn before(broker: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let to_swallow = Arc::new(AtomicUsize::new(0));
        let counter = to_swallow.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(forward(stream, broker, counter.clone()));
            }
        });
        Self { addr, to_swallow, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.addr)
    }

    /// Swallows the next messages that the broker sends.
    pub(crate) fn swallow(&self, messages: usize) {
        self.to_swallow.store(messages, Ordering::SeqCst);
    }

    /// How many are still to be swallowed.
    pub(crate) fn left_to_swallow(&self) -> usize {
        self.to_swallow.load(Ordering::SeqCst)
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(stream: TcpStream, broker: SocketAddr, to_swallow: Arc<AtomicUsize>) {
    let subprotocol = HeaderValue::from_static(Codec::Json.subprotocol());
    #[allow(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let choose = |_: &Request, mut response: Response| {
        response.headers_mut().insert(PROTOCOL, subprotocol.clone());
        Ok(response)
    };
    let mut client = tokio_tungstenite::accept_hdr_async(stream, choose).await.expect("an upgrade");
    let url = format!("ws://{broker}/v1/ws");
    let mut request = url.into_client_request().expect("a request");
    request.headers_mut().insert(PROTOCOL, subprotocol.clone());
    let stream = TcpStream::connect(broker).await.expect("a broker");
    let (mut broker, _) =
        tokio_tungstenite::client_async(request, stream).await.expect("an upgrade");
    loop {
        let forwarded = tokio::select! {
            Some(Ok(frame)) = client.next() => broker.send(frame).await,
            Some(Ok(frame)) = broker.next() => {
                if is_swallowed(&frame, &to_swallow) {
                    continue;
                }
                client.send(frame).await
            }
            else => return,
        };
        if forwarded.is_err() {
            return;
        }
    }
}

fn is_swallowed(frame: &Frame, to_swallow: &AtomicUsize) -> bool {
    let Frame::Text(text) = frame else { return false };
    let decoded = ServerFrame::decode(Codec::Json, text.as_bytes());
    let is_message = matches!(decoded, Ok(ServerFrame::Message(_)));
    let lower = |left: usize| left.checked_sub(1);
    is_message && to_swallow.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lower).is_ok()
}
