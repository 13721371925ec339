//! `loadgen fanout --scrape-metrics`: what it tells of a broker, and what it needs.

mod support;

use fanfare::{Server, ServerConfig};
use support::loadgen;

const LOAD: [&str; 11] = [
    "fanout",
    "--connections",
    "50",
    "--topics",
    "5",
    "--rate",
    "400",
    "--duration",
    "300ms",
    "--warmup",
    "100ms",
];

#[test]
fn the_same_load_is_measured_with_scrapes_and_without() {
    let server = Server::start(ServerConfig::default_for_tests()).expect("a broker");
    let (url, admin, pid) = (server.url(), server.admin_url(), std::process::id().to_string());
    let ends = ["--url", &url, "--admin-url", &admin, "--server-pid", &pid];
    let more = ["--scrape-metrics", "20ms", "--rounds", "2"];
    let run = loadgen("scraping", &[&LOAD[..], &ends, &more].concat());
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}{}", run.stdout, run.stderr);
    for round in 0..2 {
        let round = run.round(round);
        // Four windows of 120 messages, 10 subscribers on each topic.
        assert_eq!(round["server"]["deliveries"], 4 * 120 * 10);
        let figure = |name: &str| round["scraping"][name].as_f64().expect(name);
        // At least the first one of each window.
        assert!(figure("scrapes") >= 2.0, "{round}");
        assert!(figure("page_bytes") > 1_000.0, "{round}");
        assert!(round["scraping"]["scrape_us"]["max"].as_f64() > Some(0.0), "{round}");
        let (without, with) =
            (figure("unscraped_cpu_us_per_delivery"), figure("scraped_cpu_us_per_delivery"));
        assert!(without > 0.0 && (figure("ratio") - with / without).abs() < 1e-9, "{round}");
    }
    assert!(run.stdout.contains("scraped every 20ms"), "{}", run.stdout);
}

#[test]
fn without_an_admin_port_or_a_process_there_is_nothing_to_measure() {
    let server = Server::start(ServerConfig::default_for_tests()).expect("a broker");
    let (url, admin) = (server.url(), server.admin_url());
    for (ends, expected) in [
        (vec!["--url", &url], "metrics are on the admin port"),
        (vec!["--url", &url, "--admin-url", &admin], "the CPU time of a known process"),
    ] {
        let more = ["--scrape-metrics", "20ms"];
        let run = loadgen("scraping_mistake", &[&LOAD[..], &ends, &more].concat());
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains(expected), "{expected}: {}", run.stderr);
    }
}
