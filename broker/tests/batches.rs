//! Publishing many messages in one request, as NDJSON.

mod support;

use serde_json::json;
use support::{Ws, http, start, start_with};

const NDJSON: &str = "Content-Type: application/x-ndjson";

#[tokio::test]
async fn the_lines_of_a_batch_are_messages_of_one_topic_in_order() {
    let server = start();
    let mut raw = Ws::raw(&server, "a").await;
    let body = b"{\"p\":1}\n\n [2, 3] \r\n\"last\"";
    let answer = http(&server, "POST /v1/topics/a", &[NDJSON], body).await;
    let published = answer.json();
    assert_eq!(
        (answer.status, &published["offset"], &published["published"]),
        (200, &json!(3), &json!(3))
    );
    assert!(published["epoch"].is_string());
    for expected in ["{\"p\":1}", "[2, 3]", "\"last\""] {
        assert_eq!(raw.data().await.into_text().unwrap().as_str(), expected);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_batch_with_a_wrong_line_publishes_nothing() {
    let server = start_with(|l| {
        l.message_bytes_max = 1_000;
        l.batch_bytes_max = 10_000;
    });
    let many = "1\n".repeat(1_001);
    let long = format!("1\n\"{}\"", "x".repeat(1_000));
    let huge = format!("\"{}\"\n", "x".repeat(500)).repeat(20);
    for (body, status, says) in [
        ("1\n2\n{\"p\":", 400, "line 3 is not JSON"),
        ("1\n\n\nx", 400, "line 4"),
        ("", 400, "no line"),
        ("\n \r\n", 400, "no line"),
        (many.as_str(), 413, "1000 lines"),
        (long.as_str(), 413, "line 2 has 1002 bytes"),
        (huge.as_str(), 413, "10000 bytes"),
    ] {
        let answer = http(&server, "POST /v1/topics/a", &[NDJSON], body.as_bytes()).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.detail().contains(says), "{answer:?}");
    }
    let keyed = [NDJSON, "Idempotency-Key: k"];
    let answer = http(&server, "POST /v1/topics/a", &keyed, b"1").await;
    assert_eq!(answer.status, 400);
    assert_eq!(server.messages_in(), 0);
    server.stop().await;
}

#[tokio::test]
async fn the_lines_of_a_mixed_batch_say_where_they_go_and_fail_alone() {
    let server = start();
    let body = [
        r#"{"topic":"a","data":{"p":1}}"#,
        r#"{"topic":"b.c","text":"hello"}"#,
        r#"{"topic":"a","base64":"AP8=","key":"k1"}"#,
        r#"{"topic":"a","base64":"AP8=","key":"k1"}"#,
        r#"{"topic":"a*","data":1}"#,
        r#"{"topic":"a"}"#,
        r#"{"topic":"a","data":1,"unknown":2}"#,
        "nonsense",
        r#"["a"]"#,
        r#"{"topic":"a","data":null}"#,
    ]
    .join("\n");
    let answer = http(&server, "POST /v1/topics", &[NDJSON], body.as_bytes()).await;
    assert_eq!(answer.status, 200);
    let results = answer.json()["results"].clone();
    let offset = |i: usize| results[i]["offset"].as_u64();
    assert_eq!([0, 1, 2, 3].map(offset), [Some(1), Some(1), Some(2), Some(2)]);
    assert_eq!((&results[2]["duplicate"], &results[3]["duplicate"]), (&json!(null), &json!(true)));
    for (i, code) in [
        (4, "bad_topic"),
        (5, "bad_request"),
        (6, "bad_request"),
        (7, "bad_request"),
        (8, "bad_request"),
    ] {
        assert_eq!(results[i]["error"]["code"], code, "{results}");
        assert_eq!(results[i]["error"]["retry"], false);
    }
    assert_eq!(offset(9), Some(3));
    let pages = http(&server, "GET /v1/topics?topic=a&topic=b.c", &[], b"").await.json();
    let messages = &pages["topics"][0]["messages"];
    assert_eq!(messages[1]["base64"], "AP8=");
    assert_eq!(pages["topics"][1]["messages"][0]["text"], "hello");
    assert_eq!(server.messages_in(), 4);
    server.stop().await;
}
