//! Subscriptions by pattern while publishers on both shards are at work: nothing is lost, nothing
//! comes twice, whatever else the connection subscribes to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use fanfare::Server;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{InOrder, Wire, Ws, metric, metric_becomes, start, start_with};

/// The newest offset of each topic.
type Heads = BTreeMap<String, u64>;

/// Publishers on both shards, until they are told to stop.
struct Publishers {
    acknowledged: Arc<Mutex<Heads>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Publishers {
    /// Starts one publisher on each shard; `topic` names the topic of its message number `i`.
    async fn start(server: &Server, topic: fn(shard: usize, i: usize) -> String) -> Self {
        let (acknowledged, stop) = (Arc::<Mutex<Heads>>::default(), Arc::<AtomicBool>::default());
        let mut tasks = Vec::new();
        for shard in 0..2 {
            let mut ws = Ws::on_shard(server, shard).await;
            let (heads, stop) = (acknowledged.clone(), stop.clone());
            tasks.push(tokio::spawn(async move {
                for i in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let topic = topic(shard, i);
                    let offset = ws.publish(&topic, i).await;
                    let mut heads = heads.lock().unwrap();
                    let head = heads.entry(topic).or_default();
                    *head = offset.max(*head);
                }
            }));
        }
        Self { acknowledged, stop, tasks }
    }

    fn heads(&self) -> Heads {
        self.acknowledged.lock().unwrap().clone()
    }

    async fn reach(&self, messages: u64) {
        let until = messages + self.heads().values().sum::<u64>();
        while self.heads().values().sum::<u64>() < until {
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) -> Heads {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        Arc::into_inner(self.acknowledged).unwrap().into_inner().unwrap()
    }
}

/// What a subscriber has got of each topic, from its first message on.
#[derive(Default)]
struct Followed {
    first: Heads,
    topics: BTreeMap<String, InOrder>,
}

impl Followed {
    fn take(&mut self, push: &Value) {
        if push["event"] == "snapshot" {
            return;
        }
        let topic = push["topic"].as_str().unwrap_or_else(|| panic!("{push}")).to_owned();
        let Some(order) = self.topics.get_mut(&topic) else {
            let offset = push["offset"].as_u64().unwrap();
            self.first.insert(topic.clone(), offset);
            self.topics.insert(topic, InOrder::after(offset));
            return;
        };
        order.take(push);
    }

    async fn follow_to(&mut self, ws: &mut Ws, heads: &Heads) {
        let has = |order: Option<&InOrder>, head: u64| order.is_some_and(|o| o.last >= head);
        while !heads.iter().all(|(topic, head)| has(self.topics.get(topic), *head)) {
            self.take(&ws.push().await);
        }
    }
}

#[tokio::test]
async fn a_snapshot_and_what_follows_lose_and_double_nothing_on_any_shard() {
    let server = start();
    let mut early = Ws::subscriber(&server, &[]).await;
    for i in 0..5 {
        early.publish(&format!("p.quiet.{i}"), "only").await;
    }
    let publishers = Publishers::start(&server, |shard, i| match i % 9 {
        0 => format!("p.new.{shard}-{}", i / 45),
        topic => format!("p.busy.{topic}"),
    })
    .await;
    publishers.reach(50).await;
    let mut subscribers = Vec::new();
    for i in 0..12 {
        let mut ws = Ws::on_shard(&server, i % 2).await;
        let before = publishers.heads();
        let pattern = ["p.*.*", "p.>", ">"][i / 2 % 3];
        let reply = ws.subscribe(json!({"topic": pattern, "snapshot": true})).await;
        let after = publishers.heads();
        let count = reply["topics"].as_u64().unwrap() as usize;
        assert!(count >= before.len() + 5, "{count} topics; {} were there", before.len());
        subscribers.push((ws, before, after));
        publishers.reach(20).await;
    }
    let mut heads = publishers.stop().await;
    heads.extend((0..5).map(|i| (format!("p.quiet.{i}"), 1)));
    for (mut ws, before, after) in subscribers {
        let mut followed = Followed::default();
        followed.follow_to(&mut ws, &heads).await;
        for (topic, first) in &followed.first {
            let least = before.get(topic).copied().unwrap_or(1);
            assert!(*first >= least, "{topic} begins at {first}; {least} was there before");
            // Each publisher may be one ahead of what was acknowledged.
            let most = after.get(topic).copied().unwrap_or(0) + 2;
            assert!(*first <= most, "{topic} begins at {first}; {most} was the newest");
        }
        let come = ws.come().await;
        assert!(come.is_empty(), "nothing else: {come:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_connection_gets_each_message_once_while_its_other_subscriptions_come_and_go() {
    let server = start();
    let topic = |_: usize, i: usize| ["a.x", "a.y", "b.x", "c"][i % 4].to_owned();
    let publishers = Publishers::start(&server, topic).await;
    publishers.reach(20).await;
    let mut watchers = Vec::new();
    for shard in 0..2 {
        let mut ws = Ws::on_shard(&server, shard).await;
        // The one that stays; in its mode nothing may be missing.
        ws.subscribe(json!({"topic": ">"})).await;
        watchers.push((ws, Followed::default()));
    }
    let mut held = [false; 6];
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..150 {
        let which = random.usize(..held.len());
        let filter = ["a.x", "a.*", "*.x", "a.>", "c", "b.x"][which];
        for (ws, followed) in &mut watchers {
            if held[which] {
                ws.unsubscribe(filter).await;
            } else {
                ws.subscribe(json!({"topic": filter, "snapshot": false})).await;
            }
            for push in ws.come().await {
                followed.take(&push);
            }
        }
        held[which] = !held[which];
    }
    let heads = publishers.stop().await;
    for (ws, followed) in &mut watchers {
        followed.follow_to(ws, &heads).await;
        assert!(ws.come().await.is_empty());
        ws.unsubscribe(">").await;
    }
    assert!(heads.values().sum::<u64>() > 200, "publishers were at work: {heads:?}");
    server.stop().await;
}

#[tokio::test]
async fn nothing_follows_an_unsubscribed_pattern() {
    let server = start();
    let mut ws = Ws::subscriber(&server, &[]).await;
    ws.subscribe(json!({"topic": "a.*"})).await;
    let publishers = Publishers::start(&server, |shard, i| format!("a.{}", (shard + i) % 3)).await;
    for _ in 0..20 {
        publishers.reach(10).await;
        ws.unsubscribe("a.*").await;
        ws.come().await;
        publishers.reach(10).await;
        assert!(ws.come().await.is_empty(), "nothing behind the reply");
        ws.subscribe(json!({"topic": "a.*"})).await;
    }
    publishers.stop().await;
    let (code, message) = ws.refused(json!({"unsubscribe": {"topic": "a.>"}})).await;
    assert_eq!(code, "not_subscribed", "{message}");
    let (code, message) = ws.refused(json!({"subscribe": {"topic": "a.*"}})).await;
    assert_eq!(code, "already_subscribed", "{message}");
    server.stop().await;
}

#[tokio::test]
async fn a_subscriber_of_everything_hears_topics_that_age_out_and_come_back() {
    const TOPICS: usize = 30;
    let server = start_with(|l| l.namespaces.default_mut().history_age_ms = 300);
    let mut watchers = vec![Ws::on_shard(&server, 0).await, Ws::on_shard(&server, 1).await];
    for ws in &mut watchers {
        ws.subscribe(json!({"topic": ">"})).await;
    }
    let mut publisher = Ws::subscriber(&server, &[]).await;
    for life in 0..2 {
        for offset in 1..=3 {
            for topic in 0..TOPICS {
                assert_eq!(publisher.publish(&format!("t.{topic}"), life).await, offset);
            }
        }
        for ws in &mut watchers {
            let mut next = [1; TOPICS];
            while next != [4; TOPICS] {
                let push = ws.push().await;
                let topic: usize = push["topic"].as_str().unwrap()[2..].parse().unwrap();
                assert_eq!(
                    (push["offset"].as_u64(), &push["data"]),
                    (Some(next[topic]), &json!(life))
                );
                next[topic] += 1;
            }
        }
        if life == 0 {
            metric_becomes(&server, "fanfare_topics", |topics| topics == 0.0).await;
            assert_eq!(metric(&server, "fanfare_history_bytes").await, 0.0);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_slow_reader_of_a_pattern_is_told_the_exact_gap_of_each_topic() {
    let server = start_with(|l| {
        l.outbox_high_water_bytes = 32_768;
        l.outbox_low_water_bytes = 8_192;
        l.namespaces.default_mut().history_messages = 10;
    });
    let mut all = Wire::subscriber(&server, json!({"topic": "t.*", "mode": "all"})).await;
    let mut latest = Wire::subscriber(&server, json!({"topic": "t.*", "mode": "latest"})).await;
    let mut publisher = Ws::subscriber(&server, &[]).await;
    let body = "x".repeat(2_000);
    let mut heads = Heads::new();
    for i in 0..600 {
        let topic = format!("t.{}", i % 7);
        let offset = publisher.publish(&topic, body.as_str()).await;
        heads.insert(topic, offset);
    }
    let mut orders: BTreeMap<String, InOrder> = BTreeMap::new();
    while !heads.iter().all(|(topic, head)| orders.get(topic).is_some_and(|o| o.last == *head)) {
        let push = all.json().await;
        orders.entry(push["topic"].as_str().unwrap().to_owned()).or_default().take(&push);
    }
    assert!(orders.values().all(|order| order.gaps > 0), "{orders:?}");
    let mut newest = Heads::new();
    while newest != heads {
        let push = latest.json().await;
        if push["event"] == "snapshot" {
            continue;
        }
        let offset = push["offset"].as_u64().expect("a message");
        let before = newest.insert(push["topic"].as_str().unwrap().to_owned(), offset);
        assert!(before < Some(offset), "{push:.60}");
    }
    server.stop().await;
}
