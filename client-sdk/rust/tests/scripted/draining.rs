//! A broker that drains: its clients come back within the window that it names.

use std::time::Duration;

use fanfare_client::{CloseCode, Event, Events};
use fanfare_protocol::{Drain, Event as Pushed};
use tokio::time::timeout;

use crate::peer::{Link, Peer, SOON, next_text};

/// Longer than any wait of the peer's clients without a drain.
const BACKOFF_MAX: Duration = Duration::from_millis(40);

async fn drain(link: &mut Link, window_ms: u64) {
    link.event(&Pushed::Drain(Drain { window_ms })).await;
}

async fn next(events: &mut Events) -> Event {
    timeout(SOON, events.next()).await.expect("an event in time").expect("a live client")
}

async fn retry_in(events: &mut Events) -> Duration {
    loop {
        if let Event::Disconnected { retry_in, .. } = next(events).await {
            return retry_in.expect("another attempt");
        }
    }
}

#[tokio::test]
async fn the_wait_after_a_drain_lies_within_the_window() {
    const HOUR: Duration = Duration::from_secs(3_600);
    for window_ms in [3_600_000, u64::MAX] {
        let peer = Peer::bind().await;
        let (client, mut link) = peer.client(peer.builder()).await;
        let mut events = client.events();
        next(&mut events).await;
        drain(&mut link, window_ms).await;
        assert_eq!(next(&mut events).await, Event::Draining { window: HOUR });
        link.close(CloseCode::SERVICE_RESTART, "draining").await;
        // All but one in 90,000 of the waits within the window are longer than any other.
        let wait = retry_in(&mut events).await;
        assert!(BACKOFF_MAX < wait && wait <= HOUR, "{wait:?}");
    }
}

#[tokio::test]
async fn a_connection_that_drains_serves_to_its_end() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut subscription = link.subscribe(&client, "a").await;
    drain(&mut link, 0).await;
    link.message("a", 1, "still served").await;
    assert_eq!(next_text(&mut subscription).await, "still served");
    link.close(CloseCode::SERVICE_RESTART, "draining").await;
    let (mut link, commands) = peer.serve().await;
    link.confirm_recovered(&commands[0], "e1", 1).await;
    link.message("a", 2, "back").await;
    assert_eq!(next_text(&mut subscription).await, "back");
}

#[tokio::test]
async fn after_the_window_waits_grow_as_ever() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut events = client.events();
    drain(&mut link, 0).await;
    link.close(CloseCode::SERVICE_RESTART, "draining").await;
    assert_eq!(retry_in(&mut events).await, Duration::ZERO);
    drop(peer.accept_tcp().await);
    for _ in 0..2 {
        let wait = retry_in(&mut events).await;
        assert!((Duration::from_millis(5)..=BACKOFF_MAX).contains(&wait), "{wait:?}");
        drop(peer.accept_tcp().await);
    }
    let (link, _) = peer.serve().await;
    link.close(CloseCode::SERVICE_RESTART, "without a drain").await;
    assert!(retry_in(&mut events).await >= Duration::from_millis(5));
}

#[tokio::test]
async fn a_drain_does_not_bring_back_who_must_not_come_back() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut events = client.events();
    drain(&mut link, 0).await;
    link.close(CloseCode::BAD_COMMAND, "no").await;
    while next(&mut events).await != Event::Closed {}
}
