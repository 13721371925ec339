//! What a broker writes into its log, how that is changed while it runs, and that it harms nobody.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that fails")]
#![allow(dead_code, reason = "the tests of other programs use the rest of `support`")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::process::{Broker, fails_with_one_line, fanfare, request, signal, text};
use support::{SOON, Ws};

/// Changes or shows the level with `fanfare log`.
fn log(broker: &Broker, arguments: &[&str]) -> Output {
    let admin = format!("http://{}", broker.admin);
    fanfare(&[&["log", "--admin", &admin], arguments].concat()).output().unwrap()
}

/// `PUT /v1/log`: the status and the answer.
fn put(admin: &str, body: &str, header: &str) -> (String, Value) {
    let mut stream = TcpStream::connect(admin).unwrap();
    let length = body.len();
    let head = format!("PUT /v1/log HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{header}");
    write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().to_owned();
    (status, serde_json::from_str(body).unwrap_or_default())
}

/// Asks for what there is not.
fn be_refused(broker: &Broker) {
    let answer = request(broker.url.trim_start_matches("ws://"), "GET /nowhere", &[]);
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

fn is_refusal(event: &Value) -> bool {
    event["message"] == "requests refused" && event["status"] == 404
}

fn is_change(event: &Value, level: &str, by: &str) -> bool {
    event["message"] == "log level changed" && event["level"] == "INFO" && {
        let new = event["to"].as_str();
        new == Some(level) && event["by"] == by
    }
}

#[test]
fn programs_read_json_from_start_to_end() {
    let mut broker = Broker::start_with(&["serve", "--shards", "1"]);
    let started = broker.wait_for_event(|event| event["message"] == "started");
    assert_eq!(started["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(started["listen"], broker.url.trim_start_matches("ws://"));
    assert_eq!(started["admin_listen"], broker.admin);
    assert_eq!((&started["shards"], &started["level"]), (&1.into(), &"INFO".into()));
    broker.signal("TERM");
    assert_eq!(broker.child.wait().unwrap().code(), Some(0));
    let drained = broker.wait_for_event(|event| event["message"] == "drained");
    assert_eq!(drained["target"], "fanfare::node");
    for line in broker.wait_for_print("drained").lines() {
        let event: Value = serde_json::from_str(line).expect(line);
        assert!(event["timestamp"].is_string() && event["message"].is_string(), "{line}");
    }
}

#[test]
fn people_may_have_text_also_where_there_is_no_terminal() {
    let broker = Broker::start_with(&["serve", "--set", "log.format=text"]);
    let printed = broker.wait_for_print(" INFO fanfare::node: started version=");
    assert!(!printed.contains('\x1b'), "{printed}");
}

#[test]
fn what_cannot_be_is_refused_before_anything_listens() {
    for (setting, says) in [
        ("log.level=inof", "log.level = \"inof\": use off, error, warn, info, debug or trace"),
        ("log.level=fanfare::htp=info", "as in \"info,fanfare::http=debug\""),
        ("log.level=3", "log.level = 3: use off"),
        ("log.format=xml", "log.format = \"xml\": use \"auto\" or \"text\" or \"json\""),
        ("log.levle=info", "did you mean log.level?"),
    ] {
        fails_with_one_line(&fanfare(&["serve", "--set", setting]).output().unwrap(), 78, says);
    }
    let mut serve = fanfare(&["serve"]);
    let serve = serve.env("FANFARE_LOG_LEVEL", "loud").output().unwrap();
    fails_with_one_line(&serve, 78, "FANFARE_LOG_LEVEL: log.level = \"loud\": use");
    let log = fanfare(&["log", "inof"]).output().unwrap();
    fails_with_one_line(
        &log,
        2,
        "\"inof\" is no level; use off, error, warn, info, debug or trace",
    );
}

#[test]
fn the_level_changes_while_it_runs_and_goes_back_by_itself() {
    let broker = Broker::start("serve");
    be_refused(&broker);
    let shown = log(&broker, &["fanfare::http=debug", "--for", "1s"]);
    let shown = text(&shown.stdout);
    assert!(shown.starts_with("fanfare::http=debug for ") && shown.ends_with("s, then info\n"));
    broker.wait_for_event(|event| is_change(event, "fanfare::http=debug", "an operator"));
    broker.wait_for_event(|event| is_change(event, "info", "its time was over"));
    assert_eq!(text(&log(&broker, &[]).stdout), "info\n");
    assert!(
        !broker.events().iter().any(is_refusal),
        "nobody wanted to know: {:?}",
        broker.events()
    );

    let shown = log(&broker, &["off,fanfare::http=debug"]);
    assert_eq!(text(&shown.stdout), "off,fanfare::http=debug (configured: info)\n");
    be_refused(&broker);
    let event = broker.wait_for_event(is_refusal);
    assert!(event["detail"].as_str().unwrap().starts_with("there is nothing here"), "{event}");
    assert!(event["peer"] == "127.0.0.1" && event["count"] == 1, "{event}");
}

#[test]
fn a_reload_changes_the_level_too_and_the_last_word_counts() {
    let file = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("level.toml");
    std::fs::write(&file, "").unwrap();
    let broker = Broker::start_with(&["serve", "--config", file.to_str().unwrap()]);
    log(&broker, &["warn"]);
    std::fs::write(&file, "[log]\nlevel = \"debug\"").unwrap();
    broker.signal("HUP");
    broker.wait_for_event(|event| is_change(event, "debug", "the configuration"));
    assert_eq!(text(&log(&broker, &[]).stdout), "debug\n");
}

#[test]
fn the_admin_port_refuses_what_cannot_be_with_what_can() {
    let broker = Broker::start("serve");
    let refused = |body: &str, header: &str| {
        let (status, problem) = put(&broker.admin, body, header);
        (status, problem["detail"].as_str().unwrap_or_default().to_owned())
    };
    let (status, detail) = refused(r#"{"level":"loud"}"#, "");
    assert!(status == "422" && detail.contains("use off, error, warn"), "{status} {detail}");
    for body in
        ["debug", "{}", r#"{"level":"info","for":"10m"}"#, r#"{"level":"info","for_ms":-1}"#]
    {
        let (status, detail) = refused(body, "");
        assert!(
            status == "400" && detail.contains("\"for_ms\":600000"),
            "{body}: {status} {detail}"
        );
    }
    let (status, _) = refused(r#"{"level":"trace"}"#, "Origin: http://evil\r\n");
    assert_eq!(status, "403");
    let (status, view) = put(&broker.admin, r#"{"level":"warn"}"#, "");
    let expected =
        json!({"level": "warn", "configured": "info", "remaining_ms": null, "lines_dropped": 0});
    assert_eq!((&*status, view), ("200", expected));
    let no_admin = log(&broker, &["debug"]);
    assert!(no_admin.status.success());
    let nobody = fanfare(&["log", "--admin", "http://127.0.0.1:1"]).output().unwrap();
    fails_with_one_line(&nobody, 1, "fanfare: no answer from 127.0.0.1:1");
}

#[tokio::test]
async fn messages_write_no_line_at_any_level() {
    let broker = Broker::start_with(&["serve", "--set", "log.level=trace"]);
    let mut ws = Ws::connected(&broker.url).await;
    ws.subscribe(json!({"topic": "t"})).await;
    ws.publish("t", 0).await;
    ws.push().await;
    broker.wait_for_event(|event| event["message"] == "connection opened");
    let before = broker.events().len();
    for i in 1..=2_000 {
        ws.publish("t", i).await;
        ws.push().await;
    }
    // Written after all that could have been written of the messages.
    log(&broker, &["trace"]);
    broker.wait_for_event(|event| is_change(event, "trace", "an operator"));
    let events = broker.events();
    let more = events.len() - before;
    assert!(more < 200, "{more} lines for 2,000 messages: {:#?}", &events[before..]);
}

/// A broker whose standard error is a pipe that nobody reads, and its addresses.
fn unread() -> (Child, String, String) {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut child = fanfare(&serve).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut address = || {
        let line = lines.next().unwrap().unwrap();
        line.split_once("http://").expect("an address").1.to_owned()
    };
    let (url, admin) = (format!("ws://{}", address()), address());
    (child, url, admin)
}

/// Changes the level until the metrics count a line that could not be written.
fn write_until_dropped(admin: &str) {
    let deadline = Instant::now() + 4 * SOON;
    loop {
        for level in ["info", "warn"].repeat(100) {
            let (status, _) = put(admin, &json!({ "level": level }).to_string(), "");
            assert_eq!(status, "200");
        }
        let metrics = request(admin, "GET /metrics", &[]);
        let name = "fanfare_log_lines_dropped_total ";
        let dropped = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        if dropped != "0" {
            return;
        }
        assert!(Instant::now() < deadline, "no line was dropped");
    }
}

fn ends_in_good_order(mut child: Child) {
    signal(&child, "TERM");
    let deadline = Instant::now() + SOON;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return assert_eq!(status.code(), Some(0)),
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            None => {
                let _ = child.kill();
                panic!("it hangs");
            }
        }
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_nothing_up() {
    let (child, url, admin) = unread();
    write_until_dropped(&admin);
    let mut ws = Ws::connected(&url).await;
    ws.subscribe(json!({"topic": "t"})).await;
    assert_eq!(ws.publish("t", 1).await, 1);
    drop(ws);
    ends_in_good_order(child);
}

#[tokio::test]
async fn a_log_whose_reader_has_gone_harms_nobody() {
    let (mut child, url, admin) = unread();
    drop(child.stderr.take());
    write_until_dropped(&admin);
    let mut ws = Ws::connected(&url).await;
    assert_eq!(ws.publish("t", 1).await, 1);
    drop(ws);
    ends_in_good_order(child);
}

#[test]
fn running_out_of_descriptors_is_a_line_and_no_storm() {
    let serve = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--shards", "1"];
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_fanfare"), "serve"]);
    let broker = Broker::start_command(command.args(serve).stdin(Stdio::null()));
    let few = broker.wait_for_event(|event| event["open_files_max"] == 64);
    assert!(few["level"] == "WARN" && few["how"].as_str().unwrap().contains("LimitNOFILE="));
    let address = broker.url.trim_start_matches("ws://");
    let open: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(address).unwrap()).collect();
    let is_it = |event: &Value| {
        event["target"] == "fanfare::connections"
            && event["message"].as_str().unwrap().starts_with("connections refused for want")
    };
    let event = broker.wait_for_event(is_it);
    assert_eq!((&event["level"], &event["cause"]), (&"WARN".into(), &"descriptors".into()));
    assert_eq!(event["count"], 1);
    let more = broker.wait_for_event(|event| is_it(event) && event["count"] != 1);
    assert!(more["count"].as_u64().unwrap() > 10, "{more}");
    let lines = broker.events().into_iter().filter(is_it).count();
    assert!(lines <= 4, "{lines} lines");
    drop(open);
}

#[tokio::test]
async fn whom_the_broker_closes_is_told_with_an_example() {
    let options = ["limits.handshake_timeout=100ms", "log.level=fanfare::connections=debug"];
    let [timeout, level] = options;
    let broker = Broker::start_with(&["serve", "--set", timeout, "--set", level]);
    let mut ws = Ws::open_at(&format!("{}/v1/ws", broker.url), Some("fanfare.v1.json")).await;
    assert_eq!(ws.closed().await.0, 3003);
    let event = broker.wait_for_event(|event| event["cause"] == "connect_timeout");
    assert_eq!((&event["level"], &event["code"]), (&"DEBUG".into(), &3003.into()));
    assert_eq!((&event["count"], &event["buffered_bytes"]), (&1.into(), &0.into()));
    assert!(event["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{event}");
    assert_eq!(event["reason"], "no `connect` command came within 0.1 s");
}
