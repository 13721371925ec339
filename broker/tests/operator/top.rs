//! `fanfare top`: as text, and on a terminal.

use std::time::Instant;

use serde_json::json;

use super::terminal::Terminal;
use crate::support::process::{Broker, fails_with_one_line, fanfare, signal, text};
use crate::support::{SOON, Ws};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_it_tells_as_text_what_there_is_and_what_happened() {
    let broker = Broker::start_with(&["serve", "--shards", "2"]);
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut ws = Ws::connected(&broker.url).await;
        ws.subscribe(json!({"topic": "t"})).await;
        readers.push(tokio::spawn(async move { while ws.next().await.is_some() {} }));
    }
    let mut publisher = Ws::connected(&broker.url).await;
    let publishing = tokio::spawn(async move {
        loop {
            publisher.publish("t", 1).await;
        }
    });
    let deadline = Instant::now() + SOON;
    // A busy machine may have delivered nothing between two looks.
    let told = loop {
        let top = fanfare(&["top", "--once", "--admin", &broker.admin]).output().unwrap();
        assert!(top.status.success(), "{top:?}");
        let told = text(&top.stdout).to_owned();
        if told.contains("open 4") && !told.contains("delivered 0/s") && !told.contains("p99 -") {
            break told;
        }
        assert!(Instant::now() < deadline, "{told}");
    };
    publishing.abort();
    let version = format!("fanfare {}   node ", env!("CARGO_PKG_VERSION"));
    for part in [
        version.as_str(),
        "   ready   127.0.0.1:",
        "connections 4   open 4   blocked 0   lagging 0   stalled 0",
        "topics 1   subscriptions 3",
        "latency p50 ",
        "shard  busy",
        "\n0  ",
        "\n1  ",
        "connections by buffered_amount\n",
    ] {
        assert!(told.contains(part), "{part:?} is missing\n{told}");
    }
    assert!(!told.contains('\u{1b}') && !told.contains("quit"), "{told:?}");
    let rows = told.lines().filter(|line| line.contains("fanfare.v1.json")).count();
    assert_eq!(rows, 4, "{told}");
}

#[test]
fn a_terminal_is_given_back_however_it_ends() {
    let broker = Broker::start("serve");
    for (end, code) in [("q", 0), ("\u{3}", 0), ("TERM", 130)] {
        let mut terminal = Terminal::open(80, 24);
        assert!(terminal.is_as_before());
        let mut top = terminal.start(&mut fanfare(&["top", "--admin", &broker.admin]));
        terminal.wait_for("delivered");
        assert!(!terminal.is_as_before(), "keys come one by one");
        match end {
            "TERM" => signal(&top, end),
            key => terminal.press(key),
        }
        assert_eq!(top.wait().unwrap().code(), Some(code));
        terminal.wait_until_given_back();
        assert!(terminal.is_as_before(), "{end:?}");
    }
}

#[test]
fn keys_change_the_table_and_a_lost_broker_is_told() {
    let broker = Broker::start("demo");
    for (columns, rows) in [(120, 40), (40, 10)] {
        let mut terminal = Terminal::open(columns, rows);
        let mut top = terminal.start(&mut fanfare(&["top", "--admin", &broker.admin]));
        terminal.wait_for("delivered");
        terminal.press("t");
        terminal.wait_for("topics by rate");
        assert!(terminal.wait_for("ticks.").contains("fanfare "));
        terminal.press("s");
        terminal.wait_for("topics by subscribers");
        terminal.press("t");
        terminal.wait_for("connections by buffered_amount");
        terminal.press("q");
        assert_eq!(top.wait().unwrap().code(), Some(0));
    }
    let mut terminal = Terminal::open(100, 30);
    let mut top = terminal.start(&mut fanfare(&["top", "--admin", &broker.admin]));
    terminal.wait_for("delivered");
    drop(broker);
    terminal.wait_for("no answer from");
    terminal.press("q");
    assert_eq!(top.wait().unwrap().code(), Some(0));
    assert!(terminal.is_as_before());
}

#[test]
fn without_a_broker_it_is_one_line() {
    let run = |arguments: &[&str]| fanfare(arguments).output().unwrap();
    let nobody = run(&["top", "--admin", "http://127.0.0.1:1"]);
    fails_with_one_line(&nobody, 1, "no answer from 127.0.0.1:1");
    fails_with_one_line(&run(&["top", "--interval", "1ms"]), 2, "from 200ms to 1h");
}
