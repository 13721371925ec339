//! Who subscribes to a topic, and what has changed since that was last told.
//!
//! Changes are gathered and told together, at most once in an interval, so that a storm of joins
//! is one event. Someone who comes and goes between two tellings is not told at all.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fanfare_protocol::limits::PRESENCE_CHANGES_MAX;
use fanfare_protocol::{Codec, Event, Member, PresenceChange};
use smallvec::SmallVec;

use super::topic::Topic;
use crate::fault::{Fault, planted};
use crate::sdk_frame::sdk_frame;

/// How often changes are told.
pub(super) const TELL_INTERVAL_MS: u64 = 1_000;

/// A connection of the node: its shard, and its serial number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberId {
    /// The shard's index.
    pub shard: u32,
    /// The connection's number in that shard.
    pub serial: u32,
}

impl MemberId {
    /// The name of the connection on the wire.
    #[must_use]
    pub fn connection(self, node: &str) -> String {
        format!("{node}-{}-{}", self.shard, self.serial)
    }

    /// The connection that has this name on the wire; `None` if no connection of this node can.
    #[must_use]
    pub fn of_connection(name: &str, node: &str) -> Option<Self> {
        let (shard, serial) = name.strip_prefix(node)?.strip_prefix('-')?.split_once('-')?;
        let id = Self { shard: shard.parse().ok()?, serial: serial.parse().ok()? };
        // Numbers may be written in ways in which names are not.
        Some(id).filter(|id| id.connection(node) == name)
    }
}

/// What a member calls itself.
pub(crate) type MemberName = Option<Arc<str>>;

#[derive(Debug)]
pub(super) struct Presence {
    members: BTreeMap<MemberId, MemberName>,
    /// Whether each member that changed since the last telling is there now.
    changed: BTreeMap<MemberId, bool>,
    /// Whether someone has asked who is there since then, and so knows of changes not told yet.
    is_listed: bool,
    /// Tellings so far.
    version: u64,
    /// Subscriptions by shard that want to be told.
    pub(super) listeners: SmallVec<[u32; 4]>,
}

/// Who is on a topic at one moment.
#[derive(Clone, Debug)]
pub struct PresenceSnapshot {
    /// All members.
    pub count: u64,
    /// The number of the last telling.
    pub version: u64,
    /// The first members.
    pub members: Vec<(MemberId, Option<Arc<str>>)>,
}

impl Presence {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            members: BTreeMap::new(),
            changed: BTreeMap::new(),
            is_listed: false,
            version: 0,
            listeners: SmallVec::from_elem(0, shards),
        }
    }

    /// Notes that a member came; whether this is the first change that is not told.
    pub(super) fn join(&mut self, id: MemberId, name: MemberName) -> bool {
        self.members.insert(id, name);
        self.change(id, true)
    }

    /// Notes that a member went; whether this is the first change that is not told.
    pub(super) fn leave(&mut self, id: MemberId) -> bool {
        self.members.remove(&id);
        if planted(Fault::ForgetWhoLeft) {
            return false;
        }
        self.change(id, false)
    }

    fn change(&mut self, id: MemberId, is_there: bool) -> bool {
        let is_first = self.changed.is_empty();
        if self.changed.remove(&id).is_none() || self.is_listed {
            self.changed.insert(id, is_there);
        }
        is_first && !self.changed.is_empty()
    }

    /// The number of the last telling.
    #[cfg(any(test, feature = "simulator"))]
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn snapshot(&mut self, limit: usize) -> PresenceSnapshot {
        self.is_listed = true;
        let members = self.members.iter().take(limit).map(|(id, name)| (*id, name.clone()));
        PresenceSnapshot {
            count: self.members.len() as u64,
            version: self.version,
            members: members.collect(),
        }
    }

    /// What is to be told now, if anything.
    pub(super) fn tell(&mut self, topic: &Arc<Topic>) -> Option<PresenceUpdate> {
        if self.changed.is_empty() {
            return None;
        }
        self.version += 1;
        self.is_listed = false;
        let changed = std::mem::take(&mut self.changed);
        if planted(Fault::TellChangesTwice) {
            self.changed.clone_from(&changed);
        }
        let mut update = PresenceUpdate {
            topic: topic.clone(),
            version: self.version,
            count: self.members.len() as u64,
            joined: Vec::new(),
            left: Vec::new(),
            truncated: changed.len() > PRESENCE_CHANGES_MAX,
            frames: Default::default(),
        };
        for (id, is_there) in changed.into_iter().take(PRESENCE_CHANGES_MAX) {
            if is_there {
                update.joined.push((id, self.members.get(&id).cloned().flatten()));
            } else {
                update.left.push(id);
            }
        }
        Some(update)
    }
}

/// One telling, shared by all who get it and encoded at most once for each codec.
#[derive(Debug)]
pub(crate) struct PresenceUpdate {
    pub(crate) topic: Arc<Topic>,
    version: u64,
    count: u64,
    joined: Vec<(MemberId, MemberName)>,
    left: Vec<MemberId>,
    truncated: bool,
    frames: [OnceLock<Bytes>; 2],
}

impl PresenceUpdate {
    /// The whole frame. `node`: the name of this node.
    pub(crate) fn frame(&self, codec: Codec, node: &str) -> &Bytes {
        let place = usize::from(codec == Codec::MsgPack);
        self.frames[place].get_or_init(|| {
            let joined = self.joined.iter().map(|(id, name)| member(*id, name, node));
            let event = Event::Presence(PresenceChange {
                topic: self.topic.name().to_string(),
                version: self.version,
                count: self.count,
                joined: joined.collect(),
                left: self.left.iter().map(|id| id.connection(node)).collect(),
                truncated: self.truncated,
            });
            sdk_frame(codec, 256, |out| event.encode(codec, out))
        })
    }
}

/// A member as the wire tells it.
pub(crate) fn member(id: MemberId, name: &MemberName, node: &str) -> Member {
    Member { connection: id.connection(node), name: name.as_deref().map(str::to_owned) }
}
