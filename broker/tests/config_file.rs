//! The program with a configuration file: what it then does, and what it says of a wrong one.

mod support;

use std::path::PathBuf;

use serde_json::json;
use support::Ws;
use support::process::{Broker, fails_with_one_line, fanfare, text};

/// A file of this test program with this content.
fn file(name: &str, content: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).expect("a writable folder");
    path
}

fn serve(name: &str, content: &str) -> Broker {
    let path = file(name, content);
    Broker::start_with(&["serve", "--config", path.to_str().expect("UTF-8")])
}

#[tokio::test]
async fn namespaces_of_the_file_decide_what_topics_do() {
    let broker = serve(
        "namespaces.toml",
        r#"
        [limits]
        stall_timeout = "10s"

        [namespaces.default]
        history_messages = 2
        history_age = "200ms"

        [namespaces.stocks]
        latest = true
        mode = "latest"

        [namespaces.room]
        presence = true
        history_messages = 5
        history_age = "1h"
        "#,
    );
    let mut ws = Ws::connected(&broker.url).await;
    for topic in ["news", "stocks.A", "room"] {
        for i in 1..=6 {
            assert_eq!(ws.publish(topic, i).await, i);
        }
    }
    let kept = ws.ask(json!({"history": {"topic": "room"}})).await;
    assert_eq!(kept["history"]["messages"].as_array().unwrap().len(), 5, "{kept}");
    broker.wait_for("fanfare_topics 2");
    let (code, message) = ws.refused(json!({"history": {"topic": "news"}})).await;
    assert_eq!(code, "unknown_topic", "{message}");

    let reply = ws.subscribe(json!({"topic": "stocks.A"})).await;
    assert_eq!((&reply["mode"], &reply["snapshot"]), (&json!("latest"), &json!(true)), "{reply}");
    let newest = ws.push().await;
    assert_eq!((&newest["offset"], &newest["data"]), (&json!(6), &json!(6)), "older than its age");
    let reply = ws.subscribe(json!({"topic": "room", "presence": true})).await;
    assert_eq!((&reply["mode"], &reply["snapshot"]), (&json!(null), &json!(null)), "{reply}");
    let present = ws.ask(json!({"presence": {"topic": "room"}})).await;
    assert_eq!(present["presence"]["count"], 1, "{present}");
    let (code, message) = ws.refused(json!({"presence": {"topic": "stocks.A"}})).await;
    assert_eq!(code, "not_enabled", "{message}");
}

#[test]
fn a_wrong_file_is_refused_before_anything_listens() {
    for (i, (content, says)) in [
        ("[namespaces.a]\nlatests = true", "2: there is no setting namespaces.a.latests; did you"),
        ("[namespace.a]\nlatest = true", "1: there is no setting namespace; did you mean"),
        ("[namespaces.a]\nmode = \"newest\"", "2: namespaces.a.mode = \"newest\": use \"all\" or"),
        ("[namespaces.a]\nhistory_size = -4", "a size such as 4096, \"64KiB\" or \"1MB\""),
        ("[limits]\nstall_timeout = \"soon\"", "use a duration such as \"500ms\""),
        ("[limits]\nstall_timeout = \"0s\"", "at least \"1ms\""),
        ("[namespaces.\"a.b\"]\nlatest = true", "\"a.b\" is no namespace"),
        ("[limits", "1: "),
    ]
    .into_iter()
    .enumerate()
    {
        let path = file(&format!("wrong-{i}.toml"), content);
        let output =
            fanfare(&["serve", "--config", path.to_str().expect("UTF-8")]).output().unwrap();
        let error = text(&output.stderr);
        assert!(error.starts_with(&format!("fanfare: {}:", path.display())), "{error}");
        fails_with_one_line(&output, 78, says);
    }
}

#[test]
fn contradictions_and_missing_files_are_one_clear_sentence() {
    for (i, (content, says)) in [
        ("[limits]\noutbox_high_water = \"2MiB\"", "the outbox's marks must rise: low water 16384"),
        ("[limits]\noutbox_low_water = \"64KiB\"", "the outbox's marks must rise: low water 65536"),
        ("[limits]\noutbox_max = 100", "limits.outbox_max from "),
    ]
    .into_iter()
    .enumerate()
    {
        let path = file(&format!("contradiction-{i}.toml"), content);
        let serve =
            fanfare(&["serve", "--config", path.to_str().expect("UTF-8")]).output().unwrap();
        fails_with_one_line(&serve, 78, says);
    }
    let missing = fanfare(&["serve", "--config", "no-such-file.toml"]).output().unwrap();
    fails_with_one_line(&missing, 78, "cannot read no-such-file.toml");
}

/// What a broker tells each client of its limits: the longest message and the ping interval.
async fn told_limits(broker: &Broker) -> (u64, u64) {
    let mut ws = Ws::open_at(&format!("{}/v1/ws", broker.url), Some("fanfare.v1.json")).await;
    let reply = ws.ask(json!({"connect": {}})).await;
    let number = |field: &str| reply["connect"][field].as_u64().expect("a number");
    (number("message_bytes_max"), number("ping_interval_ms"))
}

#[tokio::test]
async fn flags_go_before_the_environment_the_environment_before_the_file() {
    let content = "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nshards = 1\n\
                   [limits]\nmessage_max = 1000\nping_interval = \"7s\"";
    let path = file("layers.toml", content);
    let path = path.to_str().expect("UTF-8");
    let file_alone = Broker::start_command(&mut fanfare(&["serve", "--config", path]));
    assert_eq!(told_limits(&file_alone).await, (1_000, 7_000));
    let mut command = fanfare(&["serve"]);
    command.env("FANFARE_CONFIG", path).env("FANFARE_LIMITS_MESSAGE_MAX", "2KiB");
    assert_eq!(told_limits(&Broker::start_command(&mut command)).await, (2_048, 7_000));
    command.args(["--message-bytes-max", "3KiB", "--set", "limits.ping_interval=9s"]);
    let broker = Broker::start_command(&mut command);
    assert_eq!(told_limits(&broker).await, (3_072, 9_000));
    broker.wait_for_event(|event| event["message"] == "room for connections");
}

#[test]
fn checking_tells_what_a_configuration_comes_to_and_every_mistake() {
    let path = file("checked.toml", "shards = 3\n[namespaces.stocks]\nlatest = true");
    let path = path.to_str().expect("UTF-8");
    let check = |variable: (&str, &str), arguments: &[&str]| {
        let mut command = fanfare(&[&["config", "check"], arguments].concat());
        command.env(variable.0, variable.1).output().unwrap()
    };
    let output = check(("FANFARE_LIMITS_TOPICS", "7"), &[path, "--listen", "[::1]:1"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown = text(&output.stdout);
    for line in [
        format!("{:<40} # --listen", "listen = \"[::1]:1\""),
        format!("{:<40} # {path}:1", "shards = 3"),
        format!("{:<40} # FANFARE_LIMITS_TOPICS", "topics = 7"),
        format!("{:<40} # {path}:3", "latest = true"),
        "mode = \"all\"".to_owned(),
    ] {
        assert!(shown.lines().any(|l| l == line), "{line} in\n{shown}");
    }
    let again = file("effective.toml", shown);
    let output = check(("A", "b"), &[again.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(0), "what is printed can be loaded: {output:?}");

    let path = file("mistakes.toml", "shard = 3\n[limits]\ntopics = \"many\"");
    let output =
        check(("FANFARE_LISTEM", "127.0.0.1:1"), &[path.to_str().expect("UTF-8"), "--set", "a=b"]);
    let error = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(78), ""), "{error}");
    assert!(error.starts_with("fanfare: 4 mistakes in the configuration:\n"), "{error}");
    for says in [
        "mistakes.toml:1: there is no setting shard; did you mean shards?",
        "mistakes.toml:3: limits.topics = \"many\": use a number from 1 on",
        "FANFARE_LISTEM: there is no setting FANFARE_LISTEM; did you mean FANFARE_LISTEN?",
        "--set a: there is no setting a",
    ] {
        assert!(error.contains(says), "{says} in\n{error}");
    }
}

#[tokio::test]
async fn the_file_of_all_defaults_starts_a_broker() {
    let output = fanfare(&["config", "default"]).output().unwrap();
    let broker = serve("default.toml", text(&output.stdout));
    assert_eq!(told_limits(&broker).await, (65_536, 25_000));
    let schema = fanfare(&["config", "schema"]).output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert_eq!(schema["properties"]["limits"]["properties"]["topics"]["default"], 200_000);
    let doc = fanfare(&["config", "doc"]).output().unwrap();
    assert_eq!(text(&doc.stdout), include_str!("../docs/CONFIG.md"));
}
