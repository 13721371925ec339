//! The configuration file: today the options of namespaces, and the limits of slow and silent
//! readers.
//!
//! Owns how it is written; what the options mean is the engine's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use fanfare_engine::{Limits, NamespaceOptions, SlowConsumer};
use fanfare_protocol::{Mode, TopicName};
use serde::{Deserialize, Deserializer, de};

/// Why a configuration file was not taken. The operator's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// The file is not TOML, or holds a key or value that is not allowed.
    #[error("{0}: {1}")]
    Content(PathBuf, Box<toml::de::Error>),
    /// The name of a namespace is not one level of a topic name.
    #[error("{0}: {1:?} is no namespace; use the first level of topic names, as `stocks`")]
    Namespace(PathBuf, String),
}

/// The namespace whose options are for topics without options of their own.
const DEFAULT: &str = "default";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    namespaces: BTreeMap<String, NamespaceTable>,
}

/// What of [`Limits`] an operator may set; missing ones keep their defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    ping_interval: Option<DurationText>,
    pong_timeout: Option<DurationText>,
    stall_timeout: Option<DurationText>,
    outbox_low_water: Option<SizeText>,
    outbox_high_water: Option<SizeText>,
    outbox_max: Option<SizeText>,
    outbox_total: Option<SizeText>,
    history_total: Option<SizeText>,
    http_idle_timeout: Option<DurationText>,
    requests_per_second: Option<u32>,
}

/// The options of one namespace; missing ones are those of `default`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamespaceTable {
    history_messages: Option<usize>,
    history_size: Option<SizeText>,
    history_age: Option<DurationText>,
    latest: Option<bool>,
    mode: Option<Mode>,
    slow_consumer: Option<SlowConsumerText>,
    presence: Option<bool>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SlowConsumerText {
    CatchUp,
    Disconnect,
}

/// A size as people write it: 4096, "64KiB", "1MB".
#[derive(Clone, Copy, Debug)]
struct SizeText(usize);

impl<'de> Deserialize<'de> for SizeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a size such as 4096, \"64KiB\" or \"1MB\"")]
        enum Written {
            Number(usize),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => size(&text).map(Self).map_err(de::Error::custom),
        }
    }
}

/// A duration as people write it: "500ms", "30s", "1h 30m".
#[derive(Clone, Copy, Debug)]
struct DurationText(Duration);

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let allowed = "use a duration such as \"500ms\", \"30s\" or \"1h\"";
        let duration = humantime::parse_duration(&text);
        duration.map(Self).map_err(|_| de::Error::custom(format_args!("{text:?}: {allowed}")))
    }
}

impl DurationText {
    fn ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Reads a size as people write it: 4096, 64KiB, 1MB.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let size = ByteSize::from_str(text).map_err(|_| "use a size such as 4096, 64KiB or 1MB")?;
    usize::try_from(size.as_u64()).map_err(|_| "larger than this machine's memory".to_owned())
}

/// Puts what the file at `path` says over `limits`.
///
/// # Errors
/// [`ConfigError`]; `limits` is then as it was.
pub fn apply_file(path: &Path, limits: &mut Limits) -> Result<(), ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| ConfigError::Read(path.into(), error))?;
    let file: File = toml::from_str(&text)
        .map_err(|error| ConfigError::Content(path.into(), Box::new(error)))?;
    if let Some(name) = file.namespaces.keys().find(|name| !is_one_level(name)) {
        return Err(ConfigError::Namespace(path.into(), name.clone()));
    }
    file.limits.apply(limits);
    if let Some(default) = file.namespaces.get(DEFAULT) {
        default.apply(limits.namespaces.default_mut());
    }
    for (name, table) in file.namespaces.iter().filter(|(name, _)| *name != DEFAULT) {
        let mut options = NamespaceOptions::clone(&limits.namespaces.default);
        table.apply(&mut options);
        limits.namespaces.insert(name, options);
    }
    Ok(())
}

fn is_one_level(name: &str) -> bool {
    TopicName::check(name).is_ok() && !name.contains('.')
}

impl LimitsTable {
    fn apply(&self, limits: &mut Limits) {
        set(&mut limits.ping_interval_ms, self.ping_interval.map(DurationText::ms));
        set(&mut limits.pong_timeout_ms, self.pong_timeout.map(DurationText::ms));
        set(&mut limits.stall_timeout_ms, self.stall_timeout.map(DurationText::ms));
        set(&mut limits.outbox_low_water_bytes, self.outbox_low_water.map(|size| size.0));
        set(&mut limits.outbox_high_water_bytes, self.outbox_high_water.map(|size| size.0));
        set(&mut limits.outbox_bytes_max, self.outbox_max.map(|size| size.0));
        set(&mut limits.outbox_total_bytes_max, self.outbox_total.map(|size| size.0));
        set(&mut limits.history_total_bytes_max, self.history_total.map(|size| size.0));
        set(&mut limits.http_idle_timeout_ms, self.http_idle_timeout.map(DurationText::ms));
        set(&mut limits.requests_per_second_max, self.requests_per_second);
    }
}

impl NamespaceTable {
    fn apply(&self, options: &mut NamespaceOptions) {
        set(&mut options.history_messages, self.history_messages);
        set(&mut options.history_bytes, self.history_size.map(|size| size.0));
        set(&mut options.history_age_ms, self.history_age.map(DurationText::ms));
        set(&mut options.latest, self.latest);
        set(&mut options.mode, self.mode);
        set(&mut options.presence, self.presence);
        let slow_consumer = self.slow_consumer.map(|text| match text {
            SlowConsumerText::CatchUp => SlowConsumer::CatchUp,
            SlowConsumerText::Disconnect => SlowConsumer::Disconnect,
        });
        set(&mut options.slow_consumer, slow_consumer);
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(text: &str) -> Result<Limits, String> {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("fanfare-config-{:016x}.toml", fastrand::u64(..)));
        std::fs::write(&path, text).unwrap();
        let mut limits = Limits::default();
        let result = apply_file(&path, &mut limits);
        std::fs::remove_file(&path).unwrap();
        result.map(|()| limits).map_err(|error| error.to_string())
    }

    #[test]
    fn namespaces_take_what_they_leave_open_from_the_default() {
        let limits = apply(
            r#"
            [limits]
            stall_timeout = "2m"
            outbox_high_water = "128KiB"

            [namespaces.default]
            history_messages = 50

            [namespaces.stocks]
            latest = true
            mode = "latest"
            history_age = "1h"

            [namespaces.audit]
            slow_consumer = "disconnect"
            history_size = 4096
            "#,
        )
        .unwrap();
        assert_eq!((limits.stall_timeout_ms, limits.outbox_high_water_bytes), (120_000, 131_072));
        let stocks = limits.namespaces.of("stocks.A");
        assert_eq!((stocks.latest, stocks.mode, stocks.history_messages), (true, Mode::Latest, 50));
        assert_eq!(stocks.history_age_ms, 3_600_000);
        let audit = limits.namespaces.of("audit.x");
        assert_eq!((audit.slow_consumer, audit.history_bytes), (SlowConsumer::Disconnect, 4_096));
        assert_eq!(limits.namespaces.of("other").history_messages, 50);
    }

    /// The TOML block of the project's README.
    fn readme_file() -> String {
        let readme = include_str!("../../README.md");
        let (_, block) = readme.split_once("```toml\n").expect("a file is shown");
        block.split("```").next().unwrap_or_default().to_owned()
    }

    #[test]
    fn the_file_that_the_readme_shows_holds_the_defaults() {
        let shown = apply(&readme_file()).unwrap();
        let stocks = shown.namespaces.of("stocks.A");
        assert!(stocks.latest && stocks.mode == Mode::Latest);
        assert_eq!(shown.namespaces.default, Limits::default().namespaces.default);
        let namespaces = Limits::default().namespaces;
        assert_eq!(Limits { namespaces, ..shown }, Limits::default());
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        for (text, expected) in [
            ("[namespaces.a]\nlatests = true", "unknown field `latests`"),
            ("[namespace.a]", "unknown field `namespace`"),
            ("[namespaces.\"a.b\"]", "\"a.b\" is no namespace"),
            ("[namespaces.a]\nmode = \"newest\"", "`all` or `latest`"),
            ("[namespaces.a]\nslow_consumer = 1", "slow_consumer"),
            ("[namespaces.a]\nhistory_age = \"long\"", "such as \"500ms\""),
            ("[namespaces.a]\nhistory_size = \"big\"", "such as 4096"),
            ("[limits]\nstall = 1", "unknown field `stall`"),
            ("x", "TOML parse error"),
        ] {
            let error = apply(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        let missing = apply_file(Path::new("no-such-file.toml"), &mut Limits::default());
        assert!(missing.unwrap_err().to_string().starts_with("cannot read no-such-file.toml"));
    }
}
