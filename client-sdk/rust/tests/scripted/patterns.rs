//! Subscriptions to patterns, alone and beside others that match the same topics.

use fanfare_client::{
    Client, Codec, ErrorCode, ErrorReply, Filter, Gap, Missed, Mode, SubscribeOptions,
    Subscription, TopicName,
};
use fanfare_protocol::Command;

use crate::peer::{
    Link, Peer, next_gap, next_message, next_text, position, subscribe_of, subscribed_topic,
    unsubscribed_topic,
};

async fn subscribe(
    link: &mut Link,
    client: &Client,
    pattern: &str,
    options: SubscribeOptions,
    mode: Mode,
) -> Subscription {
    let (subscription, ()) = tokio::join!(client.subscribe_with(pattern, options), async {
        let command = link.command().await;
        assert_eq!(subscribed_topic(&command), pattern);
        link.confirm_pattern(&command, mode).await;
    });
    subscription.expect("subscribed")
}

async fn subscribe_all(link: &mut Link, client: &Client, pattern: &str) -> Subscription {
    subscribe(link, client, pattern, SubscribeOptions::new(), Mode::All).await
}

/// The topic and text of the next message.
async fn next(subscription: &mut Subscription) -> (String, String) {
    let message = next_message(subscription).await;
    (message.topic.to_string(), message.payload.as_text().expect("text").to_owned())
}

fn said(topic: &str, text: &str) -> (String, String) {
    (topic.to_owned(), text.to_owned())
}

fn is_of_topic(gap: &Gap, topic: &str) -> bool {
    gap.filter == Filter::from(TopicName::new(topic).expect("a topic"))
}

#[tokio::test]
async fn messages_of_every_topic_that_matches_come_with_their_topic_in_both_codecs() {
    for codec in Codec::ALL {
        let peer = Peer::bind().await;
        let (client, mut link) = peer.client(peer.builder().codec(codec)).await;
        let mut ticks = subscribe_all(&mut link, &client, "ticks.*").await;
        assert_eq!((ticks.subscribed_to().as_str(), ticks.position()), ("ticks.*", None));
        link.message("ticks.A", 5, "a").await;
        link.message("ticks.B", 900, "b").await;
        link.message("ticks.A", 6, "a again").await;
        link.message("news.A", 1, "of nobody").await;
        link.message("ticks.A.bid", 1, "of nobody").await;
        link.message("ticks.B", 901, "b again").await;
        for (topic, text) in
            [("ticks.A", "a"), ("ticks.B", "b"), ("ticks.A", "a again"), ("ticks.B", "b again")]
        {
            let message = next_message(&mut ticks).await;
            assert_eq!((message.topic.as_str(), message.payload.as_text()), (topic, Some(text)));
            assert_eq!((message.epoch.as_deref(), message.position()), (None, None));
        }
        assert_eq!(ticks.position(), None);
        drop(ticks);
        assert_eq!(unsubscribed_topic(&link.command().await), "ticks.*");
    }
}

#[tokio::test]
async fn a_bad_pattern_is_refused_without_a_word_to_the_broker() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    for pattern in ["ticks.A*", ">.a", "*..b"] {
        assert!(client.subscribe(pattern).await.is_err(), "{pattern}");
    }
    let since = SubscribeOptions::new().since(position("e1", 1));
    assert!(client.subscribe_with("ticks.*", since).await.is_err());
    link.nothing().await;
}

#[tokio::test]
async fn a_message_reaches_every_subscription_that_matches_once() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut by_name = link.subscribe(&client, "ticks.A").await;
    let mut one_level = subscribe_all(&mut link, &client, "ticks.*").await;
    let mut everything = subscribe_all(&mut link, &client, ">").await;
    let mut second = client.subscribe("ticks.*").await.unwrap();
    link.nothing().await;
    link.message("ticks.A", 1, "a").await;
    link.message("ticks.B", 1, "b").await;
    link.message("news.flash", 1, "news").await;
    assert_eq!(next(&mut by_name).await, said("ticks.A", "a"));
    for subscription in [&mut one_level, &mut second, &mut everything] {
        assert_eq!(next(subscription).await, said("ticks.A", "a"));
        assert_eq!(next(subscription).await, said("ticks.B", "b"));
    }
    assert_eq!(next(&mut everything).await, said("news.flash", "news"));
    link.message("ticks.A", 2, "last").await;
    for subscription in [&mut by_name, &mut one_level, &mut second, &mut everything] {
        assert_eq!(next(subscription).await, said("ticks.A", "last"));
    }
}

#[tokio::test]
async fn a_gap_of_one_topic_says_of_which() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut ticks = subscribe_all(&mut link, &client, "ticks.*").await;
    link.message("ticks.A", 5, "a").await;
    link.message("ticks.B", 5, "b").await;
    link.message("ticks.A", 9, "nine").await;
    link.message_after("ticks.B", 9, Some(5), "nine").await;
    next_text(&mut ticks).await;
    next_text(&mut ticks).await;
    let gap = next_gap(&mut ticks).await;
    assert!(is_of_topic(&gap, "ticks.A"), "{gap:?}");
    assert_eq!(gap.missed, Missed::Offsets { from: 6, to: 8 });
    assert_eq!(next(&mut ticks).await, said("ticks.A", "nine"));
    assert_eq!(next(&mut ticks).await, said("ticks.B", "nine"));

    link.gap_event("ticks.B", "e1", 8, 20).await;
    link.gap_event("ticks.C", "e1", 3, 4).await;
    link.message("ticks.B", 21, "behind it").await;
    let gap = next_gap(&mut ticks).await;
    assert!(is_of_topic(&gap, "ticks.B"), "{gap:?}");
    assert_eq!(gap.missed, Missed::Offsets { from: 10, to: 20 });
    assert_eq!(gap.resumes_after, Some(position("e1", 20)));
    assert_eq!(next_gap(&mut ticks).await.missed, Missed::Offsets { from: 3, to: 4 });
    assert_eq!(next(&mut ticks).await, said("ticks.B", "behind it"));
}

#[tokio::test]
async fn a_topic_that_was_forgotten_and_came_back_begins_anew() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut ticks = subscribe_all(&mut link, &client, "ticks.*").await;
    for offset in [8, 9, 1, 2] {
        link.message("ticks.A", offset, "x").await;
    }
    assert_eq!(next_message(&mut ticks).await.offset, 8);
    assert_eq!(next_message(&mut ticks).await.offset, 9);
    assert_eq!(next_gap(&mut ticks).await.missed, Missed::Unknown);
    assert_eq!(next_message(&mut ticks).await.offset, 1);
    assert_eq!(next_message(&mut ticks).await.offset, 2);
}

#[tokio::test]
async fn a_topic_that_a_subscription_by_name_brings_back_begins_anew_for_a_pattern_too() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut ticks = subscribe_all(&mut link, &client, "ticks.*").await;
    link.message("ticks.A", 900, "of the old life").await;
    assert_eq!(next_text(&mut ticks).await, "of the old life");
    let mut named = link.subscribe(&client, "ticks.A").await;
    for offset in [1, 2] {
        link.message("ticks.A", offset, "of the new life").await;
        assert_eq!(next_message(&mut named).await.offset, offset);
        assert_eq!(next_message(&mut ticks).await.offset, offset);
    }
}

#[tokio::test]
async fn in_mode_latest_offsets_may_skip() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let options = SubscribeOptions::new().max_rate(2);
    let mut ticks = subscribe(&mut link, &client, "ticks.*", options, Mode::Latest).await;
    for offset in [5, 9, 40] {
        link.message("ticks.A", offset, "x").await;
        assert_eq!(next_message(&mut ticks).await.offset, offset);
    }
}

#[tokio::test]
async fn a_pattern_that_is_asked_for_again_later_is_the_younger_one() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let latest = SubscribeOptions::new().mode(Mode::Latest);
    let mut slow = subscribe(&mut link, &client, "a.>", latest, Mode::Latest).await;
    let mut everything = subscribe_all(&mut link, &client, ">").await;
    let (mut link, commands) = back(&peer, link).await;
    let busy = ErrorReply::new(ErrorCode::Unavailable, "not now");
    link.refuse(&commands[0], busy).await;
    link.confirm_pattern(&commands[1], Mode::All).await;
    let again = link.command().await;
    assert_eq!(subscribed_topic(&again), "a.>");
    link.confirm_pattern(&again, Mode::Latest).await;
    assert_eq!(next_gap(&mut everything).await.missed, Missed::Unknown);
    for offset in [1, 7] {
        link.message("a.b", offset, "x").await;
        next_text(&mut slow).await;
    }
    // Now the pattern of mode `all` decides, and so 2 to 6 were not passed over but lost.
    next_text(&mut everything).await;
    assert_eq!(next_gap(&mut everything).await.missed, Missed::Offsets { from: 2, to: 6 });
}

/// Breaks the connection and lets the client come back.
async fn back(peer: &Peer, link: Link) -> (Link, Vec<Command>) {
    drop(link);
    peer.serve().await
}

#[tokio::test]
async fn after_a_return_a_pattern_of_mode_all_says_that_it_may_have_missed_something() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let options = SubscribeOptions::new().snapshot(true);
    let mut ticks = subscribe(&mut link, &client, "ticks.*", options, Mode::All).await;
    link.message("ticks.A", 5, "five").await;
    assert_eq!(next_text(&mut ticks).await, "five");
    let (mut link, commands) = back(&peer, link).await;
    let subscribe = subscribe_of(&commands[0]);
    assert_eq!((&subscribe.since, subscribe.snapshot), (&None, Some(true)));
    link.confirm_pattern(&commands[0], Mode::All).await;
    // The snapshot, which may be of another life, and live messages behind it.
    link.message("ticks.A", 5, "the newest").await;
    link.message("ticks.A", 6, "six").await;
    let gap = next_gap(&mut ticks).await;
    assert_eq!((gap.filter.as_str(), gap.missed), ("ticks.*", Missed::Unknown));
    assert_eq!(gap.resumes_after, None);
    assert_eq!(next_text(&mut ticks).await, "the newest");
    assert_eq!(next_text(&mut ticks).await, "six");
}

#[tokio::test]
async fn after_a_return_a_pattern_of_mode_latest_goes_on_without_a_word() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let options = SubscribeOptions::new().mode(Mode::Latest);
    let mut ticks = subscribe(&mut link, &client, "ticks.*", options, Mode::Latest).await;
    let (mut link, commands) = back(&peer, link).await;
    link.confirm_pattern(&commands[0], Mode::Latest).await;
    link.message("ticks.A", 90, "the newest").await;
    assert_eq!(next_text(&mut ticks).await, "the newest");
}

#[tokio::test]
async fn who_joins_a_pattern_while_it_is_away_has_missed_nothing() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut first = subscribe_all(&mut link, &client, "ticks.*").await;
    drop(link);
    let mut link = peer.accept().await;
    let mut commands = link.commands().await;
    let connect = commands.remove(0);
    link.confirm_connect(&connect, std::time::Duration::from_secs(25)).await;
    let (second, ()) = tokio::join!(client.subscribe("ticks.*"), async {
        link.nothing().await;
        link.confirm_pattern(&commands[0], Mode::All).await;
    });
    link.message("ticks.A", 1, "for both").await;
    assert_eq!(next_gap(&mut first).await.missed, Missed::Unknown);
    assert_eq!(next_text(&mut first).await, "for both");
    assert_eq!(next_text(&mut second.unwrap()).await, "for both");
}

#[tokio::test]
async fn after_a_return_names_are_asked_for_before_patterns_and_patterns_in_their_order() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut kept = Vec::new();
    for pattern in ["c.>", "a.*", "b.*"] {
        kept.push(subscribe_all(&mut link, &client, pattern).await);
    }
    kept.push(link.subscribe(&client, "z").await);
    let (_link, commands) = back(&peer, link).await;
    let topics: Vec<_> = commands.iter().map(subscribed_topic).collect();
    assert_eq!(topics, ["z", "c.>", "a.*", "b.*"]);
}

#[tokio::test]
async fn what_a_name_recovers_is_not_handed_twice_to_a_pattern_that_has_it() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut ticks = subscribe_all(&mut link, &client, "ticks.*").await;
    for offset in [4, 5] {
        link.message("ticks.A", offset, "live").await;
    }
    let since = SubscribeOptions::new().since(position("e1", 2));
    let (named, ()) = tokio::join!(client.subscribe_with("ticks.A", since), async {
        let command = link.command().await;
        link.confirm_recovered(&command, "e1", 5).await;
        for offset in 3..=6 {
            link.message("ticks.A", offset, "recovered or live").await;
        }
    });
    let mut named = named.unwrap();
    for offset in 3..=6 {
        assert_eq!(next_message(&mut named).await.offset, offset);
    }
    for offset in 4..=6 {
        let message = next_message(&mut ticks).await;
        assert_eq!(message.offset, offset);
        // Beside a subscription by name the epoch is known.
        assert_eq!(message.epoch.is_some(), offset == 6);
    }
}

#[tokio::test]
async fn where_a_name_or_an_older_pattern_passes_messages_over_a_pattern_of_mode_all_sees_no_gap() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let latest = || SubscribeOptions::new().mode(Mode::Latest);
    let _older = subscribe(&mut link, &client, "slow.>", latest(), Mode::Latest).await;
    let mut everything = subscribe_all(&mut link, &client, ">").await;
    let (named, ()) = tokio::join!(client.subscribe_with("fast.A", latest()), async {
        let command = link.command().await;
        link.confirm_snapshot(&command, Mode::Latest, "e1", 1).await;
    });
    let _named = named.unwrap();
    for topic in ["slow.A", "fast.A"] {
        for offset in [1, 7, 20] {
            link.message(topic, offset, "x").await;
            assert_eq!(next_message(&mut everything).await.offset, offset, "{topic}");
        }
    }
    // A topic of which the pattern alone decides.
    link.message("other.A", 1, "x").await;
    link.message("other.A", 7, "x").await;
    next_text(&mut everything).await;
    assert_eq!(next_gap(&mut everything).await.missed, Missed::Offsets { from: 2, to: 6 });
}
