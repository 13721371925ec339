//! The configuration of a broker: defaults, then a TOML file, then the environment, then flags.
//!
//! Owns where values come from, what they may be and what is said of them: the reference, the
//! schema, mistakes. What a value does is the matter of whoever reads it. All settings are in
//! `settings`; the rest follows from that table.

mod env;
mod file;
mod key;
mod kinds;
mod mistake;
mod reference;
mod schema;
mod settings;

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Value;

use crate::ServerConfig;
pub(crate) use key::Key;
use key::nearest;
pub use mistake::{Mistake, Mistakes, Origin};
pub use reference::{default_file, reference};
pub use schema::schema;
pub(crate) use settings::{Reload, SERVER};

/// Where a configuration is read from; again whenever it is reloaded.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The TOML file, if there is one.
    pub file: Option<PathBuf>,
    /// What flags set, in their order; the last one of a setting wins.
    pub flags: Vec<Flag>,
    /// Environment variables that begin like those of settings and are something else.
    pub other_variables: Vec<String>,
}

/// A setting made by a flag of the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag, as `--listen`.
    pub name: String,
    /// The setting, as `limits.outbox_max`.
    pub key: String,
    /// The value as a person writes it: `64KiB`, without quotes.
    pub text: String,
}

/// A setting, what it is set to, and by whom.
struct Assignment {
    key: Key,
    written: Value,
    origin: Origin,
}

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// What a broker is started with.
    pub server: ServerConfig,
    /// Where it can be read again.
    pub(crate) source: Source,
    origins: BTreeMap<String, Origin>,
}

impl Source {
    /// Reads the configuration.
    ///
    /// # Errors
    /// [`Mistakes`]: all that are found.
    pub fn load(&self) -> Result<Configuration, Mistakes> {
        let variables = std::env::vars_os().map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        });
        self.load_with(variables)
    }

    fn load_with(
        &self,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Configuration, Mistakes> {
        let mut mistakes = Vec::new();
        let mut assignments = match &self.file {
            Some(path) => file::read(path, &mut mistakes),
            None => Vec::new(),
        };
        assignments.extend(env::read(variables, &self.other_variables, &mut mistakes));
        assignments.extend(self.flags.iter().filter_map(|flag| flag.read(&mut mistakes)));
        // A namespace begins with what the default one has in the end.
        assignments.sort_by_key(|assignment| !assignment.key.is_inherited());
        let (server, source) = (ServerConfig::default(), self.clone());
        let mut configuration = Configuration { server, source, origins: BTreeMap::new() };
        for assignment in assignments {
            mistakes.extend(configuration.assign(assignment).err());
        }
        if mistakes.is_empty() {
            mistakes.extend(configuration.check().err());
        }
        if mistakes.is_empty() { Ok(configuration) } else { Err(Mistakes(mistakes)) }
    }
}

impl Flag {
    fn read(&self, mistakes: &mut Vec<Mistake>) -> Option<Assignment> {
        let origin = Origin::Flag(self.name.clone());
        let path: Vec<&str> = self.key.split('.').collect();
        if let ["namespaces", name, _] = path[..]
            && !key::is_namespace(name)
        {
            mistakes.push(Mistake::Namespace { origin, name: name.to_owned() });
            return None;
        }
        let Some(key) = Key::find(&path) else {
            let nearest = nearest(&self.key, key::known(&path));
            mistakes.push(Mistake::Unknown { origin, name: self.key.clone(), nearest });
            return None;
        };
        let written = key.parse_text(&self.text);
        Some(Assignment { key, written, origin })
    }
}

impl Configuration {
    fn assign(&mut self, assignment: Assignment) -> Result<(), Mistake> {
        let Assignment { key, written, origin } = assignment;
        let name = key.name();
        match key.set(&mut self.server, &written) {
            Ok(()) => {
                self.origins.insert(name, origin);
                Ok(())
            }
            Err(expected) => {
                Err(Mistake::Value { origin, name, written: written.to_string(), expected })
            }
        }
    }

    fn check(&self) -> Result<(), Mistake> {
        let Err(error) = self.server.limits.check() else { return Ok(()) };
        let fields = error.fields();
        let settings = SERVER.iter().filter(|setting| fields.contains(&setting.field));
        let involved = settings.map(|setting| {
            let key = Key::Server(setting);
            format!("{} from {}", key.name(), self.origin(&key))
        });
        let involved = involved.collect::<Vec<_>>().join(", ");
        Err(Mistake::Limits { error, involved })
    }

    /// Where the value of a setting comes from.
    fn origin(&self, key: &Key) -> &Origin {
        let own = self.origins.get(&key.name());
        let inherited = || key.inherits().and_then(|key| self.origins.get(&key.name()));
        own.or_else(inherited).unwrap_or(&Origin::Default)
    }
}

#[cfg(test)]
mod tests;
