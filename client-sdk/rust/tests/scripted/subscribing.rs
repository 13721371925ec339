//! Subscriptions on a healthy connection.

use std::time::Duration;

use fanfare_client::{Codec, Error, ErrorCode, ErrorReply, Mode, SubscribeOptions};
use futures_util::StreamExt;

use crate::peer::{
    Peer, next_message, next_text, position, position_of, subscribe_of, subscribed_topic,
    unsubscribed_topic,
};

#[tokio::test]
async fn messages_come_in_order_and_move_the_position_in_both_codecs() {
    for codec in Codec::ALL {
        let peer = Peer::bind().await;
        let (client, mut link) = peer.client(peer.builder().codec(codec)).await;
        let (subscription, ()) = tokio::join!(client.subscribe("ticks.AAPL"), async {
            let command = link.command().await;
            link.confirm_subscribe(&command, "k3", 41).await;
            link.message("ticks.AAPL", 42, "one").await;
            link.message("ticks.AAPL", 43, "two").await;
        });
        let mut subscription = subscription.unwrap();
        assert_eq!(subscription.subscribed_to().as_str(), "ticks.AAPL");
        assert_eq!(position_of(&subscription), position("k3", 41));
        let first = StreamExt::next(&mut subscription).await.unwrap().into_message().unwrap();
        assert_eq!((first.payload.as_text(), first.previous_offset()), (Some("one"), 41));
        assert_eq!(first.position(), Some(position("k3", 42)));
        assert_eq!(position_of(&subscription), position("k3", 42));
        assert_eq!(next_text(&mut subscription).await, "two");
        assert_eq!(position_of(&subscription), position("k3", 43));
        assert_eq!(subscription.error(), None);
    }
}

#[tokio::test]
async fn subscriptions_to_one_topic_share_one_on_the_wire() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut first = link.subscribe(&client, "a").await;
    link.message("a", 1, "one").await;
    assert_eq!(next_text(&mut first).await, "one");

    let mut second = client.subscribe("a").await.unwrap();
    assert_eq!(position_of(&second), position("e1", 1));
    link.nothing().await;
    link.message("a", 2, "two").await;
    assert_eq!(next_text(&mut first).await, "two");
    assert_eq!(next_text(&mut second).await, "two");

    drop(first);
    link.nothing().await;
    drop(second);
    let command = link.command().await;
    assert_eq!((unsubscribed_topic(&command), command.id), ("a", None));
}

#[tokio::test]
async fn a_subscription_that_wants_something_else_than_the_running_one_is_an_error() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let options = SubscribeOptions::new;
    let mut running = link.subscribe(&client, "a").await;
    for other in [
        options().mode(Mode::Latest),
        options().since(position("e1", 0)),
        options().max_rate(5),
        options().snapshot(true),
        options().presence(true),
    ] {
        let error = client.subscribe_with("a", other).await.unwrap_err();
        let filter = running.subscribed_to().clone();
        assert_eq!(error, Error::SubscribedOtherwise { filter });
    }
    link.nothing().await;
    link.message("a", 1, "the running one goes on").await;
    assert_eq!(next_text(&mut running).await, "the running one goes on");
}

#[tokio::test]
async fn a_position_over_the_brokers_limit_is_refused_before_it_is_sent() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let options = SubscribeOptions::new().since(position(&"e".repeat(1_000), 1));
    let error = client.subscribe_with("a", options).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
    link.nothing().await;
}

#[tokio::test]
async fn the_options_are_said_to_the_broker_and_the_defaults_are_not() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let options = SubscribeOptions::new().mode(Mode::Latest).since(position("e1", 41));
    for (options, since, mode) in [
        (SubscribeOptions::new(), None, None),
        (options, Some(position("e1", 41)), Some(Mode::Latest)),
    ] {
        let (subscription, ()) = tokio::join!(client.subscribe_with("a", options), async {
            let command = link.command().await;
            let subscribe = subscribe_of(&command);
            assert_eq!((&subscribe.since, subscribe.mode), (&since, mode));
            link.confirm_subscribe(&command, "e1", 41).await;
        });
        drop(subscription.unwrap());
        link.command().await;
    }
}

#[tokio::test]
async fn messages_alone_pass_over_gaps() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut messages = link.subscribe(&client, "a").await.messages();
    link.gap_event("a", "e1", 1, 4).await;
    link.message("a", 5, "five").await;
    link.message("a", 8, "eight").await;
    assert_eq!(messages.next().await.unwrap().offset, 5);
    assert_eq!(StreamExt::next(&mut messages).await.unwrap().offset, 8);
    assert_eq!(position_of(messages.subscription()), position("e1", 8));
    link.message("a", 9, "nine").await;
    assert_eq!(next_message(&mut messages.into_subscription()).await.offset, 9);
}

#[tokio::test]
async fn subscribers_that_arrive_during_the_first_subscribe_wait_for_the_same_reply() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let (first, second, ()) = tokio::join!(client.subscribe("a"), client.subscribe("a"), async {
        let command = link.command().await;
        link.nothing().await;
        link.confirm_subscribe(&command, "e1", 7).await;
    });
    assert_eq!(position_of(&first.unwrap()), position("e1", 7));
    assert_eq!(position_of(&second.unwrap()), position("e1", 7));
}

#[tokio::test]
async fn a_refused_subscription_can_be_asked_for_again() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let refusal = ErrorReply::new(ErrorCode::LimitExceeded, "a connection has 1 subscription");
    let (refused, ()) = tokio::join!(client.subscribe("a"), async {
        let command = link.command().await;
        link.refuse(&command, refusal.clone()).await;
    });
    assert_eq!(refused.unwrap_err(), Error::Refused(refusal));
    link.subscribe(&client, "a").await;
}

#[tokio::test]
async fn a_bad_topic_is_refused_without_a_word_to_the_broker() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    assert!(matches!(client.subscribe("a..b").await, Err(Error::BadTopic(_))));
    link.nothing().await;
}

#[tokio::test]
async fn unsubscribe_waits_for_the_brokers_word() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let subscription = link.subscribe(&client, "a").await;
    let unsubscribing = tokio::spawn(subscription.unsubscribe());
    let command = link.command().await;
    assert_eq!(unsubscribed_topic(&command), "a");
    assert!(!unsubscribing.is_finished());
    link.confirm_unsubscribe(&command).await;
    assert_eq!(unsubscribing.await.unwrap(), Ok(()));
    link.nothing().await;
}

#[tokio::test]
async fn messages_of_an_ended_subscription_do_not_reach_the_next_one() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    drop(link.subscribe(&client, "a").await);
    assert_eq!(unsubscribed_topic(&link.command().await), "a");
    let (again, ()) = tokio::join!(client.subscribe("a"), async {
        let command = link.command().await;
        link.message("a", 1, "of the first").await;
        link.confirm_subscribe(&command, "e1", 1).await;
        link.message("a", 2, "of the second").await;
    });
    assert_eq!(next_text(&mut again.unwrap()).await, "of the second");
}

#[tokio::test]
async fn a_late_reply_to_a_given_up_subscribe_does_not_begin_the_next_one() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let given_up = tokio::spawn({
        let client = client.clone();
        async move { client.subscribe("a").await }
    });
    let late = link.command().await;
    given_up.abort();
    assert_eq!(unsubscribed_topic(&link.command().await), "a");

    let (again, ()) = tokio::join!(client.subscribe("a"), async {
        let command = link.command().await;
        link.confirm_subscribe(&late, "e1", 1).await;
        link.message("a", 2, "of the first").await;
        link.confirm_subscribe(&command, "e1", 2).await;
        link.message("a", 3, "of the second").await;
    });
    let mut again = again.unwrap();
    assert_eq!(position_of(&again), position("e1", 2));
    assert_eq!(next_text(&mut again).await, "of the second");
}

#[tokio::test]
async fn a_subscribe_without_reply_times_out_and_is_taken_back() {
    let peer = Peer::bind().await;
    let timeout = Duration::from_millis(30);
    let (client, mut link) = peer.client(peer.builder().command_timeout(timeout)).await;
    assert_eq!(client.subscribe("a").await.unwrap_err(), Error::TimedOut { after: timeout });
    assert_eq!(subscribed_topic(&link.command().await), "a");
    assert_eq!(unsubscribed_topic(&link.command().await), "a");
}
