//! Requests on the data port that do not become connections, and why.

mod support;

use std::time::Duration;

use support::{admin, exchange, http, parse, start, start_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const UPGRADE: [&str; 4] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

#[tokio::test]
async fn a_wrong_handshake_gets_its_status_and_one_sentence() {
    let server = start();
    let with = |i: usize, header: &'static str| {
        let mut headers = UPGRADE;
        headers[i] = header;
        headers
    };
    for (start, headers, status, says) in [
        ("GET /v1/ws", with(3, "Sec-WebSocket-Version: 8"), 426, "version 13"),
        ("GET /v1/topics/a", with(3, "Sec-WebSocket-Draft: 76"), 426, "version 13"),
        ("GET /v1/ws", with(2, "Sec-WebSocket-Key: short"), 400, "16 bytes"),
        ("GET /v1/ws", with(1, "Connection: close"), 400, "Connection: Upgrade"),
        ("GET /v1/ws", with(0, "X-Nothing: 1"), 426, "Upgrade: websocket"),
        ("GET /v1/nowhere", UPGRADE, 404, "/v1/ws"),
        ("POST /v1/ws", UPGRADE, 405, "GET"),
        ("GET /v1/topics/a%20b", UPGRADE, 400, "' '"),
        ("GET /v1/topics/a..b", UPGRADE, 400, "empty level"),
        ("GET /v1/topics/%ff", UPGRADE, 400, "UTF-8"),
        ("GET /v1/topics/a?since=3", UPGRADE, 400, "EPOCH:OFFSET"),
        ("GET /v1/topics/a?mode=newest", UPGRADE, 400, "all or latest"),
    ] {
        let answer = http(&server, start, &headers, b"").await;
        assert_eq!(answer.status, status, "{start} {headers:?} {answer:?}");
        assert!(answer.detail().contains(says), "{start}: {answer:?}");
        if status == 426 {
            assert!(answer.head.contains("\r\nsec-websocket-version: 13"), "{answer:?}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let server = start();
    let origin = "Origin: https://evil.example";
    let headers = [&UPGRADE[..], &[origin]].concat();
    for start in ["GET /v1/ws", "GET /v1/topics/a"] {
        assert_eq!(http(&server, start, &headers, b"").await.status, 403);
    }
    assert_eq!(http(&server, "POST /v1/topics/a", &[origin], b"1").await.status, 403);
    let own = format!("Origin: http://{}", server.addr());
    assert_eq!(http(&server, "POST /v1/topics/a", &[&own], b"1").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_half_open_handshake_is_ended_and_told_why() {
    let server = start_with(|l| l.handshake_timeout_ms = 300);
    for begun in ["", "GET /v1/ws HTTP/1.1\r\nHost: a\r\n"] {
        let text = exchange(&server, begun.as_bytes()).await;
        let answer = parse(&text);
        assert_eq!(answer.status, 408, "{begun:?} {text:?}");
        assert!(answer.body.contains("0.3 s"), "{text:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_trickles_does_not_last_longer() {
    let server = start_with(|l| l.handshake_timeout_ms = 500);
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let trickle = async {
        loop {
            for byte in b"GET /v1/ws HTTP/1.1\r\nX-Slow: a" {
                if stream.write_u8(*byte).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        }
    };
    tokio::time::timeout(support::SOON, trickle).await.expect("the broker ends it");
    server.stop().await;
}

#[tokio::test]
async fn a_head_too_large_is_refused() {
    let server = start();
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    assert_eq!(parse(&exchange(&server, long.as_bytes()).await).status, 431);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(200));
    assert_eq!(parse(&exchange(&server, many.as_bytes()).await).status, 431);
    let noise = exchange(&server, b"\x16\x03\x01 this is no HTTP\r\n\r\n").await;
    assert_eq!(parse(&noise).status, 400);
    server.stop().await;
}

#[tokio::test]
async fn frames_right_behind_the_handshake_are_not_lost() {
    let server = start();
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let mut request = format!(
        "GET /v1/topics/early HTTP/1.1\r\nHost: {}\r\n{}\r\n\r\n",
        server.addr(),
        UPGRADE.join("\r\n")
    )
    .into_bytes();
    request.extend(support::frame(0x81, b"first"));
    request.extend(support::frame(0x81, b"second"));
    stream.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\x81\x06second") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{answer:?}");
    }
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("\r\n\r\n") && text.contains("\u{5}first"), "{text:?}");
    server.stop().await;
}

#[tokio::test]
async fn health_and_metrics_are_on_the_admin_port_only() {
    let server = start();
    for path in ["/metrics", "/health/live", "/health/ready"] {
        assert_eq!(admin(&server, path).await.status, 200, "{path}");
        assert_eq!(http(&server, &format!("GET {path}"), &[], b"").await.status, 404, "{path}");
    }
    assert_eq!(admin(&server, "/v1/ws").await.status, 404);
    server.stop().await;
}

#[tokio::test]
async fn the_live_page_comes_whole_and_may_load_nothing_else() {
    let server = start();
    let page = http(&server, "GET /", &[], b"").await;
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-security-policy: default-src 'self'"), "{}", page.head);
    let attributes = page.body.split(['"', '\'']).filter(|part| part.starts_with('/'));
    let mut files: Vec<&str> = attributes.filter(|path| path.contains('.')).collect();
    files.dedup();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_eq!(http(&server, &format!("GET {file}"), &[], b"").await.status, 200, "{file}");
    }
    assert!(!page.body.contains("//cdn") && !page.body.contains("https://"));
    server.stop().await;
}
