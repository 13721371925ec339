//! The JSON Schema of the file, for editors that complete and check it.

use fanfare_engine::Namespaces;
use serde_json::{Map, Value as Json, json};

use super::key::{DEFAULT, Key};
use crate::ServerConfig;

/// The JSON Schema (draft 2020-12) of a configuration file.
#[must_use]
pub fn schema() -> Json {
    let keys = Key::all(&Namespaces::default());
    let namespace = object(&keys, &format!("namespaces.{DEFAULT}"));
    let mut top = object(&keys, "");
    for table in ["limits", "log"] {
        top["properties"][table] = object(&keys, table);
    }
    top["properties"]["namespaces"] = json!({
        "description": "Options of topics by the first level of their names.",
        "type": "object",
        "additionalProperties": namespace,
    });
    top["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    top["title"] = "Fanfare's configuration".into();
    top
}

/// The schema of one table.
fn object(keys: &[Key], table: &str) -> Json {
    let mut config = ServerConfig::default();
    let mut properties = Map::new();
    for key in keys.iter().filter(|key| key.table() == table) {
        let mut property = key.schema();
        property["description"] = key.meaning().into();
        // Values of settings are all such that JSON has them.
        property["default"] = serde_json::to_value(key.get(&mut config)).unwrap_or_default();
        properties.insert(key.last().to_owned(), property);
    }
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}
