//! Long polling: a request is held until there is something newer, and then answered at once.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that fails")]

mod support;

use std::time::{Duration, Instant};

use fanfare::Server;
use serde_json::json;
use support::{Kept, http, metric_becomes, position, publish, start, start_with};

/// Waits until so many requests wait.
async fn waiting(server: &Server, count: u32) {
    metric_becomes(server, "fanfare_waiting_requests", |value| value == f64::from(count)).await;
}

#[tokio::test]
async fn a_request_is_held_until_there_is_something_newer() {
    let server = start();
    let first = publish(&server, "a", "1").await;
    let mut poller = Kept::connect(&server).await;
    poller.send(&format!("GET /v1/topics/a?after={first}&wait=60s"), &[], b"").await;
    waiting(&server, 1).await;
    let second = publish(&server, "a", "2").await;
    let page = poller.answer().await;
    assert_eq!(page.header("etag"), Some(format!("\"{second}\"").as_str()));
    let page = page.json();
    assert_eq!((&page["recovered"], &page["more"]), (&json!(true), &json!(false)));
    assert_eq!(page["messages"], json!([{"offset": 2, "data": 2}]));
    // What came while nobody waited is there at once.
    publish(&server, "a", "3").await;
    publish(&server, "a", "4").await;
    let start = format!("GET /v1/topics/a?after={second}&wait=60s&limit=1");
    let page = poller.request(&start, &[], b"").await.json();
    assert_eq!(
        (&page["messages"], &page["more"]),
        (&json!([{"offset": 3, "data": 3}]), &json!(true))
    );
    waiting(&server, 0).await;
    server.stop().await;
}

#[tokio::test]
async fn when_the_time_is_over_the_page_is_empty_and_the_position_stays() {
    let server = start();
    let position = publish(&server, "a", "1").await;
    let mut poller = Kept::connect(&server).await;
    let begun = Instant::now();
    let start = format!("GET /v1/topics/a?after={position}&wait=300ms");
    let answer = poller.request(&start, &[], b"").await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!((answer.status, &answer.json()["messages"]), (200, &json!([])));
    assert_eq!(answer.header("etag"), Some(format!("\"{position}\"").as_str()));
    let have = format!("If-None-Match: \"{position}\"");
    assert_eq!(poller.request(&start, &[&have], b"").await.status, 304);
    server.stop().await;
}

#[tokio::test]
async fn a_position_that_cannot_be_recovered_is_answered_at_once() {
    let server = start_with(|l| l.namespaces.default_mut().history_messages = 2);
    for i in 0..5 {
        publish(&server, "a", &i.to_string()).await;
    }
    let newest = http(&server, "GET /v1/topics/a?limit=1", &[], b"").await.json();
    let epoch = newest["epoch"].as_str().unwrap();
    for after in [format!("{epoch}:1"), format!("{epoch}:9"), "zzzzzzzz:5".to_owned()] {
        let start = format!("GET /v1/topics/a?after={after}&wait=60s");
        let page = http(&server, &start, &[], b"").await.json();
        assert_eq!(page["recovered"], false, "{after}");
        assert_eq!(page["messages"], json!([{"offset": 4, "data": 3}, {"offset": 5, "data": 4}]));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_topic_that_is_not_there_yet_can_be_waited_for_again_and_again() {
    let server = start();
    let mut poller = Kept::connect(&server).await;
    let page = poller.request("GET /v1/topics/new?wait=50ms", &[], b"").await.json();
    assert_eq!((&page["offset"], &page["messages"]), (&json!(0), &json!([])));
    let start = format!("GET /v1/topics/new?after={}&wait=50ms", position(&page));
    let again = poller.request(&start, &[], b"").await.json();
    assert_eq!((position(&again), &again["recovered"]), (position(&page), &json!(true)));
    // Published while nobody waits: not lost.
    publish(&server, "new", "1").await;
    let page = poller.request(&start, &[], b"").await.json();
    assert_eq!((&page["recovered"], &page["messages"][0]["data"]), (&json!(true), &json!(1)));
    server.stop().await;
}

#[tokio::test]
async fn several_topics_are_answered_as_soon_as_one_has_something() {
    let server = start();
    let a = publish(&server, "a", "1").await;
    let mut poller = Kept::connect(&server).await;
    let start = format!("GET /v1/topics?topic=a&topic=b&topic=c&after={a},-,-&wait=60s");
    poller.send(&start, &[], b"").await;
    waiting(&server, 1).await;
    let b = publish(&server, "b", "2").await;
    let answer = poller.answer().await;
    let pages = answer.json()["topics"].clone();
    assert_eq!(pages[0]["messages"], json!([]));
    assert_eq!(pages[1]["messages"], json!([{"offset": 1, "data": 2}]));
    let tag = format!("\"{a},{b},{}\"", position(&pages[2]));
    assert_eq!(answer.header("etag"), Some(tag.as_str()), "the positions to go on from");
    waiting(&server, 0).await;
    server.stop().await;
}

#[tokio::test]
async fn all_who_wait_get_each_message_and_nothing_is_lost_between_their_requests() {
    const POLLERS: usize = 50;
    const MESSAGES: u64 = 200;
    let server = start_with(|l| l.namespaces.default_mut().history_messages = 1_000);
    let first = publish(&server, "a", "0").await;
    let follow = |mut poller: Kept, mut after: String| async move {
        let mut heard = Vec::new();
        while heard.len() < MESSAGES as usize {
            let start = format!("GET /v1/topics/a?after={after}&wait=60s&limit=1000");
            let page = poller.request(&start, &[], b"").await.json();
            assert_eq!(page["recovered"], true, "{page}");
            let offsets = page["messages"].as_array().unwrap().iter();
            heard.extend(offsets.map(|message| message["offset"].as_u64().unwrap()));
            after = position(&page);
        }
        heard
    };
    let mut tasks = Vec::new();
    for _ in 0..POLLERS {
        tasks.push(tokio::spawn(follow(Kept::connect(&server).await, first.clone())));
    }
    for i in 1..=MESSAGES {
        publish(&server, "a", &i.to_string()).await;
    }
    for task in tasks {
        let heard = task.await.unwrap();
        assert!(heard.into_iter().eq(2..=MESSAGES + 1), "each once, in order");
    }
    server.stop().await;
}

#[tokio::test]
async fn who_goes_away_while_waiting_leaves_nothing_behind() {
    let server = start();
    let mut pollers = Vec::new();
    for i in 0..20 {
        let mut poller = Kept::connect(&server).await;
        poller.send("GET /v1/topics/a?wait=60s", &[], b"").await;
        if i % 2 == 0 {
            socket2::SockRef::from(&poller.stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        pollers.push(poller);
    }
    waiting(&server, 20).await;
    drop(pollers);
    waiting(&server, 0).await;
    server.stop().await;
}

#[tokio::test]
async fn more_requests_than_may_wait_are_told_to_come_back() {
    let server = start_with(|l| l.waiting_requests_max = 0);
    let answer = http(&server, "GET /v1/topics/a?wait=60s", &[], b"").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    server.stop().await;
}

#[tokio::test]
async fn a_broker_that_stops_answers_who_waits() {
    let server = start();
    let mut poller = Kept::connect(&server).await;
    poller.send("GET /v1/topics/a?wait=60s", &[], b"").await;
    waiting(&server, 1).await;
    let (answer, _) = tokio::join!(poller.answer(), server.stop());
    assert_eq!((answer.status, &answer.json()["messages"]), (200, &json!([])));
    assert_eq!(answer.header("connection"), Some("close"));
}
