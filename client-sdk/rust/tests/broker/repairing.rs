//! Heads of a real broker: what was lost on the way is found and fetched, and nothing is found
//! where nothing was lost.

use std::time::Duration;

use fanfare::{Server, ServerConfig};
use fanfare_client::{Client, Missed, Mode, Payload, SubscribeOptions};

use crate::lossy::Lossy;
use crate::{next, next_missed, publish};

/// A broker that pings often.
fn start(history_messages: usize) -> Server {
    let mut config = ServerConfig::default_for_tests();
    config.limits.ping_interval_ms = 100;
    config.limits.namespaces.default_mut().history_messages = history_messages;
    Server::start(config).expect("a broker")
}

#[tokio::test]
async fn what_was_lost_on_a_topic_that_falls_quiet_is_fetched() {
    let server = start(100);
    let lossy = Lossy::before(server.addr()).await;
    let publisher = Client::connect(&server.url()).await.unwrap();
    let subscriber = Client::connect(&lossy.url()).await.unwrap();
    let mut subscription = subscriber.subscribe("t").await.unwrap();
    publish(&publisher, 1..=3).await;
    for offset in 1..=3 {
        assert_eq!(next(&mut subscription).await.offset, offset);
    }
    lossy.swallow(4);
    publish(&publisher, 4..=7).await;
    for offset in 4..=7 {
        let message = next(&mut subscription).await;
        let text = offset.to_string();
        assert_eq!((message.offset, message.payload.as_text()), (offset, Some(&*text)));
    }
    assert_eq!((lossy.left_to_swallow(), subscriber.repairs()), (0, 1));
    publish(&publisher, 8..=8).await;
    assert_eq!(next(&mut subscription).await.offset, 8);
    server.stop().await;
}

#[tokio::test]
async fn what_the_broker_does_not_keep_becomes_the_exact_gap() {
    let server = start(2);
    let lossy = Lossy::before(server.addr()).await;
    let publisher = Client::connect(&server.url()).await.unwrap();
    let subscriber = Client::connect(&lossy.url()).await.unwrap();
    let mut subscription = subscriber.subscribe("t").await.unwrap();
    lossy.swallow(5);
    publish(&publisher, 1..=5).await;
    assert_eq!(next_missed(&mut subscription).await, Missed::Offsets { from: 1, to: 5 });
    publish(&publisher, 6..=6).await;
    assert_eq!(next(&mut subscription).await.offset, 6);
    assert_eq!(subscriber.repairs(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_newest_value_that_was_lost_is_fetched_at_a_rate_too() {
    let server = start(100);
    let lossy = Lossy::before(server.addr()).await;
    let publisher = Client::connect(&server.url()).await.unwrap();
    let subscriber = Client::connect(&lossy.url()).await.unwrap();
    publisher.publish("t", Payload::text("x")).await.unwrap();
    for options in
        [SubscribeOptions::new().mode(Mode::Latest), SubscribeOptions::new().max_rate(10)]
    {
        let mut newest = subscriber.subscribe_with("t", options).await.unwrap();
        next(&mut newest).await;
        lossy.swallow(1);
        let published = publisher.publish("t", Payload::text("x")).await.unwrap();
        while next(&mut newest).await.offset < published.offset {}
        assert_eq!(lossy.left_to_swallow(), 0);
        newest.unsubscribe().await.unwrap();
    }
    assert_eq!(subscriber.repairs(), 2);
    server.stop().await;
}

#[tokio::test]
async fn on_a_network_that_loses_nothing_nothing_is_repaired() {
    let server = start(100);
    let publisher = Client::connect(&server.url()).await.unwrap();
    let subscriber =
        Client::builder(&server.url()).subscription_buffer(100).connect().await.unwrap();
    let options = SubscribeOptions::new;
    let mut all = subscriber.subscribe("a").await.unwrap();
    let mut latest =
        subscriber.subscribe_with("b", options().mode(Mode::Latest)).await.unwrap().messages();
    let mut limited =
        subscriber.subscribe_with("c", options().max_rate(10)).await.unwrap().messages();
    let mut pattern = subscriber.subscribe("*").await.unwrap();
    for n in 1..=60u64 {
        for topic in ["a", "b", "c", "d"] {
            publisher.publish_unconfirmed(topic, Payload::text(n.to_string())).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        while all.position().unwrap().offset < n {
            next(&mut all).await;
        }
        // The others are read now and then, so that they fill their buffers for a while.
        if n % 20 == 0 {
            let is_newest = |message: fanfare_client::Message| message.offset == n;
            while !is_newest(latest.next().await.unwrap()) {}
            while !is_newest(limited.next().await.unwrap()) {}
            loop {
                let message = next(&mut pattern).await;
                if message.topic.as_str() == "d" && message.offset == n {
                    break;
                }
            }
        }
    }
    assert_eq!(subscriber.repairs(), 0);
    server.stop().await;
}
