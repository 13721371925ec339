//! Connections that speak HTTP: kept, pipelined, cut, flooded, too slow and too many.

mod support;

use std::time::Duration;

use fanfare::Server;
use support::{Kept, exchange, http, metric, metric_becomes, parse, start, start_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const GET: &str = "GET /v1/topics/a HTTP/1.1\r\nHost: a\r\n\r\n";
const LAST: &str = "GET /v1/topics/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

async fn open_connections(server: &Server, count: u32) {
    metric_becomes(server, "fanfare_http_connections", |now| now == f64::from(count)).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order_however_they_are_cut() {
    let server = start();
    let post =
        |n: u32| format!("POST /v1/topics/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{n}");
    let chunked = "POST /v1/topics/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   1\r\n3\r\n0\r\n\r\n";
    let wait = "GET /v1/topics/b?wait=50ms HTTP/1.1\r\nHost: a\r\n\r\n";
    let requests = [&post(1), &post(2), wait, chunked, GET, LAST].map(|text| text.to_owned());
    let requests = requests.concat().into_bytes();
    for piece in [requests.len(), 64, 7, 1] {
        let server_addr = server.addr();
        let mut stream = tokio::net::TcpStream::connect(server_addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for bytes in requests.chunks(piece) {
            stream.write_all(bytes).await.unwrap();
        }
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 6, "{piece}: {text}");
        let order: Vec<_> = ["{\"epoch\"", "\"topic\":\"b\"", "\"topic\":\"a\""]
            .map(|what| text.find(what).unwrap())
            .into();
        assert!(order.is_sorted(), "{piece}: {text}");
        assert_eq!(text.matches("connection: close").count(), 1, "{text}");
    }
    assert_eq!(server.messages_in(), 4 * 3);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_is_kept_while_it_is_idle_but_not_for_ever() {
    let server = start_with(|l| {
        l.handshake_timeout_ms = 300;
        l.http_idle_timeout_ms = 1_500;
    });
    let mut kept = Kept::connect(&server).await;
    kept.request("POST /v1/topics/a", &[], b"1").await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let again = kept.request("GET /v1/topics/a", &[], b"").await;
    assert_eq!(again.status, 200, "longer than a head may take is fine between two requests");
    assert_eq!(kept.rest().await, "", "an idle connection ends without a word");
    let mut slow = Kept::connect(&server).await;
    slow.request("GET /v1/topics/a", &[], b"").await;
    slow.stream.write_all(b"GET /v1/topics/a HT").await.unwrap();
    let told = parse(&slow.rest().await);
    assert_eq!(told.status, 408, "a head that is begun has as long as the first one");
    open_connections(&server, 0).await;
    server.stop().await;
}

#[tokio::test]
async fn old_clients_and_those_that_ask_for_heads_are_served() {
    let server = start();
    http(&server, "POST /v1/topics/a", &[], b"1").await;
    let old = exchange(&server, b"GET /v1/topics/a HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.1 200") && old.contains("connection: close"), "{old}");
    let kept = b"GET /v1/topics/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n\
                 HEAD /v1/topics/a HTTP/1.0\r\n\r\n";
    let kept = exchange(&server, kept).await;
    assert!(kept.contains("connection: keep-alive"), "{kept}");
    assert!(kept.ends_with("\r\n\r\n"), "no body behind the second head: {kept}");
    let lens: Vec<&str> = kept.lines().filter(|l| l.starts_with("content-length")).collect();
    assert!(lens.len() == 2 && lens[0] == lens[1], "{kept}");
    let dated = http(&server, "GET /v1/topics/a", &[], b"").await;
    assert!(dated.header("date").is_some_and(|date| date.ends_with(" GMT")), "{dated:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_body_is_asked_for_where_the_client_waits_for_that() {
    let server = start();
    let mut kept = Kept::connect(&server).await;
    let head = b"POST /v1/topics/a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
                 Content-Length: 3\r\n\r\n";
    kept.stream.write_all(head).await.unwrap();
    assert_eq!(kept.answer().await.status, 100);
    kept.stream.write_all(b"123").await.unwrap();
    assert_eq!(kept.answer().await.status, 200);
    let head = head.to_vec();
    let refused = String::from_utf8(head).unwrap().replace("/a ", "/a* ");
    kept.stream.write_all(refused.as_bytes()).await.unwrap();
    let refused = parse(&kept.rest().await);
    assert_eq!((refused.status, refused.header("connection")), (400, Some("close")));
    assert_eq!(server.messages_in(), 1);
    server.stop().await;
}

#[tokio::test]
async fn each_bad_request_gets_a_problem_document_that_says_what_is_allowed() {
    let server = start_with(|l| l.message_bytes_max = 1_000);
    http(&server, "POST /v1/topics/a", &[], b"1").await;
    let get =
        |target: &str, headers: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    let post = |headers: &str, body: &str| {
        format!("POST /v1/topics/a HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n{body}")
    };
    let flood: String = (0..200).map(|i| format!("X-{i}: y\r\n")).collect();
    for (request, status, says) in [
        (get("/v1/topics/a?after=1", ""), 400, "EPOCH:OFFSET"),
        (get("/v1/topics?topic=a&topic=b&after=k3:1", ""), 400, "1 positions for 2 topics"),
        (get("/v1/topics/a?wait=2h", ""), 400, "at most 60 s"),
        (get("/v1/topics/a?wait=-1s", ""), 400, "at most 60 s"),
        (get("/v1/topics", ""), 400, "give 1 to 100"),
        (get("/v1/topics?topic=a*", ""), 400, "'*'"),
        (get("/v1/topics/a", "Accept: image/png\r\n"), 406, "application/json"),
        (get("/v1/topics/a", &flood), 431, "64 headers"),
        (get("/v1/topics/a", &format!("X: {}\r\n", "y".repeat(20_000))), 431, "16384 bytes"),
        (get(&format!("/{}", "y".repeat(20_000)), ""), 414, "16384 bytes"),
        (get("/v1/topics/a", "Host: b\r\n"), 400, "one Host"),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n".to_owned(), 505, "HTTP/1.1"),
        ("nonsense\r\n\r\n".to_owned(), 400, "no HTTP/1.1 request"),
        (post("Content-Length: 1001", ""), 413, "1000 bytes"),
        (post("Transfer-Encoding: chunked", "400\r\n"), 413, "1000 bytes"),
        (post("Transfer-Encoding: chunked", "zz\r\n"), 400, "chunks"),
        (post("Transfer-Encoding: chunked", "1\r\nab\r\n"), 400, "chunks"),
        (post("Transfer-Encoding: gzip", ""), 501, "chunked"),
        (post("Content-Length: 1\r\nTransfer-Encoding: chunked", "1"), 400, "Content-Length"),
        (post("Content-Length: 1\r\nContent-Length: 2", "12"), 400, "Content-Length"),
        (post("Expect: a miracle", ""), 417, "100-continue"),
        (
            "POST /v1/topics HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1".to_owned(),
            415,
            "x-ndjson",
        ),
        (
            "DELETE /v1/topics/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(),
            405,
            "GET, POST",
        ),
    ] {
        // Some of these end the connection by themselves; the others are asked to.
        let request = request.replacen("Host: a\r\n", "Host: a\r\nConnection: close\r\n", 1);
        let answer = parse(&exchange(&server, request.as_bytes()).await);
        let start = &request[..request.len().min(70)];
        assert_eq!(answer.status, status, "{start:?} {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{start:?}");
        assert_eq!(answer.json()["status"], status, "{answer:?}");
        assert!(answer.detail().contains(says), "{start:?} {answer:?}");
    }
    assert_eq!(server.messages_in(), 1, "nothing was published by mistake");
    open_connections(&server, 0).await;
    assert_eq!(metric(&server, "fanfare_unfinished_bytes").await, 0.0);
    server.stop().await;
}

#[tokio::test]
async fn pollers_over_their_rate_are_told_when_to_come_back() {
    let server = start_with(|l| l.requests_per_second_max = 50);
    http(&server, "POST /v1/topics/a", &[], b"1").await;
    let mut kept = Kept::connect(&server).await;
    let mut refused = None;
    for _ in 0..1_000 {
        let answer = kept.request("GET /v1/topics/a", &[], b"").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status, 200);
    }
    let refused = refused.expect("a limit");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.detail().contains("50 requests"), "{refused:?}");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let answer = kept.request("GET /v1/topics/a", &[], b"").await;
    assert_eq!(answer.status, 200, "on the same connection, in the next second");
    assert_eq!(http(&server, "GET /", &[], b"").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_asks_and_does_not_read_is_given_up_and_costs_little() {
    let server = start_with(|l| l.stall_timeout_ms = 500);
    http(&server, "POST /v1/topics/a", &[], &[b'x'; 60_000]).await;
    let mut greedy = Kept::connect(&server).await;
    socket2::SockRef::from(&greedy.stream).set_recv_buffer_size(4_096).unwrap();
    // The broker stops reading it, and so this ends when it is cut.
    let flood =
        async { while greedy.stream.write_all(GET.repeat(100).as_bytes()).await.is_ok() {} };
    tokio::time::timeout(support::SOON, flood).await.expect("it is cut");
    open_connections(&server, 0).await;
    let answered =
        metric(&server, "fanfare_http_requests_total{transport=\"poll\",status=\"200\"}").await;
    assert!(answered < 1_000.0, "{answered} answers of 60 kB were made for nobody");
    server.stop().await;
}

#[tokio::test]
async fn clients_that_vanish_in_the_middle_leave_nothing_behind() {
    let server = start();
    let begun = b"POST /v1/topics/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc";
    let mut streams = Vec::new();
    for len in [0, 10, 40, begun.len()] {
        let mut kept = Kept::connect(&server).await;
        kept.stream.write_all(&begun[..len]).await.unwrap();
        streams.push(kept);
    }
    open_connections(&server, 4).await;
    metric_becomes(&server, "fanfare_unfinished_bytes", |bytes| bytes == 3.0).await;
    drop(streams);
    open_connections(&server, 0).await;
    assert_eq!(metric(&server, "fanfare_unfinished_bytes").await, 0.0);
    server.stop().await;
}

#[tokio::test]
async fn bodies_and_replies_that_are_too_much_together_are_given_up() {
    let server = start_with(|l| {
        l.unfinished_bytes_max = 100_000;
        l.outbox_total_bytes_max = 400_000;
    });
    // On one of the two shards are three of these at least.
    let mut uploads = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let mut kept = Kept::connect(&server).await;
        uploads.spawn(async move {
            let head = "POST /v1/topics/a HTTP/1.1\r\nHost: a\r\nContent-Length: 60001\r\n\r\n";
            kept.stream.write_all(&[head.as_bytes(), &[b'x'; 60_000]].concat()).await.unwrap();
            kept.answer().await
        });
    }
    let refused = uploads.join_next().await.unwrap().unwrap();
    assert_eq!(refused.status, 503);
    assert!(refused.detail().contains("unfinished bodies"), "{refused:?}");
    uploads.shutdown().await;

    http(&server, "POST /v1/topics/a", &[], &[b'x'; 60_000]).await;
    let mut greedy = Vec::new();
    for _ in 0..9 {
        let kept = Kept::connect(&server).await;
        socket2::SockRef::from(&kept.stream).set_recv_buffer_size(4_096).unwrap();
        greedy.push(kept);
    }
    for kept in &mut greedy {
        // Fails where the broker has had enough already.
        let _ = kept.stream.write_all(GET.repeat(300).as_bytes()).await;
    }
    metric_becomes(&server, "fanfare_http_connections", |now| now < 9.0).await;
    assert_eq!(http(&server, "GET /v1/topics/a", &[], b"").await.status, 200);
    server.stop().await;
}
