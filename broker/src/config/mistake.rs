//! What can be wrong with a configuration, where, and what is allowed.

use std::fmt;
use std::io;
use std::path::PathBuf;

use fanfare_engine::LimitsError;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the file, counted from 1.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong with a configuration. The operator's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Mistake {
    /// The file is not there or not readable.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is not TOML, or a flag not `KEY=VALUE`.
    #[error("{origin}: {message}")]
    Syntax {
        /// Where.
        origin: Origin,
        /// What is wrong there.
        message: String,
    },
    /// There is no such setting.
    #[error("{origin}: there is no setting {name}; {}", meant(nearest.as_deref()))]
    Unknown {
        /// Where.
        origin: Origin,
        /// What was written.
        name: String,
        /// The setting that was most likely meant.
        nearest: Option<String>,
    },
    /// A setting cannot have this value.
    #[error("{origin}: {name} = {written}: use {expected}")]
    Value {
        /// Where.
        origin: Origin,
        /// The setting.
        name: String,
        /// What was written.
        written: String,
        /// What is allowed.
        expected: String,
    },
    /// The name of a namespace is not one level of a topic name.
    #[error("{origin}: {name:?} is no namespace; use the first level of topic names, as `stocks`")]
    Namespace {
        /// Where.
        origin: Origin,
        /// What was written.
        name: String,
    },
    /// Values that are allowed each do not fit each other.
    #[error("{error} ({involved})")]
    Limits {
        /// How they contradict each other.
        error: LimitsError,
        /// The settings concerned, and where each comes from.
        involved: String,
    },
}

fn meant(nearest: Option<&str>) -> String {
    match nearest {
        Some(name) => format!("did you mean {name}?"),
        None => "`fanfare config doc` tells all".to_owned(),
    }
}

/// Everything that is wrong with a configuration; at least one thing.
#[derive(Debug)]
pub struct Mistakes(pub(super) Vec<Mistake>);

impl Mistakes {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }
}

impl From<Mistake> for Mistakes {
    fn from(mistake: Mistake) -> Self {
        Self(vec![mistake])
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = &self.0[..] {
            return write!(f, "{only}");
        }
        write!(f, "{} mistakes in the configuration:", self.0.len())?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for Mistakes {}
