//! What `compare`, `report` and `compare-runs` take.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::shared::{GeneratorArgs, PayloadArgs, ServerArgs};
use super::values::{duration, rate, share};
use crate::compare::{PRESETS, Part, Way};

/// Arguments of `compare`.
#[derive(Clone, Debug, Args)]
#[command(mut_arg("size", |arg| arg.default_value("64")))]
pub(crate) struct CompareArgs {
    /// 200 clients and short measurements: all of it in at most three minutes
    #[arg(long)]
    pub quick: bool,
    /// Clients of each transport
    #[arg(long, value_name = "N", default_value_t = 1_000, default_value_if("quick", "true", "200"),
        value_parser = clap::value_parser!(u32).range(1..))]
    pub clients: u32,
    /// Which transports; all if missing
    #[arg(long, value_name = "NAME,…", value_enum, value_delimiter = ',')]
    pub transports: Vec<Way>,
    /// Which parts of the comparison
    #[arg(
        long,
        value_name = "NAME,…",
        value_enum,
        value_delimiter = ',',
        default_value = "transports,headers,quiet,use-cases,distance"
    )]
    pub parts: Vec<Part>,
    /// From one poll of a client to the next
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub interval: Duration,
    /// Messages published per second
    #[arg(long, value_name = "N", default_value = "2", value_parser = rate)]
    pub rate: f64,
    #[command(flatten)]
    pub payload: PayloadArgs,
    /// The topic
    #[arg(long, value_name = "NAME", default_value = "stock.ACME")]
    pub topic: String,
    /// How long each measurement takes; 10s if missing, 3s with --quick
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// How long it runs before that, and pollers for one interval; 1s if missing, 300ms with
    /// --quick
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub warmup: Option<Duration>,
    /// How often to measure; the medians are told
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Numbers of clients at which the articles' use cases are measured in full
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "1000,10000",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub use_case_clients: Vec<u32>,
    /// How far away clients are in the part `distance`; emulated by the clients
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = duration)]
    pub one_way_delay: Duration,
    /// Headers of clients in all other parts
    #[arg(long, value_name = "NAME", default_value = "browser", help_heading = "Headers",
        value_parser = PossibleValuesParser::new(PRESETS))]
    pub preset: String,
    /// Headers that the part `headers` compares
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "Headers",
        default_value = "none,minimal,browser,cookies,articles",
        value_parser = PossibleValuesParser::new(PRESETS))]
    pub presets: Vec<String>,
    /// Headers of one's own, `Name: value` on each line, in place of --preset
    #[arg(long, value_name = "FILE", help_heading = "Headers")]
    pub headers: Option<PathBuf>,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub generator: GeneratorArgs,
}

impl CompareArgs {
    /// Puts in what is missing.
    pub(crate) fn fill_in(&mut self) {
        let [duration, warmup] =
            if self.quick { [3_000, 300] } else { [10_000, 1_000] }.map(Duration::from_millis);
        self.duration = self.duration.or(Some(duration));
        self.warmup = self.warmup.or(Some(warmup));
    }
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// A folder with results (`--out FILE.json`)
    pub dir: PathBuf,
    /// Where to write the report; the same folder if missing
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Arguments of `compare-runs`.
#[derive(Debug, Args)]
pub(crate) struct CompareRunsArgs {
    /// The earlier result, a file of JSON
    pub before: PathBuf,
    /// The later one
    pub after: PathBuf,
    /// What counts as noise where a result has one round; with several their spread counts if it
    /// is more
    #[arg(long, value_name = "SHARE", default_value = "10%", value_parser = share)]
    pub noise: f64,
    /// Tell of figures that have not changed too
    #[arg(long)]
    pub all: bool,
}

pub(super) const COMPARE_EXAMPLES: &str = "\
Examples:
  # All of it in three minutes, with the broker that is built beside this program
  loadgen compare --quick --out result.json

  # In full
  loadgen compare --server target/release/fanfare --rounds 3 --out result.json

  # Two transports with one's own headers
  loadgen compare --transports poll-kept,raw --headers mine.txt --parts transports

Bytes are counted on the clients' sockets, each once: HTTP heads (handshakes included), framing,
envelope, payload. Packets are the kernel's count (TCP_INFO). TCP/IP headers and TLS records are
computed from these and called so. A poll asks for the newest message (limit=1); what was published
between two polls and is not in the second is missed. Push transports and long polling must miss
nothing. With --out FILE.json the latency histograms are written to FILE.hlog.";

pub(super) const REPORT_EXAMPLES: &str = "\
Examples:
  loadgen report bench-results/2026-11-21-laptop

Writes report.html (one file, no network), the charts as SVG files and summary.md.";

pub(super) const COMPARE_RUNS_EXAMPLES: &str = "\
Examples:
  loadgen compare-runs before/compare.json after/compare.json

Figures that both results have, with their ratio; those that changed by more than the noise are
marked. Exit code 0 whatever changed.";
