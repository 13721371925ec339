//! `fanfare check`: whether a broker is well, for monitoring and health checks of containers.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;

use super::admin::Admin;

/// Tell whether a broker is well, by text and exit code.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Check {
    #[command(flatten)]
    admin: Admin,

    /// How long it may take.
    #[arg(long, value_name = "TIME", default_value = "3s")]
    #[arg(value_parser = humantime::parse_duration)]
    timeout: Duration,
}

const EXAMPLES: &str = "\
Examples:
  fanfare check
      OK: ready, 1204 connections, 310 subscriptions        (exit code 0)
      WARNING: not ready: it stops, or has not begun        (1)
      CRITICAL: no answer from 127.0.0.1:8081: …            (2)

  HEALTHCHECK CMD [\"fanfare\", \"check\"]
      in a Dockerfile";

/// The exit codes that monitoring programs agree on, with the words for them.
const WARNING: u8 = 1;
const CRITICAL: u8 = 2;

impl Check {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let address = self.admin.address();
        let asked = tokio::time::timeout(self.timeout, state(&self.admin)).await;
        let state = asked.unwrap_or_else(|_| {
            Err(anyhow::anyhow!("nothing came within {}", humantime::format_duration(self.timeout)))
        });
        let (word, told, code) = match state {
            Ok(State { is_ready: true, summary }) => ("OK", format!("ready, {summary}"), 0),
            Ok(State { is_ready: false, summary }) => {
                ("WARNING", format!("not ready: it stops, or has not begun; {summary}"), WARNING)
            }
            Err(error) => ("CRITICAL", format!("no answer from {address}: {error:#}"), CRITICAL),
        };
        println!("{word}: {told}");
        Ok(ExitCode::from(code))
    }
}

struct State {
    is_ready: bool,
    summary: String,
}

async fn state(admin: &Admin) -> anyhow::Result<State> {
    let status = admin.get("/health/ready").await?.status;
    if ![200, 503].contains(&status) {
        bail!("this is no admin port of a broker");
    }
    let metrics = admin.get("/metrics").await?.body;
    let value = |name: &str| {
        let mut lines = metrics.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(metric, _)| *metric == name).map_or("?", |(_, value)| value)
    };
    let summary = format!(
        "{} connections, {} subscriptions",
        value("fanfare_connections"),
        value("fanfare_subscriptions")
    );
    Ok(State { is_ready: status == 200, summary })
}
