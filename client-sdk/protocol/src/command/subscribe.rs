//! The commands `subscribe` and `unsubscribe`, and the modes of a subscription.

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{bad_request, strict};
use crate::pattern::Filter;
use crate::reply::{ErrorReply, Position};

/// The fields of `subscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// A topic's name or a pattern of names, not yet checked; see [`Filter`].
    pub topic: String,
    /// The last message that the client has, so that what came after it is delivered too. Not
    /// with a pattern.
    #[serde(
        default,
        deserialize_with = "strict::position",
        skip_serializing_if = "Option::is_none"
    )]
    pub since: Option<Position>,
    /// What is delivered when the connection does not keep up; the namespace's default if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The most messages per second and topic, one of [`MAX_RATES`](crate::limits::MAX_RATES).
    /// Implies [`Mode::Latest`].
    #[serde(
        default,
        deserialize_with = "strict::max_rate",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_rate: Option<u32>,
    /// Whether the newest message that is kept is delivered at once. If missing: yes in mode
    /// [`Mode::Latest`] and in namespaces that keep the newest value, otherwise no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<bool>,
    /// Whether the topic's presence events are delivered too. Not with a pattern.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub presence: bool,
}

impl Subscribe {
    /// From now on, with the namespace's defaults.
    #[must_use]
    pub fn new(topic: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            since: None,
            mode: None,
            max_rate: None,
            snapshot: None,
            presence: false,
        }
    }

    /// Checks that the options go together. The topic itself is not checked, nor whether
    /// `max_rate` is one of the allowed: reading a command does that.
    ///
    /// # Errors
    /// `bad_request`, telling what is allowed.
    pub fn check(&self) -> Result<(), ErrorReply> {
        if self.max_rate.is_some() && self.mode == Some(Mode::All) {
            return Err(bad_request(
                "`max_rate` passes messages over, which mode `all` does not; use mode `latest` or \
                 leave `mode` out",
            ));
        }
        if !Filter::is_pattern(&self.topic) {
            return Ok(());
        }
        if self.since.is_some() {
            return Err(bad_request(
                "a pattern has no position; leave `since` out, or subscribe to each topic by name",
            ));
        }
        if self.presence {
            return Err(bad_request(
                "a pattern has no presence; leave `presence` out, or subscribe to each topic by \
                 name",
            ));
        }
        Ok(())
    }
}

/// What a subscription gets when its connection does not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Every message in order, or the exact gap.
    #[default]
    All,
    /// The newest message, once the connection takes bytes again; older ones are passed over.
    Latest,
}

impl Mode {
    /// The name of each mode on the wire.
    pub const NAMES: &'static [&'static str] = &["all", "latest"];

    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Latest => "latest",
        }
    }

    /// The mode of a name on the wire.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::All, Self::Latest].into_iter().find(|mode| mode.name() == name)
    }
}

/// Takes the name alone; serde would take a number or a map for it as well.
impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| de::Error::unknown_variant(&name, Self::NAMES))
    }
}

impl Mode {
    /// Whether this is [`Mode::All`], which goes without saying in a reply.
    pub(crate) fn is_all(&self) -> bool {
        *self == Self::All
    }
}

/// The fields of `unsubscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unsubscribe {
    /// The name or pattern that was subscribed to.
    pub topic: String,
}
