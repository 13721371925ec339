//! The level of the log while the broker runs: that of the configuration, or one that an operator
//! has chosen instead, perhaps for a while. The last word counts.

use std::fmt;
use std::sync::Arc;

use fanfare_engine::Now;
use parking_lot::Mutex;
use serde::Serialize;
use tracing::info;

use super::{LogLevel, target};

/// Where the log is written, as far as it can be changed and asked while the broker runs.
pub trait LogOutput: Send + Sync {
    /// From now on this is what is worth a line.
    fn set_level(&self, level: &LogLevel);

    /// Lines that could not be written so far.
    fn lines_dropped(&self) -> u64;
}

/// The level of the log of one broker; clones are the same.
#[derive(Clone)]
pub struct LogControl {
    output: Option<Arc<dyn LogOutput>>,
    state: Arc<Mutex<State>>,
}

struct State {
    configured: LogLevel,
    chosen: Option<Chosen>,
}

/// What an operator wants instead of the configuration.
struct Chosen {
    level: LogLevel,
    /// When it ends, in milliseconds of the engine's clock.
    until_ms: Option<u64>,
}

/// Why the level stays as it is. The operator's to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogControlError {
    /// The broker is a part of another program, whose log it is.
    #[error("the log is that of the program which this broker is a part of")]
    NotOurs,
}

/// What the level is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LogView {
    /// What is worth a line.
    pub(crate) level: String,
    /// What the configuration says.
    pub(crate) configured: String,
    /// For how long the level is another than that, if it goes back by itself.
    pub(crate) remaining_ms: Option<u64>,
    /// Lines that could not be written so far.
    pub(crate) lines_dropped: u64,
}

impl LogControl {
    /// Controls a log that is written to `output` and has the level `configured` now.
    #[must_use]
    pub fn new(configured: LogLevel, output: Arc<dyn LogOutput>) -> Self {
        let state = Arc::new(Mutex::new(State { configured, chosen: None }));
        Self { output: Some(output), state }
    }

    /// For a broker whose log is the matter of the program that it is a part of.
    #[must_use]
    pub fn not_ours() -> Self {
        let state = State { configured: LogLevel::default(), chosen: None };
        Self { output: None, state: Arc::new(Mutex::new(state)) }
    }

    /// Takes over the level of a changed configuration; also in place of one that was chosen.
    pub(crate) fn configure(&self, level: &LogLevel) {
        let mut state = self.state.lock();
        if state.configured == *level {
            return;
        }
        let before = state.level().clone();
        *state = State { configured: level.clone(), chosen: None };
        drop(state);
        self.apply(&before, level, "the configuration", None);
    }

    /// Takes over what an operator wants, for so many milliseconds or until further notice.
    ///
    /// # Errors
    /// [`LogControlError`]; nothing has changed.
    pub(crate) fn choose(
        &self,
        level: LogLevel,
        for_ms: Option<u64>,
        now: Now,
    ) -> Result<(), LogControlError> {
        if self.output.is_none() {
            return Err(LogControlError::NotOurs);
        }
        let until_ms = for_ms.map(|ms| now.ms().saturating_add(ms));
        let mut state = self.state.lock();
        let before = state.level().clone();
        state.chosen = Some(Chosen { level: level.clone(), until_ms });
        drop(state);
        self.apply(&before, &level, "an operator", for_ms);
        Ok(())
    }

    /// Goes back to the configuration's level where the time of another is over.
    pub(crate) fn expire(&self, now: Now) {
        let mut state = self.state.lock();
        let until_ms = state.chosen.as_ref().and_then(|chosen| chosen.until_ms);
        if until_ms.is_none_or(|until_ms| now.ms() < until_ms) {
            return;
        }
        let before = state.level().clone();
        state.chosen = None;
        let level = state.configured.clone();
        drop(state);
        self.apply(&before, &level, "its time was over", None);
    }

    pub(crate) fn view(&self, now: Now) -> LogView {
        let state = self.state.lock();
        let until_ms = state.chosen.as_ref().and_then(|chosen| chosen.until_ms);
        LogView {
            level: state.level().to_string(),
            configured: state.configured.to_string(),
            remaining_ms: until_ms.map(|until_ms| until_ms.saturating_sub(now.ms())),
            lines_dropped: self.lines_dropped(),
        }
    }

    pub(crate) fn lines_dropped(&self) -> u64 {
        self.output.as_ref().map_or(0, |output| output.lines_dropped())
    }

    fn apply(&self, before: &LogLevel, level: &LogLevel, by: &str, for_ms: Option<u64>) {
        let Some(output) = &self.output else { return };
        output.set_level(level);
        info!(target: target::LOGS, from = %before, to = %level, by, for_ms, "log level changed");
    }
}

impl State {
    fn level(&self) -> &LogLevel {
        self.chosen.as_ref().map_or(&self.configured, |chosen| &chosen.level)
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogControl").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers every level that it was set to.
    #[derive(Default)]
    struct Output(Mutex<Vec<String>>);

    impl LogOutput for Output {
        fn set_level(&self, level: &LogLevel) {
            self.0.lock().push(level.to_string());
        }

        fn lines_dropped(&self) -> u64 {
            7
        }
    }

    fn control() -> (LogControl, Arc<Output>) {
        let output = Arc::new(Output::default());
        (LogControl::new(LogLevel::default(), output.clone()), output)
    }

    fn level(text: &str) -> LogLevel {
        text.parse().unwrap()
    }

    fn at(ms: u64) -> Now {
        Now::from_ms(ms)
    }

    #[test]
    fn a_level_for_a_while_goes_back_by_itself() {
        let (control, output) = control();
        control.choose(level("debug"), Some(500), at(1_000)).unwrap();
        control.expire(at(1_499));
        let view = control.view(at(1_499));
        assert_eq!((&*view.level, &*view.configured), ("debug", "info"));
        assert_eq!((view.remaining_ms, view.lines_dropped), (Some(1), 7));
        control.expire(at(1_500));
        control.expire(at(9_000));
        assert_eq!(*output.0.lock(), ["debug", "info"]);
        let view = control.view(at(9_000));
        assert_eq!((&*view.level, view.remaining_ms), ("info", None));
    }

    #[test]
    fn a_level_until_further_notice_stays_and_the_last_word_counts() {
        let (control, output) = control();
        control.choose(level("trace"), Some(500), at(0)).unwrap();
        control.choose(level("debug"), None, at(1)).unwrap();
        control.expire(at(u64::MAX / 1_000));
        assert_eq!(control.view(at(2)).level, "debug");
        control.configure(&LogLevel::default());
        assert_eq!(control.view(at(2)).level, "debug", "the configuration is as it was");
        control.configure(&level("error"));
        assert_eq!(control.view(at(2)).level, "error");
        assert_eq!(*output.0.lock(), ["trace", "debug", "error"]);
        control.choose(level("warn"), Some(u64::MAX), at(5)).unwrap();
        control.expire(at(1_000_000));
        assert_eq!(control.view(at(6)).level, "warn");
    }

    #[test]
    fn the_log_of_another_program_is_left_alone() {
        let control = LogControl::not_ours();
        let refused = control.choose(level("debug"), None, at(0));
        assert_eq!(refused, Err(LogControlError::NotOurs));
    }
}
