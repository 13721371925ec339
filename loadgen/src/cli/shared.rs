//! Arguments that several subcommands share: who subscribes, the server, the generator itself.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use super::values::{duration, size};
use crate::plan::{Transport, process_connections_max};
use crate::session::Means;

/// What is subscribed to, and how often it is measured.
#[derive(Debug, Args)]
pub(crate) struct TopicArgs {
    /// Topics
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1_048_576)
    )]
    pub topics: u32,
    /// Topics are named PREFIX0000, PREFIX0001, …
    #[arg(long, value_name = "PREFIX", default_value = "load.")]
    pub topic_prefix: String,
    /// How messages reach subscribers
    #[arg(long, value_enum, default_value_t = Transport::Json)]
    pub transport: Transport,
    /// How often to measure; the medians are told
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    pub rounds: u32,
}

/// Who subscribes to what.
#[derive(Debug, Args)]
pub(crate) struct AudienceArgs {
    /// Subscribing connections
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub connections: u32,
    /// Subscriptions of each connection; every topic gets the same number of subscribers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub topics_per_connection: u32,
    #[command(flatten)]
    pub topics: TopicArgs,
}

/// What is published.
#[derive(Clone, Debug, Args)]
pub(crate) struct PayloadArgs {
    /// Bytes of each payload, such as 128 or 4KiB
    #[arg(long, value_name = "SIZE", default_value = "128", value_parser = size)]
    pub size: usize,
}

/// Where the server is unless the command line says otherwise.
const URL_DEFAULT: &str = "ws://127.0.0.1:8080";

/// The server under test.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// Where it is: ws://HOST:PORT, or ws://HOST:PORT/floor; ws://127.0.0.1:8080 if missing, and
    /// with `compare` the broker that is built beside this program
    #[arg(long, conflicts_with = "server")]
    pub url: Option<String>,
    /// Its process, to measure CPU and memory
    #[arg(long, value_name = "PID", conflicts_with = "server")]
    pub server_pid: Option<u32>,
    /// Where its metrics are, such as http://127.0.0.1:8081, for its own counts
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    pub admin_url: Option<String>,
    /// Start this broker afresh for each round, on free ports, and measure it
    #[arg(long, value_name = "BIN")]
    pub server: Option<PathBuf>,
    /// Shards of that broker
    #[arg(long, value_name = "N", requires = "server")]
    pub shards: Option<u32>,
    /// More arguments for `BIN serve`, separated by spaces
    #[arg(long, value_name = "ARGS", requires = "server", allow_hyphen_values = true)]
    pub server_args: Option<String>,
}

impl ServerArgs {
    /// Where the server is, if it is not to be started.
    #[must_use]
    pub(crate) fn url(&self) -> &str {
        self.url.as_deref().unwrap_or(URL_DEFAULT)
    }
}

/// How this program itself works, and what it leaves behind.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Generator")]
pub(crate) struct GeneratorArgs {
    /// Receiver threads of each process
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=64)
    )]
    pub receivers: u32,
    /// How long nothing may arrive until what is missing counts as lost
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub drain_timeout: Duration,
    /// Write the result as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// A name for this result
    #[arg(long)]
    pub name: Option<String>,
    /// Most connections of one process; the default is what its limit of open files allows
    #[arg(long, value_name = "N", hide = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub process_connections_max: Option<u32>,
}

impl GeneratorArgs {
    /// Demands that one process may open so many connections. `what` is made by it.
    ///
    /// # Errors
    /// If it may not; the caller's to mend.
    pub(crate) fn check_one_process(&self, what: &str, connections: u32) -> Result<()> {
        let most = self.means().process_connections_max;
        ensure!(
            connections <= most,
            "{what} is made by one process, which may open {most} connections here; {connections} \
             were asked for"
        );
        Ok(())
    }

    /// The means that these arguments and this system allow.
    #[must_use]
    pub(crate) fn means(&self) -> Means {
        let possible = process_connections_max();
        let most = self.process_connections_max.unwrap_or(possible).min(possible);
        Means {
            process_connections_max: most,
            receivers: self.receivers,
            drain_timeout: self.drain_timeout,
        }
    }
}
