//! Who is on a topic, on any shard: joins, leaves and losses, gathered into few events whose
//! versions leave no hole.

use std::collections::BTreeMap;
use std::time::Instant;

use fanfare::{NamespaceOptions, Server};
use serde_json::{Value, json};

use crate::support::{SOON, Wire, Ws, metric, metric_becomes, start_with};

fn start() -> Server {
    start_with(|l| {
        let options = NamespaceOptions { presence: true, ..NamespaceOptions::default() };
        l.namespaces.insert("room", options);
        l.outbox_high_water_bytes = 32_768;
        l.outbox_low_water_bytes = 8_192;
    })
}

/// What one subscriber knows of who is there, from events alone.
struct Roster {
    ws: Ws,
    version: u64,
    members: BTreeMap<String, Value>,
    events: usize,
}

impl Roster {
    async fn new(server: &Server, shard: usize) -> Self {
        let mut ws = Ws::on_shard(server, shard).await;
        ws.subscribe(json!({"topic": "room.a", "presence": true})).await;
        Self { ws, version: 0, members: BTreeMap::new(), events: 0 }
    }

    /// Asks for the list, as one does who begins or has missed something.
    async fn ask(&mut self) {
        let reply = self.ws.ask(json!({"presence": {"topic": "room.a", "limit": 1000}})).await;
        let list = &reply["presence"];

        self.version = list["version"].as_u64().unwrap_or_else(|| panic!("{reply}"));
        let members = list["members"].as_array().unwrap().iter();
        let named =
            members.map(|m| (m["connection"].as_str().unwrap().to_owned(), m["name"].clone()));
        self.members = named.collect();
        assert_eq!(list["count"], self.members.len());
    }

    async fn take(&mut self) {
        let event = self.ws.push().await;
        assert_eq!((&event["event"], &event["topic"]), (&json!("presence"), &json!("room.a")));
        self.events += 1;

        let version = event["version"].as_u64().unwrap();
        if version <= self.version {
            return;
        }
        assert_eq!(version, self.version + 1, "no hole: {event}");
        self.version = version;
        if event["truncated"] == true {
            return self.ask().await;
        }
        for member in event["joined"].as_array().into_iter().flatten() {
            let connection = member["connection"].as_str().unwrap().to_owned();
            self.members.insert(connection, member["name"].clone());
        }
        for connection in event["left"].as_array().into_iter().flatten() {
            self.members.remove(connection.as_str().unwrap());
        }
        // A list that was asked for is ahead of the events that were on their way.
        assert_eq!(event["count"], self.members.len(), "{event}");
    }

    async fn read_until(&mut self, count: usize) {
        while self.members.len() != count {
            self.take().await;
        }
    }

    fn names(&self) -> Vec<&str> {
        self.members.values().filter_map(Value::as_str).collect()
    }
}

#[tokio::test]
async fn joins_leaves_and_losses_are_told_on_every_shard() {
    let server = start();
    let mut rosters = [Roster::new(&server, 0).await, Roster::new(&server, 1).await];
    let mut alice = Ws::open(&server, "/v1/ws", None).await;
    alice.ask(json!({"connect": {"name": "alice"}})).await;
    alice.subscribe(json!({"topic": "room.a"})).await;
    let raw = Wire::open(&server, "/v1/topics/room.a").await;
    let mut elsewhere = Ws::subscriber(&server, &["room.b"]).await;
    for roster in &mut rosters {
        // The first events may have come before the second roster.
        roster.ask().await;
        roster.read_until(4).await;
        assert_eq!(roster.names(), ["alice"]);
    }
    alice.unsubscribe("room.a").await;
    raw.reset();
    for roster in &mut rosters {
        roster.read_until(2).await;
        assert_eq!(roster.names(), [""; 0]);
    }
    alice.subscribe(json!({"topic": "room.a"})).await;
    for roster in &mut rosters {
        roster.read_until(3).await;
    }
    drop(alice);
    for roster in &mut rosters {
        roster.read_until(2).await;
        let told = roster.members.clone();
        roster.ask().await;
        assert_eq!(told, roster.members, "the list says the same");
    }
    assert_eq!(rosters[0].members, rosters[1].members);
    assert!(elsewhere.come().await.is_empty(), "who did not ask is not told");
    server.stop().await;
}

#[tokio::test]
async fn a_storm_of_joins_is_few_events() {
    const STORM: usize = 150;
    let server = start();
    let mut roster = Roster::new(&server, 0).await;
    roster.ask().await;
    let began = Instant::now();
    let mut guests = Vec::new();
    for _ in 0..STORM {
        guests.push(Wire::open(&server, "/v1/topics/room.a").await);
    }
    roster.read_until(STORM + 1).await;
    drop(guests);
    roster.read_until(1).await;
    let most = began.elapsed().as_secs() as usize + 2;
    assert!(roster.events <= most, "{} events, at most {most}", roster.events);
    let told = roster.members.clone();
    roster.ask().await;
    assert_eq!(told, roster.members);
    server.stop().await;
}

#[tokio::test]
async fn who_does_not_keep_up_sees_by_the_version_that_it_missed_something() {
    let server = start();
    let (mut slow, _) = Wire::named(&server).await;
    slow.ask(json!({"subscribe": {"topic": "room.a", "presence": true}})).await;
    let first = slow.json().await;
    assert_eq!((&first["version"], &first["count"]), (&json!(1), &json!(1)));
    let mut publisher = Ws::subscriber(&server, &[]).await;
    let body = "x".repeat(5_000);
    let mut last = 0;
    while metric(&server, "fanfare_connections_lagging").await < 1.0 {
        last = publisher.publish("room.a", body.as_str()).await;
    }
    let guest = Wire::open(&server, "/v1/topics/room.a").await;
    metric_becomes(&server, "fanfare_notices_dropped_total", |n| n == 1.0).await;
    let mut offset = 0;
    while offset < last {
        let push = slow.json().await;
        assert!(push["event"].is_null(), "{push}");
        offset = push["offset"].as_u64().unwrap();
    }
    guest.reset();
    let next = slow.json().await;
    assert_eq!((&next["version"], &next["count"]), (&json!(3), &json!(1)), "2 is missing");
    server.stop().await;
}

#[tokio::test]
async fn presence_is_refused_where_it_is_off_or_makes_no_sense() {
    let server = start();
    let mut ws = Ws::subscriber(&server, &[]).await;
    let listen = |topic: &str| json!({"subscribe": {"topic": topic, "presence": true}});
    for (command, expected, says) in [
        (json!({"presence": {"topic": "quiet.a"}}), "not_enabled", "presence"),
        (listen("quiet.a"), "not_enabled", "presence"),
        (listen("room.*"), "bad_request", "presence"),
        (json!({"presence": {"topic": "room.*"}}), "bad_topic", "'*'"),
        (json!({"presence": {"topic": "room.a", "limit": 0}}), "bad_request", "1000"),
        (json!({"presence": {"topic": "room.a", "limit": 1001}}), "bad_request", "1000"),
    ] {
        let (code, message) = ws.refused(command.clone()).await;
        assert_eq!(code, expected, "{command}: {message}");
        assert!(message.contains(says), "{command}: {message}");
    }
    assert_eq!(metric(&server, "fanfare_topics").await, 0.0, "a refusal leaves no topic behind");
    let nobody = ws.ask(json!({"presence": {"topic": "room.a"}})).await;
    assert_eq!(nobody["presence"], json!({"count": 0, "version": 0, "members": []}));
    let long = json!({"connect": {"name": "x".repeat(65)}});
    let mut unnamed = Ws::open(&server, "/v1/ws", None).await;
    let (code, message) = unnamed.refused(long).await;
    assert!(code == "bad_request" && message.contains("64"), "{code}: {message}");
    let closed = tokio::time::timeout(SOON, unnamed.closed()).await.unwrap();
    assert_eq!(closed.0, 3501);
    server.stop().await;
}
