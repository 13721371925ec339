//! Slow readers and returning ones, on real sockets.

mod support;

use serde_json::Value;
use support::{Ws, eventually, handshake, http, metric, start, start_with};

/// Whether some subscription is behind.
async fn is_behind(server: &fanfare::Server) -> bool {
    metric(server, "fanfare_subscriptions_behind").await > 0.0
}

async fn publish(server: &fanfare::Server, body: &str) -> Value {
    let answer = http(server, "POST /v1/topics/t", &["Content-Type: text/plain"], body.as_bytes());
    answer.await.json()
}

#[tokio::test]
async fn a_reader_that_stops_costs_its_allowance_and_is_told_what_it_missed() {
    let server = start_with(|l| {
        l.outbox_high_water_bytes = 100_000;
        l.outbox_bytes_max = 200_000;
        l.namespaces.default_mut().history_messages = 20;
    });
    let mut slow = Ws::subscriber(&server, &["t"]).await;
    let mut quick = Ws::subscriber(&server, &["t"]).await;
    let body = "x".repeat(20_000);
    let (mut published, mut owed) = (0, 0);
    // Until more is left to the ring than it holds.
    while owed < 40 {
        published += 1;
        owed += u64::from(is_behind(&server).await);
        publish(&server, &body).await;
        assert_eq!(quick.json().await["offset"].as_u64(), Some(published));
        let waiting = metric(&server, "fanfare_outbox_bytes").await;
        assert!(waiting < 150_000.0, "bounded by the high-water mark: {waiting}");
        assert!(published < 5_000, "the kernel cannot hold that much");
    }
    let (mut last, mut gaps) = (0, 0);
    while last < published {
        let frame = slow.json().await;
        if frame["event"] == "gap" {
            assert_eq!(frame["from"].as_u64(), Some(last + 1), "{frame}");
            last = frame["to"].as_u64().expect("a number");
            gaps += 1;
        } else {
            last += 1;
            assert_eq!(frame["offset"].as_u64(), Some(last), "in order, each once");
        }
    }
    assert_eq!((last, gaps), (published, 1));
    assert_eq!(metric(&server, "fanfare_gaps_total").await, 1.0);
    assert_eq!(metric(&server, "fanfare_outbox_bytes").await, 0.0);
    server.stop().await;
}

#[tokio::test]
async fn a_latest_reader_that_stops_gets_the_newest_value_when_it_goes_on() {
    let server = start();
    let mut slow = Ws::subscriber(&server, &[]).await;
    slow.send(r#"{"id":2,"subscribe":{"topic":"t","mode":"latest"}}"#).await;
    assert_eq!(slow.json().await["subscribe"]["recovered"], false);
    let body = "x".repeat(20_000);
    let (mut published, mut owed) = (0, 0);
    while owed < 100 {
        published += 1;
        owed += u64::from(is_behind(&server).await);
        publish(&server, &body).await;
        assert!(metric(&server, "fanfare_outbox_bytes").await < 50_000.0, "one frame at most");
        assert!(published < 5_000, "the kernel cannot hold that much");
    }
    let mut offsets = Vec::new();
    while offsets.last() != Some(&published) {
        offsets.push(slow.json().await["offset"].as_u64().expect("a message"));
    }
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
    let missed = published - offsets.len() as u64;
    assert!(missed >= 99, "{missed} were merged into the newest");
    assert_eq!(metric(&server, "fanfare_messages_merged_total").await, missed as f64);
    assert!(!is_behind(&server).await);
    server.stop().await;
}

#[tokio::test]
async fn who_comes_back_names_its_position_and_misses_nothing() {
    let server = start();
    let holder = Ws::raw(&server, "t").await;
    let epoch = publish(&server, "1").await["epoch"].as_str().expect("text").to_owned();
    for body in ["2", "3", "4"] {
        publish(&server, body).await;
    }
    let mut raw = Ws::raw(&server, &format!("t?since={epoch}:2")).await;
    let mut sdk = Ws::subscriber(&server, &[]).await;
    let since = format!(r#"{{"epoch":"{epoch}","offset":2}}"#);
    sdk.send(&format!(r#"{{"id":2,"subscribe":{{"topic":"t","since":{since}}}}}"#)).await;
    let reply = sdk.json().await;
    assert_eq!(
        (&reply["subscribe"]["recovered"], &reply["subscribe"]["offset"]),
        (&true.into(), &4.into())
    );
    publish(&server, "5").await;
    for body in ["3", "4", "5"] {
        assert_eq!(raw.data().await.into_text().expect("text"), body);
        assert_eq!(sdk.json().await["text"], body);
    }
    let mut other_life = Ws::subscriber(&server, &[]).await;
    other_life
        .send(r#"{"id":2,"subscribe":{"topic":"t","since":{"epoch":"other","offset":2}}}"#)
        .await;
    assert_eq!(other_life.json().await["subscribe"]["recovered"], false);
    drop(holder);
    server.stop().await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_at_all_is_closed() {
    let server = start_with(|l| {
        l.stall_timeout_ms = 600;
        l.outbox_high_water_bytes = 50_000;
    });
    let stalled = handshake(&server, "/v1/topics/t").await;
    let body = "x".repeat(50_000);
    while !is_behind(&server).await {
        publish(&server, &body).await;
    }
    let closed = "fanfare_connections_closed_total{code=\"slow_consumer\"}";
    let mut closes = 0.0;
    while closes < 1.0 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        closes = metric(&server, closed).await;
    }
    drop(stalled);
    eventually("it is gone", || server.connection_count() == 0).await;
    server.stop().await;
}
