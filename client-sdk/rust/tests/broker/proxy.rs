//! A TCP proxy before the broker whose connections a test can cut and hold up.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards each connection to the broker, until it is cut.
pub(crate) struct Proxy {
    addr: SocketAddr,
    open: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn before(broker: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let open = watch::Sender::new(true);
        let gate = open.subscribe();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(forward(stream, broker, gate.clone()));
            }
        });
        Self { addr, open, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.addr)
    }

    /// Cuts every connection. New ones get through only after [`Self::open`].
    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(mut client: TcpStream, broker: SocketAddr, mut gate: watch::Receiver<bool>) {
    if gate.wait_for(|open| *open).await.is_err() {
        return;
    }
    let Ok(mut broker) = TcpStream::connect(broker).await else { return };
    tokio::select! {
        // An error is the end of the connection like any other.
        _ = copy_bidirectional(&mut client, &mut broker) => {}
        // Seen also if the gate is open again by now.
        _ = gate.changed() => {}
    }
}
