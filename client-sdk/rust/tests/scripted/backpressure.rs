//! Applications that read slowly or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fanfare_client::{Error, Payload};
use tokio::time::timeout;

use crate::peer::{A_MOMENT, Link, Peer, next_message, next_text};

/// Over what the kernel buffers between two loopback sockets.
const FLOOD: u64 = 400;

/// Sends messages as fast as the client takes them; `sent` says how many it has taken.
async fn flood(mut link: Link, topic: &str, sent: Arc<AtomicU64>) -> Link {
    let filler = "x".repeat(60_000);
    for offset in 1..=FLOOD {
        link.message(topic, offset, &format!("{offset} {filler}")).await;
        sent.store(offset, Ordering::Relaxed);
    }
    link
}

/// How many messages were taken when no more were.
async fn taken_at_last(sent: &AtomicU64) -> u64 {
    loop {
        let before = sent.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
        if sent.load(Ordering::Relaxed) == before {
            return before;
        }
    }
}

#[tokio::test]
async fn a_broker_feels_an_application_that_does_not_read_and_nothing_is_lost() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder().subscription_buffer(8)).await;
    let mut subscription = link.subscribe(&client, "a").await;
    let sent = Arc::new(AtomicU64::new(0));
    let flooding = tokio::spawn(flood(link, "a", sent.clone()));
    assert!(taken_at_last(&sent).await < FLOOD, "all was taken though nobody read");

    for offset in 1..=FLOOD {
        let message = next_message(&mut subscription).await;
        assert_eq!((message.offset, message.previous_offset()), (offset, offset - 1));
    }
    flooding.await.unwrap();
}

#[tokio::test]
async fn silence_of_a_socket_that_is_not_read_is_not_death() {
    let peer = Peer::bind().await;
    let (interval, grace) = (Duration::from_millis(50), Duration::from_millis(250));
    let builder = peer.builder().subscription_buffer(1).liveness_grace(grace);
    let (client, (mut link, _)) =
        tokio::join!(builder.connect(), peer.serve_with_ping_interval(interval));
    let client = client.unwrap();
    let mut subscription = link.subscribe(&client, "a").await;
    for offset in 1..=3 {
        link.message("a", offset, "x").await;
    }
    tokio::time::sleep(3 * (interval + grace)).await;
    for _ in 1..=3 {
        next_text(&mut subscription).await;
    }
    link.message("a", 4, "still the same connection").await;
    assert_eq!(next_text(&mut subscription).await, "still the same connection");
}

#[tokio::test]
async fn publishing_from_inside_the_loop_over_messages_gets_its_reply() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder().subscription_buffer(2)).await;
    let mut subscription = link.subscribe(&client, "a").await;
    for offset in 1..=20 {
        link.message("a", offset, "x").await;
    }
    next_text(&mut subscription).await;
    let (position, ()) = tokio::join!(client.publish("a", Payload::text("mine")), async {
        let command = link.command().await;
        link.confirm_publish(&command, 21).await;
    });
    assert_eq!(position.unwrap().offset, 21);
    for offset in 2..=20 {
        assert_eq!(next_message(&mut subscription).await.offset, offset);
    }
}

#[tokio::test]
async fn awaited_replies_do_not_lift_the_bound_for_ever() {
    let peer = Peer::bind().await;
    let builder = peer.builder().subscription_buffer(4).command_timeout(Duration::from_millis(300));
    let (client, mut link) = peer.client(builder).await;
    let subscription = link.subscribe(&client, "a").await;
    let sent = Arc::new(AtomicU64::new(0));
    let flooding = tokio::spawn(flood(link, "a", sent.clone()));
    let outcome = client.publish("a", Payload::text("behind the flood")).await;
    assert!(matches!(outcome, Err(Error::TimedOut { .. })), "{outcome:?}");
    assert!(taken_at_last(&sent).await < FLOOD, "the backlog took everything");
    drop(subscription);
    flooding.abort();
}

#[tokio::test]
async fn dropping_the_subscription_that_is_not_read_frees_the_others() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder().subscription_buffer(1)).await;
    let unread = link.subscribe(&client, "unread").await;
    let mut read = link.subscribe(&client, "read").await;
    for offset in 1..=5 {
        link.message("unread", offset, "x").await;
    }
    link.message("read", 1, "mine").await;
    assert!(timeout(A_MOMENT, read.next()).await.is_err());
    drop(unread);
    assert_eq!(next_text(&mut read).await, "mine");
}

#[tokio::test]
async fn a_client_with_an_unread_subscription_closes_all_the_same() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder().subscription_buffer(1)).await;
    let mut unread = link.subscribe(&client, "a").await;
    for offset in 1..=5 {
        link.message("a", offset, "x").await;
    }
    next_text(&mut unread).await;
    let ((), code) = tokio::join!(client.close(), link.closed_with());
    assert_eq!(code.0, 1000);
    // What was in the buffer stays readable.
    while unread.next().await.is_some() {}
    assert_eq!(unread.error(), Some(&Error::Closed));
}
