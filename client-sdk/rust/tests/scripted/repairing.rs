//! Heads: what the broker says it has sent, compared with what has come.

use std::time::Duration;

use fanfare_client::{Client, Codec, Event, Missed, Mode, SubscribeOptions, Subscription};
use fanfare_protocol::Command;
use tokio::time::timeout;

use crate::peer::{
    A_MOMENT, Link, Peer, SOON, next_gap, next_message, next_text, position, subscribe_of,
    subscribed_topic, unsubscribed_topic,
};

/// A client whose subscription to `a` has seen message 3 of epoch `e1`.
async fn at_three(peer: &Peer, codec: Codec) -> (Client, Link, Subscription) {
    let (client, mut link) = peer.client(peer.builder().codec(codec)).await;
    let mut subscription = link.subscribe(&client, "a").await;
    for offset in 1..=3 {
        link.message("a", offset, "seen").await;
        assert_eq!(next_message(&mut subscription).await.offset, offset);
    }
    (client, link, subscription)
}

/// The client's next frame, which subscribes to `a` anew from `since` on; gives the subscribe.
async fn repair(link: &mut Link, since: u64) -> Command {
    let mut commands = link.commands().await;
    assert_eq!(commands.len(), 2, "{commands:?}");
    assert_eq!((unsubscribed_topic(&commands[0]), commands[0].id), ("a", None));
    let subscribe = commands.remove(1);
    assert_eq!(subscribed_topic(&subscribe), "a");
    assert_eq!(subscribe_of(&subscribe).since, Some(position("e1", since)));
    subscribe
}

#[tokio::test]
async fn what_was_lost_on_the_way_is_fetched_and_nothing_is_doubled_in_both_codecs() {
    for codec in Codec::ALL {
        let peer = Peer::bind().await;
        let (client, mut link, mut subscription) = at_three(&peer, codec).await;
        // 4 and 5 were sent, the broker says, and the topic is quiet.
        link.heads(&[("a", 5), ("of.another", 9)]).await;
        // What is on its way while the client repairs belongs to the old subscription.
        link.message("a", 6, "too early").await;
        let command = repair(&mut link, 3).await;
        link.confirm_recovered(&command, "e1", 6).await;
        for offset in 4..=7 {
            link.message("a", offset, "in order").await;
        }
        for offset in 4..=7 {
            let message = next_message(&mut subscription).await;
            assert_eq!((message.offset, message.payload.as_text()), (offset, Some("in order")));
        }
        assert_eq!(client.repairs(), 1);
    }
}

#[tokio::test]
async fn what_cannot_be_fetched_any_more_is_a_gap() {
    let peer = Peer::bind().await;
    let (_client, mut link, mut subscription) = at_three(&peer, Codec::Json).await;
    link.heads(&[("a", 5)]).await;
    let command = repair(&mut link, 3).await;
    link.confirm_subscribe(&command, "e1", 5).await;
    link.message("a", 6, "after").await;
    assert_eq!(next_gap(&mut subscription).await.missed, Missed::Offsets { from: 4, to: 5 });
    assert_eq!(next_text(&mut subscription).await, "after");
}

#[tokio::test]
async fn heads_that_were_reached_say_that_the_topic_is_quiet() {
    let peer = Peer::bind().await;
    let (client, mut link, mut subscription) = at_three(&peer, Codec::Json).await;
    link.heads(&[("a", 3)]).await;
    link.heads(&[("a", 2)]).await;
    link.heads(&[("a.b", 7), ("not a topic", 7)]).await;
    link.ping_event().await;
    link.gap_event("a", "e1", 4, 8).await;
    link.heads(&[("a", 8)]).await;
    link.nothing().await;
    assert_eq!(next_gap(&mut subscription).await.missed, Missed::Offsets { from: 4, to: 8 });
    assert_eq!(client.repairs(), 0);
}

#[tokio::test]
async fn what_waits_for_a_slow_application_has_arrived() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder().subscription_buffer(2)).await;
    let mut subscription = link.subscribe(&client, "a").await;
    for offset in 1..=5 {
        link.message("a", offset, "x").await;
    }
    link.heads(&[("a", 5)]).await;
    for offset in 1..=5 {
        assert_eq!(next_message(&mut subscription).await.offset, offset);
    }
    link.nothing().await;
    assert_eq!(client.repairs(), 0);
}

#[tokio::test]
async fn where_a_subscription_began_needs_no_repair() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let (_subscription, ()) = tokio::join!(client.subscribe("a"), async {
        let command = link.command().await;
        // Before the reply heads speak of no subscription of this connection.
        link.heads(&[("a", 41)]).await;
        link.confirm_subscribe(&command, "e1", 41).await;
        link.heads(&[("a", 41)]).await;
    });
    link.nothing().await;
    assert_eq!(client.repairs(), 0);
}

#[tokio::test]
async fn heads_say_nothing_while_a_repair_is_on_its_way() {
    let peer = Peer::bind().await;
    let (client, mut link, mut subscription) = at_three(&peer, Codec::Json).await;
    link.heads(&[("a", 5)]).await;
    let command = repair(&mut link, 3).await;
    link.heads(&[("a", 6)]).await;
    link.nothing().await;
    link.confirm_recovered(&command, "e1", 6).await;
    for offset in 4..=6 {
        link.message("a", offset, "x").await;
        assert_eq!(next_message(&mut subscription).await.offset, offset);
    }
    // The repaired subscription is watched like any other.
    link.heads(&[("a", 7)]).await;
    repair(&mut link, 6).await;
    assert_eq!(client.repairs(), 2);
}

#[tokio::test]
async fn a_connection_lost_during_a_repair_recovers_from_the_same_place() {
    let peer = Peer::bind().await;
    let (_client, mut link, mut subscription) = at_three(&peer, Codec::Json).await;
    link.heads(&[("a", 5)]).await;
    repair(&mut link, 3).await;
    drop(link);
    let (mut link, commands) = peer.serve().await;
    assert_eq!(subscribe_of(&commands[0]).since, Some(position("e1", 3)));
    link.confirm_recovered(&commands[0], "e1", 4).await;
    link.message("a", 4, "four").await;
    assert_eq!(next_text(&mut subscription).await, "four");
}

#[tokio::test]
async fn a_subscription_that_ends_during_its_repair_is_ended_on_the_broker_too() {
    let peer = Peer::bind().await;
    let (_client, mut link, subscription) = at_three(&peer, Codec::Json).await;
    link.heads(&[("a", 5)]).await;
    repair(&mut link, 3).await;
    drop(subscription);
    assert_eq!(unsubscribed_topic(&link.command().await), "a");
}

#[tokio::test]
async fn in_mode_latest_the_newest_message_is_fetched() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let options = SubscribeOptions::new().max_rate(1);
    let (subscription, ()) = tokio::join!(client.subscribe_with("a", options), async {
        let command = link.command().await;
        link.confirm_snapshot(&command, Mode::Latest, "e1", 3).await;
        link.message("a", 3, "three").await;
    });
    let mut subscription = subscription.unwrap();
    assert_eq!(next_text(&mut subscription).await, "three");
    // What was passed over is not in the head, which names what was sent.
    link.message("a", 20, "twenty").await;
    link.heads(&[("a", 20)]).await;
    assert_eq!(next_text(&mut subscription).await, "twenty");
    link.nothing().await;
    link.heads(&[("a", 30)]).await;
    let command = repair(&mut link, 20).await;
    link.confirm_snapshot(&command, Mode::Latest, "e1", 33).await;
    link.message("a", 33, "thirty-three").await;
    assert_eq!(next_text(&mut subscription).await, "thirty-three");
}

#[tokio::test]
async fn a_pattern_beside_it_goes_on_during_the_repair_of_a_name() {
    let peer = Peer::bind().await;
    let (client, mut link, mut named) = at_three(&peer, Codec::Json).await;
    let (pattern, ()) = tokio::join!(client.subscribe("*"), async {
        let command = link.command().await;
        link.confirm_pattern(&command, Mode::All).await;
    });
    let mut pattern = pattern.unwrap();
    link.message("a", 4, "four").await;
    link.heads(&[("a", 5)]).await;
    let command = repair(&mut link, 4).await;
    // After the unsubscribe the pattern alone matches; the name gets it again with what it missed.
    link.message("a", 6, "six").await;
    link.confirm_recovered(&command, "e1", 6).await;
    for offset in 5..=7 {
        link.message("a", offset, "recovered").await;
    }
    for offset in 4..=7 {
        assert_eq!(next_message(&mut named).await.offset, offset);
    }
    assert_eq!(next_text(&mut pattern).await, "four");
    assert_eq!(next_gap(&mut pattern).await.missed, Missed::Offsets { from: 5, to: 5 });
    assert_eq!(next_text(&mut pattern).await, "six");
    assert_eq!(next_message(&mut pattern).await.offset, 7);
}

#[tokio::test]
async fn many_repairs_are_one_event_and_few_frames() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut events = client.events();
    let names: Vec<_> = (0..700).map(|n| format!("topic.{n:03}")).collect();
    let mut subscriptions = Vec::new();
    for name in &names {
        subscriptions.push(link.subscribe(&client, name).await);
    }
    let heads: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    link.heads(&heads).await;
    let mut commands = Vec::new();
    while commands.len() < 2 * names.len() {
        commands.extend(link.commands().await);
    }
    for (pair, name) in commands.chunks(2).zip(&names) {
        assert_eq!((unsubscribed_topic(&pair[0]), subscribed_topic(&pair[1])), (&**name, &**name));
    }
    assert!(matches!(next(&mut events).await, Event::Connected { .. }));
    match next(&mut events).await {
        Event::Repairing { topics } => assert_eq!(topics.len(), names.len()),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.repairs(), 700);
    // Who begins to listen now hears how the connection stands.
    assert!(matches!(next(&mut client.events()).await, Event::Connected { .. }));
    assert!(timeout(A_MOMENT, events.next()).await.is_err());
}

async fn next(events: &mut fanfare_client::Events) -> Event {
    timeout(SOON, events.next()).await.expect("an event in time").expect("a live client")
}

#[tokio::test]
async fn a_repair_that_is_refused_for_now_is_tried_again() {
    let peer = Peer::bind().await;
    let (_client, mut link, mut subscription) = at_three(&peer, Codec::Json).await;
    link.heads(&[("a", 5)]).await;
    let command = repair(&mut link, 3).await;
    let error = fanfare_client::ErrorReply::new(
        fanfare_client::ErrorCode::Unavailable,
        "the broker is busy",
    );
    link.refuse(&command, error).await;
    let again = timeout(Duration::from_secs(5), link.command()).await.expect("another attempt");
    assert_eq!(subscribe_of(&again).since, Some(position("e1", 3)));
    link.confirm_recovered(&again, "e1", 4).await;
    link.message("a", 4, "four").await;
    assert_eq!(next_text(&mut subscription).await, "four");
}
