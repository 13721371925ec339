//! The command line: what can be asked for, and the exit code that answers.
//!
//! Owns names, defaults, help texts and exit codes. What a subcommand does is in its own room.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::plan::{Transport, process_connections_max};
use crate::session::Means;
use crate::{fanout, floor, idle, replay, worker};

/// The run measured, but messages were lost, doubled or reordered, or connections were closed.
const EXIT_FAULTS: u8 = 1;

/// The run could not be made: wrong usage, no server, a failed connection.
const EXIT_NOT_RUN: u8 = 2;

const EXIT_CODES: &str = "\
Exit codes: 0 all arrived, once and in order; 1 something was lost, doubled or reordered, or the
server closed connections; 2 the run could not be made (wrong usage, no server).";

#[derive(Debug, Parser)]
#[command(name = "loadgen", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish to many subscribers and measure each delivery
    #[command(after_help = FANOUT_EXAMPLES)]
    Fanout(FanoutArgs),
    /// Hold idle connections and measure what each costs the server
    #[command(after_help = IDLE_EXAMPLES)]
    Idle(IdleArgs),
    /// Publish a file of market ticks at its own speed and check what arrives
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// Run the bare server whose deliveries cost what the kernel takes for them
    #[command(after_help = FLOOR_EXAMPLES)]
    Floor(FloorArgs),
    /// Receive for another process (started by it)
    #[command(hide = true)]
    Worker,
}

const FANOUT_EXAMPLES: &str = "\
Examples:
  # One topic, 1,000 subscribers, 100 messages a second; the server's CPU by its pid
  loadgen fanout --connections 1000 --rate 100 --server-pid \"$(pgrep -x fanfare)\"

  # Beside the kernel's floor, five rounds, a fresh broker for each
  loadgen fanout --server target/release/fanfare --shards 1 --floor --rounds 5 --out result.json

  # 16 publishes in flight (a closed loop)
  loadgen fanout --server target/release/fanfare --shards 1 --in-flight 16

  # 18,000 connections with 7 of 1,260 topics each, one message a second on each topic
  loadgen fanout --connections 18000 --topics 1260 --topics-per-connection 7 \\
    --rate 1260 --size 512";

const IDLE_EXAMPLES: &str = "\
Examples:
  loadgen idle --server target/release/fanfare --connections 10000
  loadgen idle --url ws://127.0.0.1:8080 --server-pid \"$(pgrep -x fanfare)\" --duration 60s";

const FLOOR_EXAMPLES: &str = "\
Examples:
  loadgen floor --listen 127.0.0.1:9000
  loadgen fanout --url ws://127.0.0.1:9000/floor --connections 1000";

const REPLAY_EXAMPLES: &str = "\
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

/// The server under test.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// Where it is: ws://HOST:PORT, or ws://HOST:PORT/floor
    #[arg(long, default_value = "ws://127.0.0.1:8080", conflicts_with = "server")]
    pub url: String,
    /// Its process, to measure CPU and memory
    #[arg(long, value_name = "PID", conflicts_with = "server")]
    pub server_pid: Option<u32>,
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

/// How this program itself works, and what it leaves behind.
#[derive(Debug, Args)]
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

/// Arguments of `fanout`.
#[derive(Debug, Args)]
pub(crate) struct FanoutArgs {
    /// Subscribing connections
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub connections: u32,
    /// Topics
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1_048_576)
    )]
    pub topics: u32,
    /// Subscriptions of each connection; every topic gets the same number of subscribers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub topics_per_connection: u32,
    /// Topics are named PREFIX0000, PREFIX0001, …
    #[arg(long, value_name = "PREFIX", default_value = "load.")]
    pub topic_prefix: String,
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
    /// Bytes of each payload, such as 128 or 4KiB
    #[arg(long, value_name = "SIZE", default_value = "128", value_parser = size)]
    pub size: usize,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// How long to publish before that
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub warmup: Duration,
    /// How messages reach subscribers
    #[arg(long, value_enum, default_value_t = Transport::Json)]
    pub transport: Transport,
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
    /// How often to measure; the medians are told
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    pub rounds: u32,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub generator: GeneratorArgs,
}

/// Arguments of `idle`.
#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    /// Connections, each with one subscription
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub connections: u32,
    /// Topics that the subscriptions are spread over
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
    /// How messages would reach subscribers
    #[arg(long, value_enum, default_value_t = Transport::Json)]
    pub transport: Transport,
    /// How long to wait before memory is read
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub settle: Duration,
    /// How long to hold the connections after that
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// How often to measure; more than once needs --server, since a server keeps memory it had
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    pub rounds: u32,
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

/// Reads the command line and does what it says.
#[must_use]
pub(crate) fn run() -> ExitCode {
    let flawless = match Cli::parse().command {
        Command::Fanout(args) => fanout::run(&args),
        Command::Idle(args) => idle::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Floor(args) => floor::run(args.listen)
            .map(|()| true)
            .map_err(|error| anyhow::anyhow!("the floor cannot serve on {}: {error}", args.listen)),
        Command::Worker => worker::run().map(|()| true),
    };
    match flawless {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAULTS),
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            ExitCode::from(EXIT_NOT_RUN)
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 10s, 500ms or 2m"))
}

fn size(text: &str) -> Result<usize, String> {
    let size: bytesize::ByteSize = text.parse()?;
    usize::try_from(size.as_u64()).map_err(|error| error.to_string())
}

fn speed(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('x').unwrap_or(text).parse::<f64>();
    match number {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err("write a positive number such as 20x, 1x or 0.5x".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn values_have_the_units_that_people_write() {
        assert_eq!(size("128"), Ok(128));
        assert_eq!(size("4KiB"), Ok(4_096));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(speed("20x"), Ok(20.0));
        assert_eq!(speed("0.5"), Ok(0.5));
        for bad in ["0x", "-1x", "x", "inf", "fast"] {
            assert!(speed(bad).is_err(), "{bad}");
        }
    }
}
