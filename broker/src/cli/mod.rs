//! The command line: one file for each subcommand, one definition for help and parsing.
//!
//! Exit codes: 0 done, 1 failed for a reason printed in one line, 2 wrong usage, 78 a mistake in
//! the configuration (`EX_CONFIG` of sysexits), 130 interrupted. `check` has the codes of
//! monitoring programs instead.

mod admin;
mod check;
mod config;
mod demo;
mod disconnect;
mod history;
mod log;
mod log_lines;
mod logging;
mod options;
mod publish;
mod report;
mod serve;
mod subscribe;
mod supervisor;
mod table;
mod top;
mod units;
mod views;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fanfare_client::{Client, Transport};

use crate::StartError;
use crate::config::Mistakes;

/// A pub/sub broker over WebSocket: publish once, every subscriber hears it.
#[derive(Debug, Parser)]
#[command(name = "fanfare", version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    Serve(serve::Serve),
    Config(config::Config),
    Check(check::Check),
    Log(log::Log),
    Report(report::Report),
    Top(top::Top),
    Disconnect(disconnect::Disconnect),
    Demo(demo::Demo),
    Pub(publish::Publish),
    Sub(subscribe::Subscribe),
    History(history::History),
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let result = runtime.block_on(async {
        match cli.command {
            Subcommands::Serve(serve) => serve.run().await,
            Subcommands::Config(config) => config.run(),
            Subcommands::Check(check) => check.run().await,
            Subcommands::Log(log) => log.run().await,
            Subcommands::Report(report) => report.run().await,
            Subcommands::Top(top) => top.run().await,
            Subcommands::Disconnect(disconnect) => disconnect.run().await,
            Subcommands::Demo(demo) => demo.run().await,
            Subcommands::Pub(publish) => publish.run().await,
            Subcommands::Sub(subscribe) => subscribe.run().await,
            Subcommands::History(history) => history.run().await,
        }
    });
    // A read of standard input cannot be cancelled and must not hold the program.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("fanfare: {error:#}");
    let of_configuration = error.is::<Mistakes>()
        || matches!(
            error.downcast_ref(),
            Some(StartError::Config(_) | StartError::Limits(_) | StartError::Shards(_))
        );
    ExitCode::from(if of_configuration { WRONG_CONFIGURATION } else { 1 })
}

/// Apart from other failures, so that whoever starts the broker again and again can stop.
const WRONG_CONFIGURATION: u8 = 78;

/// Whoever reads our output has enough, as `head` does; that is no error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The exit code after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// Where `pub` and `sub` find the broker.
#[derive(Debug, clap::Args)]
struct Target {
    /// The broker's address.
    #[arg(
        long,
        short,
        env = "FANFARE_SERVER",
        default_value = "ws://127.0.0.1:8080",
        value_name = "URL"
    )]
    server: String,

    /// How to talk to it: websocket, sse (server-sent events), long-poll, or auto: the first of
    /// these that gets through.
    #[arg(long, default_value = "auto", value_name = "NAME", value_parser = transports)]
    transport: Transports,

    /// An HTTP proxy to go through, as http://user:password@proxy.example:3128.
    #[arg(long, value_name = "URL", hide_env_values = true, env = "FANFARE_PROXY")]
    proxy: Option<String>,
}

/// The transports that may be used.
#[derive(Clone, Debug)]
struct Transports(Vec<Transport>);

fn transports(text: &str) -> Result<Transports, String> {
    if text == "auto" {
        return Ok(Transports(Transport::ALL.to_vec()));
    }
    let transport = text.parse().map_err(|error| format!("{error}, or auto for any of them"))?;
    Ok(Transports(vec![transport]))
}

impl Target {
    async fn connect(&self) -> anyhow::Result<Client> {
        let builder = Client::builder(&self.server).transports(self.transport.0.iter().copied());
        let builder = match &self.proxy {
            Some(proxy) => builder.proxy(proxy),
            None => builder,
        };
        Ok(builder.connect().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_transport_is_one_or_any() {
        assert_eq!(transports("auto").unwrap().0, Transport::ALL);
        assert_eq!(transports("long-poll").unwrap().0, [Transport::LongPoll]);
        let error = transports("carrier-pigeon").unwrap_err();
        assert!(error.contains("sse") && error.contains("auto"), "{error}");
    }

    #[test]
    fn every_subcommand_shows_examples() {
        for subcommand in Cli::command().get_subcommands_mut() {
            let help = subcommand.render_long_help().to_string();
            assert!(help.contains("Examples:"), "{help}");
        }
    }
}
