//! `loadgen` against a real broker: nothing lost, nothing doubled, nothing out of order.

mod support;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use fanfare::{Server, ServerConfig};
use support::{loadgen, scratch_file};

fn start() -> Server {
    Server::start(ServerConfig::default_for_tests()).expect("a broker")
}

/// Real ticks, where they lie beside the checkout; else a file that looks like them.
fn ticks() -> PathBuf {
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/ticks.csv.gz");
    if real.exists() {
        return real;
    }
    let mut rows = String::from("ts_us,symbol,kind,price,size,src\n");
    for i in 0..6_000u64 {
        // Bursts within one millisecond, as on a real exchange.
        let (ts_us, symbol) = ((i / 7) * 3_000, i * i % 6);
        writeln!(rows, "{ts_us},SYM{symbol},trade,{}.5,{},binance", 100 + i % 9, 1 + i % 5)
            .expect("memory takes it");
    }
    let file = scratch_file("ticks_like_real_ones.csv");
    std::fs::write(&file, rows).expect("room for it");
    file
}

#[test]
fn market_ticks_reach_hundreds_of_subscribers_whole_and_in_order() {
    let server = start();
    let (url, file) = (server.url(), ticks());
    let run = loadgen(
        "ticks_to_broker",
        &[
            &["replay", file.to_str().expect("a plain path"), "--src", "binance"][..],
            &["--speed", "5x", "--limit", "5000", "--subscribers", "300"],
            &["--topics-per-connection", "3", "--url", &url],
        ]
        .concat(),
    );
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}", run.stderr);
    let median = &run.result["median"];
    assert_eq!(median["published"], 5_000);
    let deliveries = median["deliveries"].as_u64().expect("a number");
    // 900 subscriptions over 6 symbols: 150 for each, whatever its share of the ticks.
    assert_eq!(deliveries, 5_000 * 150);
    assert!(run.stdout.contains("latency p99.9"), "{}", run.stdout);
}

#[test]
fn every_transport_delivers_everything() {
    let server = start();
    let url = server.url();
    for (transport, topics) in [("json", "3"), ("msgpack", "3"), ("raw", "1")] {
        let run = loadgen(
            &format!("broker_{transport}"),
            &[
                &["fanout", "--transport", transport, "--topics-per-connection", topics][..],
                &["--connections", "60", "--topics", "6", "--rate", "600", "--publishers", "2"],
                &["--duration", "500ms", "--warmup", "100ms", "--url", &url],
            ]
            .concat(),
        );
        assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{transport}: {}", run.stderr);
    }
}
