//! The kinds of values that settings have, each with how people write it.
//!
//! Owns reading, writing and describing one value; which setting has which kind is `settings`.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use fanfare_engine::{MemoryBudget, SlowConsumer};
use fanfare_protocol::Mode;
use serde_json::{Value as Json, json};
use toml::Value;

use crate::logs::{LogFormat, LogLevel};

/// How values of one kind are written.
pub(super) trait Kind: Sync + 'static {
    /// What the program holds.
    type Stored: 'static;
    /// What stands for it in usage texts.
    const METAVAR: &'static str;

    /// What is allowed, to follow "use".
    fn expected() -> String;
    /// The value, unless it is none of this kind.
    fn read(written: &Value) -> Option<Self::Stored>;
    /// The value as [`Self::read`] takes it.
    fn write(stored: &Self::Stored) -> Value;
    /// The JSON Schema of what may be written.
    fn schema() -> Json;

    /// What a text from the environment or a flag would be in the file.
    fn parse_text(text: &str) -> Value {
        match (text.parse(), text.parse()) {
            (Ok(number), _) => Value::Integer(number),
            (_, Ok(truth)) => Value::Boolean(truth),
            _ => Value::String(text.to_owned()),
        }
    }
}

/// An address and port to listen on.
pub(super) struct Address;

impl Kind for Address {
    type Stored = SocketAddr;
    const METAVAR: &'static str = "ADDR";

    fn expected() -> String {
        "an IP address with a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"".to_owned()
    }

    fn read(written: &Value) -> Option<SocketAddr> {
        written.as_str()?.parse().ok()
    }

    fn write(stored: &SocketAddr) -> Value {
        Value::String(stored.to_string())
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^.+:[0-9]{1,5}$" })
    }
}

/// A number of something, at least `LEAST`.
pub(super) struct Count<const LEAST: u32, N = usize>(PhantomData<fn() -> N>);

impl<const LEAST: u32, N> Kind for Count<LEAST, N>
where
    N: Copy + TryFrom<i64> + TryInto<i64> + 'static,
{
    type Stored = N;
    const METAVAR: &'static str = "N";

    fn expected() -> String {
        format!("a number from {LEAST} on")
    }

    fn read(written: &Value) -> Option<N> {
        let number = written.as_integer().filter(|number| *number >= i64::from(LEAST))?;
        N::try_from(number).ok()
    }

    fn write(stored: &N) -> Value {
        Value::Integer((*stored).try_into().unwrap_or(i64::MAX))
    }

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": LEAST })
    }
}

/// A number of something from 1 to `MOST`, or as many as the machine allows.
pub(super) struct CountOrAuto<const MOST: usize>;

impl<const MOST: usize> Kind for CountOrAuto<MOST> {
    type Stored = Option<NonZeroUsize>;
    const METAVAR: &'static str = "N";

    fn expected() -> String {
        format!("a number from 1 to {MOST}, or \"auto\"")
    }

    fn read(written: &Value) -> Option<Self::Stored> {
        if written.as_str() == Some("auto") {
            return Some(None);
        }
        let number = usize::try_from(written.as_integer()?).ok()?;
        (1..=MOST).contains(&number).then(|| NonZeroUsize::new(number))
    }

    fn write(stored: &Self::Stored) -> Value {
        match stored {
            None => Value::String("auto".to_owned()),
            Some(number) => Count::<1>::write(&number.get()),
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "const": "auto" },
            { "type": "integer", "minimum": 1, "maximum": MOST },
        ] })
    }
}

/// An amount of memory, held in bytes.
pub(super) struct Size<N>(PhantomData<fn() -> N>);

impl<N> Kind for Size<N>
where
    N: Copy + TryFrom<i64> + TryInto<i64> + 'static,
{
    type Stored = N;
    const METAVAR: &'static str = "SIZE";

    fn expected() -> String {
        "a size such as 4096, \"64KiB\" or \"1MB\"".to_owned()
    }

    fn read(written: &Value) -> Option<N> {
        let bytes = match written {
            Value::Integer(bytes) => u64::try_from(*bytes).ok()?,
            Value::String(text) => ByteSize::from_str(text).ok()?.as_u64(),
            _ => return None,
        };
        N::try_from(i64::try_from(bytes).ok()?).ok()
    }

    fn write(stored: &N) -> Value {
        let bytes: i64 = (*stored).try_into().unwrap_or(i64::MAX);
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let unit = units.into_iter().find(|(_, bits)| bytes > 0 && bytes % (1 << bits) == 0);
        match unit {
            Some((name, bits)) => Value::String(format!("{}{name}", bytes >> bits)),
            None => Value::Integer(bytes),
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": "^[0-9.]+ ?([kKmMgGtTpP]i?)?[bB]?$" },
        ] })
    }
}

/// An amount of memory, or what stands for one.
pub(super) struct Budget;

impl Kind for Budget {
    type Stored = MemoryBudget;
    const METAVAR: &'static str = "SIZE";

    fn expected() -> String {
        "a size such as \"2GiB\", \"auto\" or \"none\"".to_owned()
    }

    fn read(written: &Value) -> Option<MemoryBudget> {
        match written.as_str() {
            Some("auto") => Some(MemoryBudget::Auto),
            Some("none") => Some(MemoryBudget::None),
            _ => Size::read(written).filter(|bytes| *bytes > 0).map(MemoryBudget::Bytes),
        }
    }

    fn write(stored: &MemoryBudget) -> Value {
        match stored {
            MemoryBudget::Auto => Value::String("auto".to_owned()),
            MemoryBudget::None => Value::String("none".to_owned()),
            MemoryBudget::Bytes(bytes) => Size::write(bytes),
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "enum": ["auto", "none"] }, Size::<u64>::schema()] })
    }
}

/// A time span of at least `LEAST_MS`, held in milliseconds.
pub(super) struct Span<const LEAST_MS: u64>;

impl<const LEAST_MS: u64> Kind for Span<LEAST_MS> {
    type Stored = u64;
    const METAVAR: &'static str = "DURATION";

    fn expected() -> String {
        let least = if LEAST_MS == 0 { "" } else { ", at least \"1ms\"" };
        format!("a duration such as \"500ms\", \"30s\" or \"1h\"{least}")
    }

    fn read(written: &Value) -> Option<u64> {
        let span = humantime::parse_duration(written.as_str()?).ok()?;
        let ms = u64::try_from(span.as_millis()).ok()?;
        // Nothing that was written is silently cut off.
        (Duration::from_millis(ms) == span && ms >= LEAST_MS).then_some(ms)
    }

    fn write(stored: &u64) -> Value {
        Value::String(humantime::format_duration(Duration::from_millis(*stored)).to_string())
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^([0-9]+ ?[a-zA-Z]+ ?)+$" })
    }
}

/// What is worth a line of the log.
pub(super) struct Level;

impl Kind for Level {
    type Stored = LogLevel;
    const METAVAR: &'static str = "LEVEL";

    fn expected() -> String {
        LogLevel::EXPECTED.to_owned()
    }

    fn read(written: &Value) -> Option<LogLevel> {
        written.as_str()?.parse().ok()
    }

    fn write(stored: &LogLevel) -> Value {
        Value::String(stored.to_string())
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z0-9_:=, ]+$" })
    }
}

/// Yes or no.
pub(super) struct Switch;

impl Kind for Switch {
    type Stored = bool;
    const METAVAR: &'static str = "BOOL";

    fn expected() -> String {
        "true or false".to_owned()
    }

    fn read(written: &Value) -> Option<bool> {
        written.as_bool()
    }

    fn write(stored: &bool) -> Value {
        Value::Boolean(*stored)
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

/// Origins of pages.
pub(super) struct Origins;

impl Origins {
    /// A scheme, a host and perhaps a port, as browsers write it (RFC 6454 section 6.2).
    fn is_origin(text: &str) -> bool {
        let is_site = text.split_once("://").is_some_and(|(scheme, host)| {
            let is_part = |c: char| !c.is_whitespace() && !matches!(c, '/' | '?' | '#' | ',');
            !scheme.is_empty() && !host.is_empty() && host.chars().all(is_part)
        });
        is_site || matches!(text, "*" | "null")
    }
}

impl Kind for Origins {
    type Stored = Vec<String>;
    const METAVAR: &'static str = "ORIGIN";

    fn expected() -> String {
        "origins without a path, such as [\"https://app.example\"]; \"null\" is a file on disk, \
         \"*\" any origin"
            .to_owned()
    }

    fn read(written: &Value) -> Option<Vec<String>> {
        let origin =
            |value: &Value| value.as_str().filter(|text| Self::is_origin(text)).map(str::to_owned);
        written.as_array()?.iter().map(origin).collect()
    }

    fn write(stored: &Vec<String>) -> Value {
        Value::Array(stored.iter().map(|origin| Value::String(origin.clone())).collect())
    }

    fn schema() -> Json {
        let pattern = "^([^/]+://[^/?#, ]+|null|[*])$";
        json!({ "type": "array", "items": { "type": "string", "pattern": pattern } })
    }

    /// Several are separated by commas.
    fn parse_text(text: &str) -> Value {
        let origins = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
        Value::Array(origins.map(|origin| Value::String(origin.to_owned())).collect())
    }
}

/// One of a few words.
pub(super) struct Choice<C>(PhantomData<fn() -> C>);

/// What a [`Choice`] is between.
pub(super) trait Named: Copy + PartialEq + fmt::Debug + 'static {
    const ALL: &'static [(&'static str, Self)];
}

impl Named for Mode {
    const ALL: &'static [(&'static str, Self)] = &[("all", Self::All), ("latest", Self::Latest)];
}

impl Named for LogFormat {
    const ALL: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("text", Self::Text), ("json", Self::Json)];
}

impl Named for SlowConsumer {
    const ALL: &'static [(&'static str, Self)] =
        &[("catch_up", Self::CatchUp), ("disconnect", Self::Disconnect)];
}

impl<C: Named> Kind for Choice<C> {
    type Stored = C;
    const METAVAR: &'static str = "NAME";

    fn expected() -> String {
        let names: Vec<String> = C::ALL.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        names.join(" or ")
    }

    fn read(written: &Value) -> Option<C> {
        let text = written.as_str()?;
        C::ALL.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice)
    }

    fn write(stored: &C) -> Value {
        let name = C::ALL.iter().find(|(_, choice)| choice == stored).map(|(name, _)| *name);
        Value::String(name.unwrap_or_default().to_owned())
    }

    fn schema() -> Json {
        json!({ "enum": C::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>() })
    }
}
