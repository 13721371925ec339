//! `loadgen compare` against a real broker: the numbers of what is on the wire add up.

mod support;

use fanfare::{Server, ServerConfig};
use serde_json::Value;
use support::{Run, loadgen, scratch_file};

const CLIENTS: u64 = 20;

/// 20 clients for a while, polls each 200 ms.
fn run(name: &str, duration: &str, more: &[&str]) -> Run {
    let server = Server::start(ServerConfig::default_for_tests()).expect("a broker");
    let (url, admin, pid) = (server.url(), server.admin_url(), std::process::id().to_string());
    let load = ["compare", "--clients", "20", "--duration", duration, "--warmup", "200ms"];
    let rest = ["--rate", "20", "--interval", "200ms", "--url", &url, "--admin-url", &admin];
    let rest = [&rest[..], &["--server-pid", &pid]].concat();
    let run = loadgen(name, &[&load[..], &rest, more].concat());
    assert_eq!((run.code, run.faults()), (Some(0), [0; 4]), "{}{}", run.stdout, run.stderr);
    run
}

fn runs(run: &Run) -> &Vec<Value> {
    run.result["median"]["runs"].as_array().expect("measurements")
}

fn number(value: &Value, path: &str) -> u64 {
    let found = path.split('.').fold(value, |value, name| &value[name]);
    found.as_u64().unwrap_or_else(|| panic!("{path} in {value}"))
}

fn sum(parts: &Value) -> u64 {
    ["head", "framing", "envelope", "payload"].iter().map(|part| number(parts, part)).sum()
}

/// What the broker counted of a measurement is what its clients counted.
fn server_agrees(run: &Value, transport: &str) {
    let of = |part: &str| {
        let name = format!(
            "transport_bytes_total{{transport=\"{transport}\",direction=\"out\",part=\"{part}\"}}"
        );
        run["server_counts"][&name].as_f64().unwrap_or_default() as u64
    };
    let received = &run["whole"]["received"];
    assert_eq!(of("payload"), number(received, "payload"), "{run}");
    // Around messages they agree on both; a word such as `subscribed` may be either.
    let around = number(received, "framing") + number(received, "envelope");
    assert_eq!(of("framing") + of("envelope"), around, "{run}");
}

#[test]
fn every_transport_is_counted_byte_by_byte() {
    let out = run("compare_transports", "1s", &["--parts", "transports"]);
    let runs = runs(&out);
    assert_eq!(runs.len(), 9);
    for run in runs {
        let way = run["way"].as_str().expect("a name");
        let (running, counts) = (&run["running"], &run["counts"]);
        let messages = number(counts, "messages");
        assert!(messages > 0 && number(running, "segments_received") > 0, "{run}");
        let bytes = sum(&running["sent"]) + sum(&running["received"]);
        let total = run["per_message"]["total"].as_f64().expect("a number");
        assert!((total * messages as f64 - bytes as f64).abs() < 0.01, "{run}");
        // The handshake or the first poll.
        assert!(sum(&run["opening"]["sent"]) > 100 * CLIENTS, "{run}");
        assert_eq!(number(&run["opening"], "connections"), CLIENTS);
        let is_poll = way.starts_with("poll");
        if !is_poll {
            assert_eq!(messages, number(run, "published") * CLIENTS, "{way} misses nothing");
            assert_eq!(number(&running["received"], "payload") / messages, {
                if way == "sdk-msgpack" { 57 } else { 64 }
            });
        }
        let polls = number(counts, "polls");
        assert_eq!(is_poll || way == "long-poll", polls > 0, "{way}");
        if is_poll {
            let connections = if way.starts_with("poll-fresh") { polls } else { 0 };
            assert_eq!(number(running, "connections"), connections, "{way}");
            let (seconds, clients) = (run["seconds"].as_f64().expect("a number"), CLIENTS as f64);
            let due = clients * seconds / 0.2;
            // A busy machine makes fewer of them, but nothing makes more.
            assert!(polls as f64 <= due * 1.25, "{way}: {polls} of {due} polls");
            assert!(polls >= CLIENTS, "{way}: {polls} polls");
            assert!(number(counts, "missed") > 0, "20 messages/s, 5 polls/s: {run}");
        }
        if matches!(way, "raw" | "sdk-json" | "sdk-msgpack") {
            assert_eq!(number(&running["received"], "framing"), 2 * messages, "{way}");
            assert_eq!(sum(&running["sent"]), 0, "{way}: a subscriber says nothing");
        }
        if matches!(way, "raw" | "sse") {
            server_agrees(run, way);
        }
        if way == "raw" {
            assert_eq!(number(&running["received"], "envelope"), 0);
            assert!(number(running, "segments_received") >= messages);
        }
    }
}

#[test]
fn the_articles_headers_have_871_bytes_exactly_and_the_table_follows_from_them() {
    let parts = ["--parts", "headers,use-cases,quiet,distance", "--use-case-clients", "10,30"];
    let transports = ["--transports", "poll-fresh,poll-kept,poll-kept-etag,long-poll,raw"];
    let out = run("compare_articles", "500ms", &[&parts[..], &transports].concat());
    let of = |part: &str, way: &str, headers: &str| {
        let mut found = runs(&out).iter().filter(|run| run["part"] == part && run["way"] == way);
        found.find(|run| run["headers"] == headers).expect("a measurement")
    };
    for way in ["poll-fresh", "poll-kept"] {
        let run = of("headers", way, "articles");
        assert_eq!(run["head_bytes_per_poll"], 871.0, "{way}");
        assert_eq!(number(run, "running.sent.head") % number(run, "counts.polls"), 0);
    }
    let requests = |headers| {
        let run = of("headers", "poll-kept", headers);
        number(run, "running.sent.head") / number(run, "counts.polls")
    };
    assert_eq!((requests("browser"), requests("cookies")), (403, 602));
    assert!(requests("none") < requests("minimal"));

    let articles = &out.result["articles"];
    assert_eq!(articles["published_ratio"], 435.5);
    let case = &articles["use_cases"][0];
    assert_eq!((&case["name"], number(case, "clients")), (&Value::from("A"), 1_000));
    let ratio = case["per_message"]["ratio"].as_f64().expect("a number");
    assert!((ratio - 435.5).abs() < 1e-6, "{ratio}");
    let polling = case["per_message"]["polling"].as_f64().expect("a number");
    assert!((polling - 871.0 * 1_000.0 * 8.0 / 1_048_576.0).abs() < 1e-6, "{polling}");
    assert_eq!(number(case, "measured_clients"), 30, "the most that were measured");

    let quiet = of("quiet", "poll-kept-etag", "browser");
    assert!(number(quiet, "counts.not_modified") > 0, "{quiet}");
    let far = of("distance", "raw", "browser");
    assert!(far["latency_us"]["p50"].as_f64() >= Some(50_000.0), "50 ms away: {far}");
    let claims = out.result["findings"].as_array().expect("findings");
    assert!(
        claims
            .iter()
            .any(|f| f["claim"] == "2 bytes of framing for each message" && f["holds"] == "yes")
    );
    let log = std::fs::read_to_string(scratch_file("compare_articles.hlog")).expect("histograms");
    assert!(log.contains("Tag=poll-kept--headers-articles"), "{log:.300}");
}

#[test]
fn headers_of_a_file_are_sent_by_every_client() {
    let file = scratch_file("compare_headers.txt");
    std::fs::write(&file, "X-Long: 0123456789\nAccept: application/json\n").expect("room for it");
    let path = file.to_str().expect("a plain path");
    let more = ["--parts", "transports", "--transports", "poll-kept,raw", "--headers", path];
    let out = run("compare_file", "500ms", &more);
    let own = "X-Long: 0123456789\r\nAccept: application/json\r\n".len() as u64;
    let plain = run("compare_none", "500ms", &[&more[..4], &["--preset", "none"]].concat());
    let request = |run: &Run| {
        let poll = &runs(run)[0];
        number(poll, "running.sent.head") / number(poll, "counts.polls")
    };
    // The port in `Host` has four digits or five.
    assert!(request(&out).abs_diff(request(&plain) + own) <= 1);
}

#[test]
fn mistakes_are_told_in_one_line_with_exit_code_2() {
    let bad = scratch_file("compare_bad_headers.txt");
    std::fs::write(&bad, "Host: me\n").expect("room for it");
    let bad = bad.to_str().expect("a plain path");
    for (args, expected) in [
        (vec!["--transports", "pigeon"], "[possible values: poll-fresh"),
        (vec!["--parts", "some"], "[possible values: transports"),
        (vec!["--preset", "netscape"], "[possible values: none"),
        (vec!["--headers", bad], "line 1: Host is set by the transport itself"),
        (vec!["--headers", "/nowhere"], "--headers /nowhere cannot be read"),
        (vec!["--topic", "a b"], "topic"),
        (vec!["--topic", "a~b"], "letters, digits"),
        (vec!["--size", "10"], "too small for the stamp"),
        (vec!["--use-case-clients", "1000000"], "may open"),
        (vec!["--interval", "soon"], "write 10s"),
        (vec!["--url", "ws://127.0.0.1:1"], "refused"),
        (vec!["--server", "/nowhere"], "/nowhere cannot be started"),
    ] {
        let run = loadgen("compare_mistake", &[vec!["compare"], args].concat());
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains(expected), "{expected}: {}", run.stderr);
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    }
}
