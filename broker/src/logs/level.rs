//! What is worth a line: one level for everything, and others for single parts.
//!
//! Stricter than what `tracing-subscriber` itself reads: there a misspelt level is the
//! name of a part whose everything is logged.

use std::fmt;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

use super::target;

/// Most directives in one level. There are fewer parts of the broker.
const DIRECTIVES_MAX: usize = 32;

/// The levels by name, from the least to the most talkative.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// A level for everything (`info` where none is given), and others for parts of the broker or for
/// modules of its libraries: `info,fanfare::http=debug`. The longest name that matches decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevel {
    text: String,
    general: LevelFilter,
    parts: Vec<(String, LevelFilter)>,
}

/// What is wrong with a level. The fault of who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogLevelError {
    /// Not the name of a level.
    #[error("{0:?} is no level; use off, error, warn, info, debug or trace")]
    Level(String),
    /// Not the name of something that tells anything.
    #[error("{0:?} is no part of the broker; use fanfare, {parts}", parts = target::ALL.join(", "))]
    Part(String),
    /// Two levels for the same.
    #[error("{0} has two levels; use one")]
    Twice(String),
    /// Too much.
    #[error("more than {DIRECTIVES_MAX} levels; use fewer")]
    TooMany,
}

impl LogLevel {
    /// What is allowed, to follow "use".
    pub(crate) const EXPECTED: &str = "off, error, warn, info, debug or trace, and other levels \
                                       for parts as in \"info,fanfare::http=debug\"";

    /// The filter of `tracing-subscriber`. Changes of the level are always let through.
    #[must_use]
    pub fn targets(&self) -> Targets {
        let parts = self.parts.iter().map(|(part, level)| (part.as_str(), *level));
        Targets::new()
            .with_default(self.general)
            .with_targets(parts)
            .with_target(target::LOGS, LevelFilter::INFO)
    }
}

impl Default for LogLevel {
    fn default() -> Self {
        Self { text: "info".to_owned(), general: LevelFilter::INFO, parts: Vec::new() }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for LogLevel {
    type Err = LogLevelError;

    fn from_str(text: &str) -> Result<Self, LogLevelError> {
        let directives: Vec<&str> = text.split(',').map(str::trim).collect();
        if directives.len() > DIRECTIVES_MAX {
            return Err(LogLevelError::TooMany);
        }
        let (mut general, mut parts) = (None, Vec::new());
        for directive in &directives {
            let Some((part, level)) = directive.split_once('=') else {
                if general.replace(parse_level(directive)?).is_some() {
                    return Err(LogLevelError::Twice("everything".to_owned()));
                }
                continue;
            };
            let part = parse_part(part.trim())?;
            if parts.iter().any(|(known, _)| *known == part) {
                return Err(LogLevelError::Twice(part));
            }
            parts.push((part, parse_level(level.trim())?));
        }
        let general = general.unwrap_or(LevelFilter::INFO);
        Ok(Self { text: directives.join(","), general, parts })
    }
}

fn parse_level(text: &str) -> Result<LevelFilter, LogLevelError> {
    let level = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    level.map(|(_, level)| *level).ok_or_else(|| LogLevelError::Level(text.to_owned()))
}

/// A part of the broker, or a module of a library.
fn parse_part(text: &str) -> Result<String, LogLevelError> {
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let is_part = match text.split_once("::") {
        Some(("fanfare", _)) => target::ALL.contains(&text),
        _ => text.split("::").all(is_name),
    };
    is_part.then(|| text.to_owned()).ok_or_else(|| LogLevelError::Part(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn parse(text: &str) -> Result<LogLevel, String> {
        text.parse().map_err(|error: LogLevelError| error.to_string())
    }

    #[test]
    fn the_longest_name_that_matches_decides() {
        let level = parse("WARN, fanfare::http=debug,fanfare=info").unwrap();
        assert_eq!(level.to_string(), "WARN,fanfare::http=debug,fanfare=info");
        let targets = level.targets();
        for (name, most) in [
            ("hyper", Level::WARN),
            ("fanfare::config", Level::INFO),
            ("fanfare::http", Level::DEBUG),
        ] {
            assert!(targets.would_enable(name, &most), "{name}");
            let more = if most == Level::DEBUG { Level::TRACE } else { Level::DEBUG };
            assert!(!targets.would_enable(name, &more), "{name}");
        }
    }

    #[test]
    fn without_a_level_for_everything_it_is_info() {
        let targets = parse("fanfare::http=trace").unwrap().targets();
        assert!(targets.would_enable("fanfare::config", &Level::INFO));
        assert!(!targets.would_enable("fanfare::config", &Level::DEBUG));
    }

    #[test]
    fn changes_of_the_level_are_told_also_when_nothing_else_is() {
        let targets = parse("off").unwrap().targets();
        assert!(targets.would_enable(target::LOGS, &Level::INFO));
        assert!(!targets.would_enable("fanfare", &Level::ERROR));
    }

    #[test]
    fn what_is_no_level_is_refused_with_what_is_allowed() {
        for (text, says) in [
            ("inof", "\"inof\" is no level; use off, error, warn, info, debug or trace"),
            ("", "\"\" is no level; use"),
            ("info,", "\"\" is no level"),
            ("3", "\"3\" is no level"),
            ("fanfare=loud", "\"loud\" is no level"),
            ("fanfare::htp=info", "\"fanfare::htp\" is no part of the broker; use fanfare, fan"),
            ("[span]=info", "is no part"),
            ("info,debug", "everything has two levels; use one"),
            ("a=info,a=debug", "a has two levels"),
            (&["info"; 33].join(","), "more than 32 levels"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
