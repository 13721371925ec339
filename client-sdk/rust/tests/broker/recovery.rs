//! What a real broker recovers, and what it says where it cannot.

use std::time::Duration;

use fanfare_client::{Client, Codec, Missed, Mode, Payload, SubscribeOptions, Update};

use crate::proxy::Proxy;
use crate::{next, next_missed, next_update, publish, start, start_with_history};

/// A client that comes back quickly when the proxy cuts it.
async fn client_behind(proxy: &Proxy, codec: Codec) -> Client {
    let builder = Client::builder(&proxy.url()).codec(codec);
    let quick = builder.backoff(Duration::from_millis(5), Duration::from_millis(50));
    quick.connect().await.expect("connected")
}

#[tokio::test]
async fn a_lost_connection_loses_nothing_that_the_history_holds() {
    for codec in Codec::ALL {
        let server = start();
        let proxy = Proxy::before(server.addr()).await;
        let publisher = Client::connect(&server.url()).await.unwrap();
        let subscriber = client_behind(&proxy, codec).await;
        let mut subscription = subscriber.subscribe("t").await.unwrap();
        let mut sent = 0;
        for _ in 0..3 {
            publish(&publisher, sent + 1..=sent + 10).await;
            proxy.cut();
            publish(&publisher, sent + 11..=sent + 30).await;
            proxy.open();
            publish(&publisher, sent + 31..=sent + 40).await;
            sent += 40;
            for offset in sent - 39..=sent {
                let message = next(&mut subscription).await;
                let text = offset.to_string();
                assert_eq!((message.offset, message.payload.as_text()), (offset, Some(&*text)));
            }
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn what_the_history_does_not_hold_is_told_exactly() {
    let server = start_with_history(3);
    let proxy = Proxy::before(server.addr()).await;
    let publisher = Client::connect(&server.url()).await.unwrap();
    let subscriber = client_behind(&proxy, Codec::Json).await;
    let mut subscription = subscriber.subscribe("t").await.unwrap();
    publish(&publisher, 1..=2).await;
    for offset in 1..=2 {
        assert_eq!(next(&mut subscription).await.offset, offset);
    }
    proxy.cut();
    publish(&publisher, 3..=12).await;
    proxy.open();
    let missed = next_missed(&mut subscription).await;
    assert_eq!(missed, Missed::Offsets { from: 3, to: 12 });
    assert_eq!(subscription.position().unwrap().offset, 12);
    publish(&publisher, 13..=13).await;
    assert_eq!(next(&mut subscription).await.offset, 13);
    server.stop().await;
}

#[tokio::test]
async fn a_reader_that_stops_gets_everything_in_order_or_the_exact_gap() {
    const MESSAGES: u64 = 1_200;
    let server = start_with_history(20);
    let publisher = Client::connect(&server.url()).await.unwrap();
    let slow = Client::builder(&server.url()).subscription_buffer(1).connect().await.unwrap();
    let mut subscription = slow.subscribe("t").await.unwrap();
    // More than all buffers between two loopback sockets hold.
    let body = "x".repeat(20_000);
    for _ in 0..MESSAGES {
        publisher.publish("t", Payload::text(body.clone())).await.unwrap();
    }
    let (mut last, mut gaps) = (0, 0);
    while last < MESSAGES {
        match next_update(&mut subscription).await {
            Update::Message(message) => {
                assert_eq!(message.offset, last + 1);
                last = message.offset;
            }
            Update::Gap(gap) => {
                let Missed::Offsets { from, to } = gap.missed else { panic!("{gap:?}") };
                assert_eq!(from, last + 1);
                (last, gaps) = (to, gaps + 1);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(gaps > 0, "everything fitted into the buffers");
    server.stop().await;
}

#[tokio::test]
async fn in_mode_latest_the_newest_message_comes_at_once_and_after_each_return() {
    let server = start();
    let proxy = Proxy::before(server.addr()).await;
    let publisher = Client::connect(&server.url()).await.unwrap();
    publish(&publisher, 1..=5).await;
    let subscriber = client_behind(&proxy, Codec::Json).await;
    let latest = SubscribeOptions::new().mode(Mode::Latest);
    let mut subscription = subscriber.subscribe_with("t", latest).await.unwrap();
    assert_eq!(next(&mut subscription).await.offset, 5);
    proxy.cut();
    publish(&publisher, 6..=20).await;
    proxy.open();
    assert_eq!(next(&mut subscription).await.offset, 20);
    publish(&publisher, 21..=21).await;
    assert_eq!(next(&mut subscription).await.offset, 21);
    server.stop().await;
}

#[tokio::test]
async fn a_program_that_restarts_goes_on_from_the_position_that_it_kept() {
    let server = start();
    let publisher = Client::connect(&server.url()).await.unwrap();
    let first = Client::connect(&server.url()).await.unwrap();
    let mut subscription = first.subscribe("t").await.unwrap();
    publish(&publisher, 1..=4).await;
    assert_eq!(next(&mut subscription).await.offset, 1);
    let kept = subscription.position().unwrap();
    first.close().await;

    let second = Client::connect(&server.url()).await.unwrap();
    let options = SubscribeOptions::new().since(kept.clone());
    let mut subscription = second.subscribe_with("t", options).await.unwrap();
    assert_eq!(subscription.position(), Some(kept));
    publish(&publisher, 5..=5).await;
    for offset in 2..=5 {
        assert_eq!(next(&mut subscription).await.offset, offset);
    }
    server.stop().await;
}
