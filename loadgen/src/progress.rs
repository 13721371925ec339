//! What a person sees while a run goes on: a moving line on a terminal, plain lines elsewhere.
//! Always on standard error; results go to standard output.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a plain line is written within one phase.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// The display of one run.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    phase: String,
    written: Instant,
}

impl Progress {
    /// A display that fits standard error.
    #[must_use]
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { bar: terminal.then(spinner), phase: String::new(), written: Instant::now() }
    }

    /// Begins a phase, such as `round 2/5, floor: warm-up`.
    pub(crate) fn phase(&mut self, phase: impl Into<String>) {
        self.phase = phase.into();
        self.written = Instant::now();
        match &self.bar {
            Some(bar) => bar.set_message(self.phase.clone()),
            None => eprintln!("{}", self.phase),
        }
    }

    /// Tells how the phase goes on.
    pub(crate) fn update(&mut self, detail: impl FnOnce() -> String) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(format!("{}: {}", self.phase, detail()));
                bar.tick();
            }
            None if self.written.elapsed() >= PLAIN_INTERVAL => {
                self.written = Instant::now();
                eprintln!("{}: {}", self.phase, detail());
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
    match ProgressStyle::with_template("{spinner} {elapsed:>3}  {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
