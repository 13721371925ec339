//! The Autobahn suite, RFC 6455 conformance as others judge it, against a release build of the
//! broker: its raw stream echoes what is sent to it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::command::{cargo, program, run as run_command};
use crate::stage::{Context, Outcome, left_out};

/// The script that sets the suite up by itself, where it lies beside the checkout.
const SCRIPT: &str = "../shared/tools/autobahn";
const IMAGE: &str = "crossbario/autobahn-testsuite";

/// Cases of compression, which the broker does not negotiate.
const EXCLUDED: [&str; 2] = ["12.*", "13.*"];

/// The largest case sends 16 MiB in one message.
const MESSAGE_BYTES_MAX: &str = "16MiB";

const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// What the script exits with when it could not set the suite up.
const SET_UP_FAILED: i32 = 2;

pub(crate) fn run(context: &Context) -> anyhow::Result<Outcome> {
    let script = context.root.join(SCRIPT);
    let has_docker = has_docker(context);
    if !script.is_file() && !has_docker {
        let reason = "the suite is not beside the checkout and Docker does not run".to_owned();
        return left_out(context, reason);
    }
    run_command(cargo(context).args(["build", "--release", "--locked", "--package", "fanfare"]))?;
    let broker = Broker::start(context)?;
    let out = context.target.join("autobahn");
    fs::create_dir_all(&out)?;
    if script.is_file() {
        let excluded = EXCLUDED.join(",");
        let mut suite = program(context, &script);
        let status = suite.arg(&broker.url).arg(&out).args(["*", &excluded]).status()?;
        if status.success() {
            return Ok(Outcome::Passed);
        }
        ensure!(status.code() == Some(SET_UP_FAILED), "cases failed; see {}", out.display());
    }
    if has_docker {
        run_image(context, &broker.url, &out)?;
        return Ok(Outcome::Passed);
    }
    left_out(context, "the suite could not be set up".to_owned())
}

fn has_docker(context: &Context) -> bool {
    let mut info = program(context, "docker");
    info.arg("info").stdout(Stdio::null()).stderr(Stdio::null());
    info.status().is_ok_and(|status| status.success())
}

fn run_image(context: &Context, url: &str, out: &Path) -> anyhow::Result<()> {
    let spec = json!({
        "outdir": "/out",
        "servers": [{ "agent": "fanfare", "url": url }],
        "cases": ["*"],
        "exclude-cases": EXCLUDED,
        "exclude-agent-cases": {},
    });
    fs::write(out.join("spec.json"), spec.to_string())?;
    let volume = format!("{}:/out", out.display());
    let suite = ["wstest", "-m", "fuzzingclient", "-s", "/out/spec.json"];
    let mut docker = program(context, "docker");
    docker.args(["run", "--rm", "--network", "host", "--volume", &volume, IMAGE]).args(suite);
    run_command(&mut docker)?;
    let index = fs::read_to_string(out.join("index.json")).context("the suite left no results")?;
    let failed = failed_cases(&serde_json::from_str(&index)?)?;
    ensure!(failed.is_empty(), "failed: {}; see {}", failed.join(", "), out.display());
    Ok(())
}

/// The cases that failed, from the suite's `index.json`.
fn failed_cases(index: &Value) -> anyhow::Result<Vec<String>> {
    let cases = index["fanfare"].as_object().context("the suite has no results of ours")?;
    ensure!(!cases.is_empty(), "no case has run");
    let is_bad = |result: &Value| {
        matches!(result.as_str(), None | Some("FAILED" | "WRONG CODE" | "UNCLEAN"))
    };
    let failed = cases
        .iter()
        .filter(|(_, result)| is_bad(&result["behavior"]) || is_bad(&result["behaviorClose"]))
        .map(|(name, _)| name.clone());
    println!("Autobahn: {} cases", cases.len());
    Ok(failed.collect())
}

/// A broker on a free port, stopped when dropped.
struct Broker {
    child: Child,
    url: String,
}

impl Broker {
    fn start(context: &Context) -> anyhow::Result<Self> {
        let mut serve = program(context, context.target.join("release/fanfare"));
        serve.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        serve.args(["--message-bytes-max", MESSAGE_BYTES_MAX]);
        let mut child = serve.stdout(Stdio::piped()).spawn().context("cannot start the broker")?;
        let stdout = child.stdout.take().context("the broker has no output")?;
        // Owned from here on, so that a broker that never gets ready is stopped too.
        let mut broker = Self { child, url: String::new() };
        let (sender, address) = mpsc::channel();
        thread::spawn(move || {
            // Reads on to the end: a full pipe would stop the broker.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("fanfare: listening on http://") {
                    let _ = sender.send(address.to_owned());
                }
            }
        });
        let Ok(address) = address.recv_timeout(READY_TIMEOUT) else {
            bail!("the broker was not ready within {READY_TIMEOUT:?}");
        };
        broker.url = format!("ws://{}/v1/topics/echo", address.trim_end_matches('/'));
        Ok(broker)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_fails_by_its_behavior_or_by_its_close() {
        let index = json!({ "fanfare": {
            "1.1.1": { "behavior": "OK", "behaviorClose": "OK" },
            "6.4.1": { "behavior": "NON-STRICT", "behaviorClose": "OK" },
            "7.1.6": { "behavior": "INFORMATIONAL", "behaviorClose": "INFORMATIONAL" },
            "7.9.1": { "behavior": "OK", "behaviorClose": "WRONG CODE" },
            "9.1.1": { "behavior": "FAILED", "behaviorClose": "OK" },
            "9.1.2": { "behaviorClose": "OK" },
        }});
        assert_eq!(failed_cases(&index).unwrap(), ["7.9.1", "9.1.1", "9.1.2"]);
    }

    #[test]
    fn a_suite_that_ran_nothing_has_not_passed() {
        assert!(failed_cases(&json!({})).is_err());
        assert!(failed_cases(&json!({ "fanfare": {} })).is_err());
    }
}
