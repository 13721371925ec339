//! What an operator sees of the connections that keep up worst.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fanfare::Server;
use serde_json::{Value, json};

use crate::support::{SOON, Wire, Ws, admin, start_with};

async fn connections(server: &Server, query: &str) -> Vec<Value> {
    let answer = admin(server, &format!("/v1/connections{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    answer.json()["connections"].as_array().unwrap().clone()
}

/// Asks until the worst connection is as `condition` says; what is told of it then.
async fn worst(server: &Server, condition: impl Fn(&Value) -> bool) -> Value {
    let asking = async {
        loop {
            let worst = connections(server, "?limit=1").await.remove(0);
            if condition(&worst) {
                return worst;
            }
        }
    };
    tokio::time::timeout(SOON, asking).await.expect("the worst connection is as it should be")
}

#[tokio::test]
async fn a_stalled_connection_comes_first_with_all_that_waits_for_it() {
    let server = start_with(|l| {
        l.stall_timeout_ms = 3_000;
        l.outbox_high_water_bytes = 32_768;
        l.outbox_low_water_bytes = 8_192;
        l.close_timeout_ms = 20_000;
    });
    let mut healthy = Vec::new();
    for _ in 0..5 {
        healthy.push(Ws::subscriber(&server, &["quiet"]).await);
    }
    let mut stalled = Wire::open(&server, "/v1/ws").await;
    let name = stalled.ask(json!({"connect": {"name": "reader 7"}})).await["connect"]["connection"]
        .clone();
    for topic in ["t.1", "t.2", "t.3"] {
        stalled.ask(json!({"subscribe": {"topic": topic, "mode": "latest"}})).await;
    }
    stalled.ask(json!({"subscribe": {"topic": "t.4"}})).await;
    let before = connections(&server, "").await;
    assert_eq!(before.len(), 6);
    assert!(before.iter().all(|c| c["state"] == "open" && c["buffered_amount"] == 0), "{before:?}");
    assert!(before.iter().all(|c| c["oldest_unsent_ms"].is_null()), "{before:?}");

    let mut publisher = Ws::subscriber(&server, &[]).await;
    let body = "x".repeat(4_000);
    let is_behind = |worst: &Value| worst["topics_behind"] == 4;
    while !is_behind(&connections(&server, "?limit=1").await[0]) {
        for topic in ["t.1", "t.2", "t.3", "t.4"] {
            publisher.publish(topic, body.as_str()).await;
        }
    }
    let told = worst(&server, |worst| worst["state"] == "lagging").await;
    assert_eq!((&told["connection"], &told["name"]), (&name, &json!("reader 7")));
    assert_eq!(told["protocol"], "fanfare.v1.json");
    assert!(told["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{told}");
    assert_eq!((&told["subscriptions_all"], &told["subscriptions_latest"]), (&json!(1), &json!(3)));
    let (amount, kernel) = (told["buffered_amount"].as_u64(), told["kernel_bytes"].as_u64());
    assert!(kernel > Some(0) && amount > kernel, "{told}");
    assert!(amount < Some(32_768 + 200_000), "the marks bound it: {told}");

    let older = told["oldest_unsent_ms"].as_u64().unwrap();
    let told = worst(&server, |worst| worst["state"] == "stalled").await;
    assert!(told["oldest_unsent_ms"].as_u64().unwrap() > older.max(500), "{told}");
    let all = connections(&server, "?limit=1000").await;
    assert_eq!((all.len(), &all[0]["connection"]), (7, &name));
    let others = all[1..].iter().map(|c| c["buffered_amount"].as_u64().unwrap());
    assert!(others.sum::<u64>() == 0, "{all:?}");

    let told = worst(&server, |worst| worst["state"] == "closing").await;
    assert_eq!(told["connection"], name, "the stall timeout has come");
    let (code, reason) = stalled.closed().await;
    assert_eq!((code, reason.as_str()), (3000, "no byte was taken for 3 s; read faster"));
    drop((healthy, publisher, stalled));
    server.stop().await;
}

#[tokio::test]
async fn what_was_merged_and_lost_is_counted_for_each_connection() {
    let server = start_with(|l| {
        l.outbox_high_water_bytes = 32_768;
        l.outbox_low_water_bytes = 8_192;
        l.namespaces.default_mut().history_messages = 10;
    });
    let mut slow = Wire::sdk(
        &server,
        &[
            json!({"subscribe": {"topic": "t", "mode": "all"}}),
            json!({"subscribe": {"topic": "u", "mode": "latest"}}),
        ],
    )
    .await;
    let mut publisher = Ws::subscriber(&server, &[]).await;
    let body = "x".repeat(4_000);
    for _ in 0..100 {
        publisher.publish("t", body.as_str()).await;
        publisher.publish("u", body.as_str()).await;
    }
    let (mut lost, mut merged) = (0, 0);
    let (mut t, mut u) = (0, 0);
    while t < 100 || u < 100 {
        let push = slow.json().await;
        if push["event"] == "gap" {
            lost += push["to"].as_u64().unwrap() - t;
            t = push["to"].as_u64().unwrap();
        } else if push["topic"] == "t" {
            t = push["offset"].as_u64().unwrap();
        } else {
            merged += push["offset"].as_u64().unwrap() - u - 1;
            u = push["offset"].as_u64().unwrap();
        }
    }
    let told = connections(&server, "").await;
    let told = told.iter().find(|c| c["subscriptions_all"] == 1).unwrap();
    assert_eq!((&told["messages_lost"], &told["messages_merged"]), (&json!(lost), &json!(merged)));
    assert!(lost > 0 && merged > 0, "{told}");
    server.stop().await;
}

#[tokio::test]
async fn the_view_answers_while_the_shards_are_busy_and_refuses_what_it_does_not_know() {
    let server = start_with(|_| {});
    let stop = Arc::<AtomicBool>::default();
    let busy: Vec<_> = (0..2)
        .map(|_| {
            let (mut publisher, stop) = (server.publisher(), stop.clone());
            std::thread::spawn(move || {
                let name = fanfare_protocol::TopicName::new("t").unwrap();
                let payload = fanfare_protocol::Payload::text("x".repeat(100));
                while !stop.load(Ordering::Relaxed) {
                    publisher.publish(&name, &payload).unwrap();
                    std::thread::sleep(std::time::Duration::from_micros(200));
                }
            })
        })
        .collect();
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut ws = Ws::subscriber(&server, &["t"]).await;
        readers.push(tokio::spawn(async move { ws.closed().await }));
    }
    for _ in 0..20 {
        assert_eq!(connections(&server, "?limit=7").await.len(), 7);
    }
    for query in ["?limit=0", "?limit=1001", "?limit=x", "?limit=", "?n=5", "?limit=5&limit=6"] {
        let answer = admin(&server, &format!("/v1/connections{query}")).await;
        assert_eq!(answer.status, 400, "{query} {answer:?}");
        assert!(answer.detail().contains("limit, from 1 to 1000"), "{query} {answer:?}");
    }
    stop.store(true, Ordering::Relaxed);
    busy.into_iter().for_each(|thread| thread.join().unwrap());
    server.stop().await;
    for reader in readers {
        assert_eq!(reader.await.unwrap().0, 1012);
    }
}
