//! What the broker writes into its log, and how much of it.
//!
//! Owns levels, what may repeat and how often it is told, and the look once a second at what
//! nobody else notices. Events themselves are `tracing` events of whoever they happen to; where
//! they are written is chosen by the program (`cli::logging`), so a broker inside another program
//! writes where that one does. No event is of a single message.

mod control;
mod journal;
mod level;
mod repeats;
mod watch;

use documented::DocumentedFields;

pub use control::{LogControl, LogControlError, LogOutput};
pub(crate) use journal::Journal;
pub use level::{LogLevel, LogLevelError};
pub(crate) use watch::Watch;

/// The parts of the broker that tell something, as targets of their events. They are names for
/// operators, so they stay when code moves.
pub(crate) mod target {
    /// The process: start, drain, end, panics.
    pub(crate) const NODE: &str = "fanfare::node";
    /// The configuration, and that it was reloaded.
    pub(crate) const CONFIG: &str = "fanfare::config";
    /// Connections that come and go, and those that cannot be accepted.
    pub(crate) const CONNECTIONS: &str = "fanfare::connections";
    /// Requests over HTTP that are refused.
    pub(crate) const HTTP: &str = "fanfare::http";
    /// Threads that hang.
    pub(crate) const SHARDS: &str = "fanfare::shards";
    /// The log itself.
    pub(crate) const LOGS: &str = "fanfare::logs";

    /// All of them.
    pub(crate) const ALL: [&str; 6] = [NODE, CONFIG, CONNECTIONS, HTTP, SHARDS, LOGS];
}

/// How the broker writes its log. What is said of a field here is also what the configuration
/// reference says of its setting.
#[derive(Clone, Debug, Default, PartialEq, Eq, DocumentedFields)]
pub struct LogOptions {
    /// How lines look: `text` for people, `json` for programs, one object in each line. `auto` is
    /// text where standard error is a terminal, and JSON elsewhere.
    pub format: LogFormat,
    /// What is worth a line: a level (off, error, warn, info, debug, trace), and others for single
    /// parts, as in info,fanfare::connections=debug. `fanfare log` changes it while the broker
    /// runs. No level has a line for each message.
    pub level: LogLevel,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object in each line.
    Json,
}
