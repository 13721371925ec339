//! `fanfare demo`: a broker with a market in it.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;

use super::logging;
use super::options::Options;
use super::serve::{StopSignals, print_addresses, stop_gracefully};
use crate::demo::Feed;
use crate::{Server, StartError};

/// Start a broker with an embedded market feed, to look at and to try things on.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Demo {
    #[command(flatten)]
    options: Options,

    /// The market follows from this number: the same seed, the same ticks.
    #[arg(long, default_value_t = 42)]
    seed: u64,

    /// Ticks a second over all symbols.
    #[arg(
        long,
        default_value_t = 400,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    rate: u32,
}

const EXAMPLES: &str = "\
Examples:
  fanfare demo
      then open http://127.0.0.1:8080/ in a browser

  fanfare demo --listen 127.0.0.1:9000 --admin-listen 127.0.0.1:9001 --seed 7
      another market on other ports";

impl Demo {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut stop = StopSignals::new()?;
        let configuration = self.options.source().load()?;
        let log = logging::install(&configuration.server.log)?;
        let server = Server::start_from(configuration, None, log.control.clone())?;
        let feed =
            Feed::start(server.publisher(), self.seed, self.rate).map_err(StartError::System)?;
        print_addresses(&server);
        print_next_steps(&server);
        let mut status = Status::new(&server);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.tick().await;
        loop {
            tokio::select! {
                _ = second.tick() => status.print(&server)?,
                () = stop.wait() => break,
            }
        }
        println!();
        drop(feed);
        stop_gracefully(server, &mut stop, log).await;
        Ok(ExitCode::SUCCESS)
    }
}

fn print_next_steps(server: &Server) {
    let addr = server.addr();
    let symbol = crate::demo::hottest_symbol();
    let is_default = addr == std::net::SocketAddr::from(([127, 0, 0, 1], 8080));
    let option = if is_default { String::new() } else { format!(" --server ws://{addr}") };
    println!();
    println!("  A market of random walks publishes to ticks.<SYMBOL>. Try:");
    println!("    a browser   http://{addr}/");
    println!("    a terminal  fanfare sub{option} ticks.{symbol}");
    println!("    curl        curl http://{addr}/v1/topics/ticks.{symbol}?limit=1");
    println!("    publish     curl -d '{{\"hello\":1}}' http://{addr}/v1/topics/greetings");
    println!("    metrics     curl {}/metrics", server.admin_url());
    println!("  Without `fanfare` on your path: cargo run --release -- sub ticks.{symbol}");
    println!("  Ctrl-C stops it.");
    println!();
}

/// One line a second: rewritten in place on a terminal, a line each elsewhere.
struct Status {
    messages_in: u64,
    messages_out: u64,
    bytes_out: u64,
    is_terminal: bool,
}

impl Status {
    fn new(server: &Server) -> Self {
        Self {
            messages_in: server.messages_in(),
            messages_out: server.messages_out(),
            bytes_out: server.bytes_out(),
            is_terminal: std::io::stdout().is_terminal(),
        }
    }

    fn print(&mut self, server: &Server) -> std::io::Result<()> {
        let next = Self { is_terminal: self.is_terminal, ..Self::new(server) };
        let line = format!(
            "{} connections  {} published/s  {} delivered/s  {}/s out",
            server.connection_count(),
            next.messages_in - self.messages_in,
            next.messages_out - self.messages_out,
            ByteSize(next.bytes_out - self.bytes_out),
        );
        *self = next;
        let mut out = std::io::stdout().lock();
        if self.is_terminal {
            // Erase the rest of the line: the one before may have been longer.
            write!(out, "\r{line}\x1b[K")?;
        } else {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }
}
