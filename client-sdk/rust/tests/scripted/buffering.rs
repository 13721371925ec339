//! The buffered amount: what it counts, and when publishing waits for it or is refused.

use std::time::Duration;

use fanfare_client::{Client, Error, Event, Payload, PublishOptions};
use fanfare_protocol::{Connected, ReplyBody};
use tokio::time::timeout;

use crate::peer::{A_MOMENT, Link, Peer, SOON, published_text};

/// One message of 900 bytes; more than a few thousand of them do not fit into a socket.
fn large(n: usize) -> Payload {
    Payload::text(format!("{n:08} {}", "x".repeat(900)))
}

/// The bytes that an unconfirmed message to `t` has on the wire.
fn wire_bytes(text: &str) -> u64 {
    let command = format!(r#"{{"publish":{{"topic":"t","text":"{text}"}}}}"#).len();
    let header = match command {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    };
    let masking_key = 4;
    (header + masking_key + command) as u64
}

/// A client that has lost its connection, and tries again for as long as nobody serves it.
async fn lost(peer: &Peer, builder: fanfare_client::ClientBuilder) -> Client {
    let (client, link) = peer.client(builder).await;
    let mut events = client.events();
    drop(link);
    while !matches!(events.next().await, Some(Event::Disconnected { .. })) {}
    client
}

async fn emptied(client: &Client) {
    let emptied = async {
        while client.buffered_amount() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, emptied).await.expect("an empty buffer in time");
}

/// Publishes to a peer that does not read until nothing more is taken for a while; says how much
/// was.
async fn fill(client: &Client) -> usize {
    let (mut accepted, mut refused_in_a_row) = (0, 0);
    while refused_in_a_row < 100 {
        match client.try_publish("t", large(accepted)) {
            Ok(()) => (accepted, refused_in_a_row) = (accepted + 1, 0),
            Err(Error::BufferFull { .. }) => {
                refused_in_a_row += 1;
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    accepted
}

async fn expect(link: &mut Link, range: std::ops::Range<usize>) {
    for n in range {
        let expected = large(n);
        assert_eq!(published_text(&link.command().await), expected.as_text().expect("text"));
    }
}

#[tokio::test]
async fn every_byte_counts_until_the_network_has_it() {
    let peer = Peer::bind().await;
    let client = lost(&peer, peer.builder()).await;
    assert_eq!(client.buffered_amount(), 0);
    let mut expected = 0;
    let texts = ["", "short", &"l".repeat(120), &"l".repeat(800)];
    for text in texts {
        client.publish_unconfirmed("t", Payload::text(text)).await.unwrap();
        expected += wire_bytes(text);
        assert_eq!(client.buffered_amount(), expected);
    }
    let (mut link, _) = peer.serve().await;
    for text in texts {
        assert_eq!(published_text(&link.command().await), text);
    }
    emptied(&client).await;
}

#[tokio::test]
async fn a_network_that_takes_nothing_makes_publishing_wait_and_nothing_is_lost() {
    const HIGH_WATER: u64 = 10_000;
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder().high_water_mark(HIGH_WATER)).await;
    let accepted = fill(&client).await;
    let buffered = client.buffered_amount();
    assert!((HIGH_WATER - 1_000..=HIGH_WATER).contains(&buffered), "{buffered}");

    let refused = client.publish_with("t", large(0), PublishOptions::new().wait_for_room(false));
    let error = timeout(A_MOMENT, refused).await.expect("an answer at once").unwrap_err();
    assert_eq!(error, Error::BufferFull { buffered, high_water: HIGH_WATER });
    assert!(!error.outcome_is_unknown());

    let waiting: Vec<_> = (0..3)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move {
                client.publish_unconfirmed("t", large(accepted + n)).await.map(|()| n)
            })
        })
        .collect();
    tokio::time::sleep(A_MOMENT).await;
    assert!(waiting.iter().all(|waiter| !waiter.is_finished()));
    expect(&mut link, 0..accepted + 3).await;
    for waiter in waiting {
        waiter.await.unwrap().unwrap();
    }
    emptied(&client).await;
}

#[tokio::test]
async fn a_frame_that_the_network_has_taken_in_part_counts_with_the_rest() {
    let peer = Peer::bind().await;
    let builder = peer.builder().high_water_mark(u64::MAX);
    let (client, mut link) = tokio::join!(builder.connect(), async {
        let mut link = peer.accept().await;
        let command = link.command().await;
        let connected = Connected {
            connection: "c1".to_owned(),
            node: "n1".to_owned(),
            ping_interval_ms: 25_000,
            message_bytes_max: u64::MAX,
        };
        link.confirm(&command, ReplyBody::Connect(connected)).await;
        link
    });
    let client = client.unwrap();
    // More than all buffers between two loopback sockets hold.
    let text = "x".repeat(15_000_000);
    client.publish_unconfirmed("t", Payload::text(text.clone())).await.unwrap();
    let whole = wire_bytes(&text);
    let mut before = whole;
    loop {
        tokio::time::sleep(A_MOMENT).await;
        match client.buffered_amount() {
            amount if amount == before && amount < whole => break,
            amount => before = amount,
        }
    }
    assert!(before > 0, "the network took everything");
    assert_eq!(published_text(&link.command().await).len(), text.len());
    emptied(&client).await;
}

#[tokio::test]
async fn a_confirmed_message_waits_for_room_like_any_other() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder().high_water_mark(10_000)).await;
    let accepted = fill(&client).await;
    let (published, ()) = tokio::join!(client.publish("t", large(accepted)), async {
        expect(&mut link, 0..accepted).await;
        let command = link.command().await;
        link.confirm_publish(&command, 7).await;
    });
    assert_eq!(published.unwrap().offset, 7);
}

#[tokio::test]
async fn without_a_connection_room_runs_out_and_the_wait_for_it_ends() {
    let peer = Peer::bind().await;
    let builder = peer.builder().high_water_mark(200).command_timeout(A_MOMENT);
    let client = lost(&peer, builder).await;
    let payload = || Payload::text("x".repeat(100));
    client.publish_unconfirmed("t", payload()).await.unwrap();
    let buffered = client.buffered_amount();
    let full = Error::BufferFull { buffered, high_water: 200 };
    assert_eq!(client.publish_unconfirmed("t", payload()).await, Err(full.clone()));
    assert_eq!(client.publish("t", payload()).await, Err(full.clone()));
    assert_eq!(client.try_publish("t", payload()), Err(full));
    // A small one still fits.
    client.try_publish("t", Payload::text("x")).unwrap();
}

#[tokio::test]
async fn the_next_connection_lets_those_who_wait_go_on() {
    let peer = Peer::bind().await;
    let client = lost(&peer, peer.builder().high_water_mark(200)).await;
    let text = |n: usize| Payload::text(format!("{n} {}", "x".repeat(100)));
    client.publish_unconfirmed("t", text(0)).await.unwrap();
    let waiting: Vec<_> = (1..20)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.publish_unconfirmed("t", text(n)).await })
        })
        .collect();
    tokio::time::sleep(A_MOMENT).await;
    let (mut link, _) = peer.serve().await;
    for n in 0..20 {
        let text = text(n);
        assert_eq!(published_text(&link.command().await), text.as_text().unwrap());
    }
    for waiter in waiting {
        waiter.await.unwrap().unwrap();
    }
    emptied(&client).await;
}

#[tokio::test]
async fn what_a_lost_connection_still_had_to_send_counts_no_more() {
    let peer = Peer::bind().await;
    let (client, link) = peer.client(peer.builder().high_water_mark(10_000)).await;
    fill(&client).await;
    let waiter = tokio::spawn({
        let client = client.clone();
        async move { client.publish_unconfirmed("t", Payload::text("waited")).await }
    });
    drop(link);
    let (mut link, _) = peer.serve().await;
    timeout(SOON, waiter).await.expect("room in time").unwrap().unwrap();
    // What had not been given to the lost connection comes first.
    while published_text(&link.command().await) != "waited" {}
    emptied(&client).await;
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_makes_room() {
    let peer = Peer::bind().await;
    let builder = peer.builder().high_water_mark(200).command_timeout(A_MOMENT);
    let client = lost(&peer, builder).await;
    let payload = || Payload::text("x".repeat(100));
    let error = client.publish("t", payload()).await.unwrap_err();
    assert_eq!(error, Error::TimedOut { after: A_MOMENT });
    emptied(&client).await;
    client.try_publish("t", payload()).unwrap();
}

#[tokio::test]
async fn closing_the_client_lets_nobody_wait() {
    let peer = Peer::bind().await;
    let client = lost(&peer, peer.builder().high_water_mark(200)).await;
    let payload = || Payload::text("x".repeat(100));
    client.publish_unconfirmed("t", payload()).await.unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.publish_unconfirmed("t", payload()).await })
        })
        .collect();
    tokio::time::sleep(A_MOMENT).await;
    client.close().await;
    for waiter in waiting {
        let outcome = timeout(SOON, waiter).await.expect("an answer in time").unwrap();
        assert_eq!(outcome, Err(Error::Closed));
    }
    assert_eq!(client.try_publish("t", payload()), Err(Error::Closed));
    assert_eq!(client.buffered_amount(), 0);
}

#[tokio::test]
async fn what_the_client_says_of_its_own_accord_does_not_count() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder().token("t".repeat(4_000))).await;
    let _subscription = link.subscribe(&client, "a").await;
    drop(link);
    // The client has `connect` and `subscribe` to say and nobody takes them.
    let stream = peer.accept_tcp().await;
    client.publish_unconfirmed("t", Payload::text("one")).await.unwrap();
    assert_eq!(client.buffered_amount(), wire_bytes("one"));
    drop(stream);
    let (mut link, commands) = peer.serve().await;
    assert_eq!(commands.len(), 1);
    assert_eq!(published_text(&link.command().await), "one");
    emptied(&client).await;
}
