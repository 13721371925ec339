//! The views of topics and shards, and what they refuse.

use fanfare::{NamespaceOptions, Server};
use serde_json::{Value, json};

use crate::support::{Ws, admin, http, metric_becomes, start, start_with};

async fn rows(server: &Server, view: &str, query: &str) -> Vec<Value> {
    let answer = admin(server, &format!("/v1/{view}{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()[view].as_array().unwrap().clone()
}

#[tokio::test]
async fn topics_are_told_with_what_they_keep_and_who_wants_them() {
    let server = start_with(|limits| {
        limits.namespaces.insert("stocks", NamespaceOptions::default());
    });
    let _readers = [Ws::raw(&server, "news").await, Ws::raw(&server, "news").await];
    for _ in 0..5 {
        http(&server, "POST /v1/topics/stocks.A", &[], b"12345").await;
    }
    http(&server, "POST /v1/topics/news", &[], b"1").await;
    let first = rows(&server, "topics", "?limit=1").await;
    assert_eq!((first.len(), &first[0]["topic"]), (1, &json!("stocks.A")));
    assert_eq!((&first[0]["offset"], &first[0]["messages"]), (&json!(5), &json!(5)));
    assert_eq!(first[0]["namespace"], "stocks");
    assert!(first[0]["messages_per_second"].as_f64() > Some(0.0), "{first:?}");
    assert!(first[0]["bytes"].as_u64() > Some(25), "{first:?}");
    let first = rows(&server, "topics", "?sort=subscribers").await;
    assert_eq!((first.len(), &first[0]["topic"]), (2, &json!("news")));
    assert_eq!((&first[0]["subscribers"], &first[0]["namespace"]), (&json!(2), &json!("default")));
    assert_eq!(first[0]["messages_per_second"], Value::Null, "of one message nobody knows it");
    assert!(first[0]["newest_age_ms"].is_u64() && first[0]["epoch"].is_string(), "{first:?}");
    server.stop().await;
}

#[tokio::test]
async fn shards_are_told_with_their_connections_by_state() {
    let server = start();
    let _quiet = Ws::on_shard(&server, 0).await;
    let mut one = Ws::on_shard(&server, 1).await;
    one.subscribe(json!({"topic": "t"})).await;
    one.publish("t", 1).await;
    metric_becomes(&server, "fanfare_messages_out_total", |n| n == 1.0).await;
    metric_becomes(&server, "fanfare_connection_states{state=\"open\"}", |n| n >= 2.0).await;
    let shards = rows(&server, "shards", "").await;
    assert_eq!((&shards[0]["shard"], &shards[1]["shard"]), (&json!(0), &json!(1)));
    assert_eq!((&shards[1]["messages_out"], &shards[1]["messages_in"]), (&json!(1), &json!(1)));
    assert_eq!(
        (&shards[1]["subscriptions"], &shards[0]["mailbox_messages"]),
        (&json!(1), &json!(0))
    );
    assert!(shards.iter().all(|shard| shard["connections"].as_u64() >= Some(1)), "{shards:?}");
    let busy = shards.iter().map(|shard| shard["busy_ratio"].as_f64().unwrap());
    assert!(busy.clone().all(|ratio| (0.0..=1.0).contains(&ratio)), "{shards:?}");
    let sorted = rows(&server, "shards", "?sort=messages_out&limit=1").await;
    assert_eq!((sorted.len(), &sorted[0]["shard"]), (1, &json!(1)));
    let node = admin(&server, "/v1/shards").await.json()["node"].as_str().unwrap().to_owned();
    let name = rows(&server, "connections", "?limit=1").await[0]["connection"].clone();
    assert!(name.as_str().unwrap().starts_with(&format!("{node}-")), "{name} of {node}");
    server.stop().await;
}

#[tokio::test]
async fn connections_can_be_sorted_and_looked_for_by_topic() {
    let server = start();
    let _many = Ws::subscriber(&server, &["a", "b", "c"]).await;
    let _pattern = Ws::subscriber(&server, &["stocks.*"]).await;
    let _other = Ws::subscriber(&server, &["stocks.B"]).await;
    http(&server, "POST /v1/topics/stocks.A", &[], b"1").await;
    metric_becomes(&server, "fanfare_messages_out_total", |n| n == 1.0).await;
    let first = rows(&server, "connections", "?sort=subscriptions&limit=1").await;
    assert_eq!(first[0]["subscriptions_all"], 3);
    assert_eq!(rows(&server, "connections", "?topic=stocks.A").await.len(), 1);
    assert_eq!(rows(&server, "connections", "?topic=stocks.B").await.len(), 2);
    assert_eq!(rows(&server, "connections", "?topic=nobody").await.len(), 0);
    server.stop().await;
}

#[tokio::test]
async fn what_a_view_does_not_know_is_refused_with_what_it_knows() {
    let server = start();
    for (path, allowed) in [
        (
            "/v1/connections?sort=size",
            "buffered_amount, oldest_unsent, subscriptions, topics_behind",
        ),
        ("/v1/connections?topic=a..b", "topic, the name of one"),
        ("/v1/topics?sort=age", "rate, subscribers, offset, messages, bytes, newest_age"),
        ("/v1/topics?topic=a", "from 1 to 1000"),
        ("/v1/shards?limit=0", "shard, busy, connections, mailbox, messages_out"),
    ] {
        let answer = admin(&server, path).await;
        assert_eq!(answer.status, 400, "{path} {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert!(answer.detail().contains(allowed), "{path} {answer:?}");
    }
    let nothing = admin(&server, "/v1").await;
    assert!(nothing.status == 404 && nothing.body.contains("/v1/topics"), "{nothing:?}");
    server.stop().await;
}
