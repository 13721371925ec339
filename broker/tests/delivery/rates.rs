//! Subscriptions with a rate: about that many messages, the last one always, and the same frames
//! for everyone in a tier.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fanfare::Server;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{Frame, Wire, Ws, start};

/// Publishes to a topic every few milliseconds for this long; the last offset.
fn busy(mut ws: Ws, topic: &'static str, time: Duration) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let began = Instant::now();
        let mut last = 0;
        while began.elapsed() < time {
            last = ws.publish(topic, last + 1).await;
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        last
    })
}

/// A client by hand on this shard that subscribes to `t` at this rate.
async fn rated(server: &Server, shard: usize, max_rate: u32) -> Wire {
    loop {
        let (mut wire, name) = Wire::named(server).await;
        if name.split('-').nth(1) == Some(&shard.to_string()) {
            wire.ask(json!({"subscribe": {"topic": "t", "max_rate": max_rate}})).await;
            return wire;
        }
    }
}

/// Reads up to the message with this offset, which must be the last.
async fn frames_to(wire: &mut Wire, last: u64) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    while frames.last().is_none_or(|frame| frame.json()["offset"] != last) {
        frames.push(wire.frame().await.expect("a frame"));
    }
    frames
}

#[tokio::test]
async fn a_tier_gets_about_its_rate_the_last_one_always_and_shared_frames() {
    const TIME: Duration = Duration::from_millis(2_500);
    let server = start();
    let mut quick = Vec::new();
    for shard in [0, 0, 1, 1] {
        quick.push(rated(&server, shard, 10).await);
    }
    let mut slow = rated(&server, 0, 1).await;
    let began = Instant::now();
    let publisher = Ws::subscriber(&server, &[]).await;
    let last = busy(publisher, "t", TIME).await.unwrap();
    let mut got = Vec::new();
    for wire in &mut quick {
        got.push(frames_to(wire, last).await);
    }
    let slow = frames_to(&mut slow, last).await;
    let passed_ms = began.elapsed().as_millis() as usize;

    let bytes = |frames: &[Frame]| frames.iter().map(|f| f.bytes.clone()).collect::<Vec<_>>();
    assert_eq!(bytes(&got[0]), bytes(&got[1]), "one tier of one shard");
    assert_eq!(bytes(&got[2]), bytes(&got[3]), "one tier of one shard");
    let mut by_offset: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for frame in got.iter().flatten().chain(&slow) {
        let offset = frame.json()["offset"].as_u64().expect("a message");
        let known = by_offset.entry(offset).or_insert_with(|| frame.bytes.clone());
        assert_eq!(*known, frame.bytes, "one frame for everyone");
    }
    for (frames, interval_ms) in [(&got[0], 100), (&got[2], 100), (&slow, 1_000)] {
        let offsets: Vec<u64> =
            frames.iter().map(|f| f.json()["offset"].as_u64().unwrap()).collect();
        assert!(offsets.is_sorted_by(|a, b| a < b) && offsets[0] == 1, "{offsets:?}");
        let most = passed_ms / interval_ms + 2;
        assert!(offsets.len() <= most, "{} of at most {most}", offsets.len());
        // Publishing took so long, whatever the machine: half of it is far below the rate.
        let fewest = (TIME.as_millis() as usize / interval_ms / 2).max(2);
        assert!(offsets.len() >= fewest.min(last as usize), "{offsets:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_quiet_topic_is_not_held_back_and_every_one_of_many_topics_ends_at_its_last() {
    const TOPICS: u64 = 50;
    let server = start();
    let mut ws = Ws::subscriber(&server, &[]).await;
    ws.subscribe(json!({"topic": "t.*", "max_rate": 2})).await;
    assert_eq!(ws.push().await["event"], "snapshot");
    let mut publisher = Ws::subscriber(&server, &[]).await;
    for offset in 1..=4 {
        for topic in 0..TOPICS {
            assert_eq!(publisher.publish(&format!("t.{topic}"), topic).await, offset);
        }
    }
    publisher.publish("t.quiet", "once").await;
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    while newest.len() < TOPICS as usize + 1
        || newest.iter().any(|(topic, offset)| topic != "t.quiet" && *offset != 4)
    {
        let push = ws.push().await;
        let (topic, offset) = (push["topic"].as_str().unwrap(), push["offset"].as_u64().unwrap());
        assert!(newest.insert(topic.to_owned(), offset) < Some(offset), "{push}");
    }
    server.stop().await;
}

#[tokio::test]
async fn rates_that_do_not_exist_or_do_not_go_with_the_mode_are_refused() {
    let server = start();
    let mut ws = Ws::subscriber(&server, &[]).await;
    for rate in [json!(0), json!(3), json!(11), json!(-1), json!("5"), json!(2.5)] {
        let wrong = json!({"subscribe": {"topic": "t", "max_rate": rate}});
        let (code, message) = ws.refused(wrong).await;
        assert_eq!(code, "bad_request", "{rate}");
        if rate.is_u64() {
            assert!(message.contains("[1, 2, 5, 10]") || message.contains("1, 2, 5"), "{message}");
        }
    }
    let both = json!({"subscribe": {"topic": "t", "max_rate": 5, "mode": "all"}});
    let (code, message) = ws.refused(both).await;
    assert_eq!(code, "bad_request", "{message}");
    assert!(message.contains("max_rate") && message.contains("all"), "{message}");
    let reply = ws.subscribe(json!({"topic": "t", "max_rate": 5})).await;
    assert_eq!(reply["mode"], "latest");
    server.stop().await;
}

/// Publishes to a few topics, with pauses that are long enough for tiers to hold messages back.
fn now_and_then(mut ws: Ws, stop: Arc<AtomicBool>) -> JoinHandle<BTreeMap<String, u64>> {
    tokio::spawn(async move {
        let mut heads = BTreeMap::new();
        for i in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let topic = ["a.x", "a.y", "b.x"][i % 3];
            heads.insert(topic.to_owned(), ws.publish(topic, i).await);
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
        heads
    })
}

#[tokio::test]
async fn nothing_comes_twice_or_late_while_subscriptions_of_all_rates_come_and_go() {
    let server = start();
    // Others hold messages back in every tier.
    let mut others = Vec::new();
    for (shard, rate) in [(0, 1), (0, 10), (1, 1), (1, 10)] {
        let mut ws = Ws::on_shard(&server, shard).await;
        ws.subscribe(json!({"topic": ">", "max_rate": rate})).await;
        others.push(ws);
    }
    let stop = Arc::<AtomicBool>::default();
    let publishing = now_and_then(Ws::subscriber(&server, &[]).await, stop.clone());
    let options: [Value; 5] = [
        json!({"topic": "a.x"}),
        json!({"topic": "a.x", "max_rate": 10, "snapshot": false}),
        json!({"topic": "a.*", "max_rate": 1, "snapshot": false}),
        json!({"topic": "*.x", "max_rate": 10, "snapshot": false}),
        json!({"topic": "a.>"}),
    ];
    let mut watchers = Vec::new();
    // What stays decides whenever nothing else does.
    for (shard, stays) in [
        (0, json!({"topic": ">", "mode": "all"})),
        (1, json!({"topic": ">", "max_rate": 10, "snapshot": false})),
    ] {
        let mut ws = Ws::on_shard(&server, shard).await;
        ws.subscribe(stays).await;
        watchers.push((ws, BTreeMap::<String, u64>::new()));
    }
    let take = |newest: &mut BTreeMap<String, u64>, push: &Value| {
        let (topic, offset) = (push["topic"].as_str().unwrap(), push["offset"].as_u64().unwrap());
        let before = newest.insert(topic.to_owned(), offset);
        assert!(before < Some(offset), "{push} after {before:?}");
    };
    let mut held: BTreeMap<&str, ()> = BTreeMap::new();
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..120 {
        let wanted = &options[random.usize(..options.len())];
        let filter = wanted["topic"].as_str().unwrap();
        let is_held = held.contains_key(filter);
        for (ws, newest) in &mut watchers {
            match is_held {
                true => ws.unsubscribe(filter).await,
                false => drop(ws.subscribe(wanted.clone()).await),
            }
            for push in ws.come().await {
                take(newest, &push);
            }
        }
        match is_held {
            true => held.remove(filter),
            false => held.insert(filter, ()),
        };
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let heads = publishing.await.unwrap();
    for (ws, newest) in &mut watchers {
        while *newest != heads {
            take(newest, &ws.push().await);
        }
    }
    server.stop().await;
}
