//! Settings by the names that people write: which there are, and which was meant.

use fanfare_engine::{NamespaceOptions, Namespaces};
use fanfare_protocol::TopicName;
use toml::Value;

use super::settings::{NAMESPACE, Reload, SERVER, Setting};
use crate::ServerConfig;

/// The namespace whose options are for topics without options of their own.
pub(super) const DEFAULT: &str = "default";

/// One setting of a broker.
#[derive(Clone)]
pub(crate) enum Key {
    /// Of the broker.
    Server(&'static Setting<ServerConfig>),
    /// Of the namespace with this name.
    Namespace(String, &'static Setting<NamespaceOptions>),
}

impl Key {
    /// The setting at this path of the file's tables.
    pub(super) fn find(path: &[&str]) -> Option<Self> {
        if let ["namespaces", name, key] = path {
            let setting = NAMESPACE.iter().find(|setting| setting.key == *key)?;
            return Some(Self::Namespace((*name).to_owned(), setting));
        }
        let name = path.join(".");
        SERVER.iter().find(|setting| setting.key == name).map(Self::Server)
    }

    /// Every setting that a broker with these namespaces has, in the order of the reference.
    pub(crate) fn all(namespaces: &Namespaces) -> Vec<Self> {
        let mut named: Vec<&str> = namespaces.named().map(|(name, _)| name).collect();
        named.sort_unstable();
        let namespaces = [DEFAULT].into_iter().chain(named);
        let of_namespaces = namespaces.flat_map(Self::all_of_namespace);
        SERVER.iter().map(Self::Server).chain(of_namespaces).collect()
    }

    /// Every setting of one namespace.
    pub(super) fn all_of_namespace(name: &str) -> impl Iterator<Item = Self> {
        NAMESPACE.iter().map(move |setting| Self::Namespace(name.to_owned(), setting))
    }

    /// The table that it stands in, as TOML has it; empty at the top.
    pub(super) fn table(&self) -> String {
        match self {
            Self::Server(setting) => {
                setting.key.rsplit_once('.').map_or("", |(table, _)| table).into()
            }
            Self::Namespace(name, _) => format!("namespaces.{}", toml_key(name)),
        }
    }

    /// Its name inside its table.
    pub(super) fn last(&self) -> &'static str {
        match self {
            Self::Server(setting) => setting.key.rsplit('.').next().unwrap_or(setting.key),
            Self::Namespace(_, setting) => setting.key,
        }
    }

    /// Its whole name.
    pub(crate) fn name(&self) -> String {
        let table = self.table();
        if table.is_empty() { self.last().to_owned() } else { format!("{table}.{}", self.last()) }
    }

    /// The environment variable that sets it. Namespaces other than the default one have none:
    /// their names may hold what a variable's name cannot.
    pub(crate) fn variable(&self) -> Option<String> {
        match self {
            Self::Namespace(name, _) if name != DEFAULT => None,
            _ => Some(format!("FANFARE_{}", self.name().replace('.', "_").to_uppercase())),
        }
    }

    /// The flag that sets it, without dashes.
    pub(crate) fn flag(&self) -> Option<&'static str> {
        match self {
            Self::Server(setting) => setting.flag,
            Self::Namespace(..) => None,
        }
    }

    /// Whether a running broker takes a new value.
    pub(crate) fn reload(&self) -> Reload {
        match self {
            Self::Server(setting) => setting.reload,
            Self::Namespace(_, setting) => setting.reload,
        }
    }

    /// What it is and why it is as it is.
    pub(crate) fn meaning(&self) -> String {
        match self {
            Self::Server(setting) => setting.meaning(),
            Self::Namespace(_, setting) => setting.meaning(),
        }
    }

    /// The value that `config` has, as it is written in the file. Leaves `config` as it is.
    pub(crate) fn get(&self, config: &mut ServerConfig) -> Value {
        match self {
            Self::Server(setting) => setting.get(config),
            Self::Namespace(name, setting) => setting.get(options(config, name)),
        }
    }

    /// Sets it. A namespace that was not there begins with the options of the default one.
    ///
    /// # Errors
    /// What is allowed, to follow "use".
    pub(crate) fn set(&self, config: &mut ServerConfig, written: &Value) -> Result<(), String> {
        match self {
            Self::Server(setting) => setting.set(config, written),
            Self::Namespace(name, setting) => setting.set(options(config, name), written),
        }
    }

    /// What a text from the environment or a flag would be in the file.
    pub(super) fn parse_text(&self, text: &str) -> Value {
        match self {
            Self::Server(setting) => setting.parse_text(text),
            Self::Namespace(_, setting) => setting.parse_text(text),
        }
    }

    /// Whether a text from the environment or a flag is a value that it can have.
    ///
    /// # Errors
    /// What is allowed.
    pub(crate) fn check_text(&self, text: &str) -> Result<(), String> {
        let written = self.parse_text(text);
        self.set(&mut ServerConfig::default(), &written)
            .map_err(|expected| format!("use {expected}"))
    }

    /// What stands for its value in usage texts.
    pub(crate) fn metavar(&self) -> &'static str {
        match self {
            Self::Server(setting) => setting.metavar(),
            Self::Namespace(_, setting) => setting.metavar(),
        }
    }

    /// The JSON Schema of its value.
    pub(super) fn schema(&self) -> serde_json::Value {
        match self {
            Self::Server(setting) => setting.schema(),
            Self::Namespace(_, setting) => setting.schema(),
        }
    }

    /// Whether topics of other namespaces take it over unless they have it themselves.
    pub(super) fn is_inherited(&self) -> bool {
        matches!(self, Self::Namespace(name, _) if name == DEFAULT)
    }

    /// The same setting of the default namespace, if it is one of another.
    pub(super) fn inherits(&self) -> Option<Self> {
        match self {
            Self::Namespace(name, setting) if name != DEFAULT => {
                Some(Self::Namespace(DEFAULT.to_owned(), setting))
            }
            _ => None,
        }
    }
}

fn options<'a>(config: &'a mut ServerConfig, name: &str) -> &'a mut NamespaceOptions {
    match name {
        DEFAULT => config.limits.namespaces.default_mut(),
        _ => config.limits.namespaces.entry(name),
    }
}

/// Whether topics can be in a namespace of this name.
pub(super) fn is_namespace(name: &str) -> bool {
    TopicName::check(name).is_ok() && !name.contains('.')
}

/// A key as TOML wants it.
pub(super) fn toml_key(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !key.is_empty() && key.chars().all(is_bare) {
        return key.to_owned();
    }
    Value::String(key.to_owned()).to_string()
}

/// The names of settings that something unknown at this path can have been meant for.
pub(super) fn known(path: &[&str]) -> Vec<String> {
    let mut keys = Key::all(&Namespaces::default());
    if let ["namespaces", name, ..] = path {
        keys.splice(..0, Key::all_of_namespace(name));
    }
    keys.iter().map(Key::name).collect()
}

/// The one of `known` that was most likely meant by `written`, if any is like it.
pub(super) fn nearest(written: &str, known: impl IntoIterator<Item = String>) -> Option<String> {
    // A name in the wrong table, or in none, is as good as one with a letter wrong.
    let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let likeness = |name: &str| {
        let whole = strsim::jaro_winkler(written, name);
        whole.max(strsim::jaro_winkler(&last(written), &last(name)) - 0.01)
    };
    let scored = known.into_iter().map(|name| (likeness(&name), name));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 > 0.8).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_also_in_another_table() {
        let known = || Key::all(&Namespaces::default()).into_iter().map(|key| key.name());
        for (written, meant) in [
            ("limits.stall_timeot", Some("limits.stall_timeout")),
            ("stall_timeout", Some("limits.stall_timeout")),
            ("limit.outbox_max", Some("limits.outbox_max")),
            ("alowed_origins", Some("allowed_origins")),
            ("namespaces.default.latests", Some("namespaces.default.latest")),
            ("qqqq", None),
        ] {
            assert_eq!(nearest(written, known()).as_deref(), meant, "{written}");
        }
    }

    #[test]
    fn names_and_variables_are_each_of_one_setting() {
        let keys = Key::all(&Namespaces::default());
        let mut names: Vec<String> = keys.iter().map(Key::name).collect();
        names.extend(keys.iter().filter_map(Key::variable));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
