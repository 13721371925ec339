//! What the subcommands that put load on a broker take: `fanout`, `idle`, `replay`, `floor`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::shared::{AudienceArgs, GeneratorArgs, PayloadArgs, ServerArgs};
use super::values::{duration, speed};
use crate::plan::Transport;

/// Arguments of `fanout`.
#[derive(Debug, Args)]
pub(crate) struct FanoutArgs {
    #[command(flatten)]
    pub audience: AudienceArgs,
    /// Open loop: messages per second in all, spread evenly over time and topics
    #[arg(long, value_name = "N", default_value_t = 100.0, conflicts_with = "in_flight")]
    pub rate: f64,
    /// Messages that are due at the same time, at the same rate
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        conflicts_with = "in_flight",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub burst: u64,
    /// Closed loop: at most N publishes whose deliveries have not all been received
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: Option<u32>,
    #[command(flatten)]
    pub payload: PayloadArgs,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// How long to publish before that
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub warmup: Duration,
    /// Publishers, each with its own connection and thread
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..)
    )]
    pub publishers: u8,
    /// Measure the kernel's floor first in each round, with the same load
    #[arg(long)]
    pub floor: bool,
    /// Measure four times as long: without and with somebody who scrapes the broker's metrics so
    /// often, in turns
    #[arg(long, value_name = "INTERVAL", value_parser = duration, conflicts_with = "floor")]
    pub scrape_metrics: Option<Duration>,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub generator: GeneratorArgs,
}

/// Arguments of `idle`. Several rounds need a fresh server for each: one keeps memory it had.
#[derive(Debug, Args)]
#[command(mut_arg("connections", |arg| arg.default_value("10000")))]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    pub audience: AudienceArgs,
    /// How long to wait before memory is read
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub settle: Duration,
    /// How long to hold the connections after that
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub generator: GeneratorArgs,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The file of ticks; its format stands below
    pub file: PathBuf,
    /// The source to replay; needed if the file has several
    #[arg(long)]
    pub src: Option<String>,
    /// How many times as fast as the ticks came
    #[arg(long, value_name = "N", default_value = "1x", value_parser = speed)]
    pub speed: f64,
    /// Symbols become topics by this prefix
    #[arg(long, value_name = "PREFIX", default_value = "ticks.")]
    pub topic_prefix: String,
    /// Connections that check what arrives; none only publishes
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub subscribers: u32,
    /// Symbols of each subscriber
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub topics_per_connection: u32,
    /// How messages reach subscribers
    #[arg(long, value_enum, default_value_t = Transport::Json)]
    pub transport: Transport,
    /// Most rows
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Stop after this time, as it passes here
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub generator: GeneratorArgs,
}

/// Arguments of `floor`.
#[derive(Debug, Args)]
pub(crate) struct FloorArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    pub listen: SocketAddr,
}

pub(super) const FANOUT_EXAMPLES: &str = "\
Examples:
  # One topic, 1,000 subscribers, 100 messages a second; the server's CPU by its pid
  loadgen fanout --connections 1000 --rate 100 --server-pid \"$(pgrep -x fanfare)\"

  # Beside the kernel's floor, five rounds, a fresh broker for each
  loadgen fanout --server target/release/fanfare --shards 1 --floor --rounds 5 --out result.json

  # 16 publishes in flight (a closed loop)
  loadgen fanout --server target/release/fanfare --shards 1 --in-flight 16

  # 18,000 connections with 7 of 1,260 topics each, one message a second on each topic
  loadgen fanout --connections 18000 --topics 1260 --topics-per-connection 7 \\
    --rate 1260 --size 512

  # What scraping its metrics each second costs a broker with 10,000 connections
  loadgen fanout --server target/release/fanfare --connections 10000 --topics 1000 --rate 2000 \\
    --duration 10s --scrape-metrics 1s --rounds 3";

pub(super) const IDLE_EXAMPLES: &str = "\
Examples:
  loadgen idle --server target/release/fanfare --connections 10000
  loadgen idle --url ws://127.0.0.1:8080 --server-pid \"$(pgrep -x fanfare)\" --duration 60s";

pub(super) const FLOOR_EXAMPLES: &str = "\
Examples:
  loadgen floor --listen 127.0.0.1:9000
  loadgen fanout --url ws://127.0.0.1:9000/floor --connections 1000";

pub(super) const REPLAY_EXAMPLES: &str = "\
Examples:
  # At real speed, to 10,000 subscribers of 3 symbols each
  loadgen replay ticks.csv.gz --src binance --subscribers 10000

  # Twenty times as fast, the first minute of it
  loadgen replay ticks.csv.gz --src lean_us --speed 20x --subscribers 10000 --duration 60s

  # Only publish, for others to look at
  loadgen replay ticks.csv.gz --src lean_fx

The file is CSV, plain or gzip, with the header
  ts_us,symbol,kind,price,size,bid,bid_size,ask,ask_size,venue,src
ts_us is the UTC time in microseconds and never decreases within a src. kind is trade or quote;
prices and sizes are JSON numbers; a blank field does not apply. ts_us, symbol and src are
required, the other columns may be missing. Each row becomes one message on PREFIX + symbol:
  {\"s\":\"~stamp\",\"t\":ts_us,\"k\":kind,\"p\":price,\"z\":size,\"b\":bid,\"bz\":bid_size,
   \"a\":ask,\"az\":ask_size,\"v\":venue}
without the members of blank fields. Characters of a symbol that a topic may not hold become _.
The subscriptions of all subscribers walk round and round through the symbols, so every symbol is
covered and all have the same number of subscribers.";
