//! Polling: pages with entity tags, several topics at once, what a client accepts, and browsers'
//! pages of other origins.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that fails")]

mod support;

use fanfare::{Server, ServerConfig};
use serde_json::json;
use support::{Kept, http, publish, start};

#[tokio::test]
async fn what_a_client_has_already_is_not_sent_again() {
    let server = start();
    let position = publish(&server, "a", "1").await;
    let mut poller = Kept::connect(&server).await;
    let first = poller.request("GET /v1/topics/a", &[], b"").await;
    assert_eq!(first.header("etag"), Some(format!("\"{position}\"").as_str()));
    assert_eq!(first.header("cache-control"), Some("no-cache"));
    let have = format!("If-None-Match: W/\"x\", \"{position}\"");
    for start in ["GET /v1/topics/a", "GET /v1/topics/a?limit=3", "HEAD /v1/topics/a"] {
        let answer = poller.request(start, &[&have], b"").await;
        assert_eq!((answer.status, answer.body.as_str()), (304, ""), "{start}");
        assert_eq!(answer.header("etag"), first.header("etag"));
        assert_eq!(answer.header("content-type"), None);
    }
    let star = poller.request("GET /v1/topics/a", &["If-None-Match: *"], b"").await;
    assert_eq!(star.status, 304);
    publish(&server, "a", "2").await;
    let answer = poller.request("GET /v1/topics/a?limit=1", &[&have], b"").await;
    assert_eq!((answer.status, answer.json()["messages"][0]["data"].clone()), (200, json!(2)));
    let none = poller.request("GET /v1/topics/none", &["If-None-Match: *"], b"").await;
    assert_eq!(none.status, 404, "there is nothing to be the same as");
    server.stop().await;
}

#[tokio::test]
async fn several_topics_are_read_in_one_request() {
    let server = start();
    let a = publish(&server, "a", "1").await;
    let b = publish(&server, "b.c", "2").await;
    let answer = http(&server, "GET /v1/topics?topic=a&topic=none&topic=b.c", &[], b"").await;
    let (epoch_a, epoch_b) = (a.strip_suffix(":1").unwrap(), b.strip_suffix(":1").unwrap());
    let page = |topic: &str, epoch: &str, data: u64| {
        json!({"topic": topic, "epoch": epoch, "offset": 1, "recovered": false, "more": false,
            "messages": [{"offset": 1, "data": data}]})
    };
    let expected = json!({"topics": [
        page("a", epoch_a, 1),
        {"topic": "none", "messages": [], "offset": 0},
        page("b.c", epoch_b, 2),
    ]});
    assert_eq!(answer.json(), expected);
    let tag = format!("\"{a},-,{b}\"");
    assert_eq!(answer.header("etag"), Some(tag.as_str()));
    let have = format!("If-None-Match: {tag}");
    let start = "GET /v1/topics?topic=a&topic=none&topic=b.c";
    assert_eq!(http(&server, start, &[&have], b"").await.status, 304);
    publish(&server, "b.c", "3").await;
    let after = format!("GET /v1/topics?topic=a&topic=none&topic=b.c&after={a},-,{b}");
    let answer = http(&server, &after, &[&have], b"").await;
    let pages = answer.json()["topics"].clone();
    assert_eq!((&pages[0]["recovered"], &pages[0]["messages"]), (&json!(true), &json!([])));
    assert_eq!(pages[2]["messages"], json!([{"offset": 2, "data": 3}]));
    server.stop().await;
}

#[tokio::test]
async fn what_a_get_accepts_is_heeded() {
    let server = start();
    publish(&server, "a", "1").await;
    for (accept, status) in [
        ("Accept: */*", 200),
        ("Accept: application/json;q=0.1", 200),
        ("Accept: text/html, */*;q=0.8", 200),
        ("Accept: text/html", 406),
        ("Accept: application/json;q=0, */*", 406),
    ] {
        let answer = http(&server, "GET /v1/topics/a", &[accept], b"").await;
        assert_eq!(answer.status, status, "{accept}");
        if status == 406 {
            assert!(answer.detail().contains("application/json"), "{answer:?}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_the_answers() {
    let mut config = ServerConfig::default_for_tests();
    config.allowed_origins = vec!["https://app.example".to_owned()];
    let server = Server::start(config).unwrap();
    let origin = "Origin: https://app.example";
    let preflight = [origin, "Access-Control-Request-Method: POST"];
    let answer = http(&server, "OPTIONS /v1/topics/a", &preflight, b"").await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example"),
        ("access-control-allow-methods", "GET, POST"),
        (
            "access-control-allow-headers",
            "Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID",
        ),
        ("access-control-max-age", "600"),
        ("vary", "Origin"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{answer:?}");
    }
    let posted = http(&server, "POST /v1/topics/a", &[origin], b"1").await;
    let read = http(&server, "GET /v1/topics?topic=a", &[origin], b"").await;
    let same = http(&server, "GET /v1/topics/a", &[origin, "If-None-Match: *"], b"").await;
    let wrong = http(&server, "GET /v1/topics/a?limit=0", &[origin], b"").await;
    assert_eq!([posted.status, read.status, same.status, wrong.status], [200, 200, 304, 400]);
    for answer in [posted, read, same, wrong] {
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed, Some("https://app.example"), "{answer:?}");
        let exposed = answer.header("access-control-expose-headers");
        assert_eq!(exposed, Some("ETag, Retry-After"), "{answer:?}");
        assert_eq!(answer.header("vary"), Some("Origin"), "{answer:?}");
    }
    let evil = "Origin: https://evil.example";
    for start in ["OPTIONS /v1/topics/a", "GET /v1/topics/a", "GET /v1/topics?topic=a"] {
        let answer = http(&server, start, &[evil], b"").await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None));
    }
    server.stop().await;
}
