//! The newest message: at once, at a rate, and after a return.

use fanfare_client::{Client, Error, Missed, Mode, SubscribeOptions, Subscription};
use fanfare_protocol::{Command, Subscribe};

use crate::peer::{
    Link, Peer, next_gap, next_message, next_text, position, position_of, subscribe_of,
};

fn latest() -> SubscribeOptions {
    SubscribeOptions::new().mode(Mode::Latest)
}

/// Subscribes to `a`, whose newest message is `head`; it follows the reply.
async fn subscribe_with_snapshot(
    link: &mut Link,
    client: &Client,
    options: SubscribeOptions,
    mode: Mode,
    head: u64,
) -> Subscription {
    let (subscription, ()) = tokio::join!(client.subscribe_with("a", options), async {
        let command = link.command().await;
        link.confirm_snapshot(&command, mode, "e1", head).await;
    });
    subscription.expect("subscribed")
}

/// Breaks the connection and lets the client come back; gives its one command.
async fn back(peer: &Peer, link: Link) -> (Link, Command) {
    drop(link);
    let (link, mut commands) = peer.serve().await;
    assert_eq!(commands.len(), 1, "{commands:?}");
    (link, commands.remove(0))
}

#[tokio::test]
async fn in_mode_latest_the_newest_message_comes_first_and_offsets_may_skip() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut newest = subscribe_with_snapshot(&mut link, &client, latest(), Mode::Latest, 9).await;
    for offset in [9, 10, 40, 39, 41] {
        link.message("a", offset, "x").await;
    }
    for offset in [9, 10, 40, 41] {
        assert_eq!(next_message(&mut newest).await.offset, offset);
    }
    let (mut link, command) = back(&peer, link).await;
    let subscribe = subscribe_of(&command);
    let asked = (subscribe.mode, subscribe.since.clone());
    assert_eq!(asked, (Some(Mode::Latest), Some(position("e1", 41))));
    link.confirm_snapshot(&command, Mode::Latest, "e1", 90).await;
    link.message("a", 90, "the newest").await;
    assert_eq!(next_text(&mut newest).await, "the newest");
}

#[tokio::test]
async fn in_mode_latest_another_epoch_is_told_before_its_newest_message() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut newest = subscribe_with_snapshot(&mut link, &client, latest(), Mode::Latest, 7).await;
    let (mut link, command) = back(&peer, link).await;
    link.confirm_snapshot(&command, Mode::Latest, "e2", 1).await;
    link.message("a", 1, "the newest").await;
    assert_eq!(next_gap(&mut newest).await.missed, Missed::Unknown);
    assert_eq!(next_text(&mut newest).await, "the newest");
}

#[tokio::test]
async fn the_mode_that_the_namespace_chose_is_kept_to() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let options = SubscribeOptions::new();
    let mut subscription =
        subscribe_with_snapshot(&mut link, &client, options, Mode::Latest, 3).await;
    link.message("a", 3, "three").await;
    link.message("a", 8, "eight").await;
    assert_eq!(next_text(&mut subscription).await, "three");
    assert_eq!(next_text(&mut subscription).await, "eight");
    let mut second = client.subscribe("a").await.unwrap();
    assert!(matches!(
        client.subscribe_with("a", SubscribeOptions::new().mode(Mode::All)).await,
        Err(Error::SubscribedOtherwise { .. })
    ));
    let mut third = client.subscribe_with("a", latest()).await.unwrap();
    link.message("a", 20, "for all").await;
    for subscription in [&mut subscription, &mut second, &mut third] {
        assert_eq!(next_text(subscription).await, "for all");
    }
}

#[tokio::test]
async fn a_snapshot_in_mode_all_is_followed_by_every_message() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let options = SubscribeOptions::new().snapshot(true);
    let mut subscription = subscribe_with_snapshot(&mut link, &client, options, Mode::All, 9).await;
    link.message_after("a", 9, Some(4), "nine").await;
    link.message("a", 10, "ten").await;
    link.message("a", 13, "thirteen").await;
    assert_eq!(next_text(&mut subscription).await, "nine");
    assert_eq!(next_text(&mut subscription).await, "ten");
    assert_eq!(next_gap(&mut subscription).await.missed, Missed::Offsets { from: 11, to: 12 });
    assert_eq!(next_text(&mut subscription).await, "thirteen");
}

#[tokio::test]
async fn a_snapshot_after_a_return_that_could_not_be_recovered_comes_behind_the_gap() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let options = SubscribeOptions::new().snapshot(true);
    let mut subscription = subscribe_with_snapshot(&mut link, &client, options, Mode::All, 9).await;
    link.message("a", 9, "nine").await;
    assert_eq!(next_text(&mut subscription).await, "nine");
    let (mut link, command) = back(&peer, link).await;
    assert_eq!(subscribe_of(&command).snapshot, Some(true));
    link.confirm_snapshot(&command, Mode::All, "e1", 30).await;
    link.message("a", 30, "thirty").await;
    let gap = next_gap(&mut subscription).await;
    assert_eq!(gap.missed, Missed::Offsets { from: 10, to: 29 });
    assert_eq!(gap.resumes_after, Some(position("e1", 29)));
    assert_eq!(next_text(&mut subscription).await, "thirty");

    // The snapshot may be just what was missed.
    let (mut link, command) = back(&peer, link).await;
    link.confirm_snapshot(&command, Mode::All, "e1", 31).await;
    link.message("a", 31, "thirty-one").await;
    assert_eq!(next_text(&mut subscription).await, "thirty-one");
}

#[tokio::test]
async fn without_a_snapshot_mode_latest_begins_with_what_comes() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let options = latest().snapshot(false);
    let (subscription, ()) = tokio::join!(client.subscribe_with("a", options), async {
        let command = link.command().await;
        assert_eq!(subscribe_of(&command).snapshot, Some(false));
        let subscribed = fanfare_protocol::Subscribed {
            epoch: "e1".to_owned(),
            offset: 9,
            mode: Mode::Latest,
            ..fanfare_protocol::Subscribed::default()
        };
        link.confirm(&command, fanfare_protocol::ReplyBody::Subscribe(subscribed)).await;
    });
    let subscription = subscription.unwrap();
    assert_eq!(position_of(&subscription), position("e1", 9));
    // Who was away missed something, and wants the newest message all the same.
    let (_link, command) = back(&peer, link).await;
    assert_eq!(subscribe_of(&command).snapshot, None);
}

#[tokio::test]
async fn in_mode_latest_what_is_not_kept_any_more_is_passed_over() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let options = latest().since(position("e1", 3));
    let (subscription, ()) = tokio::join!(client.subscribe_with("a", options), async {
        let command = link.command().await;
        let subscribed = fanfare_protocol::Subscribed {
            epoch: "e1".to_owned(),
            offset: 9,
            mode: Mode::Latest,
            ..fanfare_protocol::Subscribed::default()
        };
        link.confirm(&command, fanfare_protocol::ReplyBody::Subscribe(subscribed)).await;
        // Nothing up to 9 comes, and nothing is missing for that.
        link.heads(&[("a", 9)]).await;
        link.message("a", 10, "ten").await;
    });
    let mut subscription = subscription.unwrap();
    assert_eq!(next_text(&mut subscription).await, "ten");
    link.nothing().await;
    assert_eq!(client.repairs(), 0);
}

#[tokio::test]
async fn every_option_is_said_to_the_broker_each_time() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let options = SubscribeOptions::new().max_rate(5).snapshot(true).presence(true);
    let expected = |since, snapshot| Subscribe {
        since,
        max_rate: Some(5),
        snapshot,
        presence: true,
        ..Subscribe::new("a")
    };
    let (_subscription, ()) = tokio::join!(client.subscribe_with("a", options), async {
        let command = link.command().await;
        assert_eq!(*subscribe_of(&command), expected(None, Some(true)));
        link.confirm_snapshot(&command, Mode::Latest, "e1", 4).await;
    });
    let (_link, command) = back(&peer, link).await;
    assert_eq!(*subscribe_of(&command), expected(Some(position("e1", 3)), None));
}

#[tokio::test]
async fn a_rate_that_does_not_exist_is_refused_without_a_word_to_the_broker() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let options = SubscribeOptions::new();
    for options in [options.clone().max_rate(3), options.max_rate(5).mode(Mode::All)] {
        let error = client.subscribe_with("a", options).await.unwrap_err();
        assert!(matches!(error, Error::BadOption { .. }), "{error:?}");
    }
    link.nothing().await;
}
