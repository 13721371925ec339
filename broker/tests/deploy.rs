//! What is shipped for systemd, containers and Kubernetes fits the program: commands exist, and
//! whoever stops a broker waits for its drain.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that fails")]
#![allow(dead_code, reason = "the tests of other programs use the rest of `support`")]

use std::fs;
use std::process::Command;

use fanfare::Limits;

fn deployed(name: &str) -> String {
    let path = format!("{}/deploy/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What follows `key` on its line.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let found = text.lines().find_map(|line| line.trim_start().strip_prefix(key));
    found.unwrap_or_else(|| panic!("no {key} in:\n{text}")).trim()
}

fn seconds(text: &str) -> u64 {
    text.trim_end_matches('s').parse().unwrap_or_else(|_| panic!("no seconds: {text}"))
}

#[test]
fn whoever_stops_a_broker_waits_longer_than_its_drain() {
    let drain_seconds = Limits::default().drain_timeout_ms.div_ceil(1_000);
    let unit = deployed("systemd/fanfare.service");
    assert!(seconds(value(&unit, "TimeoutStopSec=")) > drain_seconds);
    let values = deployed("helm/fanfare/values.yaml");
    assert_eq!(seconds(value(&values, "drain_timeout:")), drain_seconds);
    let patience = seconds(value(&values, "terminationGracePeriodSeconds:"));
    assert!(patience > drain_seconds + seconds(value(&values, "preStopSleepSeconds:")));
}

#[test]
fn the_commands_in_units_and_images_exist() {
    let unit = deployed("systemd/fanfare.service");
    let image = deployed("Dockerfile");
    assert_eq!(
        value(&image, "CMD [\"fanfare\", "),
        "\"check\", \"--admin\", \"http://127.0.0.1:8081\"]"
    );
    let commands = [
        value(&unit, "ExecStartPre=/usr/bin/fanfare "),
        value(&unit, "ExecStart=/usr/bin/fanfare "),
        "check --admin http://127.0.0.1:8081",
    ];
    for command in commands {
        let run = Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .args(command.split(' '))
            .arg("--help")
            .output()
            .unwrap();
        assert!(run.status.success(), "{command}: {}", String::from_utf8_lossy(&run.stderr));
    }
}

#[test]
fn the_values_of_the_chart_are_those_of_its_schema() {
    let schema = deployed("helm/fanfare/values.schema.json");
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert!(jsonschema::meta::is_valid(&schema), "a JSON Schema");
    let values = deployed("helm/fanfare/values.yaml");
    let top_level =
        values.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    for line in top_level {
        let key = line.split(':').next().unwrap();
        assert!(schema["properties"][key].is_object(), "{key} is not in the schema");
    }
}

#[test]
fn the_configuration_of_the_chart_is_one() {
    let values = deployed("helm/fanfare/values.yaml");
    let drain = value(&values, "drain_timeout:");
    let set = format!("limits.drain_timeout={drain}");
    let run = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .args(["config", "check", "--set", &set])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success() && told.contains("drain_timeout = \"30s\""), "{told}");
}
