//! Publishing and asking without a WebSocket: one request at a time, in order, each answered.

use std::time::Duration;

use fanfare_client::{
    Client, Error, ErrorCode, HistoryOptions, Payload, PublishOptions, SubscribeOptions,
};
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::peer::{A_MOMENT, SOON, position};
use crate::web::{Asked, Web};

async fn sse() -> (Web, Client) {
    let mut web = Web::bind().await;
    let client = web.sse_client(web.builder()).await;
    (web, client)
}

fn key(key: &str) -> PublishOptions {
    PublishOptions::new().key(key)
}

/// Publishes `first`, and `then` while it is on its way; gives the request with `then`.
async fn publish_behind(web: &mut Web, client: &Client, then: &[&str]) -> Asked {
    client.publish_unconfirmed("first", Payload::text("")).await.expect("room");
    let first = web.asked().await;
    for topic in then {
        client.publish_unconfirmed(topic, Payload::text(*topic)).await.expect("room");
    }
    first.published(1).await;
    web.asked().await
}

#[tokio::test]
async fn one_message_is_the_body_of_a_request_as_it_is() {
    let (mut web, client) = sse().await;
    for (payload, content_type) in [
        (Payload::json("{\"p\":\n1}").unwrap(), "application/json"),
        (Payload::text("1"), "text/plain; charset=utf-8"),
        (Payload::binary("1"), "application/octet-stream"),
    ] {
        let publishing = client.publish_with("a.ü", payload.clone(), key("order-17"));
        let (published, ()) = tokio::join!(publishing, async {
            let asked = web.asked().await;
            assert_eq!(asked.line(), "POST /v1/topics/a.%C3%BC");
            assert_eq!(asked.headers["content-type"], content_type);
            assert_eq!(asked.headers["idempotency-key"], "\"order-17\"");
            assert_eq!(asked.body.as_bytes(), payload.bytes());
            asked.json(r#"{"epoch":"e1","offset":9,"duplicate":true}"#).await;
        });
        let published = published.unwrap();
        assert_eq!((published.position(), published.duplicate), (position("e1", 9), true));
    }
}

#[tokio::test]
async fn what_gathers_meanwhile_goes_together_in_order() {
    let (mut web, client) = sse().await;
    client.publish_unconfirmed("t", Payload::text("0")).await.unwrap();
    let first = web.asked().await;
    let messages = [
        ("t", Payload::text("1"), PublishOptions::new()),
        ("u", Payload::json("[2]").unwrap(), PublishOptions::new()),
        ("t", Payload::binary(vec![0, 255]), PublishOptions::new()),
        ("t", Payload::text("4"), key("schlüssel")),
    ];
    let publishing =
        messages.map(|(topic, payload, options)| client.publish_with(topic, payload, options));
    let publishing = join_all(publishing);
    let (outcomes, ()) = tokio::join!(publishing, async {
        tokio::time::sleep(A_MOMENT).await;
        first.published(1).await;
        let asked = web.asked().await;
        assert_eq!(asked.line(), "POST /v1/topics");
        assert_eq!(asked.headers["content-type"], "application/x-ndjson");
        let expected = [
            r#"{"topic":"t","text":"1"}"#,
            r#"{"topic":"u","data":[2]}"#,
            r#"{"topic":"t","base64":"AP8="}"#,
            r#"{"topic":"t","key":"schlüssel","text":"4"}"#,
        ];
        assert_eq!(asked.body, expected.join("\n") + "\n");
        let results = [
            r#"{"epoch":"e1","offset":2}"#,
            r#"{"error":{"code":"bad_topic","message":"not u","retry":false}}"#,
            r#"{"epoch":"e1","offset":3}"#,
            r#"{"epoch":"e1","offset":1,"duplicate":true}"#,
        ];
        asked.json(&format!(r#"{{"results":[{}]}}"#, results.join(","))).await;
    });
    assert_eq!(outcomes[0].as_ref().unwrap().offset, 2);
    match outcomes[1].as_ref().unwrap_err() {
        Error::Refused(refusal) => assert_eq!(refusal.code, ErrorCode::BadTopic),
        other => panic!("{other:?}"),
    }
    assert_eq!(outcomes[2].as_ref().unwrap().offset, 3);
    assert!(outcomes[3].as_ref().unwrap().duplicate);
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_sent_in_halves() {
    let (mut web, client) = sse().await;
    let whole = publish_behind(&mut web, &client, &["a", "b", "c"]).await;
    assert_eq!(whole.body.lines().count(), 3);
    whole.problem(413, "too large").await;
    let half = web.asked().await;
    assert_eq!(half.line(), "POST /v1/topics/a");
    half.published(1).await;
    let half = web.asked().await;
    assert_eq!(half.body, "{\"topic\":\"b\",\"text\":\"b\"}\n{\"topic\":\"c\",\"text\":\"c\"}\n");
    half.json(r#"{"results":[{"epoch":"e","offset":1},{"epoch":"e","offset":1}]}"#).await;
    web.nothing().await;
}

#[tokio::test]
async fn a_busy_broker_is_asked_again() {
    let (mut web, client) = sse().await;
    let (published, ()) = tokio::join!(client.publish("t", Payload::text("x")), async {
        for _ in 0..3 {
            web.asked().await.busy().await;
        }
        web.asked().await.published(7).await;
    });
    assert_eq!(published.unwrap().offset, 7);
}

#[tokio::test]
async fn a_refusal_is_told_to_who_published() {
    let (mut web, client) = sse().await;
    for (status, code, retry) in [
        (400, ErrorCode::BadRequest, false),
        (413, ErrorCode::BadRequest, false),
        (507, ErrorCode::LimitExceeded, true),
    ] {
        let (published, ()) = tokio::join!(client.publish("t", Payload::text("x")), async {
            web.asked().await.problem(status, "because").await;
        });
        match published.unwrap_err() {
            Error::Refused(refusal) => {
                assert_eq!((refusal.code, refusal.retry), (code, retry));
                assert_eq!(refusal.message, "because");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_a_gateway_answers_is_no_answer_of_the_broker() {
    let (mut web, client) = sse().await;
    let (published, ()) = tokio::join!(client.publish("t", Payload::text("x")), async {
        web.asked().await.answer(502, "Content-Type: text/html\r\n", "<h1>Bad gateway</h1>").await;
        web.let_in_over_sse().await;
    });
    assert_eq!(published.unwrap_err(), Error::ConnectionLost);
}

#[tokio::test]
async fn a_request_without_an_answer_is_repeated_only_with_a_key() {
    let (mut web, client) = sse().await;
    let (published, ()) = tokio::join!(client.publish("t", Payload::text("x")), async {
        drop(web.asked().await);
        web.let_in_over_sse().await;
    });
    assert_eq!(published.unwrap_err(), Error::ConnectionLost);
    let publishing = client.publish_with("t", Payload::text("x"), key("k"));
    let (published, ()) = tokio::join!(publishing, async {
        drop(web.asked().await);
        web.let_in_over_sse().await;
        let again = web.asked().await;
        assert_eq!(again.headers["idempotency-key"], "\"k\"");
        again.published(3).await;
    });
    assert_eq!(published.unwrap().offset, 3);
}

#[tokio::test]
async fn what_is_not_answered_counts_as_buffered() {
    let mut web = Web::bind().await;
    let client = web.sse_client(web.builder().high_water_mark(1_000)).await;
    let text = "x".repeat(700);
    client.try_publish("t", Payload::text(&text)).unwrap();
    let asked = web.asked().await;
    assert!(client.buffered_amount() > 700);
    let error = client.try_publish("t", Payload::text(&text)).unwrap_err();
    assert!(matches!(error, Error::BufferFull { .. }), "{error:?}");
    asked.published(1).await;
    let emptied = async {
        while client.buffered_amount() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, emptied).await.expect("an empty buffer");
    client.try_publish("t", Payload::text(&text)).unwrap();
}

#[tokio::test]
async fn history_is_asked_for_behind_what_was_published() {
    let (mut web, client) = sse().await;
    client.publish_unconfirmed("t", Payload::text("x")).await.unwrap();
    let options = HistoryOptions::new().after(position("e1", 41)).limit(500);
    let (page, ()) = tokio::join!(client.history("t", options), async {
        web.asked().await.published(1).await;
        let asked = web.asked().await;
        assert_eq!(asked.line(), "GET /v1/topics/t?limit=500&after=e1:41");
        asked.json(&crate::web::page("t", "e1", 57, true, &[(42, "a"), (43, "b")])).await;
    });
    let page = page.unwrap();
    assert!(page.is_recovered && page.next.is_some());
    assert_eq!((page.head, page.messages[1].offset), (position("e1", 57), 43));
    let (page, ()) = tokio::join!(client.history("t", HistoryOptions::new()), async {
        let asked = web.asked().await;
        assert_eq!(asked.line(), "GET /v1/topics/t?limit=100");
        asked.problem(404, "nothing has been published").await;
    });
    match page.unwrap_err() {
        Error::Refused(refusal) => assert_eq!(refusal.code, ErrorCode::UnknownTopic),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn requests_share_a_connection_and_say_who_the_client_is() {
    let mut web = Web::bind().await;
    let client = web.sse_client(web.builder().token("tok-1")).await;
    let mut ports = Vec::new();
    for offset in 1..=3 {
        let (published, ()) = tokio::join!(client.publish("t", Payload::text("x")), async {
            let asked = web.asked().await;
            assert_eq!(asked.headers["authorization"], "Bearer tok-1");
            ports.push(asked.port());
            asked.published(offset).await;
        });
        published.unwrap();
    }
    ports.dedup();
    assert_eq!(ports.len(), 1, "{ports:?}");
}

#[tokio::test]
async fn closing_waits_for_what_was_published() {
    let (mut web, client) = sse().await;
    for topic in ["a", "b", "c"] {
        client.publish_unconfirmed(topic, Payload::text("x")).await.unwrap();
    }
    let options = SubscribeOptions::new();
    drop(client.subscribe_with("t", options));
    let ((), ()) = tokio::join!(client.close(), async {
        let mut lines = 0;
        while lines < 3 {
            let asked = web.asked().await;
            if asked.target == "/v1/topics" {
                let count = asked.body.lines().count();
                let results = vec![r#"{"epoch":"e","offset":1}"#; count].join(",");
                asked.json(&format!(r#"{{"results":[{results}]}}"#)).await;
                lines += count;
            } else {
                asked.published(1).await;
                lines += 1;
            }
        }
    });
    assert_eq!(client.buffered_amount(), 0);
}
