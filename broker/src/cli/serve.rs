//! `fanfare serve`: a broker until it is told to stop.

use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::options::Options;
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
        let descriptors = descriptors::raise();
        let server = Server::start_from(self.options.source())?;
        print_addresses(&server);
        println!("fanfare: {}", descriptors.room());
        loop {
            tokio::select! {
                () = stop.wait() => break,
                _ = hangup.recv() => reload(&server),
            }
        }
        println!("fanfare: stopping");
        server.stop().await;
        Ok(ExitCode::SUCCESS)
    }
}

fn reload(server: &Server) {
    match server.reload() {
        Ok(reloaded) => println!("fanfare: {reloaded}"),
        Err(error) => eprintln!("fanfare: nothing has changed: {error}"),
    }
}

/// Tells where the broker is; programs that start one read these lines.
pub(super) fn print_addresses(server: &Server) {
    println!("fanfare: listening on http://{}", server.addr());
    println!("fanfare: admin on {}", server.admin_url());
}

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
