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
        ("[namespaces.a]\nlatests = true", "unknown field `latests`, expected one of"),
        ("[namespace.a]\nlatest = true", "unknown field `namespace`"),
        ("[namespaces.a]\nmode = \"newest\"", "`all` or `latest`"),
        ("[namespaces.a]\nhistory_size = -4", "a size such as 4096, \"64KiB\" or \"1MB\""),
        ("[limits]\nstall_timeout = \"soon\"", "use a duration such as \"500ms\""),
        ("[limits", "TOML parse error at line 1"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = file(&format!("wrong-{i}.toml"), content);
        let output =
            fanfare(&["serve", "--config", path.to_str().expect("UTF-8")]).output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{content}: {error}");
        assert!(error.starts_with(&format!("fanfare: {}: ", path.display())), "{error}");
        assert!(error.contains(says), "{content}: {error}");
        assert_eq!(text(&output.stdout), "", "nothing listened");
    }
}

#[test]
fn contradictions_and_missing_files_are_one_clear_sentence() {
    for (i, (content, says)) in [
        ("[limits]\noutbox_high_water = \"2MiB\"", "the outbox's marks must rise: low water 16384"),
        ("[limits]\noutbox_low_water = \"64KiB\"", "the outbox's marks must rise: low water 65536"),
        ("[limits]\noutbox_max = 100", "the outbox's marks must rise"),
        ("[limits]\nstall_timeout = \"0s\"", "stall_timeout_ms must be at least 1 ms"),
        ("[namespaces.\"a.b\"]\nlatest = true", "\"a.b\" is no namespace"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = file(&format!("contradiction-{i}.toml"), content);
        let serve =
            fanfare(&["serve", "--config", path.to_str().expect("UTF-8")]).output().unwrap();
        fails_with_one_line(&serve, 1, says);
    }
    let missing = fanfare(&["serve", "--config", "no-such-file.toml"]).output().unwrap();
    fails_with_one_line(&missing, 1, "cannot read no-such-file.toml");
}
