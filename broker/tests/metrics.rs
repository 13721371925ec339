//! What the metrics tell, on real sockets.

mod support;

use fanfare::{Limits, NamespaceOptions};
use support::{Ws, admin, exchange, http, metric, metric_becomes, start, start_with};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn every_metric_of_the_reference_page_is_told_with_its_type() {
    let server = start();
    // A status is told from its first request on.
    http(&server, "GET /v1/topics/quiet", &[], b"").await;
    let text = admin(&server, "/metrics").await.body;
    let page = include_str!("../docs/METRICS.md");
    let mut listed = 0;
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (name, rest) = row.split_once("` | ").unwrap();
        let kind = rest.split(" | ").next().unwrap();
        let line = format!("# TYPE {name} {kind}");
        assert!(text.lines().any(|one| one == line), "{line} in:\n{text}");
        listed += 1;
    }
    assert_eq!(text.matches("# TYPE ").count(), listed, "and no other");
    assert!(listed > 40);
    assert_eq!(metric(&server, "fanfare_ready").await, 1.0);
    assert_eq!(metric(&server, "fanfare_history_limit_bytes").await, 512.0 * 1_048_576.0);
    for shard in 0..2 {
        let age = format!("fanfare_shard_tick_age_seconds{{shard=\"{shard}\"}}");
        assert!(metric(&server, &age).await < 10.0);
    }
    assert!(metric(&server, "process_cpu_seconds_total").await > 0.0);
    assert!(metric(&server, "process_resident_memory_bytes").await > 1e6);
    assert!(metric(&server, "process_open_fds").await >= 4.0);
    server.stop().await;
}

#[tokio::test]
async fn handshakes_that_come_to_nothing_are_told_by_reason() {
    let server = start_with(|limits| limits.handshake_timeout_ms = 300);
    let failed = |reason| format!("fanfare_handshakes_failed_total{{reason=\"{reason}\"}}");
    drop(TcpStream::connect(server.addr()).await.unwrap());
    metric_becomes(&server, &failed("abandoned"), |n| n == 1.0).await;
    exchange(&server, b"").await;
    let mut half = TcpStream::connect(server.addr()).await.unwrap();
    half.write_all(b"GET /v1/ws HTTP/1.1\r\n").await.unwrap();
    metric_becomes(&server, &failed("timed_out"), |n| n == 2.0).await;
    let old = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 8"];
    assert_eq!(http(&server, "GET /v1/ws", &old, b"").await.status, 426);
    assert_eq!(metric(&server, &failed("refused")).await, 1.0);
    assert_eq!(metric(&server, "fanfare_accepted_total").await, 4.0);
    assert_eq!(metric(&server, "fanfare_connections_opened_total").await, 0.0);
    server.stop().await;
}

#[tokio::test]
async fn connections_and_publishes_are_told_by_state_and_namespace() {
    let server = start_with(|limits: &mut Limits| {
        limits.namespaces.insert("stocks", NamespaceOptions::default());
    });
    let _reader = Ws::raw(&server, "stocks.A").await;
    for topic in ["stocks.A", "stocks.B", "news.x"] {
        let answer = http(&server, &format!("POST /v1/topics/{topic}"), &[], b"12345").await;
        assert_eq!(answer.status, 200);
    }
    let of = |what: &str, namespace: &str| {
        format!("fanfare_namespace_{what}_total{{namespace=\"{namespace}\"}}")
    };
    assert_eq!(metric(&server, &of("messages_in", "stocks")).await, 2.0);
    assert_eq!(metric(&server, &of("message_in_bytes", "stocks")).await, 10.0);
    assert_eq!(metric(&server, &of("fanout", "stocks")).await, 1.0);
    assert_eq!(metric(&server, &of("messages_in", "other")).await, 1.0);
    let open = "fanfare_connection_states{state=\"open\"}";
    metric_becomes(&server, open, |n| n == 1.0).await;
    server.stop().await;
}
