//! `fanfare log`: what a running broker writes into its log.

use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::admin::Admin;
use crate::logs::LogLevel;

/// Show or change what a running broker writes into its log.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Log {
    /// A level (off, error, warn, info, debug, trace), and others for parts, as in
    /// info,fanfare::http=debug. Without it the present one is shown.
    level: Option<LogLevel>,

    /// Go back to the configuration's level after this time, as 10m; else at the next change of the
    /// configuration's, or when the broker is started again.
    #[arg(long = "for", value_name = "TIME", requires = "level")]
    #[arg(value_parser = humantime::parse_duration)]
    duration: Option<Duration>,

    #[command(flatten)]
    admin: Admin,
}

const EXAMPLES: &str = "\
Examples:
  fanfare log
      info

  fanfare log info,fanfare::http=debug --for 10m
      info,fanfare::http=debug for 10m, then info";

/// As the admin port has it.
#[derive(Deserialize)]
struct View {
    level: String,
    configured: String,
    remaining_ms: Option<u64>,
    lines_dropped: u64,
}

impl Log {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let view: View = match &self.level {
            None => self.admin.view("/v1/log").await?,
            Some(level) => {
                let for_ms = self.duration.map(|duration| duration.as_millis());
                let body = json!({ "level": level.to_string(), "for_ms": for_ms });
                self.admin.put("/v1/log", &body.to_string()).await?
            }
        };
        print(&view);
        Ok(ExitCode::SUCCESS)
    }
}

fn print(view: &View) {
    match view.remaining_ms {
        Some(ms) => {
            let seconds = Duration::from_secs(ms.div_ceil(1_000));
            let remaining = humantime::format_duration(seconds);
            println!("{} for {remaining}, then {}", view.level, view.configured);
        }
        None if view.level != view.configured => {
            println!("{} (configured: {})", view.level, view.configured);
        }
        None => println!("{}", view.level),
    }
    if view.lines_dropped > 0 {
        println!("{} lines could not be written so far", view.lines_dropped);
    }
}
