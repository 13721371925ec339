//! Who is on each topic, as it follows from what the shards have read, and whether lists and events
//! tell the same.

use std::collections::{BTreeMap, BTreeSet};

use fanfare_protocol::{Member, PresenceChange, PresenceList};

use super::intake::ConnectionId;
use crate::time::Now;

/// Changes are told no more often, and no later.
const TELL_INTERVAL_MS: u64 = 1_000;

/// Most bytes of an event beside its changes, and of each change.
const EVENT_BYTES: usize = 100;
const CHANGE_BYTES: usize = 45;

/// Who is where.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    /// By topic.
    members: BTreeMap<usize, BTreeSet<ConnectionId>>,
    /// Who came or went since the last telling, by topic.
    changed: BTreeMap<usize, BTreeSet<ConnectionId>>,
    /// Who was on each list that was given since then, by life of a topic.
    listed: BTreeMap<(usize, String), Vec<BTreeSet<ConnectionId>>>,
    /// The tellings of each life of a topic; the first is that of version 0, when nobody was there.
    tellings: BTreeMap<(usize, String), Vec<Telling>>,
    /// What connections call themselves.
    names: BTreeMap<ConnectionId, String>,
    /// When changes might last have been told.
    last_turn: Now,
    most_changes: usize,
}

/// One version.
#[derive(Clone, Debug, Default)]
struct Telling {
    at: Now,
    members: BTreeSet<ConnectionId>,
    /// Who came or went since the one before.
    changed: BTreeSet<ConnectionId>,
    /// Who was there for someone who asked, since the one before.
    listed: Vec<BTreeSet<ConnectionId>>,
}

/// What a list must say.
#[derive(Clone, Debug)]
pub(super) struct Attended {
    pub(super) members: BTreeSet<ConnectionId>,
    pub(super) limit: usize,
    /// The version by the topic's life before and after the commands were read; 0 as well where
    /// the topic is forgotten, and with it how often it has told.
    pub(super) versions: [u64; 3],
}

/// A subscription whose client wants to be told who comes and goes.
#[derive(Clone, Debug)]
pub(super) struct Listening {
    pub(super) epoch: String,
    /// The version when it began.
    pub(super) begun: u64,
    pub(super) last: Option<u64>,
}

impl Attendance {
    pub(super) fn call(&mut self, id: ConnectionId, name: Option<String>) {
        self.names.extend(name.map(|name| (id, name)));
    }

    pub(super) fn join(&mut self, topic: usize, id: ConnectionId) {
        self.members.entry(topic).or_default().insert(id);
        self.changed.entry(topic).or_default().insert(id);
    }

    pub(super) fn leave(&mut self, topic: usize, id: ConnectionId) {
        if self.members.entry(topic).or_default().remove(&id) {
            self.changed.entry(topic).or_default().insert(id);
        }
    }

    /// A connection ends.
    pub(super) fn leave_all(&mut self, id: ConnectionId) {
        let topics: Vec<usize> = self.members.keys().copied().collect();
        topics.into_iter().for_each(|topic| self.leave(topic, id));
    }

    pub(super) fn members(&self, topic: usize) -> BTreeSet<ConnectionId> {
        self.members.get(&topic).cloned().unwrap_or_default()
    }

    /// A list is given; who is on it.
    pub(super) fn list(&mut self, topic: usize, epoch: &str) -> BTreeSet<ConnectionId> {
        let members = self.members(topic);
        self.listed.entry((topic, epoch.to_owned())).or_default().push(members.clone());
        members
    }

    /// A topic is forgotten, which nobody subscribes to.
    pub(super) fn forget(&mut self, topic: usize) {
        let members = self.members(topic);
        assert!(members.is_empty(), "{topic} is forgotten, but has {members:?}");
        self.changed.remove(&topic);
    }

    /// The newest version of a life of a topic.
    pub(super) fn version(&self, topic: usize, epoch: &str) -> u64 {
        let tellings = self.tellings.get(&(topic, epoch.to_owned()));
        tellings.map_or(0, |tellings| tellings.len() as u64 - 1)
    }

    /// The broker may just have told the changes of a topic; its version is this now.
    pub(super) fn tell(&mut self, topic: usize, epoch: &str, version: u64, now: Now) {
        let members = self.members(topic);
        let place = (topic, epoch.to_owned());
        let tellings =
            self.tellings.entry(place.clone()).or_insert_with(|| vec![Telling::default()]);
        let (before, last) = (tellings.len() as u64 - 1, &tellings[tellings.len() - 1]);
        let waited_ms = now.ms() - last.at.ms();
        if version == before {
            let is_due = now.ms() - self.last_turn.ms() >= TELL_INTERVAL_MS;
            let listed = self.listed.get(&place).into_iter().flatten();
            let is_known = listed.chain([&last.members]).all(|known| *known == members);
            assert!(!is_due || is_known, "topic {topic}: changes are not told");
            return;
        }
        assert_eq!(version, before + 1, "topic {topic}: versions count up, one by one");
        assert!(
            before == 0 || waited_ms >= TELL_INTERVAL_MS,
            "topic {topic}: {waited_ms} ms later"
        );
        let changed = self.changed.remove(&topic).unwrap_or_default();
        self.most_changes = self.most_changes.max(changed.len());
        let listed = self.listed.remove(&place).unwrap_or_default();
        tellings.push(Telling { at: now, members, changed, listed });
    }

    /// All topics were looked at.
    pub(super) fn end_turn(&mut self, now: Now) {
        self.last_turn = now;
    }

    /// Bytes that an event may have had so far.
    pub(super) fn event_bytes_max(&self) -> usize {
        EVENT_BYTES + CHANGE_BYTES * self.most_changes
    }

    /// Demands that a list tells who was there.
    pub(super) fn check_list(&self, attended: &Attended, list: &PresenceList) {
        let Attended { members, limit, versions } = attended;
        assert_eq!(list.count, members.len() as u64, "how many are there: {list:?}");
        assert!(versions.contains(&list.version), "{list:?}, not one of {versions:?}");
        assert_eq!(list.members.len(), members.len().min(*limit), "as many as wanted: {list:?}");
        let listed = self.identify(list.members.iter(), members);
        assert_eq!(listed.len(), list.members.len(), "each once: {list:?}");
    }

    /// Demands that an event tells who came and went since the version before.
    fn check_event(&self, topic: usize, epoch: &str, change: &PresenceChange) {
        let tellings = &self.tellings[&(topic, epoch.to_owned())];
        let version = change.version as usize;
        assert!((1..tellings.len()).contains(&version), "never told: {change:?}");
        let (before, after) = (&tellings[version - 1], &tellings[version]);
        assert!(!change.truncated, "the changes are few: {change:?}");
        assert_eq!(change.count, after.members.len() as u64, "how many are there: {change:?}");
        let joined = self.identify(change.joined.iter(), &after.members);
        let is_left = |id: &&ConnectionId| change.left.contains(&id.name());
        let left: BTreeSet<_> = after.changed.iter().filter(is_left).copied().collect();
        assert_eq!(left.len(), change.left.len(), "only who was there can leave: {change:?}");
        assert!(joined.is_subset(&after.changed), "who came is new: {change:?}");
        // Whether it knows who was there from the event before or from a list.
        for known in after.listed.iter().chain([&before.members]) {
            let then: BTreeSet<_> = known.union(&joined).copied().collect();
            let then: BTreeSet<_> = then.difference(&left).copied().collect();
            assert_eq!(then, after.members, "{change:?} after {known:?}");
        }
    }

    /// Those of `among` who are named, each by what it calls itself.
    fn identify<'a>(
        &self,
        named: impl Iterator<Item = &'a Member>,
        among: &BTreeSet<ConnectionId>,
    ) -> BTreeSet<ConnectionId> {
        let identify = |member: &Member| {
            let id = among.iter().find(|id| id.name() == member.connection);
            let id = *id.unwrap_or_else(|| panic!("{member:?} is not there, only {among:?}"));
            assert_eq!(self.names.get(&id), member.name.as_ref(), "what it calls itself");
            id
        };
        named.map(identify).collect()
    }
}

impl Listening {
    /// An event came. `is_prompt`: none can have been passed over.
    pub(super) fn hear(
        &mut self,
        topic: usize,
        change: &PresenceChange,
        is_prompt: bool,
        attendance: &Attendance,
    ) {
        attendance.check_event(topic, &self.epoch, change);
        let version = change.version;
        let Self { begun, last, .. } = *self;
        assert!(last.is_none_or(|last| version > last), "{change:?} after {last:?}");
        // Some of what was told before it began may still come.
        let next = last.unwrap_or_default().max(begun) + 1;
        assert!(!is_prompt || version <= next, "{change:?}, {next} is left out");
        self.last = Some(version);
    }

    /// Demands that every event has come.
    pub(super) fn check_complete(&self, topic: usize, attendance: &Attendance) {
        let last = self.last.unwrap_or_default().max(self.begun);
        let version = attendance.version(topic, &self.epoch);
        assert!(last >= version, "topic {topic}: version {version} was told, {last} has come");
    }
}
