//! Keys, history and backpressure of a real broker.

use std::time::Duration;

use fanfare_client::{
    Client, Codec, Error, ErrorCode, HistoryOptions, Payload, PublishOptions, Published,
};
use tokio::time::timeout;

use crate::proxy::Proxy;
use crate::{SOON, next, publish, start, start_with_history};

fn key(key: &str) -> PublishOptions {
    PublishOptions::new().key(key)
}

#[tokio::test]
async fn a_key_is_published_once() {
    for codec in Codec::ALL {
        let server = start();
        let client = Client::builder(&server.url()).codec(codec).connect().await.unwrap();
        let mut subscription = client.subscribe("t").await.unwrap();
        let text = Payload::text;
        let first = client.publish_with("t", text("one"), key("k1")).await.unwrap();
        let again = client.publish_with("t", text("one"), key("k1")).await.unwrap();
        assert_eq!(again, Published { duplicate: true, ..first.clone() });
        let other = client.publish_with("t", text("two"), key("k2")).await.unwrap();
        assert!(!first.duplicate && !other.duplicate);
        for expected in ["one", "two"] {
            assert_eq!(next(&mut subscription).await.payload.as_text(), Some(expected));
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn with_keys_every_message_arrives_once_however_often_the_connection_is_cut() {
    const MESSAGES: usize = 300;
    let server = start_with_history(MESSAGES);
    let proxy = Proxy::before(server.addr()).await;
    let quick =
        Client::builder(&proxy.url()).backoff(Duration::from_millis(1), Duration::from_millis(10));
    let publisher = quick.command_timeout(SOON).connect().await.unwrap();
    let subscriber = Client::connect(&server.url()).await.unwrap();
    let mut subscription = subscriber.subscribe("t").await.unwrap();
    let publishing: Vec<_> = (0..MESSAGES)
        .map(|n| {
            let publisher = publisher.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(n as u64)).await;
                let payload = Payload::text(n.to_string());
                publisher.publish_with("t", payload, key(&n.to_string())).await
            })
        })
        .collect();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        proxy.cut();
        tokio::task::yield_now().await;
        proxy.open();
    }
    let mut offsets = Vec::new();
    for publish in publishing {
        offsets.push(publish.await.unwrap().expect("published").offset);
    }
    offsets.sort_unstable();
    assert_eq!(offsets, (1..=MESSAGES as u64).collect::<Vec<_>>());
    let mut texts = Vec::new();
    for _ in 0..MESSAGES {
        let message = next(&mut subscription).await;
        texts.push(message.payload.as_text().unwrap().parse::<usize>().unwrap());
    }
    texts.sort_unstable();
    assert_eq!(texts, (0..MESSAGES).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn history_is_read_from_its_beginning_to_its_end() {
    for codec in Codec::ALL {
        let server = start_with_history(250);
        let client = Client::builder(&server.url()).codec(codec).connect().await.unwrap();
        publish(&client, 1..=300).await;
        let newest = client.history("t", HistoryOptions::new().limit(3)).await.unwrap();
        let offsets: Vec<_> = newest.messages.iter().map(|message| message.offset).collect();
        assert_eq!((&offsets[..], newest.head.offset), (&[298, 299, 300][..], 300));
        assert!(!newest.is_recovered && newest.next.is_none());

        let mut kept = newest.messages[0].position().unwrap();
        kept.offset = 60;
        let mut wanted = Some(HistoryOptions::new().after(kept.clone()).limit(70));
        let mut last = 60;
        while let Some(options) = wanted {
            let page = client.history("t", options).await.unwrap();
            assert!(page.is_recovered && page.messages.len() <= 70);
            for message in &page.messages {
                assert_eq!((message.offset, message.previous_offset()), (last + 1, last));
                last = message.offset;
            }
            wanted = page.next;
        }
        assert_eq!(last, 300);
        kept.offset = 10;
        let too_old = client.history("t", HistoryOptions::new().after(kept)).await.unwrap();
        assert_eq!((too_old.is_recovered, too_old.messages[0].offset), (false, 51));
        server.stop().await;
    }
}

#[tokio::test]
async fn history_of_a_topic_that_is_not_there_is_refused() {
    let server = start();
    let client = Client::connect(&server.url()).await.unwrap();
    match client.history("nobody.knows", HistoryOptions::new()).await {
        Err(Error::Refused(refusal)) => assert_eq!(refusal.code, ErrorCode::UnknownTopic),
        other => panic!("{other:?}"),
    }
    server.stop().await;
}

#[tokio::test]
async fn a_publisher_faster_than_its_broker_waits_and_loses_nothing() {
    const MESSAGES: u64 = 3_000;
    const HIGH_WATER: u64 = 20_000;
    let server = start_with_history(MESSAGES as usize);
    let publisher =
        Client::builder(&server.url()).high_water_mark(HIGH_WATER).connect().await.unwrap();
    let subscriber = Client::connect(&server.url()).await.unwrap();
    let mut subscription = subscriber.subscribe("t").await.unwrap();
    let publishing = tokio::spawn(async move {
        for n in 1..=MESSAGES {
            let payload = Payload::text(format!("{n} {}", "x".repeat(200)));
            publisher.publish_unconfirmed("t", payload).await.unwrap();
            assert!(publisher.buffered_amount() <= HIGH_WATER);
        }
        while publisher.buffered_amount() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        publisher
    });
    for offset in 1..=MESSAGES {
        assert_eq!(next(&mut subscription).await.offset, offset);
    }
    timeout(SOON, publishing).await.expect("an empty buffer in time").unwrap();
    server.stop().await;
}
