//! `fanfare pub`: publishes from the command line.

use std::process::ExitCode;

use anyhow::{Context, bail};
use fanfare_client::{Client, Payload, PublishOptions, TopicName};
use serde_json::json;
use tokio::io::AsyncBufReadExt;

use super::{INTERRUPTED, Target};

/// Publish a message, or one for each line of standard input.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Publish {
    #[command(flatten)]
    target: Target,

    /// The topic, as stocks.AAPL.
    topic: TopicName,

    /// What to publish: JSON where it is valid JSON, text otherwise. `-`, or nothing where
    /// standard input is not a terminal, publishes each line of standard input.
    body: Option<String>,

    /// Publish only if nothing was published to the topic with this key in the last two minutes.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Publish the body as text even where it is valid JSON.
    #[arg(long)]
    raw: bool,

    /// Publish the body this many times, or stop after this many lines.
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,

    /// Print where each message was put, as one JSON object a line.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  fanfare pub stocks.AAPL '{\"p\":187.2}'
      publish one JSON message

  fanfare pub news.flash 'The market is open' --json
      publish text and print its epoch and offset

  fanfare pub orders.new '{\"id\":17}' --key order-17
      publish once, however often this is repeated

  tail -f app.log | fanfare pub logs.app -
      publish every line as it comes";

impl Publish {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.target.connect().await?;
        let published = tokio::select! {
            published = self.publish_all(&client) => published,
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::from(INTERRUPTED)),
        };
        client.close().await;
        published.map(|()| ExitCode::SUCCESS)
    }

    async fn publish_all(&self, client: &Client) -> anyhow::Result<()> {
        use std::io::IsTerminal;
        match self.body.as_deref() {
            Some("-") => self.publish_lines(client).await,
            None if !std::io::stdin().is_terminal() => self.publish_lines(client).await,
            None => bail!("nothing to publish; give a body, or - to read standard input"),
            Some(body) => {
                for _ in 0..self.count.unwrap_or(1) {
                    self.publish_one(client, body).await?;
                }
                Ok(())
            }
        }
    }

    async fn publish_lines(&self, client: &Client) -> anyhow::Result<()> {
        let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            let line = lines.next_line().await.context("cannot read standard input")?;
            let Some(line) = line else { break };
            self.publish_one(client, &line).await?;
            left -= 1;
        }
        Ok(())
    }

    async fn publish_one(&self, client: &Client, body: &str) -> anyhow::Result<()> {
        let json = if self.raw { None } else { Payload::json(body.to_owned()) };
        let payload = json.unwrap_or_else(|| Payload::text(body));
        let mut options = PublishOptions::new();
        if let Some(key) = &self.key {
            options = options.key(key);
        }
        let position = client.publish_with(self.topic.as_str(), payload, options).await?;
        if self.json {
            super::subscribe::print_line(&json!({
                "topic": self.topic.as_str(),
                "epoch": position.epoch,
                "offset": position.offset,
                "duplicate": position.duplicate,
            }))?;
        }
        Ok(())
    }
}
