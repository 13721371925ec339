//! `fanfare config`: what can be configured, and what a configuration comes to.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::options::Options;
use crate::config;

/// Show what can be configured, and check a configuration.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Config {
    #[command(subcommand)]
    command: Subcommands,
}

const EXAMPLES: &str = "\
Examples:
  fanfare config default > fanfare.toml
      a file with every setting, its default and its reason

  fanfare config check fanfare.toml
      every mistake in it, or what it comes to with the environment, and where each value is from

  fanfare config doc
      the reference, as Markdown

  fanfare config schema > fanfare.schema.json
      for editors that complete and check TOML";

#[derive(Debug, clap::Subcommand)]
enum Subcommands {
    /// Print a configuration file with every setting, its default and its reason.
    Default,
    /// Check a configuration and print what it comes to, with the origin of each value.
    Check(Check),
    /// Print the reference of all settings as Markdown.
    Doc,
    /// Print the JSON Schema of the configuration file.
    Schema,
}

#[derive(Debug, clap::Args)]
struct Check {
    /// The file; without one the environment and the flags alone.
    file: Option<PathBuf>,

    #[command(flatten)]
    options: Options,
}

impl Config {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let text = match self.command {
            Subcommands::Default => config::default_file(),
            Subcommands::Check(check) => {
                check.options.with_file(check.file).source().load()?.effective()
            }
            Subcommands::Doc => config::reference(),
            Subcommands::Schema => format!("{:#}\n", config::schema()),
        };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}
