//! Server-sent events on real sockets.

mod support;

use serde_json::json;
use support::{
    EventReader, Ws, admin, eventually, exchange, http, metric, metric_becomes, parse, start,
    start_with,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn a_topic_is_heard_as_events() {
    let server = start_with(|l| l.ping_interval_ms = 40_000);
    let mut reader = EventReader::open(&server, "/v1/topics/news.z%C3%BCrich").await;
    for line in ["cache-control: no-store", "connection: close", "x-accel-buffering: no"] {
        assert!(reader.head.contains(&format!("\r\n{line}\r\n")), "{}", reader.head);
    }
    let begin = reader.named("subscribed").await;
    assert_eq!(begin.retry, Some(1_000));
    let subscribed = begin.json();
    let epoch = subscribed["epoch"].as_str().unwrap();
    let expected = json!({"topic": "news.zürich", "epoch": epoch, "offset": 0,
        "recovered": false, "mode": "all", "ping_interval_ms": 40_000});
    assert_eq!(subscribed, expected);
    let mut raw = Ws::raw(&server, "news.z%C3%BCrich").await;
    raw.send(r#"{"p":1}"#).await;
    raw.send("two\nlines").await;
    // Heard back, so that what comes over another connection comes later.
    raw.data().await;
    raw.data().await;
    let binary = &["Content-Type: application/octet-stream"];
    http(&server, "POST /v1/topics/news.z%C3%BCrich", binary, b"\x00\xff").await;
    for (offset, name, data) in
        [(1, "", r#"{"p":1}"#), (2, "", "two\nlines"), (3, "binary", "AP8=")]
    {
        let message = reader.message().await;
        assert_eq!((message.name.as_str(), message.data.as_deref()), (name, Some(data)));
        assert_eq!(message.id, Some(format!("{epoch}:{offset}")));
    }
    assert_eq!(server.messages_in(), 3);
    server.stop().await;
}

#[tokio::test]
async fn who_comes_back_with_the_last_event_id_loses_and_doubles_nothing() {
    let server = start_with(|l| l.namespaces.default_mut().history_messages = 500);
    let mut publisher = Ws::subscriber(&server, &[]).await;
    let mut reader = EventReader::open(&server, "/v1/topics/ticks.a").await;
    reader.named("subscribed").await;
    let mut heard = Vec::new();
    for round in 0..20 {
        for number in 0..25 {
            publisher.publish("ticks.a", round * 25 + number).await;
        }
        for _ in 0..10 {
            heard.push(reader.message().await);
        }
        // The rest of the round, and the next one, come while it is away or behind.
        let id = format!("Last-Event-ID: {}", reader.last_event_id);
        reader = EventReader::open_with(&server, "/v1/topics/ticks.a?since=wins:9", &[&id]).await;
        let begin = reader.named("subscribed").await;
        assert_eq!(begin.json()["recovered"], true, "{begin:?}");
        assert_eq!(begin.id.as_ref(), Some(&reader.last_event_id));
    }
    while heard.len() < 500 {
        heard.push(reader.message().await);
    }
    for (number, message) in heard.iter().enumerate() {
        assert_eq!(message.offset(), number as u64 + 1);
        assert_eq!(message.data, Some(number.to_string()));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_position_that_is_gone_is_told_and_the_stream_goes_on() {
    let server = start();
    let mut publisher = Ws::subscriber(&server, &[]).await;
    publisher.publish("t", 1).await;
    let id = "Last-Event-ID: anotherlife:41";
    let mut reader = EventReader::open_with(&server, "/v1/topics/t", &[id]).await;
    let begin = reader.named("subscribed").await;
    assert_eq!((begin.json()["recovered"].clone(), begin.offset()), (json!(false), 1));
    publisher.publish("t", 2).await;
    assert_eq!(reader.message().await.offset(), 2);
    server.stop().await;
}

#[tokio::test]
async fn several_topics_and_patterns_are_one_stream_with_a_place() {
    let server = start();
    let mut publisher = Ws::subscriber(&server, &[]).await;
    publisher.publish("a", 1).await;
    let path = "/v1/topics?topic=a&topic=b.*&topic=c&snapshot=true";
    let mut reader = EventReader::open(&server, path).await;
    let mut epochs = Vec::new();
    for (field, source) in [("topic", "a"), ("pattern", "b.*"), ("topic", "c")] {
        if field == "pattern" {
            // Nothing comes between a pattern and its snapshot: what is owed comes before.
            let newest = json!({"topic": "a", "offset": 1, "data": 1});
            assert_eq!(reader.message().await.json(), newest);
        }
        let begin = reader.named("subscribed").await;
        assert_eq!((begin.json()[field].as_str(), begin.id.as_ref()), (Some(source), None));
        epochs.extend(begin.json()["epoch"].as_str().map(str::to_owned));
        if field == "pattern" {
            let end = json!({"event": "snapshot", "topic": "b.*", "messages": 0});
            assert_eq!(reader.named("snapshot").await.json(), end);
        }
    }
    let place = reader.event().await.unwrap();
    let [a, c] = &epochs[..] else { panic!("{epochs:?}") };
    assert_eq!((place.data, place.id), (None, Some(format!("{a}:1,-,{c}:0"))));
    publisher.publish("b.x", "{}").await;
    assert_eq!(reader.message().await.json(), json!({"topic": "b.x", "offset": 1, "data": "{}"}));
    publisher.publish("c", 7).await;
    reader.message().await;
    // Within a second it is told how far it has come, with no further message.
    let place = format!("{a}:1,-,{c}:1");
    while reader.last_event_id != place {
        let event = reader.event().await.unwrap();
        assert_eq!(event.data, None, "{event:?}");
    }
    publisher.publish("a", 2).await;
    let id = format!("Last-Event-ID: {place}");
    let path = "/v1/topics?topic=a&topic=b.*&topic=c";
    let mut reader = EventReader::open_with(&server, path, &[&id]).await;
    assert_eq!(reader.named("subscribed").await.json()["recovered"], true);
    assert_eq!(reader.message().await.json(), json!({"topic": "a", "offset": 2, "data": 2}));
    for recovered in [json!(null), json!(true)] {
        assert_eq!(reader.named("subscribed").await.json()["recovered"], recovered);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_slow_reader_of_events_is_told_the_gap_and_delays_nobody() {
    let server = start_with(|l| {
        l.namespaces.default_mut().history_messages = 50;
        l.outbox_high_water_bytes = 32 * 1_024;
    });
    let mut publisher = Ws::subscriber(&server, &[]).await;
    let mut slow = EventReader::open(&server, "/v1/topics/t").await;
    let mut quick = EventReader::open(&server, "/v1/topics/t").await;
    for reader in [&mut slow, &mut quick] {
        reader.named("subscribed").await;
    }
    let body = "x".repeat(8_000);
    let mut published = 0;
    let is_behind = async |server: &fanfare::Server| {
        metric(server, "fanfare_subscriptions_behind").await == 1.0
    };
    // The kernel takes some megabytes for who does not read.
    while !is_behind(&server).await || published < 3_000 {
        for _ in 0..100 {
            publisher.publish("t", body.as_str()).await;
            published += 1;
            assert_eq!(quick.message().await.offset(), published, "at once, and in order");
        }
    }
    let view = admin(&server, "/v1/connections").await.json();
    let worst = &view["connections"][0];
    assert_eq!((&worst["protocol"], &worst["topics_behind"]), (&json!("sse"), &json!(1)));
    let (mut last, mut lost) = (0, 0);
    while last < published {
        let event = slow.event().await.unwrap();
        if event.name == "gap" {
            let gap = event.json();
            assert_eq!(gap["from"], last + 1);
            lost += gap["to"].as_u64().unwrap() - last;
            assert_eq!(event.offset(), gap["to"]);
        } else {
            assert_eq!(event.offset(), last + 1);
        }
        last = event.offset();
    }
    assert!(lost > 0, "the ring has moved on");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_at_all_is_ended() {
    let server = start_with(|l| l.stall_timeout_ms = 600);
    let mut publisher = Ws::subscriber(&server, &[]).await;
    let mut reader = EventReader::open(&server, "/v1/topics/t").await;
    let body = "x".repeat(60_000);
    let closed = "fanfare_connections_closed_total{code=\"slow_consumer\"}";
    while metric(&server, closed).await == 0.0 {
        publisher.publish("t", body.as_str()).await;
    }
    let close = reader.closed().await;
    assert_eq!((close.json()["code"].as_u64(), close.retry), (Some(3_000), Some(1_000)));
    server.stop().await;
}

#[tokio::test]
async fn a_restart_is_told_with_the_time_to_come_back() {
    let server = start();
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut reader = EventReader::open(&server, "/v1/topics/t").await;
        reader.named("subscribed").await;
        readers.push(reader);
    }
    let stop = tokio::spawn(server.stop());
    let mut retries = Vec::new();
    for reader in &mut readers {
        let close = reader.closed().await;
        assert_eq!(close.json()["code"], 1012);
        retries.push(close.retry.expect("a time"));
    }
    retries.sort_unstable();
    let is_spread = retries[0] < 1_100 && retries[19] > 1_100;
    assert!(is_spread && retries.iter().all(|ms| (1_000..1_200).contains(ms)), "{retries:?}");
    drop(readers);
    stop.await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_served_gets_a_status_and_a_sentence() {
    let server = start();
    let accept = "Accept: text/event-stream";
    let many: String = (0..101).map(|number| format!("&topic=t{number}")).collect();
    let many = format!("GET /v1/topics?{many}");
    for (start, header, status, says) in [
        ("GET /v1/topics/a?since=41", accept, 400, "EPOCH:OFFSET"),
        ("GET /v1/topics/a?mode=newest", accept, 400, "all or latest"),
        ("GET /v1/topics/a?max_rate=3", accept, 400, "messages per second"),
        ("GET /v1/topics/a?after=k:1", accept, 400, "the parameters are since"),
        ("GET /v1/topics/a*", accept, 400, "'*'"),
        ("GET /v1/topics", accept, 400, "give 1 to 100"),
        (many.as_str(), accept, 400, "101 topics"),
        ("GET /v1/topics?topic=a&topic=a", accept, 400, "twice"),
        ("GET /v1/topics?topic=a&topic=b&since=k:1", accept, 400, "1 positions for 2"),
        ("GET /v1/topics/a", "Accept: text/html", 406, "text/event-stream"),
        ("HEAD /v1/topics/a", "Accept: image/png", 406, ""),
    ] {
        let answer = http(&server, start, &[header], b"").await;
        assert_eq!(answer.status, status, "{start} {answer:?}");
        assert!(answer.head.contains("content-type: application/problem+json"), "{answer:?}");
        assert!(says.is_empty() || answer.detail().contains(says), "{start} {answer:?}");
    }
    let wrong = &[accept, "Last-Event-ID: k"];
    let answer = http(&server, "GET /v1/topics/a", wrong, b"").await;
    assert_eq!(answer.status, 400);
    assert!(answer.detail().contains("Last-Event-ID is written EPOCH:OFFSET"), "{answer:?}");
    let foreign = &[accept, "Origin: http://evil.example"];
    let answer = http(&server, "GET /v1/topics/a", foreign, b"").await;
    assert_eq!(answer.status, 403);
    let answer = http(&server, "POST /v1/topics/a", &["Accept: text/html"], b"1").await;
    assert_eq!(answer.status, 200, "what is published is not asked for");
    assert_eq!(metric(&server, "fanfare_connections").await, 0.0);
    server.stop().await;
}

#[tokio::test]
async fn every_way_of_asking_over_http_1_leads_to_the_stream() {
    let server = start();
    let mut publisher = Ws::subscriber(&server, &[]).await;
    publisher.publish("t", 0).await;
    let get = "GET /v1/topics/t HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n";
    let old = "GET /v1/topics/t HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n";
    let page = "GET /v1/topics/t HTTP/1.1\r\nHost: a\r\n\r\n";
    let whole = format!("{get}\r\n");
    let requests = [
        vec![whole.as_str()],
        // In pieces.
        vec![&whole[..20], &whole[20..60], &whole[60..]],
        // An old client, and one that keeps on talking.
        vec![old],
        vec![&whole, page, page],
    ];
    let mut readers = Vec::new();
    for pieces in requests {
        readers.push(EventReader::request(&server, &pieces).await);
    }
    // Behind another request on the same connection.
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    stream.write_all(format!("{page}{get}\r\n").as_bytes()).await.unwrap();
    read_page(&mut stream).await;
    readers.push(EventReader::after_request(stream).await);
    let offset = publisher.publish("t", 1).await;
    for reader in &mut readers {
        reader.named("subscribed").await;
        assert_eq!(reader.message().await.offset(), offset);
    }
    assert_eq!(metric(&server, "fanfare_connections").await, 6.0);
    drop(readers);
    metric_becomes(&server, "fanfare_connections", |open| open == 1.0).await;
    server.stop().await;
}

/// Reads the answer to a request for a page, which has a length.
async fn read_page(stream: &mut TcpStream) {
    use tokio::io::AsyncReadExt;
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        text.push(char::from(stream.read_u8().await.expect("a head")));
    }
    let length = text.to_ascii_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.and_then(|length| length.parse().ok()).expect("a length");
    stream.read_exact(&mut vec![0; length]).await.expect("a body");
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_the_stream() {
    let mut config = fanfare::ServerConfig::default_for_tests();
    config.allowed_origins = vec!["https://app.example".to_owned()];
    let server = fanfare::Server::start(config).expect("a broker");
    let origin = "Origin: https://app.example";
    let reader = EventReader::open_with(&server, "/v1/topics/t", &[origin]).await;
    let told = "\r\naccess-control-allow-origin: https://app.example\r\n";
    assert!(reader.head.contains(told), "{}", reader.head);
    assert!(reader.head.contains("\r\nvary: origin\r\n"), "{}", reader.head);
    let wrong = &[origin, "Accept: text/event-stream"];
    let answer = http(&server, "GET /v1/topics/t?since=1", wrong, b"").await;
    assert_eq!(answer.status, 400);
    assert!(format!("{}\r\n", answer.head).contains(told), "{answer:?}");
    drop(reader);
    server.stop().await;
}

#[tokio::test]
async fn bytes_are_counted_by_transport_and_by_what_they_are() {
    let server = start();
    let mut reader = EventReader::open(&server, "/v1/topics/ticks.AAPL").await;
    reader.named("subscribed").await;
    let mut raw = Ws::raw(&server, "ticks.AAPL").await;
    let name = |transport: &str, direction: &str, part: &str| {
        let labels = format!("transport=\"{transport}\",direction=\"{direction}\",part=\"{part}\"");
        format!("fanfare_transport_bytes_total{{{labels}}}")
    };
    let envelope = metric(&server, &name("sse", "out", "envelope")).await;
    let framing = metric(&server, &name("sse", "out", "framing")).await;
    raw.send(r#"{"p":187.23}"#).await;
    raw.data().await;
    reader.message().await;
    for (transport, direction, part, expected) in [
        // An offset of one digit: five bytes less than in the specification.
        ("sse", "out", "envelope", envelope + 10.0),
        ("sse", "out", "framing", framing + 13.0),
        ("sse", "out", "payload", 12.0),
        ("raw", "in", "framing", 6.0),
        ("raw", "in", "payload", 12.0),
        ("raw", "out", "framing", 2.0),
        ("raw", "out", "envelope", 0.0),
        ("raw", "out", "payload", 12.0),
    ] {
        // A message is counted when it is written, so it may be heard a moment before.
        metric_becomes(&server, &name(transport, direction, part), |is| is == expected).await;
    }
    for (transport, messages) in [("raw", 1.0), ("sse", 1.0), ("sdk", 0.0)] {
        let name = format!("fanfare_transport_messages_total{{transport=\"{transport}\"}}");
        metric_becomes(&server, &name, |is| is == messages).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_head_request_gets_the_head_alone() {
    let server = start();
    let request = b"HEAD /v1/topics/t HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n";
    let answer = parse(&exchange(&server, request).await);
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert!(answer.head.contains("content-type: text/event-stream"), "{answer:?}");
    assert_eq!(metric(&server, "fanfare_connections_opened_total").await, 0.0);
    server.stop().await;
}

#[tokio::test]
async fn readers_that_go_away_are_forgotten_and_quiet_ones_hear_heartbeats() {
    let server = start_with(|l| (l.ping_interval_ms, l.pong_timeout_ms) = (200, 200));
    let stays = EventReader::open(&server, "/v1/topics/t").await;
    let leaves = EventReader::open(&server, "/v1/topics/t").await;
    drop(leaves);
    metric_becomes(&server, "fanfare_connections", |open| open == 1.0).await;
    let mut come = Vec::new();
    eventually("heartbeats", || {
        let mut buffer = [0; 512];
        if let Ok(n) = stays.stream.try_read(&mut buffer) {
            come.extend_from_slice(&buffer[..n]);
        }
        come.ends_with(b"\n\n:\n\n:\n\n:\n\n")
    })
    .await;
    assert_eq!(metric(&server, "fanfare_connections").await, 1.0, "no pong is asked for");
    server.stop().await;
}
