//! What was missed: recovered in order and once, or told as a gap, never silent.

use fanfare_client::{
    Client, Codec, Error, Gap, Message, Missed, Payload, Position, SubscribeOptions, Subscription,
};
use fanfare_protocol::Command;

use crate::peer::{
    Link, Peer, next_gap, next_message, next_text, position, position_of, subscribe_of,
    unsubscribed_topic,
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

/// Breaks the connection and lets the client come back; the command asks for all after 3.
async fn back(peer: &Peer, link: Link) -> (Link, Command) {
    drop(link);
    let (link, mut commands) = peer.serve().await;
    let command = commands.remove(0);
    assert!(commands.is_empty(), "{commands:?}");
    assert_eq!(subscribe_of(&command).since, Some(position("e1", 3)));
    (link, command)
}

async fn subscribe_since(
    link: &mut Link,
    client: &Client,
    since: Position,
    head: u64,
) -> Subscription {
    let options = SubscribeOptions::new().since(since);
    let (subscription, ()) = tokio::join!(client.subscribe_with("a", options), async {
        let command = link.command().await;
        link.confirm_subscribe(&command, "e1", head).await;
    });
    subscription.expect("subscribed")
}

fn offsets(gap: &Gap) -> (u64, u64) {
    match gap.missed {
        Missed::Offsets { from, to } => (from, to),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_was_missed_comes_in_order_and_without_a_gap_in_both_codecs() {
    for codec in Codec::ALL {
        let peer = Peer::bind().await;
        let (_client, link, mut subscription) = at_three(&peer, codec).await;
        let (mut link, command) = back(&peer, link).await;
        link.confirm_recovered(&command, "e1", 5).await;
        for offset in 4..=6 {
            link.message("a", offset, "new").await;
        }
        for offset in 4..=6 {
            assert_eq!(next_message(&mut subscription).await.offset, offset);
        }
    }
}

#[tokio::test]
async fn a_message_that_was_seen_is_not_handed_out_twice() {
    let peer = Peer::bind().await;
    let (_client, link, mut subscription) = at_three(&peer, Codec::Json).await;
    let (mut link, command) = back(&peer, link).await;
    link.confirm_recovered(&command, "e1", 4).await;
    for offset in [2, 3, 4, 4, 1, 5] {
        link.message("a", offset, "x").await;
    }
    assert_eq!(next_message(&mut subscription).await.offset, 4);
    assert_eq!(next_message(&mut subscription).await.offset, 5);
}

/// A client that has read three messages off the socket which the application has not taken, and
/// that has lost its connection. An awaited reply had it read more than its buffer holds.
async fn lost_with_three_unread(peer: &Peer) -> (Client, Subscription) {
    let (client, mut link) = peer.client(peer.builder().subscription_buffer(1)).await;
    let subscription = link.subscribe(&client, "a").await;
    for offset in 1..=3 {
        link.message("a", offset, "unread").await;
    }
    let (outcome, ()) = tokio::join!(client.publish("t", Payload::text("x")), async move {
        link.command().await;
    });
    assert_eq!(outcome, Err(Error::ConnectionLost));
    (client, subscription)
}

#[tokio::test]
async fn what_waits_for_the_application_counts_as_seen() {
    let peer = Peer::bind().await;
    let (_client, mut subscription) = lost_with_three_unread(&peer).await;
    let (mut link, commands) = peer.serve().await;
    assert_eq!(subscribe_of(&commands[0]).since, Some(position("e1", 3)));
    link.confirm_recovered(&commands[0], "e1", 4).await;
    link.message("a", 4, "new").await;
    for offset in 1..=4 {
        assert_eq!(next_message(&mut subscription).await.offset, offset);
    }
}

#[tokio::test]
async fn what_has_come_can_be_read_while_there_is_no_connection() {
    let peer = Peer::bind().await;
    let (_client, mut subscription) = lost_with_three_unread(&peer).await;
    for offset in 1..=3 {
        assert_eq!(next_message(&mut subscription).await.offset, offset);
    }
}

#[tokio::test]
async fn what_the_broker_cannot_recover_is_a_gap_before_what_follows() {
    let peer = Peer::bind().await;
    let (_client, link, mut subscription) = at_three(&peer, Codec::Json).await;
    let (mut link, command) = back(&peer, link).await;
    link.confirm_subscribe(&command, "e1", 9).await;
    link.message("a", 10, "after").await;
    assert_eq!(position_of(&subscription), position("e1", 3));
    let gap = next_gap(&mut subscription).await;
    assert_eq!((offsets(&gap), gap.resumes_after), ((4, 9), Some(position("e1", 9))));
    assert_eq!(position_of(&subscription), position("e1", 9));
    assert_eq!(next_text(&mut subscription).await, "after");
}

#[tokio::test]
async fn a_subscription_that_missed_nothing_has_no_gap_whatever_the_broker_says() {
    let peer = Peer::bind().await;
    let (_client, link, mut subscription) = at_three(&peer, Codec::Json).await;
    let (mut link, command) = back(&peer, link).await;
    link.confirm_subscribe(&command, "e1", 3).await;
    link.message("a", 4, "next").await;
    assert_eq!(next_text(&mut subscription).await, "next");
}

#[tokio::test]
async fn another_epoch_is_a_gap_of_unknown_extent_and_offsets_begin_anew() {
    // Also if the broker claims to have recovered, which it cannot across epochs.
    for claims_recovered in [false, true] {
        let peer = Peer::bind().await;
        let (_client, link, mut subscription) = at_three(&peer, Codec::Json).await;
        let (mut link, command) = back(&peer, link).await;
        match claims_recovered {
            false => link.confirm_subscribe(&command, "e2", 1).await,
            true => link.confirm_recovered(&command, "e2", 1).await,
        }
        link.message("a", 2, "two of the new life").await;
        let gap = next_gap(&mut subscription).await;
        let expected = (Missed::Unknown, Some(position("e2", 1)));
        assert_eq!((gap.missed, gap.resumes_after), expected);
        let Message { epoch, offset, .. } = next_message(&mut subscription).await;
        assert_eq!((epoch.as_deref(), offset), (Some("e2"), 2));
    }
}

#[tokio::test]
async fn a_head_before_the_last_message_means_that_the_broker_lost_its_tail() {
    let peer = Peer::bind().await;
    let (_client, link, mut subscription) = at_three(&peer, Codec::Json).await;
    let (mut link, command) = back(&peer, link).await;
    link.confirm_subscribe(&command, "e1", 1).await;
    link.message("a", 2, "another two").await;
    assert_eq!(next_gap(&mut subscription).await.missed, Missed::Unknown);
    assert_eq!(next_text(&mut subscription).await, "another two");
}

#[tokio::test]
async fn a_gap_that_the_broker_tells_stands_in_its_place_in_both_codecs() {
    for codec in Codec::ALL {
        let peer = Peer::bind().await;
        let (_client, mut link, mut subscription) = at_three(&peer, codec).await;
        link.message("a", 4, "before").await;
        link.gap_event("b", "e1", 1, 2).await;
        link.gap_event("a", "e1", 5, 57).await;
        link.message("a", 58, "after").await;
        assert_eq!(next_text(&mut subscription).await, "before");
        assert_eq!(offsets(&next_gap(&mut subscription).await), (5, 57));
        assert_eq!(next_text(&mut subscription).await, "after");
    }
}

#[tokio::test]
async fn a_gap_over_what_was_seen_says_only_what_is_missing() {
    let peer = Peer::bind().await;
    let (_client, mut link, mut subscription) = at_three(&peer, Codec::Json).await;
    link.gap_event("a", "e1", 1, 3).await;
    link.gap_event("a", "e1", 2, 5).await;
    link.message("a", 6, "after").await;
    assert_eq!(offsets(&next_gap(&mut subscription).await), (4, 5));
    assert_eq!(next_text(&mut subscription).await, "after");
}

#[tokio::test]
async fn a_gap_of_another_epoch_is_of_unknown_extent() {
    let peer = Peer::bind().await;
    let (_client, mut link, mut subscription) = at_three(&peer, Codec::Json).await;
    link.gap_event("a", "e2", 1, 2).await;
    link.message("a", 3, "after").await;
    let gap = next_gap(&mut subscription).await;
    let resumes_after = Some(position("e2", 2));
    assert_eq!((gap.missed, gap.resumes_after), (Missed::Unknown, resumes_after));
    assert_eq!(next_message(&mut subscription).await.position(), Some(position("e2", 3)));
}

#[tokio::test]
async fn a_gap_that_nobody_told_is_found_by_the_previous_offset() {
    let peer = Peer::bind().await;
    let (_client, mut link, mut subscription) = at_three(&peer, Codec::Json).await;
    link.message("a", 6, "six").await;
    assert_eq!(offsets(&next_gap(&mut subscription).await), (4, 5));
    assert_eq!(next_text(&mut subscription).await, "six");
    link.message_after("a", 20, Some(10), "twenty").await;
    assert_eq!(offsets(&next_gap(&mut subscription).await), (7, 10));
    assert_eq!(next_text(&mut subscription).await, "twenty");
    // A previous offset that makes no sense does not swallow the message.
    link.message_after("a", 21, Some(u64::MAX), "twenty-one").await;
    assert_eq!(next_text(&mut subscription).await, "twenty-one");
}

#[tokio::test]
async fn offsets_that_skip_with_the_previous_one_named_are_no_gap() {
    let peer = Peer::bind().await;
    let (_client, mut link, mut subscription) = at_three(&peer, Codec::Json).await;
    for (offset, prev) in [(7, 3), (20, 7), (21, 20)] {
        link.message_after("a", offset, Some(prev), "x").await;
        assert_eq!(next_message(&mut subscription).await.offset, offset);
    }
}

#[tokio::test]
async fn a_kept_position_goes_on_where_it_was() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let options = SubscribeOptions::new().since(position("e1", 41));
    let (subscription, ()) = tokio::join!(client.subscribe_with("a", options), async {
        let command = link.command().await;
        link.confirm_recovered(&command, "e1", 43).await;
    });
    let mut subscription = subscription.unwrap();
    assert_eq!(position_of(&subscription), position("e1", 41));
    for offset in 42..=44 {
        link.message("a", offset, "x").await;
        assert_eq!(next_message(&mut subscription).await.offset, offset);
    }
}

#[tokio::test]
async fn a_kept_position_that_is_too_old_begins_with_a_gap() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut subscription = subscribe_since(&mut link, &client, position("e1", 41), 57).await;
    assert_eq!(position_of(&subscription), position("e1", 41));
    assert_eq!(offsets(&next_gap(&mut subscription).await), (42, 57));
    let (unsubscribed, ()) = tokio::join!(subscription.unsubscribe(), async {
        let command = link.command().await;
        assert_eq!(unsubscribed_topic(&command), "a");
        link.confirm_unsubscribe(&command).await;
    });
    unsubscribed.unwrap();
    // A new subscription without a position knows nothing of the old one.
    let mut again = link.subscribe(&client, "a").await;
    link.message("a", 1, "from now on").await;
    assert_eq!(next_text(&mut again).await, "from now on");
}

#[tokio::test]
async fn every_subscription_of_a_topic_hears_of_the_gap() {
    let peer = Peer::bind().await;
    let (client, link, mut first) = at_three(&peer, Codec::Json).await;
    let mut second = client.subscribe("a").await.unwrap();
    let (mut link, command) = back(&peer, link).await;
    link.confirm_subscribe(&command, "e1", 5).await;
    assert_eq!(offsets(&next_gap(&mut first).await), (4, 5));
    assert_eq!(offsets(&next_gap(&mut second).await), (4, 5));
}
