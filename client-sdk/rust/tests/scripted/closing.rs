//! The end of a client, asked for or by dropping it.

use std::time::Duration;

use fanfare_client::{CloseCode, Error, Event, Payload};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout};

use crate::peer::{Peer, SOON, next_message, published_text, unsubscribed_topic};

#[tokio::test]
async fn close_sends_what_is_queued_and_then_code_1000() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let events = client.events();
    let mut subscription = link.subscribe(&client, "a").await;
    for n in 0..200 {
        client.publish_unconfirmed("t", Payload::text(n.to_string())).await.unwrap();
    }
    let ((), ()) = tokio::join!(client.close(), async {
        for n in 0..200 {
            assert_eq!(published_text(&link.command().await), n.to_string());
        }
        assert_eq!(link.closed_with().await, CloseCode::NORMAL);
    });
    assert_eq!(subscription.next().await, None);
    assert_eq!(subscription.error(), Some(&Error::Closed));
    assert_eq!(client.publish("t", Payload::text("x")).await, Err(Error::Closed));
    assert_eq!(client.publish_unconfirmed("t", Payload::text("x")).await, Err(Error::Closed));
    assert!(matches!(client.subscribe("t").await, Err(Error::Closed)));
    let events: Vec<_> = events.collect().await;
    assert!(matches!(events[..], [Event::Connected { .. }, Event::Closed]), "{events:?}");
    client.close().await;
}

#[tokio::test]
async fn replies_that_come_before_the_brokers_close_frame_are_taken() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let publishing = tokio::spawn({
        let client = client.clone();
        async move { client.publish("t", Payload::text("last")).await }
    });
    let command = link.command().await;
    let closing = tokio::spawn(async move { client.close().await });
    // The peer reads the close frame only after it has confirmed.
    tokio::task::yield_now().await;
    link.confirm_publish(&command, 1).await;
    assert_eq!(link.closed_with().await, CloseCode::NORMAL);
    assert_eq!(publishing.await.unwrap().unwrap().offset, 1);
    closing.await.unwrap();
}

#[tokio::test]
async fn a_broker_that_does_not_answer_the_close_frame_is_left_after_the_command_timeout() {
    let peer = Peer::bind().await;
    let limit = Duration::from_millis(50);
    let (client, link) = peer.client(peer.builder().command_timeout(limit)).await;
    let began = Instant::now();
    client.close().await;
    assert!((limit..SOON).contains(&began.elapsed()), "{:?}", began.elapsed());
    drop(link);
}

#[tokio::test]
async fn close_during_a_reconnect_ends_at_once() {
    let peer = Peer::bind().await;
    let builder = peer.builder().backoff(Duration::from_secs(60), Duration::from_secs(60));
    let (client, mut link) = peer.client(builder).await;
    let mut subscription = link.subscribe(&client, "a").await;
    let mut events = client.events();
    drop(link);
    while !matches!(events.next().await, Some(Event::Disconnected { .. })) {}
    let queued = tokio::spawn({
        let client = client.clone();
        async move { client.publish("t", Payload::text("x")).await }
    });
    tokio::task::yield_now().await;
    timeout(SOON, client.close()).await.unwrap();
    assert_eq!(queued.await.unwrap(), Err(Error::Closed));
    assert_eq!(subscription.next().await, None);
    assert_eq!(events.next().await, Some(Event::Closed));
}

#[tokio::test]
async fn dropping_the_last_handle_closes_with_code_1000() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let clone = client.clone();
    drop(client);
    link.nothing().await;
    clone.publish_unconfirmed("t", Payload::text("last")).await.unwrap();
    drop(clone);
    assert_eq!(published_text(&link.command().await), "last");
    assert_eq!(link.closed_with().await, CloseCode::NORMAL);
}

#[tokio::test]
async fn a_subscription_keeps_its_client_alive() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut subscription = link.subscribe(&client, "a").await;
    drop(client);
    link.message("a", 1, "x").await;
    assert_eq!(next_message(&mut subscription).await.offset, 1);
    drop(subscription);
    assert_eq!(unsubscribed_topic(&link.command().await), "a");
    assert_eq!(link.closed_with().await, CloseCode::NORMAL);
}

#[tokio::test]
async fn dropping_every_handle_during_a_reconnect_ends_the_attempts() {
    let peer = Peer::bind().await;
    let (client, link) = peer.client(peer.builder()).await;
    let mut events = client.events();
    drop((client, link));
    while let Some(event) = timeout(SOON, events.next()).await.unwrap() {
        assert!(!matches!(event, Event::Connecting { attempt: 3.. }), "{event:?}");
    }
}
