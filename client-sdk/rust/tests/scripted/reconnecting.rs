//! Lost connections: who comes back, when, and with what.

use std::time::Duration;

use fanfare_client::{CloseCode, Error, ErrorCode, ErrorReply, Event, Events, Payload};
use fanfare_protocol::limits::COMMANDS_PER_FRAME_MAX;
use fanfare_protocol::{Command, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::peer::{
    A_MOMENT, Peer, SOON, next_text, position, position_of, published_text, subscribe_of,
    subscribed_topic,
};

async fn next(events: &mut Events) -> Event {
    timeout(SOON, events.next()).await.expect("an event in time").expect("a live client")
}

async fn disconnected(events: &mut Events) -> (Option<CloseCode>, String, Option<Duration>) {
    loop {
        if let Event::Disconnected { code, reason, retry_in } = next(events).await {
            return (code, reason, retry_in);
        }
    }
}

fn topics(commands: &[Command]) -> Vec<&str> {
    let mut topics: Vec<_> = commands.iter().map(subscribed_topic).collect();
    topics.sort_unstable();
    topics
}

#[tokio::test]
async fn a_lost_connection_is_replaced_with_all_subscriptions_in_one_frame() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut events = client.events();
    let mut a = link.subscribe(&client, "a").await;
    let mut b = link.subscribe(&client, "b").await;
    let gone = link.subscribe(&client, "c").await;
    link.message("a", 1, "before").await;
    assert_eq!(next_text(&mut a).await, "before");
    drop(gone);
    link.command().await;
    drop(link);

    let (mut link, commands) = peer.serve().await;
    assert_eq!(topics(&commands), ["a", "b"]);
    for command in &commands {
        let seen = if subscribed_topic(command) == "a" { 1 } else { 0 };
        assert_eq!(subscribe_of(command).since, Some(position("e1", seen)));
        link.confirm_recovered(command, "e1", seen).await;
    }
    link.message("a", 2, "after").await;
    link.message("b", 1, "after").await;
    assert_eq!(next_text(&mut a).await, "after");
    assert_eq!(next_text(&mut b).await, "after");
    assert_eq!(position_of(&a), position("e1", 2));

    assert!(matches!(next(&mut events).await, Event::Connected { .. }));
    match next(&mut events).await {
        Event::Disconnected { code: None, retry_in: Some(_), .. } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(next(&mut events).await, Event::Connecting { attempt: 2 });
    assert!(matches!(next(&mut events).await, Event::Connected { .. }));
}

#[tokio::test]
async fn a_broker_that_is_full_is_asked_again_when_it_wants_to_be_and_not_before() {
    let peer = Peer::bind().await;
    let (client, link) = peer.client(peer.builder()).await;
    let mut events = client.events();
    drop(link);
    let mut stream = peer.accept_tcp().await;
    let mut request = vec![0; 4_096];
    let bytes = stream.read(&mut request).await.expect("a request");
    assert!(request[..bytes].ends_with(b"\r\n\r\n"));
    let refused = Instant::now();
    let full = "HTTP/1.1 503 Full\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(full.as_bytes()).await.expect("an open connection");
    drop(stream);

    let (_link, _) = peer.serve().await;
    assert!(refused.elapsed() >= Duration::from_secs(1), "{:?}", refused.elapsed());
    assert!(disconnected(&mut events).await.2 < Some(Duration::from_secs(1)), "of the loss");
    let (_, reason, wait) = disconnected(&mut events).await;
    assert!(reason.contains("503"), "{reason}");
    // The usual wait comes on top, or all who are told the same would come together.
    let most = Duration::from_secs(1) + Duration::from_millis(40);
    assert!(wait > Some(Duration::from_secs(1)) && wait <= Some(most), "{wait:?}");
}

#[tokio::test]
async fn very_many_subscriptions_are_renewed_in_frames_within_the_limits() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let names: Vec<_> = (0..2_500).map(|n| format!("topic.{n:04}")).collect();
    let mut subscriptions = Vec::new();
    for name in &names {
        subscriptions.push(link.subscribe(&client, name).await);
    }
    drop(link);

    let (mut link, mut renewed) = peer.serve().await;
    while renewed.len() < names.len() {
        let commands = link.commands().await;
        assert!(commands.len() <= COMMANDS_PER_FRAME_MAX);
        renewed.extend(commands);
    }
    assert_eq!(topics(&renewed), names);
}

#[tokio::test]
async fn the_close_code_decides_whether_the_client_comes_back() {
    for &(code, label) in CloseCode::ALL {
        let peer = Peer::bind().await;
        let (client, mut link) = peer.client(peer.builder()).await;
        let mut events = client.events();
        let mut subscription = link.subscribe(&client, "a").await;
        link.close(code, label).await;

        let (seen, reason, retry_in) = disconnected(&mut events).await;
        assert_eq!((seen, reason.as_str()), (Some(code), label));
        assert_eq!(retry_in.is_some(), code.reconnects(), "{label}");
        if code.reconnects() {
            let (_link, commands) = peer.serve().await;
            assert_eq!(topics(&commands), ["a"], "{label}");
        } else {
            let error = Error::ClosedByBroker { code, reason };
            assert_eq!(next(&mut events).await, Event::Closed);
            assert_eq!(events.next().await, None);
            assert_eq!(subscription.next().await, None);
            assert_eq!(subscription.error(), Some(&error));
            assert_eq!(client.publish("a", Payload::text("x")).await, Err(error));
        }
    }
}

#[tokio::test]
async fn a_message_in_flight_fails_with_an_unknown_outcome() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let (outcome, ()) = tokio::join!(client.publish("t", Payload::text("x")), async {
        link.command().await;
        drop(link);
    });
    let error = outcome.unwrap_err();
    assert_eq!(error, Error::ConnectionLost);
    assert!(error.outcome_is_unknown());
}

#[tokio::test]
async fn commands_issued_while_reconnecting_wait_for_the_next_connection() {
    let peer = Peer::bind().await;
    let (client, link) = peer.client(peer.builder()).await;
    let mut events = client.events();
    drop(link);
    disconnected(&mut events).await;

    client.publish_unconfirmed("t", Payload::text("one")).await.unwrap();
    let ((mut link, commands), published, subscribed) = tokio::join!(
        async {
            let (mut link, commands) = peer.serve().await;
            assert_eq!(published_text(&link.command().await), "one");
            let command = link.command().await;
            assert_eq!(published_text(&command), "two");
            link.confirm_publish(&command, 2).await;
            let command = link.command().await;
            link.confirm_subscribe(&command, "e1", 2).await;
            (link, commands)
        },
        client.publish("t", Payload::text("two")),
        client.subscribe("t"),
    );
    assert!(commands.is_empty());
    assert_eq!(published.unwrap().offset, 2);
    link.message("t", 3, "three").await;
    assert_eq!(next_text(&mut subscribed.unwrap()).await, "three");
}

#[tokio::test]
async fn the_wait_for_a_connection_ends_with_the_command_timeout() {
    let peer = Peer::bind().await;
    let (client, link) = peer.client(peer.builder().command_timeout(A_MOMENT)).await;
    let mut events = client.events();
    drop((peer, link));
    disconnected(&mut events).await;

    let timed_out = Error::TimedOut { after: A_MOMENT };
    assert_eq!(client.publish("t", Payload::text("x")).await, Err(timed_out));
}

#[tokio::test]
async fn a_message_given_up_before_it_was_written_is_never_sent() {
    let peer = Peer::bind().await;
    let (client, link) = peer.client(peer.builder()).await;
    let mut events = client.events();
    drop(link);
    disconnected(&mut events).await;
    timeout(A_MOMENT, client.publish("t", Payload::text("given up"))).await.unwrap_err();
    client.publish_unconfirmed("t", Payload::text("kept")).await.unwrap();
    let (mut link, _) = peer.serve().await;
    assert_eq!(published_text(&link.command().await), "kept");
}

#[tokio::test]
async fn attempts_are_counted_until_one_succeeds() {
    let peer = Peer::bind().await;
    let (client, link) = peer.client(peer.builder()).await;
    let mut events = client.events();
    drop(link);
    for attempt in 2..=4 {
        let (code, _, retry_in) = disconnected(&mut events).await;
        let retry_in = retry_in.unwrap();
        assert_eq!(code, None);
        assert!((5..=40).contains(&retry_in.as_millis()), "{retry_in:?}");
        assert_eq!(next(&mut events).await, Event::Connecting { attempt });
        drop(peer.accept_tcp().await);
    }
    let (_link, _) = peer.serve().await;
}

#[tokio::test]
async fn a_renewal_refused_for_good_ends_the_subscription_with_the_reason() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut subscription = link.subscribe(&client, "a").await;
    drop(link);
    let (mut link, commands) = peer.serve().await;
    let refusal = ErrorReply::new(ErrorCode::BadRequest, "not any more");
    link.refuse(&commands[0], refusal.clone()).await;
    assert_eq!(timeout(SOON, subscription.next()).await.unwrap(), None);
    assert_eq!(subscription.error(), Some(&Error::Refused(refusal)));
}

#[tokio::test]
async fn a_renewal_refused_for_now_is_tried_again() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut subscription = link.subscribe(&client, "a").await;
    drop(link);
    let (mut link, commands) = peer.serve().await;
    link.refuse(&commands[0], ErrorReply::new(ErrorCode::Unavailable, "not now")).await;
    let command = link.command().await;
    assert_eq!(subscribed_topic(&command), "a");
    link.confirm_recovered(&command, "e1", 0).await;
    link.message("a", 1, "again").await;
    assert_eq!(next_text(&mut subscription).await, "again");
}

#[tokio::test]
async fn a_refused_connect_ends_the_client_only_if_it_may_not_be_tried_again() {
    for (code, comes_back) in [(ErrorCode::Unavailable, true), (ErrorCode::BadRequest, false)] {
        let peer = Peer::bind().await;
        let (client, link) = peer.client(peer.builder()).await;
        let mut events = client.events();
        drop(link);
        disconnected(&mut events).await;
        let mut link = peer.accept().await;
        let command = link.command().await;
        assert!(matches!(command.request, Request::Connect(_)));
        link.refuse(&command, ErrorReply::new(code, "no")).await;
        let (_, _, retry_in) = disconnected(&mut events).await;
        assert_eq!(retry_in.is_some(), comes_back, "{code:?}");
    }
}

#[tokio::test]
async fn a_silent_broker_is_left_and_a_pinging_one_is_kept() {
    let peer = Peer::bind().await;
    let (interval, grace) = (Duration::from_millis(50), Duration::from_millis(450));
    let builder = peer.builder().liveness_grace(grace);
    let (client, (mut link, _)) =
        tokio::join!(builder.connect(), peer.serve_with_ping_interval(interval));
    let mut events = client.as_ref().unwrap().events();
    next(&mut events).await;
    for _ in 0..14 {
        tokio::time::sleep(interval).await;
        link.ping_event().await;
    }
    assert!(timeout(Duration::ZERO, events.next()).await.is_err(), "it was left while it pinged");
    let (code, reason, _) = disconnected(&mut events).await;
    assert_eq!((code, reason.as_str()), (None, "the broker fell silent"));
    peer.serve().await;
}

#[tokio::test]
async fn a_broken_frame_costs_the_connection_not_the_client() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut subscription = link.subscribe(&client, "a").await;
    link.send(b"{\"topic\":".to_vec()).await;
    let (mut link, commands) = peer.serve().await;
    link.confirm_recovered(&commands[0], "e1", 1).await;
    link.message("a", 1, "whole").await;
    assert_eq!(next_text(&mut subscription).await, "whole");
}
