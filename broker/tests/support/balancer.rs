//! One address before several brokers: a TCP load balancer that sends new connections only to
//! brokers which say that they are ready.
//!
//! It asks `/health/ready` for each connection, so what it knows is never stale, and a test can see
//! and cut the connections of one broker. A real balancer is configured to do the first and cannot
//! do the second. Knows nothing of WebSocket.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};

use super::process::Broker;

/// Forwards each connection to the ready broker that has the fewest.
pub(crate) struct Balancer {
    addr: SocketAddr,
    places: Arc<Mutex<Vec<Place>>>,
    accepting: JoinHandle<()>,
}

/// Where one broker after the other stands.
struct Place {
    data: SocketAddr,
    admin: SocketAddr,
    connections: Vec<AbortHandle>,
}

impl Place {
    fn of(broker: &Broker) -> Self {
        let data = broker.url.strip_prefix("ws://").unwrap();
        let (data, admin) = (data.parse().unwrap(), broker.admin.parse().unwrap());
        Self { data, admin, connections: Vec::new() }
    }

    fn open_connections(&mut self) -> usize {
        self.connections.retain(|connection| !connection.is_finished());
        self.connections.len()
    }
}

impl Balancer {
    pub(crate) async fn before(brokers: &[Broker]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let places = Arc::new(Mutex::new(brokers.iter().map(Place::of).collect()));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&places)));
        Self { addr, places, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.addr)
    }

    /// Another broker stands at this place from now on.
    pub(crate) fn put(&self, place: usize, broker: &Broker) {
        self.places.lock().unwrap()[place] = Place::of(broker);
    }

    /// Cuts the oldest connections of a broker, without a word.
    pub(crate) fn cut(&self, place: usize, connections: usize) {
        let mut places = self.places.lock().unwrap();
        assert!(places[place].open_connections() >= connections);
        places[place].connections[..connections].iter().for_each(AbortHandle::abort);
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, places: Arc<Mutex<Vec<Place>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let admins: Vec<_> = places.lock().unwrap().iter().map(|place| place.admin).collect();
        let mut ready = Vec::new();
        for (place, admin) in admins.into_iter().enumerate() {
            if is_ready(admin).await {
                ready.push(place);
            }
        }
        let mut places = places.lock().unwrap();
        // With no broker ready the client is sent away, and comes back.
        if let Some(place) = ready.into_iter().min_by_key(|&i| places[i].open_connections()) {
            let forwarding = tokio::spawn(forward(stream, places[place].data));
            places[place].connections.push(forwarding.abort_handle());
        }
    }
}

/// Whether the broker with this admin port takes new connections.
pub(crate) async fn is_ready(admin: SocketAddr) -> bool {
    let asking = async {
        let mut stream = TcpStream::connect(admin).await.ok()?;
        let request = "GET /health/ready HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer.starts_with("HTTP/1.1 200 "))
    };
    asking.await.unwrap_or(false)
}

async fn forward(mut client: TcpStream, broker: SocketAddr) {
    let Ok(mut broker) = TcpStream::connect(broker).await else { return };
    // An error is the end of the connection like any other.
    let _ = copy_bidirectional(&mut client, &mut broker).await;
}
