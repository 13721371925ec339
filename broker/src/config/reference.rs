//! What people read of the settings: the reference file, the Markdown reference, and what a
//! configuration comes to.

use std::fmt::Write;

use fanfare_engine::Namespaces;

use super::key::Key;
use super::settings::Reload;
use super::{Configuration, Origin};
use crate::ServerConfig;

/// Columns of the reference file.
const WIDTH: usize = 96;

const FILE_HEAD: &str = "\
Fanfare's configuration: every setting, with its default. Keep what you change and delete the \
rest. `fanfare config check FILE` says what a file comes to, `fanfare config schema` helps an \
editor.";

const NAMESPACES_HEAD: &str = "\
A namespace is the first level of topic names: stocks.AAPL is in the namespace stocks. This one \
is for topics whose namespace has no table here. A table such as [namespaces.stocks] takes from \
it what it does not say itself.";

const DOC_HEAD: &str = "\
# Configuration

Written by `fanfare config doc`; a test keeps it as it is.

A value is the default, unless the file says otherwise, unless the environment says otherwise,
unless a flag does. Everything is checked before anything listens, and all mistakes are told at
once; the exit code is then 78.

- **File**: `fanfare serve --config fanfare.toml`, or `FANFARE_CONFIG`. `fanfare config default`
  writes one with every key. A key that does not exist is a mistake.
- **Environment**: `FANFARE_` and the key in capitals, with `_` for a dot:
  `FANFARE_LIMITS_OUTBOX_MAX=2MiB`, `FANFARE_NAMESPACES_DEFAULT_LATEST=true`. Several origins are
  separated by commas. Other namespaces than the default one are for the file and for flags: what
  they are called may not be a variable's name.
- **Flags**: `--set KEY=VALUE` for every key, and those named below.
- **Durations** are written `\"500ms\"`, `\"30s\"`, `\"1h 30m\"`; **sizes** `4096`, `\"64KiB\"`,
  `\"1MB\"`.

`SIGHUP`, or `curl -X POST` on `/v1/reload` of the admin port, reads it all again. What is marked
*live* then takes effect at once and without closing a connection; for the rest the answer says that
the broker must be started again. If there is a mistake anywhere, nothing changes and all mistakes
are told. A topic keeps the options of its namespace for as long as it is in memory: new ones are
for topics that come into being later. Limits that are lowered do not end what is there already.
";

/// The reference file: every setting with its default and what is to be said of it.
#[must_use]
pub fn default_file() -> String {
    let mut text = comment(FILE_HEAD);
    let mut config = ServerConfig::default();
    let mut table = String::new();
    for key in Key::all(&Namespaces::default()) {
        if key.table() != table {
            table = key.table();
            text.push('\n');
            if key.is_inherited() {
                text += &comment(NAMESPACES_HEAD);
            }
            let _ = writeln!(text, "[{table}]");
        }
        text.push('\n');
        text += &comment(&key.meaning());
        let _ = writeln!(text, "{} = {}", key.last(), key.get(&mut config));
    }
    text
}

/// The reference as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = DOC_HEAD.to_owned();
    let mut config = ServerConfig::default();
    let mut table = None;
    for key in Key::all(&Namespaces::default()) {
        if table.replace(key.table()) != Some(key.table()) {
            let _ = match (&*key.table(), key.is_inherited()) {
                ("", _) => writeln!(text, "\n## The broker\n"),
                (name, false) => writeln!(text, "\n## `[{name}]`\n"),
                (_, true) => writeln!(text, "\n## `[namespaces.NAME]`\n\n{NAMESPACES_HEAD}\n"),
            };
            text += "| key | default | reload | what it is |\n|---|---|---|---|\n";
        }
        let flag = key.flag().map(|flag| format!(", `--{flag}`")).unwrap_or_default();
        let reload = match key.reload() {
            Reload::Live => "live",
            Reload::Restart => "restart",
        };
        let (name, value) = (key.last(), key.get(&mut config));
        let _ = writeln!(text, "| `{name}`{flag} | `{value}` | {reload} | {} |", key.meaning());
    }
    text
}

impl Configuration {
    /// Every setting with its value and where that comes from, as a file that could be loaded.
    #[must_use]
    pub fn effective(&self) -> String {
        let mut config = self.server.clone();
        let mut text = String::new();
        let mut table = String::new();
        for key in Key::all(&config.limits.namespaces) {
            if key.table() != table {
                table = key.table();
                let _ = writeln!(text, "\n[{table}]");
            }
            let line = format!("{} = {}", key.last(), key.get(&mut config));
            let _ = match self.origin(&key) {
                Origin::Default => writeln!(text, "{line}"),
                origin => writeln!(text, "{line:<40} # {origin}"),
            };
        }
        text
    }
}

/// A text as comment lines.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = "#".to_owned();
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > WIDTH {
            lines += &line;
            lines.push('\n');
            line = "#".to_owned();
        }
        line.push(' ');
        line += word;
    }
    lines + &line + "\n"
}
