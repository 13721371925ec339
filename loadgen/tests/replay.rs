//! `loadgen replay` of small files made here, and `loadgen idle`.

mod support;

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use fanfare_protocol::Publish;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use support::{Fault, Floor, Peer, loadgen, scratch_file};

const TICKS: &str = "\
ts_us,symbol,kind,price,size,bid,bid_size,ask,ask_size,venue,src
1000000,AAA,trade,10.5,100,,,,,N,one
1000000,BBB,quote,,,1.25,3,1.5,4,,one
1000000,CCC/X,trade,7,1,,,,,,one
1050000,AAA,trade,10.75,200,,,,,N,one
1400000,AAA,trade,11,300,,,,,N,one
500,ZZZ,trade,1,1,,,,,,two
";

fn write(name: &str, packed: bool) -> PathBuf {
    let path = scratch_file(name);
    let file = std::fs::File::create(&path).expect("a new file");
    let mut out: Box<dyn Write> =
        if packed { Box::new(GzEncoder::new(file, Compression::fast())) } else { Box::new(file) };
    out.write_all(TICKS.as_bytes()).expect("room for it");
    path
}

fn data(publish: &Publish) -> Value {
    let mut data: Value = publish.payload.parse_json().expect("JSON");
    data.as_object_mut().and_then(|data| data.remove("s")).expect("a stamp");
    data
}

#[test]
fn ticks_reach_every_subscriber_in_order_and_on_time() {
    let file = write("ticks.csv.gz", true);
    let peer = Peer::start(Fault::None);
    let (file, url) = (file.to_str().unwrap(), peer.url());
    let started = Instant::now();
    let run = loadgen(
        "replayed",
        &[
            "replay",
            file,
            "--src",
            "one",
            "--speed",
            "2x",
            "--subscribers",
            "4",
            "--topics-per-connection",
            "2",
            "--url",
            &url,
        ],
    );
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}", run.stderr);
    // 8 subscriptions walk over 3 symbols: 3, 3 and 2 subscribers, with 3, 1 and 1 ticks.
    assert_eq!(run.result["median"]["deliveries"], 3 * 3 + 3 + 2);
    // 400 ms of ticks at twice their speed.
    assert!(seconds >= 0.2, "{seconds} s");
    let published = peer.published();
    let topics: Vec<&str> = published.iter().map(|publish| publish.topic.as_str()).collect();
    assert_eq!(topics, ["ticks.AAA", "ticks.BBB", "ticks.CCC_X", "ticks.AAA", "ticks.AAA"]);
    assert_eq!(data(&published[0]), json!({"t":1_000_000,"k":"trade","p":10.5,"z":100,"v":"N"}));
    let quote = json!({"t":1_000_000,"k":"quote","b":1.25,"bz":3,"a":1.5,"az":4});
    assert_eq!(data(&published[1]), quote);
    assert!(run.stdout.contains("5 ticks of 3 symbols in 0.4 s at 2x"), "{}", run.stdout);
}

#[test]
fn a_plain_file_is_only_published_when_there_are_no_subscribers() {
    let file = write("ticks.csv", false);
    let peer = Peer::start(Fault::None);
    let url = peer.url();
    let load = ["replay", file.to_str().unwrap(), "--url", &url, "--topic-prefix", "x."];
    let run = loadgen("published", &[&load[..], &["--src", "two"]].concat());
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}", run.stderr);
    assert_eq!(run.result["median"]["published"], 1);
    assert_eq!(run.result["median"]["deliveries"], 0);
    assert_eq!(wait_for(&peer, 1)[0].topic, "x.ZZZ");
    let run = loadgen("limited", &[&load[..], &["--src", "one", "--limit", "2"]].concat());
    assert_eq!((run.code, &run.result["load"]["rows"]), (Some(0), &json!(2)));
    let run = loadgen("shortened", &[&load[..], &["--src", "one", "--duration", "60ms"]].concat());
    assert_eq!((run.code, &run.result["load"]["rows"]), (Some(0), &json!(4)));
}

/// What is published without a subscriber is not waited for by `loadgen`.
fn wait_for(peer: &Peer, count: usize) -> Vec<Publish> {
    let started = Instant::now();
    while peer.published().len() < count {
        assert!(started.elapsed().as_secs() < 5, "the peer got {:?}", peer.published());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    peer.published()
}

#[test]
fn a_replay_that_loses_ticks_has_exit_code_1() {
    let file = scratch_file("many.csv");
    let rows: String = (0..21).map(|row| format!("{},A,s\n", row * 1_000)).collect();
    std::fs::write(&file, format!("ts_us,symbol,src\n{rows}")).unwrap();
    let peer = Peer::start(Fault::Drop);
    let url = peer.url();
    let load = ["replay", file.to_str().unwrap(), "--subscribers", "2", "--url", &url];
    let run = loadgen("lossy", &[&load[..], &["--drain-timeout", "300ms"]].concat());
    assert_eq!((run.code, run.faults()), (Some(1), [2 * 3, 0, 0, 0]), "{}", run.stderr);
}

#[test]
fn mistakes_are_told_in_one_line_with_exit_code_2() {
    let file = write("mistakes.csv", false);
    let file = file.to_str().unwrap();
    let sources = "name one source with --src; the file has: one (5 rows), two (1 rows)";
    for (args, expected) in [
        (vec!["nowhere.csv"], "nowhere.csv: No such file"),
        (vec![file], sources),
        (vec![file, "--src", "three"], "no row has src \"three\"; the file has: one"),
        (
            vec![file, "--src", "one", "--subscribers", "1", "--topics-per-connection", "1"],
            "1 subscribers of 1 symbols leave some of 3 symbols out; use at least 3",
        ),
        (vec![file, "--speed", "fast"], "write a positive number such as 20x"),
        (vec![file, "--src", "one", "--topic-prefix", "a~"], "--topic-prefix must not hold ~"),
    ] {
        let run = loadgen("mistake_in_replay", &[vec!["replay"], args].concat());
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains(expected), "{expected}: {}", run.stderr);
    }
}

#[test]
fn idle_connections_are_opened_held_and_counted() {
    let floor = Floor::start();
    let load = ["idle", "--connections", "40", "--topics", "4", "--settle", "100ms"];
    let rest = ["--duration", "200ms", "--url", &floor.url, "--server-pid", &floor.pid()];
    let run = loadgen("idle", &[&load[..], &rest].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let round = run.round(0);
    assert_eq!((&round["opened"], &round["failed"]), (&json!(40), &json!(0)));
    assert!(round["server_cpu_us_per_connection"].as_f64().unwrap() > 0.0);
    assert!(round["server_rss_bytes"].as_u64().unwrap() > 100_000);
    assert!(run.stdout.contains("0 refused or failed connections"), "{}", run.stdout);
}

#[test]
fn idle_tells_of_connections_that_were_refused() {
    let peer = Peer::start(Fault::Refuse);
    let run = loadgen("idle_refused", &["idle", "--connections", "3", "--url", &peer.url()]);
    assert_eq!(run.code, Some(2));
    let told = "no connection became live: the server refused a command: no room for you";
    assert!(run.stderr.contains(told), "{}", run.stderr);
}
