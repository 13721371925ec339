//! The command line: what can be asked for, and the exit code that answers.
//!
//! Owns names, defaults, help texts and exit codes. What a subcommand does is in its own room.

mod compare;
mod drain;
mod load;
mod recovery;
mod shared;
mod values;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub(crate) use compare::{CompareArgs, CompareRunsArgs, ReportArgs};
pub(crate) use drain::DrainArgs;
pub(crate) use load::{FanoutArgs, FloorArgs, IdleArgs, ReplayArgs};
pub(crate) use recovery::{ExhaustArgs, ResumeArgs, SlowArgs, StallArgs, StormArgs, WhenClosed};
pub(crate) use shared::{AudienceArgs, GeneratorArgs, PayloadArgs, ServerArgs, TopicArgs};

use crate::{
    changes, compare as comparison, drain as draining, exhaust, fanout, floor, idle, metrics,
    replay, report_page, resume, slow, storm, worker,
};

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
    /// Tell Prometheus what goes on at http://ADDR/metrics while it runs
    #[arg(long, global = true, value_name = "ADDR", help_heading = "Generator")]
    metrics: Option<SocketAddr>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish to many subscribers and measure each delivery
    #[command(after_help = load::FANOUT_EXAMPLES)]
    Fanout(FanoutArgs),
    /// Hold idle connections and measure what each costs the server
    #[command(after_help = load::IDLE_EXAMPLES)]
    Idle(IdleArgs),
    /// Publish a file of market ticks at its own speed and check what arrives
    #[command(after_help = load::REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// Measure what readers that do not read do to the others and to the broker's memory
    #[command(after_help = recovery::SLOW_EXAMPLES)]
    Slow(SlowArgs),
    /// Let a reader of newest values stop for a while, and check what it gets when it reads again
    #[command(after_help = recovery::RESUME_EXAMPLES)]
    Resume(ResumeArgs),
    /// Drop all subscribers at once and check that each recovers every message when it returns
    #[command(after_help = recovery::STORM_EXAMPLES)]
    Storm(StormArgs),
    /// End a broker under load and check what its clients get until they are on another one
    #[command(after_help = drain::DRAIN_EXAMPLES)]
    Drain(DrainArgs),
    /// Let a crowd in until no descriptor is left, and measure what those who are connected feel
    #[command(after_help = recovery::EXHAUST_EXAMPLES)]
    Exhaust(ExhaustArgs),
    /// Follow one topic by every transport in turn and count every byte of it
    #[command(after_help = compare::COMPARE_EXAMPLES)]
    Compare(Box<CompareArgs>),
    /// Turn the results in a folder into a page, charts and a summary
    #[command(after_help = compare::REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Tell what changed between two results of the same subcommand
    #[command(after_help = compare::COMPARE_RUNS_EXAMPLES)]
    CompareRuns(CompareRunsArgs),
    /// Run the bare server whose deliveries cost what the kernel takes for them
    #[command(after_help = load::FLOOR_EXAMPLES)]
    Floor(FloorArgs),
    /// Receive for another process (started by it)
    #[command(hide = true)]
    Worker,
}

/// Reads the command line and does what it says.
#[must_use]
pub(crate) fn run() -> ExitCode {
    let Cli { command, metrics: addr } = Cli::parse();
    if let Some(Err(error)) = addr.map(metrics::serve) {
        eprintln!("loadgen: metrics cannot be served: {error}");
        return ExitCode::from(EXIT_NOT_RUN);
    }
    let flawless = match command {
        Command::Fanout(args) => fanout::run(&args),
        Command::Idle(args) => idle::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Slow(args) => slow::run(&args),
        Command::Resume(args) => resume::run(&args),
        Command::Storm(args) => storm::run(&args),
        Command::Drain(args) => draining::run(&args),
        Command::Exhaust(args) => exhaust::run(&args),
        Command::Compare(args) => comparison::run(&args),
        Command::Report(args) => report_page::run(&args),
        Command::CompareRuns(args) => changes::run(&args),
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
