//! The one table of all settings: key, value, whether it can be reloaded, flag.
//!
//! A setting's default is that of the field that it sets, and its meaning and reason are what is
//! said of that field where it is declared; neither is written here again.

use documented::DocumentedFields;
use fanfare_engine::{Limits, NamespaceOptions, SlowConsumer};
use fanfare_protocol::Mode;
use serde_json::Value as Json;
use toml::Value;

use super::kinds::{
    Address, Budget, Choice, Count, CountOrAuto, Kind, Level, Origins, Size, Span, Switch,
};
use crate::ServerConfig;
use crate::logs::{LogFormat, LogOptions};
use crate::server::SHARDS_MAX;

/// One setting of something of type `T`.
pub(crate) struct Setting<T: 'static> {
    /// Its name, with the table of the file that it stands in: `limits.stall_timeout`.
    pub(crate) key: &'static str,
    /// Whether a running broker takes a new value.
    pub(crate) reload: Reload,
    /// The flag that sets it, without dashes.
    pub(crate) flag: Option<&'static str>,
    meaning: fn() -> &'static str,
    /// The name of the field that it sets.
    pub(super) field: &'static str,
    place: &'static dyn Place<T>,
}

/// Whether a running broker takes a new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    /// It does.
    Live,
    /// It must be started again.
    Restart,
}

/// Where a setting's value is, whatever its kind.
trait Place<T>: Sync {
    fn get(&self, target: &mut T) -> Value;
    fn set(&self, target: &mut T, written: &Value) -> bool;
    fn parse_text(&self, text: &str) -> Value;
    fn expected(&self) -> String;
    fn metavar(&self) -> &'static str;
    fn schema(&self) -> Json;
}

/// A place that holds a value of kind `K`.
struct At<K: Kind, T>(fn(&mut T) -> &mut K::Stored);

impl<K: Kind, T> Place<T> for At<K, T> {
    fn get(&self, target: &mut T) -> Value {
        K::write((self.0)(target))
    }

    fn set(&self, target: &mut T, written: &Value) -> bool {
        let Some(value) = K::read(written) else { return false };
        *(self.0)(target) = value;
        true
    }

    fn parse_text(&self, text: &str) -> Value {
        K::parse_text(text)
    }

    fn expected(&self) -> String {
        K::expected()
    }

    fn metavar(&self) -> &'static str {
        K::METAVAR
    }

    fn schema(&self) -> Json {
        K::schema()
    }
}

impl<T> Setting<T> {
    const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }

    /// What it is and why it is as it is, in one line.
    pub(crate) fn meaning(&self) -> String {
        (self.meaning)().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Its value as it is written in the file. Leaves `target` as it is.
    pub(crate) fn get(&self, target: &mut T) -> Value {
        self.place.get(target)
    }

    /// Sets it to what is written, unless that is not allowed.
    ///
    /// # Errors
    /// What is allowed, to follow "use".
    pub(crate) fn set(&self, target: &mut T, written: &Value) -> Result<(), String> {
        if self.place.set(target, written) { Ok(()) } else { Err(self.place.expected()) }
    }

    /// What a text from the environment or a flag would be in the file.
    pub(crate) fn parse_text(&self, text: &str) -> Value {
        self.place.parse_text(text)
    }

    /// What stands for its value in usage texts.
    pub(crate) fn metavar(&self) -> &'static str {
        self.place.metavar()
    }

    /// The JSON Schema of its value.
    pub(super) fn schema(&self) -> Json {
        self.place.schema()
    }
}

/// One row: whether it reloads, its key, the field that it sets and of what, its kind.
macro_rules! row {
    ($reload:ident $key:literal, server.$field:ident: $kind:ty) => {
        row!($reload, $key, ServerConfig, ServerConfig, [], $field, $kind)
    };
    ($reload:ident $key:literal, limits.$field:ident: $kind:ty) => {
        row!($reload, concat!("limits.", $key), ServerConfig, Limits, [limits], $field, $kind)
    };
    ($reload:ident $key:literal, log.$field:ident: $kind:ty) => {
        row!($reload, concat!("log.", $key), ServerConfig, LogOptions, [log], $field, $kind)
    };
    ($reload:ident $key:literal, namespace.$field:ident: $kind:ty) => {
        row!($reload, $key, NamespaceOptions, NamespaceOptions, [], $field, $kind)
    };
    (
        $reload:ident, $key:expr, $target:ident, $declared:ident,
        [$($part:ident)?], $field:ident, $kind:ty
    ) => {
        Setting {
            key: $key,
            reload: Reload::$reload,
            flag: None,
            meaning: || $declared::get_field_docs(stringify!($field)).unwrap_or_default(),
            field: stringify!($field),
            place: &At::<$kind, $target>(|target| &mut target$(.$part)?.$field),
        }
    };
}

/// More connections than a machine has room for.
const CONNECTIONS_MAX: usize = 1_000_000_000;

/// The settings of a broker, but for those of namespaces.
pub(crate) const SERVER: &[Setting<ServerConfig>] = &[
    row!(Restart "listen", server.listen: Address).flag("listen"),
    row!(Restart "admin_listen", server.admin_listen: Address).flag("admin-listen"),
    row!(Restart "shards", server.shards: CountOrAuto<SHARDS_MAX>).flag("shards"),
    row!(Live "allowed_origins", server.allowed_origins: Origins).flag("allow-origin"),
    row!(Restart "format", log.format: Choice<LogFormat>),
    row!(Live "level", log.level: Level),
    row!(Live "connections", limits.connections_max: CountOrAuto<CONNECTIONS_MAX>),
    row!(Live "memory", limits.memory: Budget),
    row!(Restart "message_max", limits.message_bytes_max: Size<usize>).flag("message-bytes-max"),
    row!(Live "empty_fragments", limits.empty_fragments_max: Count<0, u32>),
    row!(Live "control_frames_per_second", limits.control_frames_per_second_max: Count<1, u32>),
    row!(Live "outbox_high_water", limits.outbox_high_water_bytes: Size<usize>),
    row!(Live "outbox_low_water", limits.outbox_low_water_bytes: Size<usize>),
    row!(Live "outbox_max", limits.outbox_bytes_max: Size<usize>),
    row!(Live "outbox_total", limits.outbox_total_bytes_max: Size<usize>),
    row!(Restart "stall_timeout", limits.stall_timeout_ms: Span<1>),
    row!(Live "subscriptions_per_connection", limits.subscriptions_per_connection_max: Count<1>),
    row!(Live "patterns_per_connection", limits.patterns_per_connection_max: Count<0>),
    row!(Live "pattern_topics_per_second", limits.pattern_topics_per_second_max: Count<0>),
    row!(Live "topics", limits.topics_max: Count<1>),
    row!(Restart "history_total", limits.history_total_bytes_max: Size<usize>),
    row!(Restart "history_page", limits.history_page_bytes_max: Size<usize>),
    row!(Restart "publish_key_window", limits.publish_key_window_ms: Span<0>),
    row!(Restart "publish_keys", limits.publish_keys_max: Count<0>),
    row!(Live "patterns", limits.patterns_max: Count<0>),
    row!(Restart "ping_interval", limits.ping_interval_ms: Span<1>),
    row!(Restart "pong_timeout", limits.pong_timeout_ms: Span<1>),
    row!(Restart "handshake_timeout", limits.handshake_timeout_ms: Span<1>),
    row!(Restart "message_timeout", limits.message_timeout_ms: Span<1>),
    row!(Live "message_rate_min", limits.message_bytes_per_second_min: Size<u64>),
    row!(Restart "waiting_requests", limits.waiting_requests_max: Count<0>),
    row!(Restart "batch_max", limits.batch_bytes_max: Size<usize>),
    row!(Restart "http_idle_timeout", limits.http_idle_timeout_ms: Span<1>),
    row!(Restart "requests_per_second", limits.requests_per_second_max: Count<0, u32>),
    row!(Restart "close_timeout", limits.close_timeout_ms: Span<1>),
    row!(Restart "drain_timeout", limits.drain_timeout_ms: Span<1>),
    row!(Restart "mailbox_messages", limits.mailbox_messages_mark: Count<1>),
    row!(Restart "mailbox_size", limits.mailbox_bytes_mark: Size<usize>),
    row!(Live "unfinished_total", limits.unfinished_bytes_max: Size<usize>),
];

/// The settings of each namespace.
pub(crate) const NAMESPACE: &[Setting<NamespaceOptions>] = &[
    row!(Live "history_messages", namespace.history_messages: Count<0>),
    row!(Live "history_size", namespace.history_bytes: Size<usize>),
    row!(Live "history_age", namespace.history_age_ms: Span<0>),
    row!(Live "latest", namespace.latest: Switch),
    row!(Live "mode", namespace.mode: Choice<Mode>),
    row!(Live "slow_consumer", namespace.slow_consumer: Choice<SlowConsumer>),
    row!(Live "presence", namespace.presence: Switch),
];
