//! `fanfare report`: what a broker holds, as tables or as JSON.

use std::io::Write;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use fanfare_engine::{ConnectionOrder, TopicOrder};
use fanfare_protocol::TopicName;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::admin::Admin;
use super::views;
use crate::admin::{Connections, LIMIT_MAX, ShardOrder, Shards, Topics};

/// Show a broker's connections, topics or shards, the greatest by some measure first.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Report {
    #[command(subcommand)]
    view: View,
}

const EXAMPLES: &str = "\
Examples:
  fanfare report connections
      the connections with the most unsent

  fanfare report connections --sort oldest_unsent --topic stocks.AAPL
      whoever hears this topic and has waited for longest

  fanfare report topics --sort subscribers --limit 5
  fanfare report shards --json | jq '.shards[].busy_ratio'";

#[derive(Debug, clap::Subcommand)]
enum View {
    /// Single connections: state, what is unsent, modes, topics behind, messages merged and lost.
    Connections(OfConnections),
    /// Single topics: rate, subscribers, offset, and what is kept of them.
    Topics(OfTopics),
    /// The broker's threads: how busy each is, its connections and its mailbox.
    Shards(OfShards),
}

#[derive(Debug, clap::Args)]
struct OfConnections {
    /// What the greatest is.
    #[arg(long, value_name = "KEY", default_value = ConnectionOrder::ALL[0].1,
        value_parser = names(ConnectionOrder::ALL))]
    sort: String,

    /// Only those that get this topic's messages, by its name or by a pattern.
    #[arg(long, value_name = "TOPIC")]
    topic: Option<TopicName>,

    #[command(flatten)]
    shown: Shown,
}

#[derive(Debug, clap::Args)]
struct OfTopics {
    /// What the greatest is; newest_age: what has been silent for longest.
    #[arg(long, value_name = "KEY", default_value = TopicOrder::ALL[0].1,
        value_parser = names(TopicOrder::ALL))]
    sort: String,

    #[command(flatten)]
    shown: Shown,
}

#[derive(Debug, clap::Args)]
struct OfShards {
    /// What the greatest is; shard: in the order of their numbers.
    #[arg(long, value_name = "KEY", default_value = ShardOrder::ALL[0].1,
        value_parser = names(ShardOrder::ALL))]
    sort: String,

    #[command(flatten)]
    shown: Shown,
}

/// How a view is shown.
#[derive(Debug, clap::Args)]
struct Shown {
    /// The most rows, 1 to 1000.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = limit)]
    limit: usize,

    /// Print what the admin port answers: JSON, bytes and milliseconds.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    admin: Admin,
}

/// The names of what a view can be sorted by.
pub(super) fn names<K>(orders: &[(K, &'static str)]) -> PossibleValuesParser {
    orders.iter().map(|(_, name)| *name).into()
}

fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| format!("use a number from 1 to {LIMIT_MAX}"))
}

impl Report {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let text = match self.view {
            View::Connections(OfConnections { sort, topic, shown }) => {
                let mut path = shown.path("connections", &sort);
                if let Some(topic) = topic {
                    path += "&topic=";
                    path.extend(utf8_percent_encode(topic.as_str(), NON_ALPHANUMERIC));
                }
                shown.text(&path, |view: Connections| views::connections(&view.connections)).await
            }
            View::Topics(OfTopics { sort, shown }) => {
                let path = shown.path("topics", &sort);
                shown.text(&path, |view: Topics| views::topics(&view.topics)).await
            }
            View::Shards(OfShards { sort, shown }) => {
                let path = shown.path("shards", &sort);
                shown.text(&path, |view: Shards| views::shards(&view.shards)).await
            }
        };
        std::io::stdout().write_all(text?.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Shown {
    fn path(&self, view: &str, sort: &str) -> String {
        format!("/v1/{view}?sort={sort}&limit={}", self.limit)
    }

    async fn text<V: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        table: impl FnOnce(V) -> super::table::Table,
    ) -> anyhow::Result<String> {
        if self.json {
            return self.admin.text(path).await;
        }
        Ok(table(self.admin.view(path).await?).to_string())
    }
}
