//! A broker that is told to stop by whoever supervises it: connections go in waves and hear
//! everything until then, readiness is gone first, and a second signal ends it at once.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that fails")]

mod support;

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Instant;

use fanfare_protocol::{Payload, TopicName};
use serde_json::Value;
use support::process::{Broker, fanfare};
use support::{SOON, Ws, admin_at, close_code, handshake, handshake_at, start, start_with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_close_in_waves_and_hear_everything_until_then() {
    const OTHERS: usize = 1_500;
    let server = start();
    let mut publisher = server.publisher();
    let mut others = Vec::new();
    for _ in 0..OTHERS {
        others.push(handshake(&server, "/v1/topics/other").await);
    }
    let mut readers = Vec::new();
    for _ in 0..10 {
        let mut ws = Ws::subscriber(&server, &["t"]).await;
        readers.push(tokio::spawn(async move {
            let mut offsets = Vec::new();
            loop {
                let Some(frame) = ws.json_or_close().await else {
                    return (offsets, Instant::now());
                };
                offsets.extend(frame["offset"].as_u64());
            }
        }));
    }
    let began = Instant::now();
    let stopping = tokio::spawn(server.stop());
    let topic = TopicName::new("t").unwrap();
    while !stopping.is_finished() {
        let _ = publisher.publish(&topic, &Payload::text("x"));
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(stopping.await.unwrap(), 0, "all have said goodbye");
    let mut ends = Vec::new();
    for reader in readers {
        let (offsets, end) = reader.await.unwrap();
        let dense = (1..=offsets.len() as u64).collect::<Vec<_>>();
        assert_eq!(offsets, dense, "in order, without a hole, up to its own end");
        ends.push(end - began);
    }
    ends.sort();
    // Closed over 1.5 s in the order of their keys: the readers came last.
    assert!(ends[9].as_millis() > 500, "in waves, not at once: {ends:?}");
    for mut other in others {
        assert_eq!(close_code(&mut other).await, Some(1012));
    }
}

#[tokio::test]
async fn readiness_is_gone_and_metrics_go_on_while_it_drains() {
    // A client that never says goodbye keeps the drain from ending for a while.
    let server = start_with(|limits| limits.close_timeout_ms = 60_000);
    let admin_addr = server.admin_addr();
    let mut rude = handshake(&server, "/v1/topics/t").await;
    let stopping = tokio::spawn(server.stop());
    assert_eq!(close_code(&mut rude).await, Some(1012));
    let ready = admin_at(admin_addr, "/health/ready").await;
    assert_eq!((ready.status, ready.body.as_str()), (503, "stopping\n"));
    let metrics = admin_at(admin_addr, "/metrics").await;
    assert!(metrics.body.contains("fanfare_connections 1"), "{}", metrics.body);
    drop(rude);
    assert_eq!(tokio::time::timeout(SOON, stopping).await.expect("an end").unwrap(), 0);
}

/// A broker with a client that never says goodbye.
async fn stubborn() -> (Broker, tokio::net::TcpStream) {
    let broker = Broker::start("serve");
    let address = broker.url.strip_prefix("ws://").unwrap();
    let stream = handshake_at(address.parse().unwrap(), "/v1/topics/t").await;
    broker.wait_for("fanfare_connections 1");
    (broker, stream)
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (mut broker, mut stream) = stubborn().await;
    broker.signal("TERM");
    assert_eq!(close_code(&mut stream).await, Some(1012));
    broker.signal("TERM");
    assert_eq!(broker.child.wait().unwrap().code(), Some(130));
}

#[tokio::test]
async fn whoever_does_not_say_goodbye_is_cut_and_the_end_is_a_success() {
    let (mut broker, mut stream) = stubborn().await;
    broker.signal("TERM");
    assert_eq!(close_code(&mut stream).await, Some(1012));
    assert_eq!(broker.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_supervisor_is_told_when_it_is_ready_and_when_it_stops() {
    let folder = std::env::temp_dir().join(format!("fanfare-notify-{}", std::process::id()));
    let _ = std::fs::remove_file(&folder);
    let socket = UnixDatagram::bind(&folder).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut child = fanfare(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .env("NOTIFY_SOCKET", &folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let told = || {
        let mut bytes = [0; 4_096];
        let len = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    };
    let ready = told();
    assert!(ready.starts_with("READY=1\nSTATUS=listening on http://127.0.0.1:"), "{ready}");
    let kill = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    assert!(told().starts_with("STOPPING=1"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    std::fs::remove_file(&folder).unwrap();
}

#[tokio::test]
async fn a_socket_that_the_supervisor_opened_is_used_and_outlives_the_broker() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..2 {
        // As systemd does: the first inherited descriptor is number 3.
        let inherited = OwnedFd::from(listener.try_clone().unwrap());
        let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
        let mut child = Command::new("sh")
            .args(["-c", script, "sh", env!("CARGO_BIN_EXE_fanfare"), "serve"])
            .args(["--admin-listen", "127.0.0.1:0"])
            .stdin(Stdio::from(inherited))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Connects at once, because the socket has been there before the broker.
        let mut ws = Ws::connected(&format!("ws://{address}")).await;
        let reply: Value = ws.ask(serde_json::json!({"publish": {"topic": "t", "data": 1}})).await;
        assert_eq!(reply["publish"]["offset"], 1);
        let kill = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        assert_eq!(ws.closed().await.0, 1012);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}
