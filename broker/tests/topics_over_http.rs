//! `GET` and `POST` on a topic.

mod support;

use serde_json::json;
use support::{Ws, exchange, http, parse, start, start_with};

#[tokio::test]
async fn what_is_posted_is_delivered_and_can_be_read_back() {
    let server = start();
    let mut raw = Ws::raw(&server, "news.z%C3%BCrich").await;
    let posts: [(&[&str], &[u8]); 5] = [
        (&["Content-Type: application/json"], br#"{"p": 1}"#),
        (&["Content-Type: text/plain; charset=utf-8"], b"{\"p\": 2}"),
        (&["Content-Type: application/octet-stream"], b"\x00\xff"),
        (&[], b"[1,2]"),
        (&["Content-Type: application/x-www-form-urlencoded"], b"plain words"),
    ];
    let mut epoch = String::new();
    for (offset, (headers, body)) in (1..).zip(posts) {
        let answer = http(&server, "POST /v1/topics/news.z%C3%BCrich", headers, body).await;
        assert_eq!((answer.status, answer.json()["offset"].as_u64()), (200, Some(offset)));
        epoch = answer.json()["epoch"].as_str().unwrap().to_owned();
        let message = raw.data().await;
        assert_eq!(message.into_data(), body);
    }
    let answer = http(&server, "GET /v1/topics/news.z%C3%BCrich", &[], b"").await;
    let expected = json!({
        "topic": "news.zürich", "epoch": epoch, "offset": 5, "recovered": false, "more": false,
        "messages": [
            {"offset": 1, "data": {"p": 1}},
            {"offset": 2, "text": "{\"p\": 2}"},
            {"offset": 3, "base64": "AP8="},
            {"offset": 4, "data": [1, 2]},
            {"offset": 5, "text": "plain words"},
        ]
    });
    assert_eq!(answer.json(), expected);
    assert!(answer.body.contains(r#"{"p": 1}"#), "JSON is embedded as it was published");
    assert!(answer.head.contains(&format!("etag: \"{epoch}:5\"")), "{}", answer.head);
    let newest = http(&server, "GET /v1/topics/news.z%C3%BCrich?limit=1", &[], b"").await;
    assert_eq!(newest.json()["messages"].as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_allowed() {
    let server = start_with(|l| l.message_bytes_max = 1_000);
    let json_type: &[&str] = &["Content-Type: application/json"];
    let text_type: &[&str] = &["Content-Type: text/plain"];
    let none: &[&str] = &[];
    for (start, headers, body, status, says) in [
        ("POST /v1/topics/a", json_type, &b"{\"p\":"[..], 400, "not JSON"),
        ("POST /v1/topics/a", text_type, b"\xff", 400, "UTF-8"),
        ("POST /v1/topics/a", none, &[b'x'; 1_001], 413, "1000 bytes"),
        ("PUT /v1/topics/a", none, b"x", 405, "GET, POST"),
        ("GET /v1/topics/a", none, b"", 404, "nothing has been published"),
        ("GET /v1/topics/a?limit=0", none, b"", 400, "from 1 to 1000"),
        ("GET /v1/topics/a?limit=1001", none, b"", 400, "from 1 to 1000"),
        ("GET /v1/topics/a?newest=1", none, b"", 400, "limit"),
        ("POST /v1/topics/a*", none, b"x", 400, "'*'"),
    ] {
        let answer = http(&server, start, headers, body).await;
        assert_eq!(answer.status, status, "{start} {answer:?}");
        assert!(answer.detail().contains(says), "{start} {answer:?}");
    }
    assert_eq!(server.messages_in(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_is_kept_for_further_requests_and_chunks_are_understood() {
    let server = start();
    let requests = b"POST /v1/topics/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        2\r\n[1\r\n3\r\n,2]\r\n0\r\n\r\n\
        POST /v1/topics/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n7\
        GET /v1/topics/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let text = exchange(&server, requests).await;
    assert_eq!(text.matches("HTTP/1.1 200").count(), 3, "{text}");
    assert!(text.contains(r#"[{"offset":1,"data":[1,2]},{"offset":2,"data":7}]"#), "{text}");
    let broken =
        b"POST /v1/topics/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    assert_eq!(parse(&exchange(&server, broken).await).status, 400);
    server.stop().await;
}

#[tokio::test]
async fn a_publish_waits_for_a_node_that_is_behind_but_not_for_ever() {
    let server = start_with(|l| l.mailbox_messages_mark = 0);
    let begun = std::time::Instant::now();
    let answer = http(&server, "POST /v1/topics/a", &[], b"1").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    assert!(begun.elapsed() >= std::time::Duration::from_secs(2));
    assert_eq!(server.messages_in(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_end_is_given_up() {
    let server = start_with(|l| l.message_timeout_ms = 300);
    let begun = b"POST /v1/topics/a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc";
    let answer = parse(&exchange(&server, begun).await);
    assert_eq!(answer.status, 408);
    assert!(answer.detail().contains("300 ms"), "{answer:?}");
    server.stop().await;
}
