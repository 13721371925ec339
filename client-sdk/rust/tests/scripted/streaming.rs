//! Subscriptions over server-sent events: how they are asked for, and that each message comes once.

use std::time::Duration;

use fanfare_client::{
    Client, Error, ErrorCode, Missed, Mode, Payload, SubscribeOptions, Transport, Update,
};
use futures_util::future::join_all;

use crate::peer::{A_MOMENT, SOON, next_gap, next_message, next_text, position, position_of};
use crate::web::{Events, Web};

async fn sse() -> (Web, Client) {
    let mut web = Web::bind().await;
    let client = web.sse_client(web.builder()).await;
    (web, client)
}

/// The next stream, which must be asked for with this query.
async fn stream(web: &mut Web, query: &str) -> Events {
    let asked = web.asked().await;
    assert_eq!(asked.line(), format!("GET /v1/topics?{query}"));
    assert_eq!(asked.headers["accept"], "text/event-stream");
    asked.events().await
}

#[tokio::test]
async fn messages_and_gaps_come_in_order_and_once() {
    let (mut web, client) = sse().await;
    let (subscription, mut events) = tokio::join!(client.subscribe("t"), async {
        let mut events = stream(&mut web, "topic=t").await;
        events.begin("t", "e1", 4, false).await;
        events
    });
    let mut subscription = subscription.unwrap();
    assert_eq!(position_of(&subscription), position("e1", 4));
    for offset in [5, 6, 6, 5, 7] {
        events.message("t", offset, &offset.to_string()).await;
    }
    events.gap("t", "e1", 8, 9).await;
    events.write(":\n\nid: e1:9\n\nevent: weather\ndata: rain\n\n").await;
    events.message("t", 10, "10").await;
    for expected in ["5", "6", "7"] {
        assert_eq!(next_text(&mut subscription).await, expected);
    }
    let gap = next_gap(&mut subscription).await;
    assert_eq!(gap.missed, Missed::Offsets { from: 8, to: 9 });
    assert_eq!(next_text(&mut subscription).await, "10");
    assert_eq!(position_of(&subscription), position("e1", 10));
}

#[tokio::test]
async fn every_kind_of_payload_arrives() {
    let (mut web, client) = sse().await;
    let (subscription, _events) = tokio::join!(client.subscribe("t"), async {
        let mut events = stream(&mut web, "topic=t").await;
        events.begin("t", "e1", 0, false).await;
        events.write("data: {\"topic\":\"t\",\"offset\":1,\"data\":{\r\ndata: \"p\":1}}\n\n").await;
        events.write("data: {\"topic\":\"t\",\"offset\":2,\"text\":\"a\\nb\"}\r\r").await;
        events.write("data:{\"topic\":\"t\",\"offset\":3,\"base64\":\"AP8=\"}\n\n").await;
        events
    });
    let mut subscription = subscription.unwrap();
    let json = next_message(&mut subscription).await.payload;
    assert_eq!(json.as_text(), Some("{\n\"p\":1}"));
    assert_eq!(next_message(&mut subscription).await.payload, Payload::text("a\nb"));
    assert_eq!(next_message(&mut subscription).await.payload, Payload::binary(vec![0, 255]));
}

#[tokio::test]
async fn subscriptions_that_are_made_together_share_a_stream() {
    let (mut web, client) = sse().await;
    let latest = || SubscribeOptions::new().mode(Mode::Latest).max_rate(5);
    let topics = ["a", "b.*", "c"];
    let all = join_all(topics.map(|topic| client.subscribe(topic)));
    let newest = client.subscribe_with("d", latest());
    let (all, newest, _streams) = tokio::join!(all, newest, async {
        // They come in any order.
        let mut asked = [web.asked().await, web.asked().await];
        asked.sort_by_key(|asked| asked.target.len());
        let [one, other] = asked;
        assert_eq!(one.target, "/v1/topics?topic=a&topic=b.%2A&topic=c");
        assert_eq!(other.target, "/v1/topics?topic=d&mode=latest&max_rate=5");
        let (mut one, mut other) = (one.events().await, other.events().await);
        one.begin("c", "e1", 0, false).await;
        one.begin_pattern("b.*").await;
        one.begin("a", "e1", 0, false).await;
        let fields = r#""epoch":"e1","offset":7,"recovered":false,"mode":"latest","snapshot":true"#;
        other.begin_with("d", fields).await;
        other.message("d", 7, "newest").await;
        one.message("b.x", 3, "of a pattern").await;
        (one, other)
    });
    let mut all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    assert_eq!(next_text(&mut all[1]).await, "of a pattern");
    assert_eq!(next_text(&mut newest.unwrap()).await, "newest");
}

#[tokio::test]
async fn more_topics_than_a_request_holds_go_into_several() {
    let (mut web, client) = sse().await;
    let topics: Vec<_> = (0..250).map(|n| format!("t{n}")).collect();
    let subscribing = join_all(topics.iter().map(|topic| client.subscribe(topic)));
    let (subscriptions, _streams) = tokio::join!(subscribing, async {
        let (mut streams, mut seen) = (Vec::new(), 0);
        while seen < topics.len() {
            let asked = web.asked().await;
            let (_, query) = asked.target.split_once('?').unwrap();
            let topics: Vec<String> =
                query.split('&').map(|pair| pair.strip_prefix("topic=").unwrap().into()).collect();
            assert!(topics.len() <= 100);
            seen += topics.len();
            let mut events = asked.events().await;
            for topic in topics {
                events.begin(&topic, "e1", 0, false).await;
            }
            streams.push(events);
        }
        streams
    });
    assert!(subscriptions.iter().all(Result::is_ok));
}

#[tokio::test]
async fn after_a_break_each_topic_goes_on_where_it_was() {
    let (mut web, client) = sse().await;
    let since = SubscribeOptions::new().since(position("e1", 1));
    let (subscription, mut events) = tokio::join!(client.subscribe_with("t", since), async {
        let mut events = stream(&mut web, "topic=t&since=e1:1").await;
        events.begin("t", "e1", 3, true).await;
        events.message("t", 2, "2").await;
        events.message("t", 3, "3").await;
        events
    });
    let mut subscription = subscription.unwrap();
    let (other, mut other_events) = tokio::join!(client.subscribe("u.*"), async {
        let mut events = stream(&mut web, "topic=u.%2A").await;
        events.begin_pattern("u.*").await;
        events
    });
    let mut other = other.unwrap();
    assert_eq!(next_text(&mut subscription).await, "2");
    assert_eq!(next_text(&mut subscription).await, "3");
    events.message("t", 4, "4").await;
    assert_eq!(next_text(&mut subscription).await, "4");
    drop(events);
    other_events.is_closed().await;

    web.let_in_over_sse().await;
    let mut events = stream(&mut web, "topic=t&topic=u.%2A&since=e1:4,-").await;
    events.begin("t", "e1", 6, true).await;
    events.begin_pattern("u.*").await;
    for offset in [4, 5, 6] {
        events.message("t", offset, &offset.to_string()).await;
    }
    assert_eq!(next_text(&mut subscription).await, "5");
    assert_eq!(next_text(&mut subscription).await, "6");
    assert_eq!(next_gap(&mut other).await.missed, Missed::Unknown);
    drop(events);

    web.let_in_over_sse().await;
    let mut events = stream(&mut web, "topic=t&topic=u.%2A&since=e1:6,-").await;
    events.begin("t", "e1", 9, false).await;
    let gap = next_gap(&mut subscription).await;
    assert_eq!(gap.missed, Missed::Offsets { from: 7, to: 9 });
}

#[tokio::test]
async fn a_message_that_several_streams_carry_comes_once() {
    let (mut web, client) = sse().await;
    let (pattern, mut by_pattern) = tokio::join!(client.subscribe("a.*"), async {
        let mut events = stream(&mut web, "topic=a.%2A").await;
        events.begin_pattern("a.*").await;
        events
    });
    let (wide, mut by_wide) = tokio::join!(client.subscribe(">"), async {
        let mut events = stream(&mut web, "topic=%3E").await;
        events.begin_pattern(">").await;
        events
    });
    let (mut pattern, mut wide) = (pattern.unwrap(), wide.unwrap());
    for offset in 1..=3 {
        by_wide.message("a.b", offset, "wide").await;
        by_pattern.message("a.b", offset, "pattern").await;
    }
    for subscription in [&mut pattern, &mut wide] {
        for offset in 1..=3 {
            let message = next_message(subscription).await;
            assert_eq!((message.offset, message.payload.as_text()), (offset, Some("pattern")));
        }
    }
    by_wide.message("x", 1, "wide only").await;
    assert_eq!(next_text(&mut wide).await, "wide only");

    let (named, mut by_name) = tokio::join!(client.subscribe("a.b"), async {
        let mut events = stream(&mut web, "topic=a.b").await;
        events.begin("a.b", "e1", 3, false).await;
        events
    });
    let mut named = named.unwrap();
    by_pattern.message("a.b", 4, "pattern").await;
    by_name.message("a.b", 4, "name").await;
    for subscription in [&mut pattern, &mut wide, &mut named] {
        assert_eq!(next_text(subscription).await, "name");
    }

    named.unsubscribe().await.unwrap();
    by_name.is_closed().await;
    by_pattern.message("a.b", 4, "again").await;
    by_pattern.message("a.b", 5, "pattern").await;
    for subscription in [&mut pattern, &mut wide] {
        assert_eq!(next_text(subscription).await, "pattern");
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_last_subscription() {
    let (mut web, client) = sse().await;
    let (both, mut events) =
        tokio::join!(async { tokio::join!(client.subscribe("a"), client.subscribe("b")) }, async {
            let mut events = stream(&mut web, "topic=a&topic=b").await;
            events.begin("a", "e1", 0, false).await;
            events.begin("b", "e1", 0, false).await;
            events
        });
    let (a, mut b) = (both.0.unwrap(), both.1.unwrap());
    a.unsubscribe().await.unwrap();
    events.message("a", 1, "unwanted").await;
    events.message("b", 1, "wanted").await;
    assert_eq!(next_text(&mut b).await, "wanted");
    b.unsubscribe().await.unwrap();
    events.is_closed().await;
    let (again, _events) = tokio::join!(client.subscribe("a"), async {
        let mut events = stream(&mut web, "topic=a").await;
        events.begin("a", "e1", 1, false).await;
        events
    });
    assert_eq!(position_of(&again.unwrap()), position("e1", 1));
}

#[tokio::test]
async fn a_refusal_of_several_topics_falls_on_the_one_that_is_refused() {
    let (mut web, client) = sse().await;
    let subscribing = join_all(["a", "b", "c"].map(|topic| client.subscribe(topic)));
    let (outcomes, _streams) = tokio::join!(subscribing, async {
        web.asked().await.problem(400, "one of them").await;
        let mut streams = Vec::new();
        while streams.len() < 2 {
            let asked = web.asked().await;
            if asked.target.contains("topic=b") {
                asked.problem(403, "not b").await;
                continue;
            }
            let topic = asked.target.rsplit_once('=').unwrap().1.to_owned();
            let mut events = asked.events().await;
            events.begin(&topic, "e1", 0, false).await;
            streams.push(events);
        }
        streams
    });
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    match outcomes[1].as_ref().unwrap_err() {
        Error::Refused(refusal) => assert_eq!(refusal.message, "not b"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stream_that_the_broker_has_no_room_for_leaves_what_had_begun() {
    let (mut web, client) = sse().await;
    let subscribing = join_all(["a", "b", "c"].map(|topic| client.subscribe(topic)));
    let (outcomes, _stream) = tokio::join!(subscribing, async {
        let mut events = stream(&mut web, "topic=a&topic=b&topic=c").await;
        events.begin("a", "e1", 3, false).await;
        events.write("event: close\ndata: {\"code\":1013,\"reason\":\"full\"}\n\n").await;
        let mut events = stream(&mut web, "topic=a&since=e1:3").await;
        events.begin("a", "e1", 4, true).await;
        events.message("a", 4, "4").await;
        events
    });
    let mut outcomes = outcomes.into_iter();
    let mut kept = outcomes.next().unwrap().unwrap();
    assert_eq!(next_text(&mut kept).await, "4");
    for refused in outcomes {
        match refused.unwrap_err() {
            Error::Refused(refusal) => assert_eq!(refusal.code, ErrorCode::LimitExceeded),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn many_small_streams_become_one_without_a_gap() {
    let (mut web, client) = sse().await;
    let (mut subscriptions, mut streams) = (Vec::new(), Vec::new());
    for topic in ["a", "b", "c", "d"] {
        let (subscription, events) = tokio::join!(client.subscribe(topic), async {
            let mut events = stream(&mut web, &format!("topic={topic}")).await;
            events.begin(topic, "e1", 1, false).await;
            events
        });
        subscriptions.push(subscription.unwrap());
        streams.push(events);
    }
    let (fifth, mut one) = tokio::join!(client.subscribe("e"), async {
        let asked = web.asked().await;
        assert_eq!(asked.target.matches("topic=").count(), 5, "{}", asked.target);
        assert!(asked.target.contains("since=-,e1:1,e1:1,e1:1,e1:1"), "{}", asked.target);
        let mut events = asked.events().await;
        events.begin("e", "e1", 0, false).await;
        events
    });
    // What a stream has brought already is not repeated by the one that takes over from it.
    streams[0].message("a", 2, "2").await;
    assert_eq!(next_text(&mut subscriptions[0]).await, "2");
    for topic in ["a", "b", "c"] {
        one.begin(topic, "e1", 3, true).await;
        one.message(topic, 2, "2").await;
        one.message(topic, 3, "3").await;
    }
    // What cannot be taken over stays where it is.
    one.begin("d", "e1", 3, false).await;
    one.message("d", 4, "4").await;
    for offset in ["2", "3"] {
        streams[3].message("d", offset.parse().unwrap(), offset).await;
    }
    assert_eq!(next_text(&mut subscriptions[0]).await, "3");
    for subscription in &mut subscriptions[1..] {
        assert_eq!(next_text(subscription).await, "2");
        assert_eq!(next_text(subscription).await, "3");
    }
    for ended in &mut streams[..3] {
        ended.is_closed().await;
    }
    streams[3].message("d", 4, "4").await;
    assert_eq!(next_text(&mut subscriptions[3]).await, "4");
    one.message("e", 1, "1").await;
    assert_eq!(next_text(&mut fifth.unwrap()).await, "1");
}

#[tokio::test]
async fn what_needs_a_websocket_is_refused_with_a_reason() {
    let (mut web, client) = sse().await;
    assert_eq!(client.transport(), Transport::Sse);
    let presence = SubscribeOptions::new().presence(true);
    for error in [
        client.presence("t").await.unwrap_err(),
        client.subscribe_with("t", presence).await.unwrap_err(),
    ] {
        match error {
            Error::Refused(refusal) => {
                assert_eq!(refusal.code, ErrorCode::NotEnabled);
                assert!(refusal.message.contains("not available over sse"), "{refusal}");
            }
            other => panic!("{other:?}"),
        }
    }
    web.nothing().await;
}

#[tokio::test]
async fn while_the_application_does_not_read_the_stream_is_not_read() {
    let mut web = Web::bind().await;
    let builder = web.builder().subscription_buffer(4).liveness_grace(Duration::ZERO);
    let client = web.sse_client(builder).await;
    let (subscription, mut events) = tokio::join!(client.subscribe("t"), async {
        let mut events = stream(&mut web, "topic=t").await;
        events.begin("t", "e1", 0, false).await;
        events
    });
    let mut subscription = subscription.unwrap();
    let text = "x".repeat(10_000);
    let mut sent = 0;
    // Ends when the network between takes no more.
    while tokio::time::timeout(A_MOMENT, events.message("t", sent + 1, &text)).await.is_ok() {
        sent += 1;
        assert!(sent < 100_000, "the client reads what nobody takes");
    }
    // The last one is whole only if it still gets through.
    for offset in 1..=sent {
        let update = tokio::time::timeout(SOON, subscription.next()).await.expect("in time");
        match update.expect("a live subscription") {
            Update::Message(message) => assert_eq!(message.offset, offset),
            other => panic!("{other:?}"),
        }
    }
}
