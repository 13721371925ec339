//! `fanfare history`: prints what a topic keeps.

use std::process::ExitCode;

use fanfare_client::{HistoryOptions, Position, TopicName};

use super::Target;
use super::subscribe::{position, print_message};

/// Print the messages that the broker keeps of a topic, oldest first, and end.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct History {
    #[command(flatten)]
    target: Target,

    /// The topic, as stocks.AAPL.
    topic: TopicName,

    /// All messages behind this position, in place of the newest ones.
    #[arg(long, value_name = "EPOCH:OFFSET", value_parser = position)]
    after: Option<Position>,

    /// The newest messages to print, 1 to 1000; with --after the most of one page.
    #[arg(long, short = 'n', value_name = "N", default_value = "100",
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,

    /// Print each message as one JSON object a line, with topic, epoch and offset.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  fanfare history stocks.AAPL
      the newest messages that are kept

  fanfare history stocks.AAPL --after k3f9q2xw:41 --json
      everything after message 41, as JSON";

impl History {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.target.connect().await?;
        let mut options = HistoryOptions::new().limit(self.limit);
        if let Some(after) = &self.after {
            options = options.after(after.clone());
        }
        let mut next = Some(options);
        while let Some(options) = next {
            let page = client.history(self.topic.as_str(), options).await?;
            if self.after.is_some() && !page.is_recovered {
                eprintln!("fanfare: not everything behind that position is kept any more");
            }
            for message in &page.messages {
                print_message(self.json, message)?;
            }
            next = page.next;
        }
        client.close().await;
        Ok(ExitCode::SUCCESS)
    }
}
