//! What `drain` takes.

use std::time::Duration;

use clap::Args;

use super::shared::{AudienceArgs, GeneratorArgs, PayloadArgs, ServerArgs};
use super::values::{duration, rate};

/// Arguments of `drain`.
#[derive(Debug, Args)]
#[command(mut_arg("connections", |arg| arg.default_value("15000")))]
#[command(mut_arg("topics", |arg| arg.default_value("1500")))]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    pub audience: AudienceArgs,
    /// Open loop: deliveries per second to all connections together
    #[arg(long, value_name = "N", default_value = "10000", value_parser = rate)]
    pub deliveries: f64,
    #[command(flatten)]
    pub payload: PayloadArgs,
    /// How long the load lasts before the broker is told to end
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub warmup: Duration,
    /// How long it goes on after everybody is on the other broker
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub after: Duration,
    /// When a broker that has not ended is given up, and a client that has not come back
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub generator: GeneratorArgs,
}

pub(super) const DRAIN_EXAMPLES: &str = "\
Examples:
  loadgen drain --server target/release/fanfare
  loadgen drain --server target/release/fanfare --connections 500 --topics 50 --rounds 3

Starts two brokers. Clients and load are on the first one until it gets SIGTERM; they come to the
second one when the Rust client would: at any moment of the window that the broker tells, or after
its backoff. A close with another code than 1012 or without one is abnormal; so is any other exit
code than 0. Lost is what a connection did not get although another subscriber had it, or the broker
had taken it from its publisher, before the connection was closed.";
