//! A broker whose configuration changes while it runs.

mod support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::Ws;
use support::process::{Broker, request};

/// A broker and the file that it reads.
struct Configured {
    broker: Broker,
    file: PathBuf,
}

impl Configured {
    fn start(name: &str, content: &str) -> Self {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&file, content).expect("a writable folder");
        let broker = Broker::start_with(&["serve", "--config", file.to_str().expect("UTF-8")]);
        Self { broker, file }
    }

    fn write(&self, content: &str) {
        std::fs::write(&self.file, content).expect("a writable folder");
    }

    /// Reloads through the admin port: the status and the answer.
    fn reload(&self, content: &str) -> (String, Value) {
        self.write(content);
        let answer = request(&self.broker.admin, "POST /v1/reload", &[]);
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        let status = head.split(' ').nth(1).expect("a status").to_owned();
        (status, serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}")))
    }

    fn may_use(&self, origin: &str) -> bool {
        let addr = self.broker.url.trim_start_matches("ws://");
        let answer = request(addr, "GET /v1/topics/t", &[&format!("Origin: {origin}")]);
        !answer.starts_with("HTTP/1.1 403 ")
    }
}

#[tokio::test]
async fn sighup_changes_origins_and_nobody_is_disconnected() {
    let running = Configured::start("origins.toml", "allowed_origins = [\"https://a.example\"]");
    let mut ws = Ws::connected(&running.broker.url).await;
    ws.subscribe(json!({"topic": "t"})).await;
    assert!(running.may_use("https://a.example") && !running.may_use("https://b.example"));

    running.write("allowed_origins = [\"https://b.example\"]");
    running.broker.signal("HUP");
    let event = running.broker.wait_for_event(|event| event["key"] == "allowed_origins");
    assert_eq!((&event["message"], &event["level"]), (&"setting changed".into(), &"INFO".into()));
    let (from, to) = ("[\"https://a.example\"]", "[\"https://b.example\"]");
    assert_eq!((&event["from"], &event["to"]), (&from.into(), &to.into()));
    assert!(!running.may_use("https://a.example") && running.may_use("https://b.example"));
    assert_eq!(ws.publish("t", 1).await, 1);
    running.broker.wait_for("fanfare_connections_opened_total 1");
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_and_every_mistake_is_told() {
    let running = Configured::start("wrong.toml", "allowed_origins = [\"https://a.example\"]");
    let wrong = "allowed_origins = [\"https://b.example\"]\n[limits]\ntopic = 1\npatterns = \"x\"";
    running.write(wrong);
    running.broker.signal("HUP");
    for mistake in [
        "limits.patterns = \"x\": use a number",
        "wrong.toml:3: there is no setting limits.topic; did",
    ] {
        let event = running.broker.wait_for_event(|event| {
            event["error"].as_str().is_some_and(|error| error.contains(mistake))
        });
        assert_eq!(event["message"], "configuration refused, nothing has changed");
        assert_eq!(event["level"], "ERROR");
    }
    let (status, problem) = running.reload(wrong);
    assert_eq!((&*status, problem["errors"].as_array().unwrap().len()), ("422", 2), "{problem}");
    assert!(running.may_use("https://a.example") && !running.may_use("https://b.example"));
    let (status, answer) = running.reload("allowed_origins = [\"https://a.example\"]");
    assert_eq!((&*status, answer), ("200", json!({"changed": [], "needs_restart": []})));
}

#[tokio::test]
async fn the_admin_port_tells_what_changed_and_what_needs_a_restart() {
    let running = Configured::start("answer.toml", "[limits]\nping_interval = \"20s\"");
    let content = "shards = 1\n[limits]\noutbox_max = \"2MiB\"\n[namespaces.a]\nlatest = true";
    let change = |key: &str, from: Value, to: Value| json!({"key": key, "from": from, "to": to});
    let waits = json!([
        change("shards", json!("auto"), json!(1)),
        change("limits.ping_interval", json!("20s"), json!("25s")),
    ]);
    let (status, answer) = running.reload(content);
    assert_eq!((&*status, &answer["needs_restart"]), ("200", &waits));
    let changed = json!([
        change("limits.outbox_max", json!("1MiB"), json!("2MiB")),
        change("namespaces.a.latest", json!(false), json!(true)),
    ]);
    assert_eq!(answer["changed"], changed);
    let event = running.broker.wait_for_event(|event| event["by"] == "the admin port");
    assert_eq!((&event["changed"], &event["needs_restart"]), (&json!(2), &json!(2)));
    let (_, answer) = running.reload(content);
    assert_eq!(answer, json!({"changed": [], "needs_restart": waits}), "until the restart");
    // A namespace that is gone has the default's options again.
    let (_, answer) = running.reload("[limits]\nping_interval = \"20s\"\noutbox_max = \"2MiB\"");
    let back = change("namespaces.a.latest", json!(true), json!(false));
    assert_eq!(answer, json!({"changed": [back], "needs_restart": []}));

    let by_page = request(&running.broker.admin, "POST /v1/reload", &["Origin: http://evil"]);
    assert!(by_page.starts_with("HTTP/1.1 403 "), "{by_page}");
    let by_get = request(&running.broker.admin, "GET /v1/reload", &[]);
    assert!(by_get.starts_with("HTTP/1.1 405 "), "{by_get}");
}

#[tokio::test]
async fn new_options_are_for_topics_that_come_into_being_later() {
    let running = Configured::start("namespaces-live.toml", "");
    let mut ws = Ws::connected(&running.broker.url).await;
    ws.publish("news.old", 1).await;
    let (status, _) = running.reload("[namespaces.news]\npresence = true\nhistory_messages = 2");
    assert_eq!(status, "200");
    for i in 2..=6 {
        ws.publish("news.old", i).await;
        ws.publish("news.new", i).await;
    }
    let kept = async |ws: &mut Ws, topic: &str| {
        let page = ws.ask(json!({"history": {"topic": topic}})).await;
        page["history"]["messages"].as_array().unwrap().len()
    };
    assert_eq!(kept(&mut ws, "news.old").await, 6);
    assert_eq!(kept(&mut ws, "news.new").await, 2);
    let (code, _) = ws.refused(json!({"subscribe": {"topic": "news.old", "presence": true}})).await;
    assert_eq!(code, "not_enabled");
    ws.subscribe(json!({"topic": "news.new", "presence": true})).await;
}

#[tokio::test]
async fn lower_limits_hold_for_what_comes_and_leave_what_is_there() {
    let running = Configured::start("limits-live.toml", "");
    let mut ws = Ws::connected(&running.broker.url).await;
    for topic in ["a", "b", "c"] {
        ws.subscribe(json!({"topic": topic})).await;
    }
    let (_, answer) =
        running.reload("[limits]\nsubscriptions_per_connection = 2\ntopics = 3\npatterns = 0");
    assert_eq!(answer["changed"].as_array().unwrap().len(), 3, "{answer}");
    let mut another = Ws::connected(&running.broker.url).await;
    // The table's limits hold at once, a shard's from its next tick on.
    let (code, message) = another.refused(json!({"subscribe": {"topic": "d"}})).await;
    assert_eq!(code, "limit_exceeded", "{message}");
    let (code, _) = another.refused(json!({"subscribe": {"topic": "a.*"}})).await;
    assert_eq!(code, "limit_exceeded");
    tokio::time::timeout(support::SOON, async {
        loop {
            let mut fresh = Ws::connected(&running.broker.url).await;
            fresh.subscribe(json!({"topic": "a"})).await;
            fresh.subscribe(json!({"topic": "b"})).await;
            let reply = fresh.ask(json!({"subscribe": {"topic": "c"}})).await;
            if reply["error"]["code"] == "limit_exceeded" {
                return;
            }
        }
    })
    .await
    .expect("the lower limit");
    ws.publish("c", 1).await;
    assert_eq!(ws.push().await["topic"], "c", "what was there stays");
}
