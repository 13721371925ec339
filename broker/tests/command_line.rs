//! The program as a person starts it: what it prints, how it ends.

mod support;

use std::io::Write;
use std::process::Stdio;

use support::Ws;
use support::process::{
    Broker, fails_with_one_line, fanfare, signal, text, wait_for_subscriptions,
};

#[test]
fn a_subscriber_prints_what_is_published() {
    let broker = Broker::start("serve");
    let sub = |options: &[&str]| {
        fanfare(&[&["sub", "--server", &broker.url, "t", "u", "-n", "3"], options].concat())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let subscribers = [sub(&[]), sub(&["--json"]), sub(&["--raw"])];
    let publish = |arguments: &[&str]| {
        fanfare(&[&["pub", "--server", &broker.url], arguments].concat()).output().unwrap()
    };
    wait_for_subscriptions(&broker, 6);
    let first = publish(&["t", r#"{"p": 1.50}"#, "--json"]);
    assert!(first.status.success());
    let position: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!((&position["topic"], &position["offset"]), (&"t".into(), &1.into()));
    assert!(publish(&["u", "plain words"]).status.success());
    assert!(publish(&["u", "5", "--raw"]).status.success());
    let [plain, json, raw] = subscribers.map(|child| child.wait_with_output().unwrap());
    assert!(plain.status.success() && json.status.success() && raw.status.success());
    assert_eq!(text(&plain.stdout), "t 1 {\"p\": 1.50}\nu 1 plain words\nu 2 5\n");
    assert_eq!(text(&raw.stdout), "{\"p\": 1.50}\nplain words\n5\n");
    let lines: Vec<serde_json::Value> =
        text(&json.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["data"]["p"], 1.5);
    assert_eq!((&lines[1]["text"], &lines[2]["text"]), (&"plain words".into(), &"5".into()));
}

#[test]
fn every_transport_carries_what_is_published() {
    let broker = Broker::start("serve");
    let sub = |transport: &str| {
        fanfare(&["sub", "--server", &broker.url, "t", "-n", "2", "--transport", transport])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    // The topic exists, so that each of them begins behind its message.
    let publish = |text: &str, transport: &str| {
        let arguments = ["pub", "--server", &broker.url, "t", text, "--transport", transport];
        assert!(fanfare(&arguments).output().unwrap().status.success());
    };
    publish("0", "auto");
    let subscribers = [sub("auto"), sub("sse")];
    wait_for_subscriptions(&broker, 2);
    publish("1", "sse");
    publish("2", "long-poll");
    let [auto, sse] = subscribers.map(|child| child.wait_with_output().unwrap());
    for output in [&auto, &sse] {
        assert_eq!(text(&output.stdout), "t 2 1\nt 3 2\n");
    }
    assert_eq!((text(&auto.stderr), text(&sse.stderr)), ("", "fanfare: connected over sse\n"));
    let wrong = fanfare(&["sub", "t", "--transport", "pigeon"]).output().unwrap();
    fails_with_one_line(&wrong, 2, "websocket, sse or long-poll");
    let wrong = fanfare(&["sub", "t", "--proxy", "socks5://x"]).output().unwrap();
    fails_with_one_line(&wrong, 1, "no proxy");
}

#[test]
fn lines_of_standard_input_are_published_each() {
    let broker = Broker::start("serve");
    let mut child = fanfare(&["pub", "--server", &broker.url, "logs", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"one\n{\"two\":2}\n\nlast without an end").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(text(&output.stdout).lines().count(), 4);
}

#[test]
fn mistakes_of_a_person_are_one_clear_line() {
    let broker = Broker::start("serve");
    let taken = broker.url.trim_start_matches("ws://").to_owned();
    let run = |arguments: &[&str]| fanfare(arguments).output().unwrap();
    let serve = run(&["serve", "--listen", &taken, "--admin-listen", "127.0.0.1:0"]);
    fails_with_one_line(&serve, 1, "the port is in use by another program");
    let nobody = run(&["sub", "--server", "ws://127.0.0.1:1", "t"]);
    fails_with_one_line(&nobody, 1, "127.0.0.1:1");
    let nobody = run(&["pub", "--server", "ws://127.0.0.1:1", "t", "x"]);
    fails_with_one_line(&nobody, 1, "127.0.0.1:1");
    let url = run(&["sub", "--server", "ftp://x", "t"]);
    fails_with_one_line(&url, 1, "ftp://x");
    fails_with_one_line(&run(&["sub", "a b"]), 2, "a topic name holds ' '");
    fails_with_one_line(&run(&["pub", "a..b", "x"]), 2, "empty level");
    fails_with_one_line(&run(&["serve", "--shards", "0"]), 2, "--shards");
    fails_with_one_line(&run(&["serve", "--message-bytes-max", "1"]), 78, "message limit");
    fails_with_one_line(&run(&["serve", "--message-bytes-max", "many"]), 2, "64KiB");
    fails_with_one_line(&run(&["dance"]), 2, "dance");
}

#[test]
fn sigterm_drains_sdk_clients_closes_everything_with_1012_and_exits_0() {
    let mut broker = Broker::start("serve");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut raw = Ws::open_at(&format!("{}/v1/topics/t", broker.url), None).await;
        let mut sdk = Ws::connected(&broker.url).await;
        sdk.subscribe(serde_json::json!({"topic": "t"})).await;
        raw.send("owed").await;
        // Taken by the broker once it has come back.
        assert_eq!(raw.data().await.into_text().unwrap(), "owed");
        broker.signal("TERM");
        assert_eq!(sdk.json().await["text"], "owed", "before the goodbye");
        let drain = sdk.json().await;
        assert_eq!(drain, serde_json::json!({"event": "drain", "window_ms": 200}));
        assert_eq!((sdk.closed().await.0, raw.closed().await.0), (1012, 1012));
    });
    assert_eq!(broker.child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_demo_has_a_market_in_it_and_ends_on_ctrl_c() {
    let mut demo = Broker::start("demo");
    let run = fanfare(&["sub", "--server", &demo.url, "demo.symbols", "ticks.ACME", "--json"])
        .args(["-n", "5"])
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    let lines: Vec<serde_json::Value> =
        text(&run.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["data"]["p"].is_number()), "{lines:?}");
    demo.signal("INT");
    assert_eq!(demo.child.wait().unwrap().code(), Some(0));
}

#[test]
fn ctrl_c_ends_a_subscriber_with_130() {
    let broker = Broker::start("serve");
    let mut subscriber = fanfare(&["sub", "--server", &broker.url, "t"]).spawn().unwrap();
    wait_for_subscriptions(&broker, 1);
    signal(&subscriber, "INT");
    assert_eq!(subscriber.wait().unwrap().code(), Some(130));
}

#[test]
fn check_tells_by_text_and_code_whether_a_broker_is_well() {
    let check = |admin: &str| {
        let run = fanfare(&["check", "--admin", admin, "--timeout", "10s"]).output().unwrap();
        (run.status.code().unwrap(), text(&run.stdout).to_owned())
    };
    let broker = Broker::start("serve");
    let (code, told) = check(&format!("http://{}", broker.admin));
    assert_eq!((code, told.as_str()), (0, "OK: ready, 0 connections, 0 subscriptions\n"));
    // The port of clients is not the admin port.
    let (code, told) = check(broker.url.strip_prefix("ws://").unwrap());
    assert!(code == 2 && told.contains("no admin port"), "{told}");
    let admin = broker.admin.clone();
    drop(broker);
    let (code, told) = check(&admin);
    assert_eq!(code, 2, "{told}");
    assert!(told.starts_with(&format!("CRITICAL: no answer from {admin}: ")), "{told}");
}
