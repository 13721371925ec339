//! Project tasks. `cargo xtask test` is the one front door to every check; CI runs the same.

mod autobahn;
mod checks;
mod command;
mod counted;
mod dashboards;
mod debian;
mod dependencies;
mod fuzz;
mod network;
mod packaging;
mod page;
mod stage;
mod suite;

use std::process::ExitCode;

use stage::{Context, Stage};

const USAGE: &str = "\
Project tasks of Fanfare.

  cargo xtask test [--only STAGE]   run every stage, or one of them
  cargo xtask lint                  format, clippy and dependencies
  cargo xtask fuzz [SECONDS]        run each fuzz target for so long (default 60)
  cargo xtask models [FACTOR]       search the models of what threads share, so many times as long
                                    as `test` does (default 100)
  cargo xtask dashboards            write Grafana's dashboards anew from dashboards/boards
  cargo xtask autobahn              the Autobahn suite against a release build; an error if it
                                    cannot be had
  cargo xtask screenshot            renew the picture of the live page in broker/docs

Stages of `test`, in their order: format, clippy, dependencies, fuzz, autobahn, doc-tests, models,
page, dashboards, network, packaging, tests. The stage `page` needs Node.js and Chromium,
`dashboards` Prometheus, `network` user namespaces and nftables, `packaging` systemd, Go (for Helm)
and pip (for hadolint); each installs what it may. With CI=true in the environment the Autobahn
suite and these four must run.
The last line of `test` is `tests: N passed, M failed`; a failed stage other than tests counts as
one failure.";

const LINT: [Stage; 3] = [Stage::Format, Stage::Clippy, Stage::Dependencies];
const FUZZ_SECONDS_USUAL: u32 = 60;
const MODELS_FACTOR_USUAL: u32 = 100;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = Context::new().and_then(|mut context| match arguments.as_slice() {
        ["test"] => Ok(stage::run_all(&Stage::ALL, &mut context)),
        ["test", "--only", name] => Ok(stage::run_all(&[Stage::named(name)?], &mut context)),
        ["lint"] => Ok(stage::run_all(&LINT, &mut context)),
        ["fuzz"] => fuzz::run(&context, FUZZ_SECONDS_USUAL, fuzz::Lock::MayChange).map(|()| true),
        ["fuzz", seconds] => {
            fuzz::run(&context, seconds.parse()?, fuzz::Lock::MayChange).map(|()| true)
        }
        ["models"] => suite::run_models(&mut context, MODELS_FACTOR_USUAL).map(|()| true),
        ["models", factor] => suite::run_models(&mut context, factor.parse()?).map(|()| true),
        ["autobahn"] => {
            context.is_ci = true;
            autobahn::run(&context).map(|_| true)
        }
        ["screenshot"] => page::screenshot(&context).map(|()| true),
        ["dashboards"] => dashboards::write(&context).map(|()| true),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(true)
        }
        _ => anyhow::bail!("unknown task\n\n{USAGE}"),
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
