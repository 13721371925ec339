//! What the broker counts of each transport is what goes over the wire, to the byte.

mod support;

use serde_json::Value;
use support::{Kept, exchange, http, metric, start};
use tokio::io::AsyncWriteExt;

/// Sends these bytes and reads to the end: the bytes of head and body that came back.
async fn measured(server: &fanfare::Server, request: &str) -> (usize, usize) {
    let answer = exchange(server, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.len() + 4, body.len())
}

fn parts(meter: &Value, transport: &str, direction: &str) -> [u64; 4] {
    let parts = &meter["transports"][transport][direction];
    ["head", "framing", "envelope", "payload"].map(|part| parts[part].as_u64().expect("a number"))
}

#[tokio::test]
async fn heads_envelopes_and_payloads_add_up_to_the_bytes_on_the_wire() {
    let server = start();
    let close = "Host: a\r\nConnection: close\r\n";
    let post_head =
        format!("POST /v1/topics/a HTTP/1.1\r\n{close}Transfer-Encoding: chunked\r\n\r\n");
    let chunks = "5\r\n{\"p\":\r\n4\r\n1.5}\r\n0\r\n\r\n";
    let (posted_head, posted_body) = measured(&server, &format!("{post_head}{chunks}")).await;
    let poll = format!("GET /v1/topics/a HTTP/1.1\r\n{close}\r\n");
    let (head, body) = measured(&server, &poll).await;
    let same = format!("GET /v1/topics/a HTTP/1.1\r\n{close}If-None-Match: *\r\n\r\n");
    let (same_head, same_body) = measured(&server, &same).await;
    assert_eq!(same_body, 0);
    let wait = format!("GET /v1/topics/a?wait=10ms HTTP/1.1\r\n{close}\r\n");
    let (wait_head, wait_body) = measured(&server, &wait).await;

    let meter = http(&server, "GET /v1/meter", &[], b"").await.json();
    let payload = "{\"p\":1.5}".len();
    let expected = |numbers: [usize; 4]| numbers.map(|number| number as u64);
    let framing = chunks.len() - payload;
    assert_eq!(parts(&meter, "publish", "in"), expected([post_head.len(), framing, 0, payload]));
    assert_eq!(parts(&meter, "publish", "out"), expected([posted_head, 0, posted_body, 0]));
    assert_eq!(parts(&meter, "poll", "in"), expected([poll.len() + same.len(), 0, 0, 0]));
    let out = expected([head + same_head, 0, body - payload, payload]);
    assert_eq!(parts(&meter, "poll", "out"), out);
    assert_eq!(parts(&meter, "long_poll", "in"), expected([wait.len(), 0, 0, 0]));
    assert_eq!(parts(&meter, "long_poll", "out"), expected([wait_head, 0, wait_body, 0]));
    let messages = |transport: &str| meter["transports"][transport]["messages"].as_u64();
    assert_eq!(["publish", "poll", "long_poll"].map(messages), [Some(1), Some(1), Some(0)]);
    assert_eq!(meter["transports"]["poll"]["requests"]["304"], 1);

    let name = "fanfare_transport_bytes_total{transport=\"poll\",direction=\"out\",part=\"head\"}";
    assert_eq!(metric(&server, name).await, (head + same_head) as f64);
    let name = "fanfare_http_requests_total{transport=\"poll\",status=\"304\"}";
    assert_eq!(metric(&server, name).await, 1.0);
    assert_eq!(
        metric(&server, "fanfare_transport_messages_total{transport=\"publish\"}").await,
        1.0
    );
    server.stop().await;
}

#[tokio::test]
async fn handshakes_count_as_heads_of_what_they_open() {
    let server = start();
    let mut kept = Kept::connect(&server).await;
    let upgrade = "GET /v1/topics/a HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
                   Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Version: 13\r\n\r\n";
    kept.stream.write_all(upgrade.as_bytes()).await.unwrap();
    assert_eq!(kept.answer().await.status, 101);
    let meter = http(&server, "GET /v1/meter", &[], b"").await.json();
    assert_eq!(parts(&meter, "raw", "in")[0], upgrade.len() as u64);
    assert_eq!(parts(&meter, "raw", "out")[0], 129);
    server.stop().await;
}
