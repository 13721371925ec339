//! The client against a real broker.

mod blocked;
mod delivery;
mod lossy;
mod proxy;
mod publishing;
mod recovery;
mod repairing;
mod web_proxy;

use std::time::Duration;

use fanfare::{Server, ServerConfig};
use fanfare_client::{
    Client, CloseCode, Codec, Error, Event, Message, Missed, Payload, PayloadKind, Subscription,
    Update,
};
use tokio::time::timeout;

/// Long enough for anything that does happen, on a busy machine too.
const SOON: Duration = Duration::from_secs(20);

fn start() -> Server {
    Server::start(ServerConfig::default_for_tests()).expect("a broker")
}

/// A broker that keeps this many messages of each topic.
fn start_with_history(messages: usize) -> Server {
    let mut config = ServerConfig::default_for_tests();
    config.limits.namespaces.default_mut().history_messages = messages;
    Server::start(config).expect("a broker")
}

async fn next_update(subscription: &mut Subscription) -> Update {
    timeout(SOON, subscription.next()).await.expect("an update in time").expect("a live stream")
}

async fn next(subscription: &mut Subscription) -> Message {
    match next_update(subscription).await {
        Update::Message(message) => message,
        other => panic!("{other:?} instead of a message"),
    }
}

/// The pattern of the snapshot that has come, how many messages it had, and how many follow later.
async fn next_snapshot(subscription: &mut Subscription) -> (String, u64, u64) {
    match next_update(subscription).await {
        Update::Snapshot(end) => (end.pattern.to_string(), end.messages, end.later),
        other => panic!("{other:?} instead of the end of a snapshot"),
    }
}

async fn next_missed(subscription: &mut Subscription) -> Missed {
    match next_update(subscription).await {
        Update::Gap(gap) => gap.missed,
        other => panic!("{other:?} instead of a gap"),
    }
}

/// Publishes to `t`, each text its offset.
async fn publish(client: &Client, offsets: std::ops::RangeInclusive<u64>) {
    for offset in offsets {
        let published = client.publish("t", Payload::text(offset.to_string())).await;
        assert_eq!(published.expect("published").offset, offset);
    }
}

#[tokio::test]
async fn every_payload_kind_passes_between_the_codecs() {
    let server = start();
    let payloads = [
        Payload::json(r#"{"p":187.2,"s":"A"}"#).unwrap(),
        Payload::json("null").unwrap(),
        Payload::text("héllo \u{1F3BA}"),
        Payload::binary(vec![0, 159, 146, 150]),
    ];
    for (from, to) in [(Codec::Json, Codec::MsgPack), (Codec::MsgPack, Codec::Json)] {
        let publisher = Client::builder(&server.url()).codec(from).connect().await.unwrap();
        let subscriber = Client::builder(&server.url()).codec(to).connect().await.unwrap();
        let topic = format!("from.{from:?}");
        let mut subscription = subscriber.subscribe(&topic).await.unwrap();
        assert_eq!(subscription.position().unwrap().offset, 0);
        for (offset, payload) in (1..).zip(&payloads) {
            let published = publisher.publish(&topic, payload.clone()).await.unwrap();
            let position = Some(published.position());
            let message = next(&mut subscription).await;
            assert_eq!((message.position(), message.offset), (position, offset));
            assert_eq!(message.payload.kind(), payload.kind());
            match payload.kind() {
                PayloadKind::Json => {
                    let value: serde_json::Value = message.payload.parse_json().unwrap();
                    assert_eq!(value, payload.parse_json::<serde_json::Value>().unwrap());
                }
                _ => assert_eq!(message.payload.bytes(), payload.bytes()),
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_fast_publisher_and_a_slow_subscriber_lose_nothing_that_the_history_holds() {
    const MESSAGES: u64 = 3_000;
    let server = start_with_history(3_000);
    let publisher = Client::connect(&server.url()).await.unwrap();
    let subscriber = Client::builder(&server.url()).subscription_buffer(4).connect().await.unwrap();
    let mut subscription = subscriber.subscribe("t").await.unwrap();
    let publishing = tokio::spawn(async move {
        for n in 0..MESSAGES {
            publisher.publish_unconfirmed("t", Payload::text(n.to_string())).await.unwrap();
        }
        publisher.close().await;
    });
    for n in 0..MESSAGES {
        let message = next(&mut subscription).await;
        assert_eq!(message.payload.as_text(), Some(n.to_string().as_str()));
        assert_eq!(message.previous_offset(), n);
        if n % 500 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    publishing.await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn an_ended_subscription_can_be_made_again() {
    let server = start();
    let client = Client::connect(&server.url()).await.unwrap();
    for offset in 0..3 {
        let mut subscription = client.subscribe("t").await.unwrap();
        assert_eq!(subscription.position().unwrap().offset, offset);
        client.publish("t", Payload::text("x")).await.unwrap();
        assert_eq!(next(&mut subscription).await.offset, offset + 1);
        subscription.unsubscribe().await.unwrap();
    }
    server.stop().await;
}

#[tokio::test]
async fn the_broker_refuses_what_the_client_cannot_check() {
    let server = start();
    let client = Client::connect(&server.url()).await.unwrap();
    let error = client.publish("t", Payload::binary(vec![0; 1 << 20])).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
    let wrong_path = format!("{}/v1/nowhere", server.url());
    let error = Client::connect(&wrong_path).await.unwrap_err();
    match error {
        Error::UpgradeRefused { status: 404, detail, .. } => {
            assert!(detail.starts_with("there is nothing here"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    let error = Client::connect(&server.admin_url()).await.unwrap_err();
    assert!(matches!(error, Error::UpgradeRefused { status: 400..=499, .. }), "{error:?}");
    client.publish("t", Payload::text("still here")).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_restarted_broker_gets_its_subscribers_back() {
    let first = start();
    let listen = first.addr();
    let builder = Client::builder(&first.url());
    let client =
        builder.backoff(Duration::from_millis(5), Duration::from_millis(50)).connect().await;
    let client = client.unwrap();
    let mut events = client.events();
    let mut subscription = client.subscribe("t").await.unwrap();
    let before = client.publish("t", Payload::text("before")).await.unwrap();
    assert_eq!(next(&mut subscription).await.position(), Some(before.position()));
    first.stop().await;

    let second = Server::start(ServerConfig { listen, ..ServerConfig::default_for_tests() });
    let second = second.unwrap();
    let mut seen = Vec::new();
    while seen.iter().filter(|event| matches!(event, Event::Connected { .. })).count() < 2 {
        seen.push(timeout(SOON, events.next()).await.unwrap().unwrap());
    }
    let code = seen.iter().find_map(|event| match event {
        Event::Disconnected { code, .. } => *code,
        _ => None,
    });
    assert_eq!(code, Some(CloseCode::SERVICE_RESTART), "{seen:?}");

    let after = client.publish("t", Payload::text("after")).await.unwrap();
    assert_eq!(next_missed(&mut subscription).await, Missed::Unknown);
    let message = next(&mut subscription).await;
    assert_eq!(message.payload.as_text(), Some("after"));
    assert_eq!(message.position(), Some(after.position()));
    assert_ne!(message.epoch.as_deref(), Some(&*before.epoch));
    second.stop().await;
}
