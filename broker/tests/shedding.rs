//! A node that is short of memory: who is connected goes on, who comes is told to come back.

mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use support::process::{Broker, request};
use support::{Answer, SOON, Ws, parse};

/// A broker that reads its budget from a file, and that file.
struct Budgeted {
    broker: Broker,
    file: PathBuf,
}

impl Budgeted {
    fn start(name: &str, budget: &str) -> Self {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        write(&file, budget);
        let broker = Broker::start_with(&["serve", "--config", file.to_str().expect("UTF-8")]);
        Self { broker, file }
    }

    /// Reloads with another budget.
    fn reload(&self, budget: &str) {
        write(&self.file, budget);
        let answer = parse(&request(&self.broker.admin, "POST /v1/reload", &[]));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["changed"][0]["key"], "limits.memory", "{answer:?}");
    }

    fn ask(&self, start: &str, headers: &[&str]) -> Answer {
        parse(&request(self.broker.url.trim_start_matches("ws://"), start, headers))
    }

    fn readiness(&self) -> Answer {
        parse(&request(&self.broker.admin, "GET /health/ready", &[]))
    }

    fn wait_until_ready(&self, status: u16) {
        let deadline = Instant::now() + SOON;
        while self.readiness().status != status {
            assert!(Instant::now() < deadline, "readiness is never {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn write(file: &PathBuf, budget: &str) {
    std::fs::write(file, format!("[limits]\nmemory = \"{budget}\"\n")).expect("a writable folder");
}

#[tokio::test]
async fn over_the_budget_new_connections_are_refused_and_those_open_go_on() {
    let budgeted = Budgeted::start("shedding.toml", "none");
    let broker = &budgeted.broker;
    let mut publisher = Ws::connected(&broker.url).await;
    let mut subscriber = Ws::connected(&broker.url).await;
    subscriber.subscribe(json!({"topic": "t"})).await;
    broker.wait_for("fanfare_shedding 0");
    broker.wait_for("fanfare_memory_budget_bytes 0");

    // No process is as small as that.
    budgeted.reload("1MiB");
    broker.wait_for("fanfare_shedding 1");
    broker.wait_for("fanfare_memory_budget_bytes 1048576");
    let handshake = ["Upgrade: websocket"];
    for (start, headers) in [("GET /v1/ws", &handshake[..]), ("GET /v1/topics/t", &[])] {
        let answer = budgeted.ask(start, headers);
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        assert!(answer.detail().contains("no memory for more connections"), "{answer:?}");
    }
    broker.wait_for("fanfare_connections_refused_total{reason=\"memory\"} 2");
    for number in 1..=100 {
        assert_eq!(publisher.publish("t", number).await, number);
    }
    for number in 1..=100 {
        assert_eq!(subscriber.push().await["data"], json!(number));
    }
    // So far over it the outboxes are held short as well.
    broker.wait_for("fanfare_shard_outbox_pressure{shard=\"0\"} 4");
    budgeted.wait_until_ready(503);
    assert!(budgeted.readiness().body.starts_with("shedding"));
    broker.wait_for("fanfare_ready 0");

    budgeted.reload("64GiB");
    broker.wait_for("fanfare_shedding 0");
    budgeted.wait_until_ready(200);
    let mut late = Ws::connected(&broker.url).await;
    late.subscribe(json!({"topic": "t"})).await;
    publisher.publish("t", 101).await;
    assert_eq!(late.push().await["data"], json!(101));
    assert_eq!(subscriber.push().await["data"], json!(101), "on the connection that it had");
    broker.wait_for("fanfare_shard_outbox_pressure{shard=\"0\"} 0");
}
