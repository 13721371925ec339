//! What the subcommands about slow, returning and unwanted readers take: `slow`, `resume`, `storm`,
//! `exhaust`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use fanfare_protocol::Mode;

use super::shared::{AudienceArgs, GeneratorArgs, PayloadArgs, ServerArgs, TopicArgs};
use super::values::{Portion, duration, portion, rate, size};

/// How a reader that does not read behaves.
#[derive(Debug, Args)]
#[command(next_help_heading = "Slow readers")]
pub(crate) struct StallArgs {
    /// Read this much of each second nevertheless, such as 4KiB; nothing if missing
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub trickle: Option<usize>,
    /// Receive buffer of their sockets (SO_RCVBUF), so that the kernel cannot read for them
    #[arg(long, value_name = "SIZE", default_value = "4KiB", value_parser = size)]
    pub receive_buffer: usize,
}

/// What a slow reader does that the broker has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WhenClosed {
    /// Connects and subscribes again, and again does not read
    Return,
    /// Is gone
    StayAway,
}

/// Arguments of `slow`.
#[derive(Debug, Args)]
#[command(mut_arg("connections", |arg| arg.default_value("10000")))]
#[command(mut_arg("size", |arg| arg.default_value("4KiB")))]
pub(crate) struct SlowArgs {
    #[command(flatten)]
    pub audience: AudienceArgs,
    /// How many of them do not read: a share or a number
    #[arg(
        long,
        value_name = "SHARE",
        default_value = "1%",
        value_parser = portion,
        conflicts_with = "slow_only"
    )]
    pub slow: Portion,
    /// None of them reads; measures memory alone
    #[arg(long)]
    pub slow_only: bool,
    /// What all of them subscribe with
    #[arg(
        long,
        default_value = "all",
        value_parser = PossibleValuesParser::new(Mode::NAMES)
            .try_map(|name| Mode::from_name(&name).ok_or("no mode of this protocol"))
    )]
    pub mode: Mode,
    /// Open loop: deliveries per second to all connections together
    #[arg(
        long,
        value_name = "N",
        default_value = "20000",
        value_parser = rate,
        conflicts_with = "rate"
    )]
    pub deliveries: f64,
    /// Messages per second instead, over all topics
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    #[command(flatten)]
    pub payload: PayloadArgs,
    /// How long the load lasts
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub duration: Duration,
    /// With --slow-only: several times, such as 10s,60s, whose memory is compared
    #[arg(
        long,
        value_name = "TIMES",
        value_parser = duration,
        value_delimiter = ',',
        requires = "slow_only",
        conflicts_with = "duration"
    )]
    pub durations: Vec<Duration>,
    /// How long to publish before that, while all read; not with --slow-only
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub warmup: Duration,
    /// Messages on each topic before anybody subscribes, so that the growth of the history is not
    /// taken for that of slow readers
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub fill: u32,
    /// What slow readers do that the broker has closed
    #[arg(long, value_enum, default_value_t = WhenClosed::Return, help_heading = "Slow readers")]
    pub when_closed: WhenClosed,
    #[command(flatten)]
    pub stall: StallArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub generator: GeneratorArgs,
}

/// Arguments of `resume`.
#[derive(Debug, Args)]
#[command(mut_arg("topics", |arg| arg.default_value("1000")))]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub topics: TopicArgs,
    /// Open loop: messages per second in all, spread evenly over time and topics
    #[arg(long, value_name = "N", default_value = "10000", value_parser = rate)]
    pub rate: f64,
    #[command(flatten)]
    pub payload: PayloadArgs,
    /// How long the reader does not read
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub stall_for: Duration,
    /// How long it reads before that
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub warmup: Duration,
    /// How long publishing goes on after it
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub after: Duration,
    /// Write a line for each topic of each round as CSV to this file
    #[arg(long, value_name = "FILE")]
    pub per_topic: Option<PathBuf>,
    #[command(flatten)]
    pub stall: StallArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub generator: GeneratorArgs,
}

/// Arguments of `storm`.
#[derive(Debug, Args)]
#[command(mut_arg("connections", |arg| arg.default_value("5000")))]
#[command(mut_arg("topics", |arg| arg.default_value("50")))]
pub(crate) struct StormArgs {
    #[command(flatten)]
    pub audience: AudienceArgs,
    /// Messages on each topic while all are away
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub missed: u32,
    /// Messages on each topic before that
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub seen: u32,
    /// Messages per second of those two, over all topics
    #[arg(long, value_name = "N", default_value = "5000", value_parser = rate)]
    pub rate: f64,
    /// Messages per second while they return, over all topics
    #[arg(long, value_name = "N", default_value = "100", value_parser = rate)]
    pub live_rate: f64,
    #[command(flatten)]
    pub payload: PayloadArgs,
    /// How long after the last client has recovered these go on
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub live_after: Duration,
    /// When a client that has not recovered is given up
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub generator: GeneratorArgs,
}

/// Arguments of `exhaust`.
#[derive(Debug, Args)]
pub(crate) struct ExhaustArgs {
    #[command(flatten)]
    pub audience: AudienceArgs,
    /// Open loop: deliveries per second to all connections together
    #[arg(long, value_name = "N", default_value = "10000", value_parser = rate)]
    pub deliveries: f64,
    #[command(flatten)]
    pub payload: PayloadArgs,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration)]
    pub duration: Duration,
    /// How long to publish before that
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub warmup: Duration,
    /// Files that the server may have open (RLIMIT_NOFILE of its process); with --server 300 more
    /// than there are connections if missing, otherwise it is left as it is
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub descriptors: Option<u64>,
    /// How many want in, each one attempt after the other
    #[arg(
        long,
        value_name = "N",
        default_value_t = 200,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub openers: u32,
    /// How long each waits after it was turned away
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration)]
    pub pause: Duration,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub generator: GeneratorArgs,
}

pub(super) const EXHAUST_EXAMPLES: &str = "\
Examples:
  loadgen exhaust --server target/release/fanfare --rounds 5
  loadgen exhaust --server target/release/fanfare --openers 1000 --pause 10ms

Each round measures without the crowd and then with it, with a fresh broker each if --server starts
it. The crowd keeps every connection that it gets, does not read from it, and after a refusal, or
two seconds without an answer, pauses and tries again. Measuring begins once the broker takes
nobody any more. At its end all that the crowd has is released, while it still wants in: how long
it takes until one of it has a WebSocket again is told. A --duration beyond 25 s would have the
broker close those that do not answer its pings.";

pub(super) const SLOW_EXAMPLES: &str = "\
Examples:
  # 1 % of 10,000 subscribers do not read: what the others and the broker's memory feel of it
  loadgen slow --server target/release/fanfare --mode all

  # Memory of 1,000 readers of 1,000 topics each, none of which reads, after 10 and after 60 s
  loadgen slow --server target/release/fanfare --slow-only --mode latest --connections 1000 \\
    --topics 1000 --topics-per-connection 1000 --rate 10000 --size 128 --durations 10s,60s

Each round measures without slow readers and then with them, with a fresh broker each if --server
starts it. The others subscribe, publish and receive the same in both. Slow readers read until the
load begins and again after it has ended; then all that is owed to them must come: every message
or a gap that tells of it in mode all, the newest value in mode latest. They send pongs unasked,
so that they count as alive. One that the broker closes comes back and again does not read.";

pub(super) const RESUME_EXAMPLES: &str = "\
Examples:
  loadgen resume --server target/release/fanfare --stall-for 20s
  loadgen resume --server target/release/fanfare --topics 100 --rate 1000 --per-topic topics.csv

What the reader's socket held is told apart by its place in the stream: just before the first read
the kernel's queues of both ends of the connection are looked up (/proc/net/tcp, so the server has
to be on this machine), and what the broker had already queued besides (its outbox_bytes). Messages
that begin behind that were chosen by the broker after the socket took bytes again: none of them may
be older than the newest that another subscriber had when the reader began to read.";

pub(super) const STORM_EXAMPLES: &str = "\
Examples:
  loadgen storm --server target/release/fanfare --rounds 5
  loadgen storm --connections 500 --topics 5 --missed 20

The clients are cut off without a goodbye (RST). Each comes back with the position of the last
message that it has and must be told that it is recovered, get every message that it missed, once
and in order, and then live ones. A connection that fails is tried again, and that is counted.";
