//! More connections than there is room for: who is connected goes on, who comes is told.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fanfare::Server;
use serde_json::json;
use support::process::{Broker, request};
use support::{Kept, SOON, Ws, http, metric_becomes, parse, start_with};

/// Descriptors of a broker that is to run short of them, and connections that are more than that.
const DESCRIPTORS: usize = 160;
const CROWD: usize = 150;

/// A broker that may open so many files. The shell sets both limits: the broker would raise the
/// soft one.
fn start_with_descriptors(more: &[&str]) -> Broker {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_fanfare"), "serve", "--shards", "2"]);
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command.args(more).stdin(Stdio::null());
    Broker::start_command(&mut command)
}

fn addr(broker: &Broker) -> &str {
    broker.url.trim_start_matches("ws://")
}

/// Connections that say nothing yet; whoever finds no place waits in the kernel.
fn crowd(broker: &Broker, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(addr(broker)).expect("a connection")).collect()
}

/// The value of a metric in what a scrape returns.
fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().expect("a number")
}

fn metric(broker: &Broker, name: &str) -> f64 {
    value(&broker.metrics(), name)
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const TAKEN: &str = "fanfare_places_taken";
const PLACES: &str = "fanfare_places_limit";
const REFUSED: &str = "fanfare_connections_refused_total{reason=\"descriptors\"}";
const ERRORS: &str = "fanfare_accept_errors_total{reason=\"descriptors\"}";

/// Publishes messages `from..=to` of the topic; each comes, in order, to its subscribers.
async fn expect_messages(publisher: &mut Ws, subscribers: &mut [&mut Ws], (from, to): (u64, u64)) {
    for number in from..=to {
        assert_eq!(publisher.publish("t", number).await, number);
    }
    for subscriber in subscribers {
        for number in from..=to {
            let push = subscriber.push().await;
            let (offset, data) = (&push["offset"], &push["data"]);
            assert_eq!((offset, data), (&json!(number), &json!(number)), "{push}");
        }
    }
}

async fn publisher_and_subscriber(broker: &Broker) -> (Ws, Ws) {
    let publisher = Ws::connected(&broker.url).await;
    let mut subscriber = Ws::connected(&broker.url).await;
    subscriber.subscribe(json!({"topic": "t"})).await;
    (publisher, subscriber)
}

#[tokio::test]
async fn a_crowd_that_finds_no_place_leaves_descriptors_for_everything_else() {
    // Nobody of the crowd is sent away for saying nothing.
    let broker = start_with_descriptors(&["--set", "limits.handshake_timeout=10m"]);
    let (mut publisher, mut subscriber) = publisher_and_subscriber(&broker).await;
    let crowd = crowd(&broker, CROWD);
    let places = metric(&broker, PLACES);
    assert!((20.0..DESCRIPTORS as f64).contains(&places), "{places}");
    wait_until("no place is left", || metric(&broker, TAKEN) == places);
    wait_until("some are refused", || metric(&broker, REFUSED) > 0.0);
    expect_messages(&mut publisher, &mut [&mut subscriber], (1, 200)).await;
    let ready = request(&broker.admin, "GET /health/ready", &[]);
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    assert_eq!(metric(&broker, ERRORS), 0.0, "there is always a descriptor left");

    // Who comes now is told that there is no place, once it is its turn.
    let mut last = TcpStream::connect(addr(&broker)).expect("a connection");
    last.set_read_timeout(Some(3 * SOON)).expect("a timeout");
    last.write_all(b"GET /v1/topics/t HTTP/1.1\r\nHost: a\r\n\r\n").expect("a request");
    let mut answer = String::new();
    last.read_to_string(&mut answer).expect("an answer");
    let answer = parse(&answer);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let seconds = answer.header("retry-after").map(|seconds| seconds.parse::<u8>().expect("s"));
    assert!(seconds.is_some_and(|seconds| (5..=15).contains(&seconds)), "{answer:?}");
    assert!(answer.detail().contains("as many connections as it may"), "{answer:?}");

    drop(crowd);
    wait_until("places are free", || metric(&broker, TAKEN) == 2.0);
    let mut late = Ws::connected(&broker.url).await;
    late.subscribe(json!({"topic": "t"})).await;
    expect_messages(&mut publisher, &mut [&mut subscriber, &mut late], (201, 210)).await;
}

/// Sets the most files that a process may open.
fn set_descriptors(broker: &Broker, current: u64) {
    let pid = rustix::process::Pid::from_child(&broker.child);
    let maximum = Some(DESCRIPTORS as u64);
    let limit = rustix::process::Rlimit { current: Some(current), maximum };
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, limit).expect("a limit");
}

#[tokio::test]
async fn where_descriptors_run_out_nevertheless_the_broker_does_not_spin() {
    let broker = start_with_descriptors(&[]);
    let (mut publisher, mut subscriber) = publisher_and_subscriber(&broker).await;
    // The admin port cannot accept either, so it is asked on a connection that it has.
    let mut admin = Kept::connect_to(&broker.admin).await;
    let text = admin.request("GET /metrics", &[], b"").await.body;
    assert_eq!(value(&text, ERRORS), 0.0);

    let began = Instant::now();
    set_descriptors(&broker, 5);
    let crowd = crowd(&broker, CROWD);
    // Two shards try 20 times a second each, however many wait.
    let most = |since: Instant| 40.0 * since.elapsed().as_secs_f64() + 4.0;
    let mut errors = 0.0;
    while errors < 60.0 {
        assert!(began.elapsed() < SOON, "only {errors} errors");
        errors = value(&admin.request("GET /metrics", &[], b"").await.body, ERRORS);
        assert!(errors <= most(began), "{errors} within {:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    expect_messages(&mut publisher, &mut [&mut subscriber], (1, 200)).await;

    set_descriptors(&broker, DESCRIPTORS as u64);
    drop(crowd);
    let mut late = Ws::connected(&broker.url).await;
    late.subscribe(json!({"topic": "t"})).await;
    expect_messages(&mut publisher, &mut [&mut subscriber, &mut late], (201, 210)).await;
}

/// A broker of this process with so many places.
fn start_with_places(places: usize) -> Server {
    start_with(|limits| limits.connections_max = NonZeroUsize::new(places))
}

#[tokio::test]
async fn who_finds_no_place_is_refused_whatever_it_asks_and_a_place_comes_free() {
    let server = start_with_places(3);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(Kept::connect(&server).await);
        let answer = held.last_mut().expect("one").request("GET /", &[], b"").await;
        assert_eq!(answer.status, 200);
    }
    let handshake = ["Upgrade: websocket", "Connection: Upgrade"];
    for (start, headers, body) in [
        ("GET /v1/ws", &handshake[..], &b""[..]),
        ("GET /v1/topics/t", &["Accept: text/event-stream"], b""),
        ("POST /v1/topics/t", &[], b"{}"),
        ("GET /", &[], b""),
    ] {
        let answer = http(&server, start, headers, body).await;
        assert_eq!((answer.status, answer.header("connection")), (503, Some("close")), "{start}");
        assert!(answer.header("retry-after").is_some(), "{start}");
    }
    let refused = "fanfare_connections_refused_total{reason=\"limit\"}";
    assert_eq!(support::metric(&server, refused).await, 4.0);
    assert_eq!(held[0].request("GET /", &[], b"").await.status, 200, "as before");
    // Nor does anybody who leaves before being told take a place.
    drop(Kept::connect(&server).await);

    held.pop();
    metric_becomes(&server, TAKEN, |taken| taken == 2.0).await;
    let mut ws = Ws::raw(&server, "t").await;
    metric_becomes(&server, TAKEN, |taken| taken == 3.0).await;
    // An upgraded connection keeps the place of its request, and leaves it in the end.
    ws.stream.close(None).await.expect("a goodbye");
    metric_becomes(&server, TAKEN, |taken| taken == 2.0).await;
    server.stop().await;
}

#[tokio::test]
async fn who_is_refused_and_says_nothing_is_told_without_having_asked() {
    let server = start_with_places(1);
    let mut held = Kept::connect(&server).await;
    assert_eq!(held.request("GET /", &[], b"").await.status, 200);
    let told = Kept::connect(&server).await.rest().await;
    assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
    server.stop().await;
}
