//! The commands that ask and change nothing: `history` and `presence`.

use serde::{Deserialize, Serialize};

use super::strict;
use crate::reply::Position;

/// The fields of `history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// The topic's name, not yet checked.
    pub topic: String,
    /// Where to begin: the oldest messages behind this one; without it the newest are given.
    #[serde(
        default,
        deserialize_with = "strict::position",
        skip_serializing_if = "Option::is_none"
    )]
    pub after: Option<Position>,
    /// The most messages to give, from 1 to
    /// [`HISTORY_MESSAGES_MAX`](crate::limits::HISTORY_MESSAGES_MAX);
    /// [`HISTORY_MESSAGES_DEFAULT`](crate::limits::HISTORY_MESSAGES_DEFAULT) if missing.
    #[serde(
        default,
        deserialize_with = "strict::history_limit",
        skip_serializing_if = "Option::is_none"
    )]
    pub limit: Option<u32>,
}

impl History {
    /// The newest messages, as many as a page holds by default.
    #[must_use]
    pub fn new(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), after: None, limit: None }
    }
}

/// The fields of `presence`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Presence {
    /// The topic's name, not yet checked.
    pub topic: String,
    /// The most members to name, from 1 to
    /// [`PRESENCE_MEMBERS_MAX`](crate::limits::PRESENCE_MEMBERS_MAX);
    /// [`PRESENCE_MEMBERS_DEFAULT`](crate::limits::PRESENCE_MEMBERS_DEFAULT) if missing.
    #[serde(
        default,
        deserialize_with = "strict::presence_limit",
        skip_serializing_if = "Option::is_none"
    )]
    pub limit: Option<u32>,
}

impl Presence {
    /// As many members as a list names by default.
    #[must_use]
    pub fn new(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), limit: None }
    }
}
