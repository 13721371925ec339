//! The heads that pings tell: what changed, and never more than the connection was sent before.

use std::collections::BTreeMap;

use fanfare::Server;
use serde_json::{Value, json};

use crate::support::{Wire, Ws, admin, start_with};

/// A connection that compares each ping with what has come before it.
struct Watcher {
    wire: Wire,
    /// Up to where each topic has come, by replies, messages and gaps.
    has: BTreeMap<String, u64>,
    /// The newest head that a ping told of each topic.
    told: BTreeMap<String, u64>,
    pings: usize,
    gaps: usize,
}

impl Watcher {
    async fn subscribe(server: &Server, subscriptions: &[Value]) -> Self {
        let (mut wire, _) = Wire::named(server).await;
        let mut has = BTreeMap::new();
        for subscribe in subscriptions {
            let reply = wire.ask(json!({"subscribe": subscribe})).await;
            let topic = subscribe["topic"].as_str().unwrap().to_owned();
            has.insert(topic, reply["subscribe"]["offset"].as_u64().unwrap());
        }
        Self { wire, has, told: BTreeMap::new(), pings: 0, gaps: 0 }
    }

    async fn take(&mut self) {
        let frame = self.wire.frame().await.expect("a frame").json();
        if frame["event"] == "ping" {
            self.pings += 1;
            for (topic, head) in frame["heads"].as_object().into_iter().flatten() {
                let head = head.as_u64().unwrap();
                assert!(self.has[topic] >= head, "{topic}: {frame}, but {:?}", self.has);
                assert!(self.told.insert(topic.clone(), head) <= Some(head), "{frame}");
            }
            return;
        }
        let topic = frame["topic"].as_str().unwrap_or_else(|| panic!("{frame}"));
        let offset = frame["offset"].as_u64().or_else(|| frame["to"].as_u64()).expect("a place");
        self.gaps += usize::from(frame["event"] == "gap");
        assert!(self.has.insert(topic.to_owned(), offset) <= Some(offset), "{frame:.80}");
    }

    /// Reads until pings have told these heads.
    async fn read_until_told(&mut self, heads: &BTreeMap<String, u64>) {
        while !heads.iter().all(|(topic, head)| self.told.get(topic) == Some(head)) {
            eprintln!(
                "{:?} has {:?} gaps {} told {:?}",
                self.pings, self.has, self.gaps, self.told
            );
            self.take().await;
        }
    }
}

fn frequent_pings() -> Server {
    start_with(|l| {
        l.ping_interval_ms = 80;
        l.pong_timeout_ms = 60_000;
        l.outbox_high_water_bytes = 32_768;
        l.outbox_low_water_bytes = 8_192;
        l.namespaces.default_mut().history_messages = 20;
    })
}

#[tokio::test]
async fn pings_tell_every_head_and_never_one_whose_message_has_not_come() {
    const MESSAGES: u64 = 500;
    let server = frequent_pings();
    let subscriptions = [
        json!({"topic": "t.a"}),
        json!({"topic": "t.b", "mode": "latest"}),
        json!({"topic": "t.c", "max_rate": 10}),
        json!({"topic": "t.d", "max_rate": 1}),
        json!({"topic": "quiet"}),
    ];
    let (mut quick, mut slow) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        quick.push(Watcher::subscribe(&server, &subscriptions).await);
        slow.push(Watcher::subscribe(&server, &subscriptions).await);
    }
    let reading: Vec<_> = quick
        .into_iter()
        .map(|mut watcher| {
            tokio::spawn(async move {
                let last = ["t.a", "t.b", "t.c", "t.d"].map(|t| (t.to_owned(), MESSAGES));
                watcher.read_until_told(&last.into()).await;
                watcher
            })
        })
        .collect();
    let mut publisher = Ws::subscriber(&server, &[]).await;
    let body = "x".repeat(400);
    for _ in 0..MESSAGES {
        for topic in ["t.a", "t.b", "t.c", "t.d"] {
            publisher.publish(topic, body.as_str()).await;
        }
        // Those that do not keep up take something now and then.
        for watcher in &mut slow {
            watcher.wire.trickle(200);
        }
    }
    let mut watchers = Vec::new();
    for task in reading {
        watchers.push(task.await.unwrap());
    }
    let last = ["t.a", "t.b", "t.c", "t.d"].map(|t| (t.to_owned(), MESSAGES)).into();
    for mut watcher in slow {
        watcher.read_until_told(&last).await;
        watchers.push(watcher);
    }
    for watcher in &watchers {
        assert!(watcher.pings > 3 && !watcher.told.contains_key("quiet"), "{:?}", watcher.told);
    }
    assert!(watchers.iter().any(|watcher| watcher.gaps > 0), "some did not keep up");
    // A quiet feed is quiet. What one connection catches up with, others may be told again.
    let mut silent = 0;
    while silent < 3 {
        assert!(watchers[0].pings < 1_000, "{:?}", watchers[0].told);
        watchers[0].told.clear();
        watchers[0].take().await;
        silent = if watchers[0].told.is_empty() { silent + 1 } else { 0 };
    }
    server.stop().await;
}

#[tokio::test]
async fn who_owes_nothing_is_told_the_head_once_it_has_caught_up() {
    let server = frequent_pings();
    let mut latest = Watcher::subscribe(&server, &[json!({"topic": "t", "mode": "latest"})]).await;
    let mut publisher = Ws::subscriber(&server, &[]).await;
    let body = "x".repeat(5_000);
    let mut last = 0;
    while admin(&server, "/v1/connections?limit=1").await.json()["connections"][0]["topics_behind"]
        != 1
    {
        last = publisher.publish("t", body.as_str()).await;
    }
    for _ in 0..10 {
        last = publisher.publish("t", body.as_str()).await;
    }
    // Several pings pass in which it is owed a message that they must not name.
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    latest.read_until_told(&[("t".to_owned(), last)].into()).await;
    assert_eq!(latest.has["t"], last);
    server.stop().await;
}
