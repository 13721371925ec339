//! `fanfare serve`: a broker until it is told to stop.

use std::process::ExitCode;

use listenfd::ListenFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use super::logging::{self, Log};
use super::options::Options;
use super::supervisor;
use crate::logs::target;
use crate::{Server, descriptors};

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
      `fanfare config default` writes a file with everything that can be set;
      SIGHUP, or a POST to /v1/reload of the admin port, reads it again

  fanfare serve --listen 127.0.0.1:0 --shards 1
      one thread, on a port that the system chooses and the first line tells";

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut stop = StopSignals::new()?;
        // Before the broker listens: by default this signal ends a program.
        let mut hangup = signal(SignalKind::hangup())?;
        let raised_from = descriptors::raise();
        let inherited = ListenFd::from_env().take_tcp_listener(0)?;
        let configuration = self.options.source().load()?;
        let log = logging::install(&configuration.server.log)?;
        let server = Server::start_from(configuration, inherited, log.control.clone())?;
        print_addresses(&server);
        descriptors::tell(server.connections_max(), raised_from);
        supervisor::tell_ready(&server);
        loop {
            tokio::select! {
                () = stop.wait() => break,
                // The log has what came of it.
                _ = hangup.recv() => drop(server.reload()),
            }
        }
        supervisor::tell_stopping();
        stop_gracefully(server, &mut stop, log).await;
        Ok(ExitCode::SUCCESS)
    }
}

/// Tells where the broker is; programs that start one read these lines.
pub(super) fn print_addresses(server: &Server) {
    println!("fanfare: listening on http://{}", server.addr());
    println!("fanfare: admin on {}", server.admin_url());
}

/// Drains a broker; another signal ends it, and the process, at once.
pub(super) async fn stop_gracefully(server: Server, again: &mut StopSignals, log: Log) {
    tokio::select! {
        _ = server.stop() => {}
        () = again.wait() => {
            warn!(target: target::NODE, "a second signal; ending at once");
            drop(log);
            // Not by returning: the runtime would wait for the threads that are being stopped.
            std::process::exit(EXIT_INTERRUPTED);
        }
    }
}

/// What a shell reports of a program that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

/// SIGTERM and SIGINT, both of which stop a broker in good order.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
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
