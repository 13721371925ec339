//! What topics of one namespace do: how much they keep, and what their subscribers get.
//!
//! A namespace is the first level of a topic's name. Owns the options and how they are found, not
//! what follows from them.

use std::collections::HashMap;
use std::sync::Arc;

use documented::DocumentedFields;
use fanfare_protocol::Mode;

/// The options of a namespace. What is said of a field here is also what the broker's configuration
/// reference says of its setting.
#[derive(Clone, Debug, PartialEq, Eq, DocumentedFields)]
pub struct NamespaceOptions {
    /// Most messages kept for each topic, for readers that fall behind or come back. A hundred span
    /// a reconnect on most topics.
    pub history_messages: usize,
    /// Most bytes of messages kept for each topic, so that topics of large messages keep fewer.
    pub history_bytes: usize,
    /// How long a message is kept. Long enough for a browser that was put to sleep for a while.
    pub history_age_ms: u64,
    /// Whether a topic's newest message is kept however old it is, and whatever the options above
    /// say. Such a topic stays in the table for good.
    pub latest: bool,
    /// What a subscription gets when its connection does not keep up, unless it asks otherwise:
    /// `all` is every message in order or the exact gap, `latest` the newest message.
    pub mode: Mode,
    /// What becomes of a connection that does not keep up with a subscription of mode `all`: it may
    /// `catch_up` from history, or `disconnect` at the outbox's hard limit.
    pub slow_consumer: SlowConsumer,
    /// Whether the node knows who subscribes to a topic, and tells. Off, because on a topic with
    /// many subscribers every one of them hears of every other.
    pub presence: bool,
}

/// What becomes of a connection that does not keep up with a subscription of mode `all`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowConsumer {
    /// It catches up from the topics' rings, or is told the gap.
    #[default]
    CatchUp,
    /// Messages are queued up to the hard limit, then it is closed with the slow-consumer code.
    Disconnect,
}

impl Default for NamespaceOptions {
    fn default() -> Self {
        Self {
            history_messages: 100,
            history_bytes: 1_024 * 1_024,
            history_age_ms: 300_000,
            latest: false,
            mode: Mode::All,
            slow_consumer: SlowConsumer::CatchUp,
            presence: false,
        }
    }
}

/// The options of every namespace of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// For topics whose first level has no options of its own.
    pub default: Arc<NamespaceOptions>,
    named: HashMap<Box<str>, Arc<NamespaceOptions>>,
}

impl Namespaces {
    /// Gives the namespace `name` options of its own.
    pub fn insert(&mut self, name: &str, options: NamespaceOptions) {
        self.named.insert(name.into(), Arc::new(options));
    }

    /// The options of the namespace `name`, to be changed. They begin as those of the default.
    pub fn entry(&mut self, name: &str) -> &mut NamespaceOptions {
        let options = self.named.entry(name.into()).or_insert_with(|| self.default.clone());
        Arc::make_mut(options)
    }

    /// Changes the options of topics whose first level has none of its own.
    pub fn default_mut(&mut self) -> &mut NamespaceOptions {
        Arc::make_mut(&mut self.default)
    }

    /// The namespaces with options of their own, in no order.
    pub fn named(&self) -> impl Iterator<Item = (&str, &NamespaceOptions)> {
        self.named.iter().map(|(name, options)| (&**name, &**options))
    }

    /// The namespace of the topic `name`, if it has options of its own.
    #[must_use]
    pub(crate) fn name_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        let first = name.split('.').next()?;
        self.named.contains_key(first).then_some(first)
    }

    /// The options of the topic or pattern `name`.
    #[must_use]
    pub fn of(&self, name: &str) -> &Arc<NamespaceOptions> {
        let first = name.split('.').next().unwrap_or(name);
        self.named.get(first).unwrap_or(&self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_level_decides_and_the_default_is_for_the_rest() {
        let mut namespaces = Namespaces::default();
        namespaces.insert("stocks", NamespaceOptions { latest: true, ..Default::default() });
        namespaces.default_mut().history_messages = 7;
        assert!(namespaces.of("stocks.nyse.A").latest);
        assert!(namespaces.of("stocks").latest);
        assert_eq!(namespaces.name_of("stocks.nyse.A"), Some("stocks"));
        for other in ["stocksy.A", "news.stocks", "*.stocks", ">"] {
            assert_eq!(namespaces.of(other).history_messages, 7, "{other}");
            assert_eq!(namespaces.name_of(other), None);
        }
    }
}
