//! Readers that stop, trickle, go on, or vanish: what they get, and that nobody else notices.

use std::time::Duration;

use fanfare::Server;
use fanfare_engine::SlowConsumer;
use fanfare_protocol::{Payload, TopicName};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{
    InOrder, Wire, Ws, admin, eventually, frame, metric, metric_becomes, start_with,
};

/// Follows a topic from its first message up to this offset.
fn follow(mut ws: Ws, to: u64) -> JoinHandle<InOrder> {
    tokio::spawn(async move {
        let mut order = InOrder::default();
        while order.last < to {
            order.take(&ws.push().await);
        }
        order
    })
}

/// A subscriber on each shard that reads as fast as messages come.
async fn healthy(server: &Server, topic: &str, to: u64) -> Vec<JoinHandle<InOrder>> {
    let mut tasks = Vec::new();
    for shard in 0..2 {
        let mut ws = Ws::on_shard(server, shard).await;
        ws.subscribe(json!({"topic": topic})).await;
        tasks.push(follow(ws, to));
    }
    tasks
}

#[tokio::test]
async fn readers_that_stop_trickle_or_vanish_are_not_felt_by_others() {
    const MESSAGES: u64 = 600;
    let server = start_with(|l| {
        l.outbox_high_water_bytes = 32_768;
        l.outbox_low_water_bytes = 8_192;
        l.namespaces.default_mut().history_messages = 50;
    });
    let healthy = healthy(&server, "t", MESSAGES).await;
    let mut stopped = Wire::subscriber(&server, json!({"topic": "t"})).await;
    let mut trickling = Wire::subscriber(&server, json!({"topic": "t"})).await;
    let mut latest = Wire::subscriber(&server, json!({"topic": "t", "mode": "latest"})).await;
    let mut gone = Some(Wire::subscriber(&server, json!({"topic": "t"})).await);
    let mut publisher = Ws::subscriber(&server, &[]).await;
    let body = "x".repeat(2_000);
    for offset in 1..=MESSAGES {
        assert_eq!(publisher.publish("t", body.as_str()).await, offset);
        if offset % 3 == 0 {
            trickling.trickle(700);
        }
        if offset == MESSAGES / 2 {
            gone.take().expect("once").reset();
        }
    }
    for task in healthy {
        let order = task.await.unwrap();
        assert_eq!((order.messages, order.gaps), (MESSAGES, 0), "others get everything");
    }
    eventually("who has vanished is gone", || server.connection_count() == 4).await;

    let mut lost = 0;
    for (reader, fewest_gaps) in [(&mut stopped, 1), (&mut trickling, 0)] {
        let mut order = InOrder::default();
        while order.last < MESSAGES {
            order.take(&reader.json().await);
        }
        assert_eq!(order.messages + order.lost, MESSAGES);
        assert!(order.gaps >= fewest_gaps, "{order:?}");
        lost += order.lost;
    }
    assert_eq!(metric(&server, "fanfare_gap_messages_total").await, lost as f64);

    let mut offsets = Vec::new();
    while offsets.last() != Some(&MESSAGES) {
        offsets.push(latest.json().await["offset"].as_u64().expect("a message"));
    }
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
    assert_eq!(metric(&server, "fanfare_outbox_bytes").await, 0.0);
    server.stop().await;
}

#[tokio::test]
async fn where_slow_readers_are_disconnected_they_come_back_and_recover() {
    let server = start_with(|l| {
        l.namespaces.default_mut().slow_consumer = SlowConsumer::Disconnect;
        l.namespaces.default_mut().history_messages = 1_000;
        l.outbox_bytes_max = 300_000;
        l.close_timeout_ms = 20_000;
    });
    let mut slow = Wire::subscriber(&server, json!({"topic": "t"})).await;
    let mut publisher = Ws::subscriber(&server, &["t"]).await;
    let closed = "fanfare_connections_closed_total{code=\"slow_consumer\"}";
    let body = "x".repeat(5_000);
    let mut published = 0;
    while metric(&server, closed).await < 1.0 {
        assert!(published < 1_000, "the limit must come first");
        for _ in 0..10 {
            published = publisher.publish("t", body.as_str()).await;
            assert_eq!(publisher.json().await["offset"], published, "others get everything");
        }
    }
    let mut order = InOrder::default();
    let (code, reason) = loop {
        let frame = slow.frame().await.expect("a close frame");
        match frame.opcode {
            8 => break frame.close(),
            _ => order.take(&frame.json()),
        }
    };
    assert_eq!((code, order.gaps), (3000, 0));
    assert!(reason.contains("300000 bytes"), "{reason}");
    assert!(order.last < published);
    drop(slow);

    let mut back = Ws::subscriber(&server, &[]).await;
    let history = back.ask(json!({"history": {"topic": "t", "limit": 1}})).await;
    let since = json!({"epoch": history["history"]["epoch"], "offset": order.last});
    let reply = back.subscribe(json!({"topic": "t", "since": since})).await;
    assert_eq!(reply["recovered"], true, "{reply}");
    while order.last < published {
        order.take(&back.json().await);
    }
    assert_eq!(order.gaps, 0);
    drop((publisher, back));
    server.stop().await;
}

#[tokio::test]
async fn peers_that_go_silent_are_found_by_the_pong_or_by_the_stall() {
    let server = start_with(|l| {
        l.ping_interval_ms = 200;
        l.stall_timeout_ms = 900;
        // Long for the polite ones, whose answers may wait on a busy machine.
        l.pong_timeout_ms = 4_000;
    });
    let healthy = healthy(&server, "t", 301).await;
    let mut publisher = Ws::subscriber(&server, &[]).await;
    // Takes everything that comes, but says nothing.
    let mut mute = Wire::subscriber(&server, json!({"topic": "quiet"})).await;
    let mute = tokio::spawn(async move { mute.closed().await });
    // Takes nothing; its pongs come unasked, so that only its stall can be noticed.
    let mut stalled = Wire::subscriber(&server, json!({"topic": "t"})).await;
    let body = "x".repeat(2_000);
    for _ in 0..300 {
        publisher.publish("t", body.as_str()).await;
    }
    let closed = |code: &str| format!("fanfare_connections_closed_total{{code=\"{code}\"}}");
    while metric(&server, &closed("slow_consumer")).await < 1.0 {
        use tokio::io::AsyncWriteExt;
        // Fails once the broker has given it up.
        let _ = stalled.stream.write_all(&frame(0x8a, b"")).await;
        publisher.come().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(stalled);
    let keep_reading = tokio::spawn(async move { publisher.closed().await });
    let (code, reason) = mute.await.unwrap();
    assert_eq!(code, 3001, "{reason}");
    assert_eq!(metric(&server, &closed("no_pong")).await, 1.0);
    assert_eq!(metric(&server, &closed("slow_consumer")).await, 1.0);
    let mut other = Ws::subscriber(&server, &[]).await;
    assert_eq!(other.publish("t", "the last").await, 301);
    for task in healthy {
        assert_eq!(task.await.unwrap().messages, 301);
    }
    server.stop().await;
    assert_eq!(keep_reading.await.unwrap().0, 1012);
}

/// What the admin view tells of the worst connection.
async fn worst(server: &Server) -> Value {
    admin(server, "/v1/connections?limit=1").await.json()["connections"][0].clone()
}

#[tokio::test]
async fn a_latest_reader_of_many_topics_goes_on_with_the_newest_of_each_and_nothing_older() {
    const TOPICS: usize = 200;
    let server = start_with(|_| {});
    let mut publisher = server.publisher();
    let names: Vec<TopicName> =
        (0..TOPICS).map(|i| TopicName::new(&format!("t.{i}")).unwrap()).collect();
    let payload = Payload::text("x".repeat(700));
    let mut round = || {
        let offsets = names.iter().map(|name| publisher.publish(name, &payload).unwrap());
        offsets.max().expect("topics")
    };
    let commands: Vec<Value> = names
        .iter()
        .map(|name| json!({"subscribe": {"topic": name.as_str(), "mode": "latest"}}))
        .collect();
    let mut reader = Wire::sdk(&server, &commands).await;
    let mut newest = 0;
    // Now and then it takes some, so that it is caught up in part with what is newest then.
    for _ in 0..6 {
        for _ in 0..3 {
            newest = round();
        }
        metric_becomes(&server, "fanfare_mailbox_messages", |n| n == 0.0).await;
        while reader.trickle(20_000) {}
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Until it has stopped for good, and owes nothing to anyone.
    while worst(&server).await["topics_behind"] != TOPICS {
        newest = round();
        metric_becomes(&server, "fanfare_mailbox_messages", |n| n == 0.0).await;
    }
    // Everything before this byte is in its socket; what begins later is yet to be decided.
    let held = metric(&server, "fanfare_out_bytes_total").await as u64;
    let mut offsets = vec![0; TOPICS];
    while offsets.iter().any(|offset| *offset != newest) {
        let frame = reader.frame().await.expect("a message");
        let message = frame.json();
        let topic: usize = message["topic"].as_str().unwrap()[2..].parse().unwrap();
        let offset = message["offset"].as_u64().unwrap();
        assert!(offset > offsets[topic], "{offset} of {topic} after {}", offsets[topic]);
        assert!(frame.at < held || offset == newest, "{offset} is older than what it held");
        offsets[topic] = offset;
    }
    server.stop().await;
}
