//! The admin port as subcommands ask it: one request at a time, each on a connection of its own.

use std::time::Duration;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Where the admin port is.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Admin {
    /// The broker's admin port.
    #[arg(
        long = "admin",
        value_name = "URL",
        default_value = "http://127.0.0.1:8081",
        env = "FANFARE_ADMIN"
    )]
    url: String,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// How long an answer may take. Closing tens of thousands of connections takes longest.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

const NOT_AN_ADMIN_PORT: &str = "this is no admin port of a broker";

impl Admin {
    /// Its address, as `host:port`.
    pub(super) fn address(&self) -> &str {
        self.url.trim_start_matches("http://").trim_end_matches('/')
    }

    /// The answer to one GET.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.request("GET", path, "").await
    }

    /// The text of a resource, which must be there.
    pub(super) async fn text(&self, path: &str) -> anyhow::Result<String> {
        self.ask("GET", path, "").await
    }

    /// A resource in JSON.
    pub(super) async fn view<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        parse(&self.ask("GET", path, "").await?)
    }

    /// The result of a POST in JSON.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &str,
    ) -> anyhow::Result<T> {
        parse(&self.ask("POST", path, body).await?)
    }

    /// The result of a PUT in JSON.
    pub(super) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &str,
    ) -> anyhow::Result<T> {
        parse(&self.ask("PUT", path, body).await?)
    }

    /// The body of an answer that is a success; else an error with what the broker says.
    async fn ask(&self, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, self.request(method, path, body)).await;
        let answer = match asked {
            Ok(answer) => answer.with_context(|| format!("no answer from {}", self.address()))?,
            Err(_) => bail!("no answer from {} in time", self.address()),
        };
        if answer.status == 200 {
            return Ok(answer.body);
        }
        let problem: Option<serde_json::Value> = serde_json::from_str(&answer.body).ok();
        match problem.as_ref().and_then(|problem| problem["detail"].as_str()) {
            Some(detail) => bail!("{detail}"),
            None => bail!("{NOT_AN_ADMIN_PORT}: it answers {path} with {}", answer.status),
        }
    }

    async fn request(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
        let address = self.address();
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.context("what came is no text")?;
        let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        match (status, answer.split_once("\r\n\r\n")) {
            (Some(status), Some((_, body))) => Ok(Answer { status, body: body.to_owned() }),
            _ => bail!("{NOT_AN_ADMIN_PORT}"),
        }
    }
}

fn parse<T: DeserializeOwned>(body: &str) -> anyhow::Result<T> {
    serde_json::from_str(body).context(NOT_AN_ADMIN_PORT)
}
