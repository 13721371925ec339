//! Subscriptions over long polling: what is asked next, and what becomes of the pages.

use fanfare_client::{
    Client, Error, ErrorCode, Missed, Mode, SubscribeOptions, Subscription, Transport,
};

use crate::peer::{next_gap, next_message, next_text, position, position_of};
use crate::web::{Asked, UNKNOWN, Web, page};

async fn polling() -> (Web, Client) {
    let mut web = Web::bind().await;
    let client = web.polling_client(web.builder()).await;
    assert_eq!(client.transport(), Transport::LongPoll);
    (web, client)
}

/// The next request, which must be a `GET` of `/v1/topics` with this query.
async fn poll(web: &mut Web, query: &str) -> Asked {
    let asked = web.asked().await;
    assert_eq!(asked.line(), format!("GET /v1/topics?{query}"));
    asked
}

/// Subscribes to `t`, of which there is message 4.
async fn subscribe(web: &mut Web, client: &Client) -> Subscription {
    let (subscription, ()) = tokio::join!(client.subscribe("t"), async {
        let asked = poll(web, "topic=t&limit=1").await;
        asked.pages(&[&page("t", "e1", 4, false, &[(4, "4")])]).await;
    });
    let subscription = subscription.expect("subscribed");
    assert_eq!(position_of(&subscription), position("e1", 4));
    subscription
}

#[tokio::test]
async fn each_poll_asks_behind_the_one_before() {
    let (mut web, client) = polling().await;
    let mut subscription = subscribe(&mut web, &client).await;
    let asked = poll(&mut web, "topic=t&after=e1:4&limit=100&wait=25000ms").await;
    asked.pages(&[&page("t", "e1", 7, true, &[(5, "5"), (6, "6")])]).await;
    let asked = poll(&mut web, "topic=t&after=e1:6&limit=100").await;
    asked.pages(&[&page("t", "e1", 7, true, &[(7, "7")])]).await;
    let asked = poll(&mut web, "topic=t&after=e1:7&limit=100&wait=25000ms").await;
    for expected in ["5", "6", "7"] {
        assert_eq!(next_text(&mut subscription).await, expected);
    }
    assert_eq!(position_of(&subscription), position("e1", 7));
    drop(asked);
}

#[tokio::test]
async fn what_is_not_kept_any_more_is_an_exact_gap() {
    let (mut web, client) = polling().await;
    let mut subscription = subscribe(&mut web, &client).await;
    let asked = poll(&mut web, "topic=t&after=e1:4&limit=100&wait=25000ms").await;
    asked.pages(&[&page("t", "e1", 9, false, &[(8, "8"), (9, "9")])]).await;
    let gap = next_gap(&mut subscription).await;
    assert_eq!(gap.missed, Missed::Offsets { from: 5, to: 7 });
    assert_eq!(next_text(&mut subscription).await, "8");
    assert_eq!(next_text(&mut subscription).await, "9");
    let asked = poll(&mut web, "topic=t&after=e1:9&limit=100&wait=25000ms").await;
    asked.pages(&[&page("t", "e1", 12, false, &[])]).await;
    let gap = next_gap(&mut subscription).await;
    assert_eq!(gap.missed, Missed::Offsets { from: 10, to: 12 });
    let asked = poll(&mut web, "topic=t&after=e1:12&limit=100&wait=25000ms").await;
    asked.pages(&[&page("t", "e2", 2, false, &[(1, "new 1"), (2, "new 2")])]).await;
    assert_eq!(next_gap(&mut subscription).await.missed, Missed::Unknown);
    assert_eq!(next_text(&mut subscription).await, "new 1");
    assert_eq!(next_text(&mut subscription).await, "new 2");
    assert_eq!(position_of(&subscription), position("e2", 2));
}

#[tokio::test]
async fn a_topic_that_does_not_exist_gives_its_first_message() {
    let (mut web, client) = polling().await;
    let (subscription, ()) = tokio::join!(client.subscribe("t"), async {
        poll(&mut web, "topic=t&limit=1").await.pages(&[UNKNOWN]).await;
    });
    let mut subscription = subscription.unwrap();
    assert_eq!(subscription.position(), None);
    let asked = poll(&mut web, "topic=t&after=0:0&limit=100&wait=25000ms").await;
    asked.pages(&[&page("t", "e1", 2, false, &[(1, "1"), (2, "2")])]).await;
    let first = next_message(&mut subscription).await;
    assert_eq!(first.position(), Some(position("e1", 1)));
    assert_eq!(position_of(&subscription), position("e1", 1));
    assert_eq!(next_text(&mut subscription).await, "2");
    poll(&mut web, "topic=t&after=e1:2&limit=100&wait=25000ms").await;
}

#[tokio::test]
async fn a_topic_that_did_not_exist_before_a_break_is_recovered_from_its_beginning_on() {
    let (mut web, client) = polling().await;
    let (subscription, ()) = tokio::join!(client.subscribe("t"), async {
        poll(&mut web, "topic=t&limit=1").await.pages(&[UNKNOWN]).await;
    });
    let mut subscription = subscription.unwrap();
    drop(web.asked().await);
    web.let_in_over_long_poll().await;
    let asked = poll(&mut web, "topic=t&limit=1").await;
    asked.pages(&[&page("t", "e1", 3, false, &[(3, "3")])]).await;
    let gap = next_gap(&mut subscription).await;
    assert_eq!(gap.missed, Missed::Offsets { from: 1, to: 3 });
}

#[tokio::test]
async fn a_position_is_recovered_or_the_gap_is_told() {
    for recovered in [true, false] {
        let (mut web, client) = polling().await;
        let options = SubscribeOptions::new().since(position("e1", 2));
        let (subscription, ()) = tokio::join!(client.subscribe_with("t", options), async {
            let asked = poll(&mut web, "topic=t&after=e1:2&limit=100").await;
            let messages = [(3, "3"), (4, "4")];
            let kept = if recovered { &messages[..] } else { &messages[1..] };
            asked.pages(&[&page("t", "e1", 4, recovered, kept)]).await;
        });
        let mut subscription = subscription.unwrap();
        if recovered {
            assert_eq!(next_text(&mut subscription).await, "3");
            assert_eq!(next_text(&mut subscription).await, "4");
        } else {
            let gap = next_gap(&mut subscription).await;
            assert_eq!(gap.missed, Missed::Offsets { from: 3, to: 4 });
        }
        poll(&mut web, "topic=t&after=e1:4&limit=100&wait=25000ms").await;
    }
}

#[tokio::test]
async fn topics_of_one_kind_share_a_poll_and_join_it_later() {
    let (mut web, client) = polling().await;
    let mut first = subscribe(&mut web, &client).await;
    let asked = poll(&mut web, "topic=t&after=e1:4&limit=100&wait=25000ms").await;
    asked.pages(&[&page("t", "e1", 5, true, &[(5, "5")])]).await;
    assert_eq!(next_text(&mut first).await, "5");
    let held = poll(&mut web, "topic=t&after=e1:5&limit=100&wait=25000ms").await;
    let (second, ()) = tokio::join!(client.subscribe("u"), async {
        let asked = poll(&mut web, "topic=u&limit=1").await;
        asked.pages(&[&page("u", "e7", 9, false, &[(9, "9")])]).await;
    });
    let mut second = second.unwrap();
    drop(held);
    let asked = poll(&mut web, "topic=u&topic=t&after=e7:9,e1:5&limit=100&wait=25000ms").await;
    let pages = [page("u", "e7", 10, true, &[(10, "10")]), page("t", "e1", 6, true, &[(6, "6")])];
    asked.pages(&[&pages[0], &pages[1]]).await;
    assert_eq!(next_text(&mut second).await, "10");
    assert_eq!(next_text(&mut first).await, "6");

    first.unsubscribe().await.unwrap();
    let held = poll(&mut web, "topic=u&topic=t&after=e7:10,e1:6&limit=100&wait=25000ms").await;
    let pages = [page("u", "e7", 11, true, &[(11, "11")]), page("t", "e1", 7, true, &[(7, "7")])];
    held.pages(&[&pages[0], &pages[1]]).await;
    assert_eq!(next_text(&mut second).await, "11");
}

#[tokio::test]
async fn in_mode_latest_only_the_newest_of_each_answer_counts() {
    let (mut web, client) = polling().await;
    let options = SubscribeOptions::new().mode(Mode::Latest);
    let (subscription, ()) = tokio::join!(client.subscribe_with("t", options), async {
        let asked = poll(&mut web, "topic=t&limit=1").await;
        asked.pages(&[&page("t", "e1", 4, false, &[(4, "4")])]).await;
    });
    let mut subscription = subscription.unwrap();
    assert_eq!(next_text(&mut subscription).await, "4");
    let asked = poll(&mut web, "topic=t&after=e1:4&limit=100&wait=25000ms").await;
    asked.pages(&[&page("t", "e1", 9, false, &[(6, "6"), (7, "7")])]).await;
    let asked = poll(&mut web, "topic=t&after=e1:7&limit=100").await;
    asked.pages(&[&page("t", "e1", 9, true, &[(8, "8"), (9, "9")])]).await;
    assert_eq!(next_text(&mut subscription).await, "9");
}

#[tokio::test]
async fn what_does_not_fit_into_an_answer_comes_with_the_next() {
    let (mut web, client) = polling().await;
    let options = SubscribeOptions::new().mode(Mode::Latest);
    let full = |offset| {
        let fields = format!(r#""epoch":"e1","offset":{offset},"recovered":true,"more":true"#);
        format!(r#"{{"topic":"t",{fields},"messages":[]}}"#)
    };
    let (subscription, ()) = tokio::join!(client.subscribe_with("t", options), async {
        poll(&mut web, "topic=t&limit=1").await.pages(&[&full(4)]).await;
    });
    let mut subscription = subscription.unwrap();
    let asked = poll(&mut web, "topic=t&after=e1:3&limit=100&wait=25000ms").await;
    asked.pages(&[&page("t", "e1", 4, true, &[(4, "4")])]).await;
    assert_eq!(next_text(&mut subscription).await, "4");
    let asked = poll(&mut web, "topic=t&after=e1:4&limit=100&wait=25000ms").await;
    asked.pages(&[&full(6)]).await;
    let asked = poll(&mut web, "topic=t&after=e1:4&limit=100").await;
    asked.pages(&[&page("t", "e1", 6, true, &[(6, "6")])]).await;
    assert_eq!(next_text(&mut subscription).await, "6");
}

#[tokio::test]
async fn a_poll_that_is_over_its_rate_waits_and_one_that_breaks_ends_the_session() {
    let (mut web, client) = polling().await;
    let mut subscription = subscribe(&mut web, &client).await;
    let query = "topic=t&after=e1:4&limit=100&wait=25000ms";
    poll(&mut web, query).await.busy().await;
    drop(poll(&mut web, query).await);
    web.let_in_over_long_poll().await;
    let asked = poll(&mut web, "topic=t&after=e1:4&limit=100").await;
    asked.pages(&[&page("t", "e1", 5, true, &[(5, "5")])]).await;
    assert_eq!(next_text(&mut subscription).await, "5");
}

#[tokio::test]
async fn a_pattern_needs_another_transport() {
    let (_web, client) = polling().await;
    match client.subscribe("a.*").await.unwrap_err() {
        Error::Refused(refusal) => {
            assert_eq!(refusal.code, ErrorCode::NotEnabled);
            assert!(refusal.message.contains("not available over long-poll"), "{refusal}");
        }
        other => panic!("{other:?}"),
    }
}
