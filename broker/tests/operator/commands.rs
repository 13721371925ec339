//! `fanfare report` and `fanfare disconnect` as a person types them.

use serde_json::Value;

use crate::support::Ws;
use crate::support::process::{Broker, fails_with_one_line, fanfare, text};

/// What a command prints that succeeds.
fn printed(broker: &Broker, arguments: &[&str]) -> String {
    let output = fanfare(arguments).args(["--admin", &broker.admin]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).to_owned()
}

/// The cell of a row under a title, both found by their text.
fn cell<'a>(table: &'a str, row: &str, title: &str) -> &'a str {
    let mut lines = table.lines();
    let titles: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let place = titles.iter().position(|one| *one == title).unwrap_or_else(|| panic!("{table}"));
    let line = lines.find(|line| line.contains(row)).unwrap_or_else(|| panic!("{row}\n{table}"));
    // Units stand behind one space, columns are at least two apart.
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).nth(place).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_tables_or_json() {
    let broker = Broker::start("serve");
    let mut ws = Ws::connected(&broker.url).await;
    for topic in ["stocks.A", "stocks.B"] {
        ws.subscribe(serde_json::json!({"topic": topic})).await;
    }
    for n in 1..=3 {
        ws.publish("stocks.A", n).await;
    }
    let connections = printed(&broker, &["report", "connections"]);
    let name = cell(&connections, "127.0.0.1:", "connection");
    assert_eq!(cell(&connections, name, "state"), "open");
    assert_eq!((cell(&connections, name, "all"), cell(&connections, name, "latest")), ("2", "0"));
    let topics = printed(&broker, &["report", "topics", "--sort", "offset", "-n", "1"]);
    assert_eq!(topics.lines().count(), 2, "{topics}");
    assert_eq!(
        (cell(&topics, "stocks.A", "offset"), cell(&topics, "stocks.A", "kept")),
        ("3", "3")
    );
    let shards = printed(&broker, &["report", "shards", "--sort", "connections", "--limit", "1"]);
    assert_eq!(shards.lines().count(), 2, "{shards}");
    let found = printed(&broker, &["report", "connections", "--json", "--topic", "stocks.B"]);
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["connections"][0]["connection"], name);
    let nobody = printed(&broker, &["report", "connections", "--topic", "stocks.C"]);
    assert_eq!(nobody.lines().count(), 1, "{nobody}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_reported_can_be_disconnected_once() {
    let broker = Broker::start("serve");
    let mut ws = Ws::connected(&broker.url).await;
    let view: Value =
        serde_json::from_str(&printed(&broker, &["report", "connections", "--json"])).unwrap();
    let name = view["connections"][0]["connection"].as_str().unwrap();
    let told = printed(&broker, &["disconnect", name, "--no-reconnect", "--reason", "go away"]);
    assert_eq!(told, "closed 1 connection with code 3503\n");
    assert_eq!(ws.closed().await, (3503, "go away".to_owned()));
    let again = fanfare(&["disconnect", name, "--admin", &broker.admin]).output().unwrap();
    fails_with_one_line(&again, 1, name);
    let mut others = [Ws::connected(&broker.url).await, Ws::connected(&broker.url).await];
    let told = printed(&broker, &["disconnect", "--peer", "127.0.0.1"]);
    assert_eq!(told, "closed 2 connections with code 3004\n");
    for other in &mut others {
        assert_eq!(other.closed().await.0, 3004);
    }
}

#[test]
fn mistakes_are_told_with_what_is_allowed() {
    let run = |arguments: &[&str]| fanfare(arguments).output().unwrap();
    let nobody = run(&["report", "topics", "--admin", "http://127.0.0.1:1"]);
    fails_with_one_line(&nobody, 1, "no answer from 127.0.0.1:1");
    let nobody = run(&["disconnect", "x", "--admin", "127.0.0.1:1"]);
    fails_with_one_line(&nobody, 1, "no answer from 127.0.0.1:1");
    fails_with_one_line(&run(&["report", "connections", "--sort", "size"]), 2, "topics_behind");
    fails_with_one_line(&run(&["report", "topics", "--limit", "1001"]), 2, "from 1 to 1000");
    fails_with_one_line(&run(&["report", "queues"]), 2, "queues");
    fails_with_one_line(&run(&["disconnect"]), 2, "--peer");
    fails_with_one_line(&run(&["disconnect", "x", "--peer", "::1"]), 2, "cannot be used");
    fails_with_one_line(&run(&["disconnect", "--peer", "example.org"]), 2, "10.0.0.7");
    let broker = Broker::start("serve");
    let data = broker.url.strip_prefix("ws://").unwrap();
    let wrong = run(&["report", "shards", "--admin", data]);
    fails_with_one_line(&wrong, 1, "");
    let long = run(&["disconnect", "x", "--admin", &broker.admin, "--reason", &"x".repeat(200)]);
    fails_with_one_line(&long, 1, "up to 123 bytes");
}
