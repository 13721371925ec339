//! Reading what a topic keeps, page by page, and publishing once however often it is sent.

use fanfare::Server;
use serde_json::{Value, json};

use crate::support::{Ws, http, metric_becomes, start, start_with};

/// The offsets of a page.
fn offsets(page: &Value) -> Vec<u64> {
    let messages = page["messages"].as_array().unwrap_or_else(|| panic!("{page}")).iter();
    messages.map(|message| message["offset"].as_u64().unwrap()).collect()
}

async fn get(server: &Server, query: &str) -> Value {
    let answer = http(server, &format!("GET /v1/topics/t{query}"), &[], b"").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn pages_lead_through_all_that_is_kept_while_publishing_goes_on() {
    let server = start_with(|l| {
        l.namespaces.default_mut().history_messages = 10_000;
        l.history_page_bytes_max = 2_000;
    });
    let mut publisher = Ws::subscriber(&server, &[]).await;
    for i in 1..=50 {
        publisher.publish("t", i).await;
    }
    let mut reader = Ws::subscriber(&server, &[]).await;
    let first = reader.ask(json!({"history": {"topic": "t", "limit": 1}})).await;
    let first = &first["history"];
    assert_eq!(
        (offsets(first), &first["recovered"], &first["more"]),
        (vec![50], &json!(false), &json!(false))
    );
    let epoch = first["epoch"].as_str().unwrap();
    let (mut over_ws, mut over_http) = (Vec::new(), Vec::new());
    let mut more = true;
    while more {
        let last = over_ws.last().copied().unwrap_or(0);
        let after = json!({"epoch": epoch, "offset": last});
        let reply =
            reader.ask(json!({"history": {"topic": "t", "after": after, "limit": 7}})).await;
        let page = &reply["history"];
        assert_eq!(page["recovered"], true, "{page}");
        over_ws.extend(offsets(page));
        more = page["more"].as_bool().unwrap();
        if over_ws.len() < 100 {
            // A long message fills a page by itself, and ends it before the limit.
            let body = if over_ws.len() % 3 == 0 { "x".repeat(5_000) } else { "x".to_owned() };
            publisher.publish("t", body).await;
            more = true;
        }
    }
    more = true;
    while more {
        let last = over_http.last().copied().unwrap_or(0);
        let page = get(&server, &format!("?after={epoch}:{last}&limit=9")).await;
        assert_eq!((&page["recovered"], &page["epoch"]), (&json!(true), &json!(epoch)));
        over_http.extend(offsets(&page));
        more = page["more"].as_bool().unwrap();
    }
    let head = get(&server, "?limit=1").await["offset"].as_u64().unwrap();
    assert_eq!(over_ws, (1..=head).collect::<Vec<_>>());
    assert_eq!(over_http, over_ws);
    server.stop().await;
}

#[tokio::test]
async fn what_is_gone_is_said_to_be_gone() {
    let server = start_with(|l| l.namespaces.default_mut().history_messages = 5);
    let mut ws = Ws::subscriber(&server, &[]).await;
    for i in 1..=20 {
        ws.publish("t", i).await;
    }
    let epoch = get(&server, "").await["epoch"].as_str().unwrap().to_owned();
    for (after, recovered, expected) in [
        (format!("{epoch}:15"), true, vec![16, 17, 18, 19, 20]),
        (format!("{epoch}:14"), false, vec![16, 17, 18, 19, 20]),
        (format!("{epoch}:20"), true, vec![]),
        (format!("{epoch}:21"), false, vec![16, 17, 18, 19, 20]),
        ("other:20".to_owned(), false, vec![16, 17, 18, 19, 20]),
    ] {
        let page = get(&server, &format!("?after={after}")).await;
        assert_eq!((&page["recovered"], offsets(&page)), (&json!(recovered), expected.clone()));
        let (epoch, offset) = after.split_once(':').unwrap();
        let offset: u64 = offset.parse().unwrap();
        let after = json!({"epoch": epoch, "offset": offset});
        let reply = ws.ask(json!({"history": {"topic": "t", "after": after}})).await;
        let page = &reply["history"];
        assert_eq!((&page["recovered"], offsets(page)), (&json!(recovered), expected));
    }
    server.stop().await;
}

#[tokio::test]
async fn wrong_questions_are_told_what_is_allowed() {
    let server = start();
    let mut ws = Ws::subscriber(&server, &[]).await;
    ws.publish("t", 1).await;
    for (query, says) in [
        ("?after=5", "EPOCH:OFFSET"),
        ("?after=e:-1", "EPOCH:OFFSET"),
        ("?after=:1", "EPOCH:OFFSET"),
        ("?limit=0", "1 to 1000"),
        ("?limit=many", "1 to 1000"),
        ("?since=e:1", "after, limit and wait"),
        ("?after=%ff", "UTF-8"),
    ] {
        let answer = http(&server, &format!("GET /v1/topics/t{query}"), &[], b"").await;
        assert_eq!(answer.status, 400, "{query} {answer:?}");
        assert!(answer.detail().contains(says), "{query} {answer:?}");
    }
    for (history, code, says) in [
        (json!({"topic": "t", "limit": 0}), "bad_request", "1000"),
        (json!({"topic": "t", "limit": 1001}), "bad_request", "1000"),
        (json!({"topic": "t", "after": {"epoch": "e"}}), "bad_request", "offset"),
        (json!({"topic": "t", "before": 3}), "bad_request", "before"),
        (json!({"topic": "t.*"}), "bad_topic", "'*'"),
        (json!({"topic": "nothing"}), "unknown_topic", "nothing"),
    ] {
        let (got, message) = ws.refused(json!({"history": history})).await;
        assert_eq!(got, code, "{history}: {message}");
        assert!(message.contains(says), "{history}: {message}");
    }
    server.stop().await;
}

#[tokio::test]
async fn pages_asked_for_at_once_are_written_before_the_reader_is_taken_for_slow() {
    let server = start_with(|l| {
        l.outbox_high_water_bytes = 32_768;
        l.outbox_bytes_max = 100_000;
    });
    let mut ws = Ws::subscriber(&server, &[]).await;
    for _ in 0..20 {
        ws.publish("t", "x".repeat(4_000)).await;
    }
    // More than may wait, but no more than that and what the kernel takes at once.
    let page = json!({"topic": "t", "limit": 15});
    let commands: Vec<Value> = (101..=103).map(|id| json!({"id": id, "history": page})).collect();
    ws.send(&Value::from(commands).to_string()).await;
    for id in 101..=103 {
        let reply = ws.json().await;
        assert_eq!((&reply["id"], offsets(&reply["history"]).len()), (&json!(id), 15));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_key_is_published_once_whichever_way_it_comes() {
    let server = start_with(|l| {
        l.publish_keys_max = 3;
        // For this test the window is short and the sweep is quick to notice.
        l.publish_key_window_ms = 500;
        l.namespaces.default_mut().history_age_ms = 500;
    });
    let mut listener = Ws::subscriber(&server, &["t", "u"]).await;
    let mut ws = Ws::subscriber(&server, &[]).await;
    let with_key =
        |topic: &str, key: &str| json!({"publish": {"topic": topic, "key": key, "data": key}});
    let reply = ws.ask(with_key("t", "a")).await;
    let first = reply["publish"].clone();
    assert_eq!((&first["offset"], &first["duplicate"]), (&json!(1), &Value::Null));
    let post = |topic: &'static str, key: &'static str| {
        let (server, start) = (&server, format!("POST /v1/topics/{topic}"));
        async move { http(server, &start, &[&format!("Idempotency-Key: {key}")], b"\"a\"").await }
    };
    for key in ["a", "\"a\""] {
        let answer = post("t", key).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json(), json!({"epoch": first["epoch"], "offset": 1, "duplicate": true}));
    }
    assert_eq!(post("u", "a").await.json()["offset"], 1, "another topic");
    assert_eq!(ws.ask(with_key("u", "a")).await["publish"]["duplicate"], true);
    assert_eq!(ws.publish("t", "without a key").await, 2);
    for (key, offset) in [("b", 3), ("c", 4), ("d", 5)] {
        assert_eq!(ws.ask(with_key("t", key)).await["publish"]["offset"], offset);
    }
    // Only the last three keys are remembered.
    assert_eq!(ws.ask(with_key("t", "a")).await["publish"]["offset"], 6);
    for wrong in ["", &"x".repeat(129)] {
        let (code, message) = ws.refused(with_key("t", wrong)).await;
        assert!(code == "bad_request" && message.contains("128"), "{code} {message}");
    }
    let long: &'static str = "x".repeat(129).leak();
    for wrong in ["", long, "k\u{e9}y"] {
        let answer = post("t", wrong).await;
        assert!(answer.status == 400 && answer.detail().contains("128"), "{answer:?}");
    }
    let mut heard = Vec::new();
    while heard.len() < 7 {
        let push = listener.json().await;
        heard.push((push["topic"].as_str().unwrap().to_owned(), push["offset"].as_u64().unwrap()));
    }
    heard.sort();
    let expected = (1..=6).map(|i| ("t".to_owned(), i)).chain([("u".to_owned(), 1)]);
    assert!(heard.iter().cloned().eq(expected), "{heard:?}");
    assert!(listener.come().await.is_empty());
    // What stays is each topic's newest message, for the listener.
    metric_becomes(&server, "fanfare_history_bytes", |bytes| bytes < 600.0).await;
    assert_eq!(ws.ask(with_key("t", "d")).await["publish"]["offset"], 7, "the window is over");
    server.stop().await;
}

#[tokio::test]
async fn a_message_sent_through_both_transports_at_once_is_one_message() {
    let server = start();
    let mut listener = Ws::subscriber(&server, &["t"]).await;
    let mut publishers = [Ws::on_shard(&server, 0).await, Ws::on_shard(&server, 1).await];
    for i in 0..50 {
        let key = format!("order-{i}");
        let [a, b] = &mut publishers;
        let command = json!({"publish": {"topic": "t", "key": key, "data": i}});
        let header = format!("Idempotency-Key: {key}");
        let body = i.to_string();
        let headers = [header.as_str()];
        let (one, two, three) = tokio::join!(
            a.ask(command.clone()),
            b.ask(command.clone()),
            http(&server, "POST /v1/topics/t", &headers, body.as_bytes()),
        );
        let replies = [one["publish"].clone(), two["publish"].clone(), three.json()];
        assert!(replies.iter().all(|reply| reply["offset"] == i + 1), "{replies:?}");
        let duplicates = replies.iter().filter(|reply| reply["duplicate"] == true).count();
        assert_eq!(duplicates, 2, "{replies:?}");
        assert_eq!(listener.json().await["offset"], i + 1);
    }
    assert!(listener.come().await.is_empty());
    server.stop().await;
}
