//! Clients that lose their connections and come back: they get exactly what they missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfare::Server;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_tungstenite::MaybeTlsStream;

use crate::support::{InOrder, Ws, eventually, metric, start_with};

const CLIENTS: usize = 200;
const TOPIC: &str = "t";

/// Publishes 1, 2, 3, … until told to stop; the last one.
fn publish(mut ws: Ws, stop: Arc<AtomicBool>) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut last = 0;
        while !stop.load(Ordering::Relaxed) {
            last = ws.publish(TOPIC, last + 1).await;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        last
    })
}

/// A client that every fourth time is a raw stream, which goes on after `last`.
struct Client {
    ws: Ws,
    order: InOrder,
    is_raw: bool,
}

impl Client {
    async fn new(server: &Server, number: usize, since: Option<(&Value, u64)>) -> Self {
        let is_raw = number.is_multiple_of(4);
        let order = InOrder::after(since.map_or(0, |(_, offset)| offset));
        let ws = match since {
            None if is_raw => Ws::raw(server, TOPIC).await,
            Some((epoch, offset)) if is_raw => {
                let epoch = epoch.as_str().expect("an epoch");
                Ws::raw(server, &format!("{TOPIC}?since={epoch}:{offset}")).await
            }
            None => Ws::subscriber(server, &[TOPIC]).await,
            Some((epoch, offset)) => {
                let mut ws = Ws::subscriber(server, &[]).await;
                let since = json!({"epoch": epoch, "offset": offset});
                let reply = ws.subscribe(json!({"topic": TOPIC, "since": since})).await;
                assert_eq!(reply["recovered"], true, "{reply}");
                ws
            }
        };
        Self { ws, order, is_raw }
    }

    /// Reads up to this message; each must follow the one before.
    async fn read_to(&mut self, last: u64) {
        while self.order.last < last {
            let push = self.ws.push().await;
            match self.is_raw {
                true => self.order.take(&json!({"offset": push})),
                false => self.order.take(&push),
            }
        }
    }

    /// Loses the connection, with or without a word of the kernel; what it had last.
    fn lose(self, abruptly: bool) -> u64 {
        if abruptly && let MaybeTlsStream::Plain(stream) = self.ws.stream.get_ref() {
            socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        self.order.last
    }
}

#[tokio::test]
async fn a_storm_of_clients_recovers_exactly_what_it_missed_while_publishing_goes_on() {
    let server = start_with(|l| {
        l.namespaces.default_mut().history_messages = 100_000;
        l.namespaces.default_mut().history_bytes = usize::MAX;
    });
    // Holds the topic in the table, and its epoch.
    let mut holder = Ws::subscriber(&server, &[]).await;
    let epoch = holder.subscribe(json!({"topic": TOPIC})).await["epoch"].clone();
    let publisher = Ws::subscriber(&server, &[]).await;

    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(Client::new(&server, number, None).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = publish(publisher, stop.clone());
    for (number, client) in clients.iter_mut().enumerate() {
        client.read_to(5 + number as u64 % 7).await;
    }
    let had: Vec<u64> =
        clients.into_iter().enumerate().map(|(i, client)| client.lose(i % 2 == 0)).collect();
    eventually("all are gone", || server.connection_count() == 2).await;
    let gone_at = server.messages_in();
    eventually("they miss something", || server.messages_in() > gone_at + 30).await;

    let server = Arc::new(server);
    let storm: Vec<JoinHandle<Client>> = had
        .into_iter()
        .enumerate()
        .map(|(number, last)| {
            let (server, epoch) = (server.clone(), epoch.clone());
            tokio::spawn(async move { Client::new(&server, number, Some((&epoch, last))).await })
        })
        .collect();
    let mut back = Vec::new();
    for client in storm {
        back.push(client.await.unwrap());
    }
    stop.store(true, Ordering::Relaxed);
    let last = publishing.await.unwrap();
    for client in &mut back {
        client.read_to(last).await;
        assert_eq!(client.order.gaps, 0);
    }
    assert_eq!(metric(&server, "fanfare_gaps_total").await, 0.0);
    drop((back, holder));
    eventually("all are gone", || server.connection_count() <= 1).await;
    Arc::into_inner(server).expect("the last one").stop().await;
}
