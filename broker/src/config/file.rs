//! The configuration file: from TOML to settings, each with its line.

use std::path::Path;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::Spanned;
use toml::Value;
use toml::de::{DeTable, DeValue};

use super::Assignment;
use super::key::{self, Key, nearest, toml_key};
use super::mistake::{Mistake, Origin};

/// What the file at `path` sets. What is wrong with it is added to `mistakes`.
pub(super) fn read(path: &Path, mistakes: &mut Vec<Mistake>) -> Vec<Assignment> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            mistakes.push(Mistake::Read { path: path.into(), error });
            return Vec::new();
        }
    };
    let mut reader = Reader { path, text: &text, mistakes: Vec::new(), assignments: Vec::new() };
    reader.read();
    // Tables come in the order of their names; people read from top to bottom.
    reader.mistakes.sort_by_key(|(line, _)| *line);
    mistakes.extend(reader.mistakes.into_iter().map(|(_, mistake)| mistake));
    reader.assignments
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    mistakes: Vec<(usize, Mistake)>,
    assignments: Vec<Assignment>,
}

/// A table of the file that others stand in.
enum Group {
    Top,
    /// Of settings.
    Plain,
    Namespaces,
    Namespace,
}

impl Reader<'_> {
    fn read(&mut self) {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let line = self.line(error.span().map_or(0, |span| span.start));
            let message = error.message().trim_end().replace('\n', "; ");
            self.complain(line, |origin| Mistake::Syntax { origin, message });
        }
        // What the rest of a broken file says is guesswork.
        if errors.is_empty() {
            self.walk(table.get_ref(), &Group::Top, &mut Vec::new());
        }
    }

    fn line(&self, position: usize) -> usize {
        let before = self.text.get(..position).unwrap_or(self.text);
        1 + before.matches('\n').count()
    }

    fn origin(&self, line: usize) -> Origin {
        Origin::File(self.path.into(), line)
    }

    fn complain(&mut self, line: usize, mistake: impl FnOnce(Origin) -> Mistake) {
        let mistake = mistake(self.origin(line));
        self.mistakes.push((line, mistake));
    }

    fn walk(&mut self, table: &DeTable<'_>, group: &Group, path: &mut Vec<String>) {
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            self.entry(value, self.line(key.span().start), group, path);
            path.pop();
        }
    }

    fn entry(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        line: usize,
        group: &Group,
        path: &mut Vec<String>,
    ) {
        let inner = match (group, path.last().map_or("", String::as_str)) {
            (Group::Top, "limits" | "log") => Group::Plain,
            (Group::Top, "namespaces") => Group::Namespaces,
            (Group::Namespaces, name) if key::is_namespace(name) => Group::Namespace,
            (Group::Namespaces, name) => {
                let name = name.to_owned();
                return self.complain(line, |origin| Mistake::Namespace { origin, name });
            }
            _ => return self.setting(value, line, path),
        };
        match value.get_ref() {
            DeValue::Table(table) => self.walk(table, &inner, path),
            other => {
                let (name, written) = (dotted(path), to_value(other).to_string());
                let expected = "a table of settings".to_owned();
                self.complain(line, |origin| Mistake::Value { origin, name, written, expected });
            }
        }
    }

    fn setting(&mut self, value: &Spanned<DeValue<'_>>, line: usize, path: &[String]) {
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        if let Some(key) = Key::find(&parts) {
            let written = to_value(value.get_ref());
            self.assignments.push(Assignment { key, written, origin: self.origin(line) });
        } else {
            let name = dotted(path);
            let nearest = nearest(&name, key::known(&parts));
            self.complain(line, |origin| Mistake::Unknown { origin, name, nearest });
        }
    }
}

fn dotted(path: &[String]) -> String {
    path.iter().map(|part| toml_key(part)).collect::<Vec<_>>().join(".")
}

/// The value without its place in the file.
fn to_value(value: &DeValue<'_>) -> Value {
    // Whatever TOML can say, its own value can hold.
    let place = Spanned::new(0..0, value.clone());
    Value::deserialize(place.into_deserializer()).unwrap_or(Value::Boolean(false))
}
