//! Taking over a changed configuration while the broker runs.
//!
//! Owns what is compared and reported. Which settings can be taken over is told by their table;
//! those that can are held by the topic table (limits and namespaces) and by [`AllowedOrigins`].

use std::sync::Arc;

use fanfare_engine::TopicTable;
use parking_lot::Mutex;
use serde::Serialize;
use tracing::{error, info, warn};

use crate::ServerConfig;
use crate::config::{Key, Mistake, Mistakes, Reload, Source};
use crate::http::AllowedOrigins;
use crate::logs::{LogControl, target};

/// The parts of a running broker that can be configured anew.
#[derive(Debug)]
pub(crate) struct Reloader {
    source: Option<Source>,
    running: Mutex<ServerConfig>,
    topics: Arc<TopicTable>,
    allowed_origins: Arc<AllowedOrigins>,
    logs: LogControl,
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Settings that have new values now.
    pub changed: Vec<Change>,
    /// Settings that keep the old value until the broker is started again.
    pub needs_restart: Vec<Change>,
}

/// A setting whose value is another than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The setting.
    pub key: String,
    /// What the broker ran with.
    pub from: serde_json::Value,
    /// What the configuration says now.
    pub to: serde_json::Value,
}

/// Why a configuration was not taken over. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The broker was started by a program that handed it its configuration.
    #[error("this broker was not started from a configuration that could be read again")]
    NoSource,
    /// The configuration has mistakes. The operator's to mend.
    #[error(transparent)]
    Config(#[from] Mistakes),
}

impl Reloader {
    pub(crate) fn new(
        source: Option<Source>,
        running: ServerConfig,
        topics: Arc<TopicTable>,
        logs: LogControl,
    ) -> Self {
        let allowed_origins = Arc::new(AllowedOrigins::new(&running.allowed_origins));
        Self { source, running: Mutex::new(running), topics, allowed_origins, logs }
    }

    pub(crate) fn allowed_origins(&self) -> &Arc<AllowedOrigins> {
        &self.allowed_origins
    }

    pub(crate) fn logs(&self) -> &LogControl {
        &self.logs
    }

    /// Reads the configuration again and takes over what can be; the log has what came of it, and
    /// that it was asked for `by` this way.
    ///
    /// # Errors
    /// [`ReloadError`]; nothing has changed.
    pub(crate) fn reload(&self, by: &str) -> Result<Reloaded, ReloadError> {
        let result = self.try_to();
        match &result {
            Ok(reloaded) => reloaded.tell(by),
            Err(error) => error.tell(by),
        }
        result
    }

    fn try_to(&self) -> Result<Reloaded, ReloadError> {
        let source = self.source.as_ref().ok_or(ReloadError::NoSource)?;
        // One at a time, from what is read to what is taken over.
        let mut running = self.running.lock();
        let wanted = source.load()?.server;
        let (next, reloaded) = take_over(&running, wanted);
        self.topics.set_live_limits(next.limits.clone()).map_err(|error| {
            let involved = "together with what needs a restart".to_owned();
            Mistakes::from(Mistake::Limits { error, involved })
        })?;
        self.allowed_origins.set(&next.allowed_origins);
        self.logs.configure(&next.log.level);
        *running = next;
        Ok(reloaded)
    }
}

/// What a broker that runs with `running` can have of `wanted`, and what that means.
fn take_over(running: &ServerConfig, mut wanted: ServerConfig) -> (ServerConfig, Reloaded) {
    let mut next = running.clone();
    let mut reloaded = Reloaded { changed: Vec::new(), needs_restart: Vec::new() };
    // All of them are live. One that went away has the default's options like any other.
    next.limits.namespaces = wanted.limits.namespaces.clone();
    let mut before = running.clone();
    let mut keys = Key::all(&wanted.limits.namespaces);
    let is_gone = |key: &Key| !keys.iter().any(|known| known.name() == key.name());
    keys.extend(
        Key::all(&running.limits.namespaces).into_iter().filter(is_gone).collect::<Vec<_>>(),
    );
    for key in keys {
        let (from, to) = (key.get(&mut before), key.get(&mut wanted));
        if from == to {
            continue;
        }
        let list = match key.reload() {
            Reload::Live => {
                // What has been read can be written.
                let _ = key.set(&mut next, &to);
                &mut reloaded.changed
            }
            Reload::Restart => &mut reloaded.needs_restart,
        };
        list.push(Change { key: key.name(), from: json(&from), to: json(&to) });
    }
    (next, reloaded)
}

/// Settings have no values that JSON has not.
fn json(value: &toml::Value) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}

impl Reloaded {
    fn tell(&self, by: &str) {
        let (changed, needs_restart) = (self.changed.len(), self.needs_restart.len());
        info!(target: target::CONFIG, changed, needs_restart, by, "configuration reloaded");
        for Change { key, from, to } in &self.changed {
            info!(target: target::CONFIG, key, %from, %to, "setting changed");
        }
        for Change { key, from, to } in &self.needs_restart {
            warn!(target: target::CONFIG, key, %from, %to, "setting changes with a restart");
        }
    }
}

impl ReloadError {
    fn tell(&self, by: &str) {
        let Self::Config(mistakes) = self else {
            error!(target: target::CONFIG, error = %self, by, "{REFUSED}");
            return;
        };
        for mistake in mistakes.iter() {
            error!(target: target::CONFIG, error = %mistake, by, "{REFUSED}");
        }
    }
}

const REFUSED: &str = "configuration refused, nothing has changed";
