//! A proxy before the broker that lets through only some of HTTP, as networks do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What it does not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refuses {
    /// It opens tunnels and nothing else.
    AllButTunnels,
    /// WebSocket upgrades.
    Upgrades,
    /// WebSocket upgrades, and responses that do not end: it holds them back.
    UpgradesAndStreams,
}

pub(crate) struct WebProxy {
    pub(crate) addr: SocketAddr,
    pub(crate) tunnels: Arc<AtomicUsize>,
    refuses: watch::Sender<Refuses>,
    cuts: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

impl Drop for WebProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl WebProxy {
    pub(crate) async fn before(broker: SocketAddr, refuses: Refuses) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let tunnels = Arc::new(AtomicUsize::new(0));
        let (cuts, refuses) = (watch::Sender::new(0), watch::Sender::new(refuses));
        let accepting = tokio::spawn({
            let (tunnels, cut, refuses) = (tunnels.clone(), cuts.clone(), refuses.subscribe());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let refuses = *refuses.borrow();
                    let (tunnels, mut cut) = (tunnels.clone(), cut.subscribe());
                    tokio::spawn(async move {
                        tokio::select! {
                            _ = cut.changed() => {}
                            () = forward(stream, broker, refuses, &tunnels) => {}
                        }
                    });
                }
            }
        });
        Self { addr, tunnels, refuses, cuts, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Cuts every connection there is.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Refuses something else from now on.
    pub(crate) fn refuse(&self, refuses: Refuses) {
        self.refuses.send_replace(refuses);
    }
}

async fn forward(
    mut client: TcpStream,
    broker: SocketAddr,
    refuses: Refuses,
    tunnels: &AtomicUsize,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let is_tunnel = text.starts_with("connect ");
    let is_refused = match refuses {
        Refuses::AllButTunnels => !is_tunnel,
        _ => text.contains("\nupgrade: websocket"),
    };
    if is_refused {
        client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await.ok();
        return;
    }
    let Ok(mut broker) = TcpStream::connect(broker).await else { return };
    if is_tunnel {
        tunnels.fetch_add(1, Ordering::Relaxed);
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok();
    } else {
        broker.write_all(&head).await.ok();
    }
    if refuses == Refuses::UpgradesAndStreams && text.contains("accept: text/event-stream") {
        // It waits for an end that does not come.
        broker.read_to_end(&mut Vec::new()).await.ok();
        return;
    }
    copy_bidirectional(&mut client, &mut broker).await.ok();
}
