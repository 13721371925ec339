//! Presence events in the stream of a subscription.

use fanfare_client::{
    Client, Codec, Error, Member, PresenceChange, SubscribeOptions, Subscription, Update,
};
use fanfare_protocol::{Event, PresenceChange as PresenceEvent};

use crate::peer::{Link, Peer, next_gap, next_text, next_update, subscribe_of};

fn member(connection: &str, name: Option<&str>) -> Member {
    Member { connection: connection.to_owned(), name: name.map(str::to_owned) }
}

fn change(topic: &str, version: u64) -> PresenceEvent {
    PresenceEvent {
        topic: topic.to_owned(),
        version,
        count: 4,
        joined: vec![member("n-0-7", Some("alice")), member("n-0-8", None)],
        left: vec!["n-0-3".to_owned()],
        truncated: false,
    }
}

async fn subscribe(link: &mut Link, client: &Client) -> Subscription {
    let options = SubscribeOptions::new().presence(true);
    let (subscription, ()) = tokio::join!(client.subscribe_with("a", options), async {
        let command = link.command().await;
        assert!(subscribe_of(&command).presence);
        link.confirm_subscribe(&command, "e1", 0).await;
    });
    subscription.expect("subscribed")
}

async fn tell(link: &mut Link, event: PresenceEvent) {
    link.event(&Event::Presence(event)).await;
}

async fn next_change(subscription: &mut Subscription) -> PresenceChange {
    match next_update(subscription).await {
        Update::Presence(change) => change,
        other => panic!("{other:?} instead of a change of presence"),
    }
}

#[tokio::test]
async fn who_comes_and_who_leaves_stands_among_the_messages_in_both_codecs() {
    for codec in Codec::ALL {
        let peer = Peer::bind().await;
        let (client, mut link) = peer.client(peer.builder().codec(codec)).await;
        let mut subscription = subscribe(&mut link, &client).await;
        link.message("a", 1, "before").await;
        tell(&mut link, change("a", 18)).await;
        link.message("a", 2, "after").await;
        assert_eq!(next_text(&mut subscription).await, "before");
        let got = next_change(&mut subscription).await;
        assert_eq!((got.topic.as_str(), got.version, got.count), ("a", 18, 4));
        assert_eq!(got.joined, [member("n-0-7", Some("alice")), member("n-0-8", None)]);
        assert_eq!(got.left, ["n-0-3"]);
        assert!(got.is_complete);
        let mut messages = subscription.messages();
        assert_eq!(messages.next().await.unwrap().payload.as_text(), Some("after"));
    }
}

#[tokio::test]
async fn a_change_says_whether_one_before_it_was_missed() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut subscription = subscribe(&mut link, &client).await;
    for (version, is_complete) in [(18, true), (19, true), (21, false), (22, true)] {
        tell(&mut link, change("a", version)).await;
        assert_eq!(next_change(&mut subscription).await.is_complete, is_complete, "{version}");
    }
    tell(&mut link, PresenceEvent { truncated: true, ..change("a", 23) }).await;
    assert!(!next_change(&mut subscription).await.is_complete);
    tell(&mut link, change("a", 24)).await;
    assert!(next_change(&mut subscription).await.is_complete);
}

#[tokio::test]
async fn after_a_return_only_what_continues_is_complete() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut subscription = subscribe(&mut link, &client).await;
    tell(&mut link, change("a", 1)).await;
    assert!(next_change(&mut subscription).await.is_complete);
    // Another life of the topic counts anew, and may come to any number.
    for (epoch, version, is_complete) in [("e1", 2, true), ("e1", 9, false), ("e2", 10, false)] {
        drop(link);
        let commands;
        (link, commands) = peer.serve().await;
        assert!(subscribe_of(&commands[0]).presence);
        link.confirm_subscribe(&commands[0], epoch, 0).await;
        tell(&mut link, change("a", version)).await;
        if epoch == "e2" {
            next_gap(&mut subscription).await;
        }
        assert_eq!(next_change(&mut subscription).await.is_complete, is_complete, "{version}");
    }
}

#[tokio::test]
async fn only_who_asked_for_it_hears_of_it() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let mut without = link.subscribe(&client, "b").await;
    let mut subscription = subscribe(&mut link, &client).await;
    let mut second = client
        .subscribe_with("a", SubscribeOptions::new().presence(true))
        .await
        .expect("the same options");
    let error = client.subscribe("a").await.unwrap_err();
    assert!(matches!(error, Error::SubscribedOtherwise { .. }), "{error:?}");
    tell(&mut link, change("b", 1)).await;
    tell(&mut link, change("unknown", 1)).await;
    tell(&mut link, change("a", 1)).await;
    link.message("b", 1, "a message").await;
    assert_eq!(next_text(&mut without).await, "a message");
    next_change(&mut subscription).await;
    next_change(&mut second).await;
}

#[tokio::test]
async fn the_client_says_its_name() {
    let peer = Peer::bind().await;
    let builder = peer.builder().name("alice");
    let (client, command) = tokio::join!(builder.connect(), async {
        let mut link = peer.accept().await;
        let command = link.command().await;
        link.confirm_connect(&command, std::time::Duration::from_secs(25)).await;
        command
    });
    client.unwrap();
    match command.request {
        fanfare_protocol::Request::Connect(connect) => {
            assert_eq!(connect.name.as_deref(), Some("alice"));
        }
        other => panic!("{other:?} instead of connect"),
    }
    let error = peer.builder().name("n".repeat(65)).connect().await.unwrap_err();
    assert!(matches!(error, Error::BadOption { .. }), "{error:?}");
}
