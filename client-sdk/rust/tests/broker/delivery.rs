//! Patterns, newest values, rates and presence of a real broker.

use std::collections::HashMap;
use std::time::Duration;

use fanfare::{NamespaceOptions, Server, ServerConfig};
use fanfare_client::{
    Client, Codec, Error, ErrorCode, Event, Filter, Missed, Mode, Payload, PresenceChange,
    SubscribeOptions, Subscription, Update,
};

use crate::proxy::Proxy;
use crate::{next, next_snapshot, next_update, publish, start};

async fn say(client: &Client, topic: &str, text: &str) {
    client.publish(topic, Payload::text(text)).await.expect("published");
}

/// The topics and texts of the next messages; between topics there is no order.
async fn next_of_each(subscription: &mut Subscription, count: usize) -> HashMap<String, String> {
    let mut got = HashMap::new();
    for _ in 0..count {
        let message = next(subscription).await;
        let text = message.payload.as_text().expect("text").to_owned();
        let before = got.insert(message.topic.to_string(), text);
        assert_eq!(before, None, "{} twice", message.topic);
    }
    got
}

fn of_each<const N: usize>(expected: [(&str, &str); N]) -> HashMap<String, String> {
    expected.map(|(topic, text)| (topic.to_owned(), text.to_owned())).into()
}

#[tokio::test]
async fn a_pattern_gets_topics_that_are_there_and_topics_that_come() {
    for codec in Codec::ALL {
        let server = start();
        let publisher = Client::connect(&server.url()).await.unwrap();
        let subscriber = Client::builder(&server.url()).codec(codec).connect().await.unwrap();
        say(&publisher, "ticks.A", "old").await;
        say(&publisher, "ticks.B", "old").await;
        say(&publisher, "news.A", "old").await;
        let mut ticks = subscriber.subscribe("ticks.*").await.unwrap();
        let snapshot = SubscribeOptions::new().snapshot(true);
        let mut everything = subscriber.subscribe_with(">", snapshot).await.unwrap();
        // What the first pattern covers already is not sent once more for the second one.
        let expected = of_each([("news.A", "old")]);
        assert_eq!(next_of_each(&mut everything, 1).await, expected);
        assert_eq!(next_snapshot(&mut everything).await, (">".to_owned(), 1, 0));
        for (topic, text) in [("ticks.A", "new"), ("ticks.C", "first"), ("ticks.A.x", "deep")] {
            say(&publisher, topic, text).await;
        }
        let expected = of_each([("ticks.A", "new"), ("ticks.C", "first")]);
        assert_eq!(next_of_each(&mut ticks, 2).await, expected);
        let expected = of_each([("ticks.A", "new"), ("ticks.C", "first"), ("ticks.A.x", "deep")]);
        assert_eq!(next_of_each(&mut everything, 3).await, expected);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_pattern_that_was_away_says_so_and_begins_with_the_newest_messages() {
    let server = start();
    let proxy = Proxy::before(server.addr()).await;
    let publisher = Client::connect(&server.url()).await.unwrap();
    let quick =
        Client::builder(&proxy.url()).backoff(Duration::from_millis(5), Duration::from_millis(50));
    let subscriber = quick.connect().await.unwrap();
    let snapshot = SubscribeOptions::new().snapshot(true);
    let mut ticks = subscriber.subscribe_with("ticks.*", snapshot).await.unwrap();
    assert_eq!(next_snapshot(&mut ticks).await, ("ticks.*".to_owned(), 0, 0));
    say(&publisher, "ticks.A", "seen").await;
    assert_eq!(next(&mut ticks).await.offset, 1);
    proxy.cut();
    for text in ["missed", "newest"] {
        say(&publisher, "ticks.A", text).await;
    }
    say(&publisher, "ticks.B", "of a new topic").await;
    proxy.open();
    match next_update(&mut ticks).await {
        Update::Gap(gap) => {
            assert_eq!(
                (gap.filter, gap.missed),
                (Filter::new("ticks.*").unwrap(), Missed::Unknown)
            );
        }
        other => panic!("{other:?} instead of a gap"),
    }
    let expected = of_each([("ticks.A", "newest"), ("ticks.B", "of a new topic")]);
    assert_eq!(next_of_each(&mut ticks, 2).await, expected);
    assert_eq!(next_snapshot(&mut ticks).await, ("ticks.*".to_owned(), 2, 0));
    say(&publisher, "ticks.A", "live").await;
    let message = next(&mut ticks).await;
    assert_eq!((message.offset, message.payload.as_text()), (4, Some("live")));
    server.stop().await;
}

#[tokio::test]
async fn subscriptions_that_overlap_get_each_message_once() {
    let server = start();
    let publisher = Client::connect(&server.url()).await.unwrap();
    let subscriber = Client::connect(&server.url()).await.unwrap();
    let mut star = subscriber.subscribe("*").await.unwrap();
    publish(&publisher, 1..=5).await;
    let since = SubscribeOptions::new().since(
        publisher.history("t", fanfare_client::HistoryOptions::new()).await.unwrap().messages[1]
            .position()
            .unwrap(),
    );
    let mut named = subscriber.subscribe_with("t", since).await.unwrap();
    let mut rest = subscriber.subscribe(">").await.unwrap();
    publish(&publisher, 6..=9).await;
    for offset in 1..=9 {
        assert_eq!(next(&mut star).await.offset, offset);
    }
    for offset in 3..=9 {
        assert_eq!(next(&mut named).await.offset, offset);
    }
    assert_eq!(named.position().unwrap().offset, 9);
    // What the subscription by name recovers may reach a pattern that began behind it.
    let mut last = 0;
    while last < 9 {
        let offset = next(&mut rest).await.offset;
        assert!(offset == last + 1 || last == 0, "{offset} after {last}");
        last = offset;
    }
    assert_eq!(subscriber.repairs(), 0);
    server.stop().await;
}

#[tokio::test]
async fn at_a_rate_messages_are_passed_over_and_the_last_one_arrives() {
    const MESSAGES: u64 = 200;
    let server = start();
    let publisher = Client::connect(&server.url()).await.unwrap();
    let subscriber = Client::connect(&server.url()).await.unwrap();
    let options = SubscribeOptions::new().max_rate(10);
    let mut limited = subscriber.subscribe_with("t", options).await.unwrap();
    publish(&publisher, 1..=MESSAGES).await;
    let mut received = 0;
    loop {
        received += 1;
        if next(&mut limited).await.offset == MESSAGES {
            break;
        }
    }
    assert!(received < MESSAGES, "nothing was passed over");
    server.stop().await;
}

/// A broker that keeps the newest value of `board.*` and knows who is in `rooms.*`.
fn start_with_namespaces() -> Server {
    let mut config = ServerConfig::default_for_tests();
    let namespaces = &mut config.limits.namespaces;
    let board = NamespaceOptions { latest: true, mode: Mode::Latest, ..Default::default() };
    namespaces.insert("board", board);
    namespaces.insert("rooms", NamespaceOptions { presence: true, ..Default::default() });
    Server::start(config).expect("a broker")
}

#[tokio::test]
async fn the_namespace_decides_what_the_subscription_does_not_ask() {
    let server = start_with_namespaces();
    let publisher = Client::connect(&server.url()).await.unwrap();
    let subscriber = Client::connect(&server.url()).await.unwrap();
    say(&publisher, "board.A", "newest").await;
    let mut board = subscriber.subscribe("board.A").await.unwrap();
    assert_eq!(next(&mut board).await.payload.as_text(), Some("newest"));
    let error = subscriber
        .subscribe_with("board.A", SubscribeOptions::new().mode(Mode::All))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::SubscribedOtherwise { .. }), "{error:?}");
    let mut all = subscriber.subscribe("board.*").await.unwrap();
    // Of the topic that there is, this client gets the newest already.
    assert_eq!(next_snapshot(&mut all).await, ("board.*".to_owned(), 0, 0));
    say(&publisher, "board.B", "first").await;
    assert_eq!(next(&mut all).await.topic.as_str(), "board.B");
    server.stop().await;
}

async fn next_change(subscription: &mut Subscription) -> PresenceChange {
    loop {
        if let Update::Presence(change) = next_update(subscription).await {
            return change;
        }
    }
}

/// The broker's name for the connection of a client that is connected.
async fn connection_of(client: &Client) -> String {
    match client.events().next().await {
        Some(Event::Connected { connection, .. }) => connection,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_is_there_and_who_comes_and_goes_is_told() {
    let server = start_with_namespaces();
    let watcher = Client::builder(&server.url()).name("watcher").connect().await.unwrap();
    let options = SubscribeOptions::new().presence(true);
    let mut room = watcher.subscribe_with("rooms.lobby", options).await.unwrap();
    let list = watcher.presence("rooms.lobby").await.unwrap();
    assert_eq!((list.count, list.members[0].name.as_deref()), (1, Some("watcher")));

    let alice = Client::builder(&server.url()).name("alice").connect().await.unwrap();
    let alice_in = alice.subscribe("rooms.lobby").await.unwrap();
    let mut present: Vec<_> = list.members.into_iter().map(|member| member.connection).collect();
    let mut version = list.version;
    let connection = connection_of(&alice).await;
    while !present.contains(&connection) {
        let change = next_change(&mut room).await;
        if change.version > version {
            version = change.version;
            present.extend(change.joined.into_iter().map(|member| member.connection));
        }
    }
    let list = watcher.presence("rooms.lobby").await.unwrap();
    assert_eq!(list.count, 2);
    assert!(list.members.iter().any(|member| member.name.as_deref() == Some("alice")));

    alice_in.unsubscribe().await.unwrap();
    while present.contains(&connection) {
        let change = next_change(&mut room).await;
        assert!(change.is_complete, "{change:?}");
        present.retain(|one| !change.left.contains(one));
    }
    assert_eq!(watcher.presence("rooms.lobby").await.unwrap().count, 1);
    server.stop().await;
}

#[tokio::test]
async fn presence_that_is_off_is_refused() {
    let server = start_with_namespaces();
    let client = Client::connect(&server.url()).await.unwrap();
    let options = SubscribeOptions::new().presence(true);
    let subscribed = client.subscribe_with("ticks.A", options).await.map(|_| ());
    let asked = client.presence("ticks.A").await.map(|_| ());
    for outcome in [subscribed, asked] {
        match outcome {
            Err(Error::Refused(refusal)) => assert_eq!(refusal.code, ErrorCode::NotEnabled),
            other => panic!("{other:?}"),
        }
    }
    server.stop().await;
}
