//! `fanfare check`: whether a broker is well, for monitoring and health checks of containers.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Tell whether a broker is well, by text and exit code.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Check {
    /// The broker's admin port.
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:8081",
        env = "FANFARE_ADMIN"
    )]
    admin: String,

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
        let address = address_of(&self.admin);
        let asked = tokio::time::timeout(self.timeout, state(address)).await;
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

async fn state(address: &str) -> anyhow::Result<State> {
    let (status, _) = request(address, "GET", "/health/ready", "").await?;
    if ![200, 503].contains(&status) {
        bail!("this is no admin port of a broker");
    }
    let (_, metrics) = request(address, "GET", "/metrics", "").await?;
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

/// The address in the URL of an admin port.
pub(super) fn address_of(admin: &str) -> &str {
    admin.trim_start_matches("http://").trim_end_matches('/')
}

/// Asks the admin port: the status and the body of the answer.
pub(super) async fn request(
    address: &str,
    method: &str,
    path: &str,
    body: &str,
) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.context("what came is no text")?;
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    match (status, answer.split_once("\r\n\r\n")) {
        (Some(status), Some((_, body))) => Ok((status, body.to_owned())),
        _ => bail!("this is no admin port of a broker"),
    }
}
