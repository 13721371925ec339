//! `fanfare serve`: a broker until it is told to stop.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use listenfd::ListenFd;
use tokio::signal::unix::{SignalKind, signal};

use super::supervisor;
use crate::config::{self, ConfigError};
use crate::{Server, ServerConfig};

/// Start a broker.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Serve {
    #[command(flatten)]
    options: Options,
}

const EXAMPLES: &str = "\
Examples:
  fanfare serve
      listen on 127.0.0.1:8080, health and metrics on 127.0.0.1:8081

  fanfare serve --listen 0.0.0.0:8080 --allow-origin https://app.example
      serve the network and the pages of one site

  fanfare serve --config fanfare.toml
      namespaces with options of their own, as
          [namespaces.stocks]
          latest = true           # keep each topic's newest message
          history_messages = 100

  fanfare serve --listen 127.0.0.1:0 --shards 1
      one thread, on a port that the system chooses and the first line tells";

/// What `serve` and `demo` share.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Where clients connect; port 0 lets the system choose.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// Where health and metrics are; keep it out of reach of clients.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    admin_listen: SocketAddr,

    /// Threads that serve connections [default: one for each core].
    #[arg(long, value_name = "N")]
    shards: Option<NonZeroUsize>,

    /// Longest message from a client.
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = config::size)]
    message_bytes_max: usize,

    /// A TOML file with the options of namespaces and the limits of slow readers.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// An origin whose pages may connect, as https://app.example; * is any. May be repeated.
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    allowed_origins: Vec<String>,
}

impl Options {
    pub(super) fn into_config(self) -> Result<ServerConfig, ConfigError> {
        let defaults = ServerConfig::default();
        let mut limits = defaults.limits;
        if let Some(path) = &self.config {
            config::apply_file(path, &mut limits)?;
        }
        limits.message_bytes_max = self.message_bytes_max;
        Ok(ServerConfig {
            listen: self.listen,
            admin_listen: self.admin_listen,
            shards: self.shards.unwrap_or(defaults.shards),
            allowed_origins: self.allowed_origins,
            limits,
        })
    }
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut stop = StopSignals::new()?;
        let inherited = ListenFd::from_env().take_tcp_listener(0)?;
        let server = Server::start_on(self.options.into_config()?, inherited)?;
        print_addresses(&server);
        supervisor::tell_ready(&server);
        stop.wait().await;
        supervisor::tell_stopping();
        stop_gracefully(server, &mut stop).await;
        Ok(ExitCode::SUCCESS)
    }
}

/// Tells where the broker is; programs that start one read these lines.
pub(super) fn print_addresses(server: &Server) {
    println!("fanfare: listening on http://{}", server.addr());
    println!("fanfare: admin on {}", server.admin_url());
}

/// Drains a broker; another signal ends it, and the process, at once.
pub(super) async fn stop_gracefully(server: Server, again: &mut StopSignals) {
    println!("fanfare: stopping, {} connections to close", server.connection_count());
    tokio::select! {
        left = server.stop() => if left > 0 {
            println!("fanfare: {left} connections were cut at the end of the drain timeout");
        },
        () = again.wait() => {
            println!("fanfare: a second signal, ending at once");
            // Not by returning: the runtime would wait for the threads that are being stopped.
            std::process::exit(EXIT_INTERRUPTED);
        }
    }
}

/// What a shell reports of a program that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

/// SIGTERM and SIGINT, both of which stop a broker in good order.
pub(super) struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
