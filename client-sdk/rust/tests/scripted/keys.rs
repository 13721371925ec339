//! Messages with a key: repeated by the client itself, published once.

use std::time::Duration;

use fanfare_client::{Client, Error, Event, Payload, PublishOptions, Published};
use fanfare_protocol::{Command, ReplyBody, Request};
use tokio::time::timeout;

use crate::peer::{A_MOMENT, Peer, SOON, published_text, subscribed_topic};

fn key(command: &Command) -> Option<&str> {
    match &command.request {
        Request::Publish(publish) => publish.key.as_deref(),
        other => panic!("{other:?} instead of publish"),
    }
}

async fn publish(client: &Client, key: &str, text: &str) -> Result<Published, Error> {
    client.publish_with("t", Payload::text(text), PublishOptions::new().key(key)).await
}

fn published(offset: u64, duplicate: bool) -> Published {
    Published { epoch: "e1".to_owned(), offset, duplicate }
}

#[tokio::test]
async fn the_broker_hears_the_key_and_the_application_whether_it_was_known() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    for duplicate in [false, true] {
        let (outcome, ()) = tokio::join!(publish(&client, "order-17", "x"), async {
            let command = link.command().await;
            assert_eq!(key(&command), Some("order-17"));
            link.confirm(&command, ReplyBody::Publish(published(9, duplicate))).await;
        });
        assert_eq!(outcome, Ok(published(9, duplicate)));
    }
}

#[tokio::test]
async fn a_key_has_a_length() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    for key in ["", &"k".repeat(129)] {
        let error = publish(&client, key, "x").await.unwrap_err();
        assert!(matches!(error, Error::BadOption { .. }), "{error:?}");
    }
    link.nothing().await;
}

#[tokio::test]
async fn messages_in_flight_are_repeated_in_their_order_behind_the_subscriptions() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let _subscription = link.subscribe(&client, "a").await;
    let unkeyed = client.publish("t", Payload::text("without a key"));
    let newer = async {
        let mut events = client.events();
        while !matches!(events.next().await, Some(Event::Disconnected { .. })) {}
        client.publish_unconfirmed("t", Payload::text("newer")).await
    };
    let (one, two, three, unkeyed, newer, ()) = tokio::join!(
        publish(&client, "k1", "one"),
        publish(&client, "k2", "two"),
        publish(&client, "k3", "three"),
        unkeyed,
        newer,
        async {
            for _ in 0..4 {
                link.command().await;
            }
            drop(link);
            let (mut link, commands) = peer.serve().await;
            assert_eq!(commands.iter().map(subscribed_topic).collect::<Vec<_>>(), ["a"]);
            for (offset, expected) in [(1, "one"), (2, "two"), (3, "three")] {
                let command = link.command().await;
                assert_eq!(published_text(&command), expected);
                link.confirm(&command, ReplyBody::Publish(published(offset, true))).await;
            }
            assert_eq!(published_text(&link.command().await), "newer");
        }
    );
    for (offset, outcome) in [(1, one), (2, two), (3, three)] {
        assert_eq!(outcome, Ok(published(offset, true)));
    }
    assert_eq!(unkeyed, Err(Error::ConnectionLost));
    newer.unwrap();
}

#[tokio::test]
async fn a_message_is_repeated_as_often_as_the_connection_is_lost() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let (outcome, ()) = tokio::join!(publish(&client, "k", "x"), async {
        for _ in 0..3 {
            assert_eq!(key(&link.command().await), Some("k"));
            drop(link);
            drop(peer.accept_tcp().await);
            (link, _) = peer.serve().await;
        }
        let command = link.command().await;
        link.confirm(&command, ReplyBody::Publish(published(1, false))).await;
    });
    assert_eq!(outcome, Ok(published(1, false)));
}

#[tokio::test]
async fn a_message_that_waits_to_be_repeated_counts_as_buffered() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut events = client.events();
    let publishing = tokio::spawn({
        let client = client.clone();
        async move { publish(&client, "k", "x").await }
    });
    let sent = link.frame().await.len() as u64;
    drop(link);
    while !matches!(events.next().await, Some(Event::Disconnected { .. })) {}
    let header_and_masking_key = 6;
    assert_eq!(client.buffered_amount(), sent + header_and_masking_key);
    let (mut link, _) = peer.serve().await;
    let command = link.command().await;
    link.confirm(&command, ReplyBody::Publish(published(1, false))).await;
    assert_eq!(timeout(SOON, publishing).await.unwrap().unwrap(), Ok(published(1, false)));
    assert_eq!(client.buffered_amount(), 0);
}

#[tokio::test]
async fn a_message_that_was_given_up_is_not_repeated() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    assert!(timeout(A_MOMENT, publish(&client, "k", "given up")).await.is_err());
    link.command().await;
    drop(link);
    let (mut link, _) = peer.serve().await;
    client.publish_unconfirmed("t", Payload::text("next")).await.unwrap();
    assert_eq!(published_text(&link.command().await), "next");
}

#[tokio::test]
async fn a_client_that_closes_before_the_repeat_tells_that_the_outcome_is_unknown() {
    let peer = Peer::bind().await;
    let builder = peer.builder().backoff(Duration::from_secs(60), Duration::from_secs(60));
    let (client, mut link) = peer.client(builder).await;
    let (outcome, ()) = tokio::join!(publish(&client, "k", "x"), async {
        link.command().await;
        let mut events = client.events();
        drop(link);
        while !matches!(events.next().await, Some(Event::Disconnected { .. })) {}
        client.close().await;
    });
    assert_eq!(outcome, Err(Error::ConnectionLost));
}
