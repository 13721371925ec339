//! A subscription to one topic: how far it has come, what is new, what was seen before and what is
//! missing.

use std::sync::Arc;

use fanfare_protocol::{
    Gap as GapEvent, MessagePush, Mode, Position, PresenceChange as PresenceEvent, Subscribe,
    Subscribed, TopicName,
};

use crate::audience::Audience;
use crate::backlog::Backlog;
use crate::options::SubscribeOptions;
use crate::update::{Gap, Message, Missed, PresenceChange, Update};

/// A topic that at least one subscription of the application names.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) audience: Audience,
    topic: TopicName,
    /// As the broker says, once it has.
    mode: Mode,
    /// How far it has come: everything up to here was handed on, told as a gap or not asked for.
    /// `None` only before the first subscription without `since` is live.
    last: Option<Place>,
    /// The presence event that was handed on last.
    presence_version: Option<u64>,
    /// The events have begun anew since then.
    presence_is_broken: bool,
}

/// As [`Position`], but cheap to share with every message.
#[derive(Clone, Debug)]
struct Place {
    /// Empty as long as the topic does not exist, which only long polling tells.
    epoch: Arc<str>,
    offset: u64,
}

impl Place {
    fn is_known(&self) -> bool {
        !self.epoch.is_empty()
    }

    fn position(&self) -> Position {
        Position { epoch: self.epoch.to_string(), offset: self.offset }
    }
}

impl From<&Position> for Place {
    fn from(position: &Position) -> Self {
        Self { epoch: Arc::from(position.epoch.as_str()), offset: position.offset }
    }
}

impl Route {
    pub(crate) fn new(topic: TopicName, options: SubscribeOptions) -> Self {
        let last = options.since.as_ref().map(Place::from);
        let mode = options.likely_mode();
        let audience = Audience::new(topic.clone().into(), options);
        Self { audience, topic, mode, last, presence_version: None, presence_is_broken: false }
    }

    /// In what mode it runs.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// The life of the topic's sequence, while the subscription is live.
    pub(crate) fn epoch(&self) -> Option<&Arc<str>> {
        self.live_at().map(|last| &last.epoch)
    }

    /// Where it stands, while it is live.
    pub(crate) fn position(&self) -> Option<Position> {
        self.live_at().map(Place::position)
    }

    /// The command that asks for everything after what there is already.
    pub(crate) fn subscribe_command(&self) -> Subscribe {
        let SubscribeOptions { mode, max_rate, presence, .. } = self.audience.options;
        // Who has missed something in mode `latest` wants the newest message, whatever was asked
        // for at the beginning.
        let is_renewal = self.last.is_some() && self.mode == Mode::Latest;
        Subscribe {
            topic: self.topic.to_string(),
            since: self.last.as_ref().filter(|last| last.is_known()).map(Place::position),
            mode,
            max_rate,
            snapshot: self.audience.options.snapshot.filter(|_| !is_renewal),
            presence,
        }
    }

    /// The broker has begun the subscription. What could not be recovered becomes a gap.
    pub(crate) fn begin(&mut self, subscribed: &Subscribed, backlog: &mut Backlog) {
        self.mode = subscribed.mode;
        let newest = subscribed.offset;
        let offset = newest.saturating_sub(u64::from(subscribed.snapshot));
        let start = Place { epoch: Arc::from(subscribed.epoch.as_str()), offset };
        self.bear(&start.epoch);
        let last = self.last.get_or_insert_with(|| start.clone());
        let position = last.position();
        let (is_same_life, last_offset) = (last.epoch == start.epoch, last.offset);
        self.audience.begin(Some(&position));
        if !is_same_life || last_offset > newest {
            self.presence_is_broken = self.presence_version.is_some();
            self.pass_over(Missed::Unknown, start, backlog);
        } else if !subscribed.recovered && last_offset < start.offset {
            match self.mode {
                Mode::All if !subscribed.snapshot => {
                    let missed = Missed::Offsets { from: last_offset + 1, to: newest };
                    self.pass_over(missed, start, backlog);
                }
                // The message that follows names the one before it, and so the gap.
                Mode::All => {}
                Mode::Latest => self.last = Some(start),
            }
        }
    }

    /// The topic has this epoch. If it did not exist before, this is its first one.
    pub(crate) fn bear(&mut self, epoch: &Arc<str>) {
        if let Some(last) = self.last.as_mut().filter(|last| !last.is_known()) {
            last.epoch = epoch.clone();
        }
    }

    /// Passes a message on, unless it has been already. In mode `all` what is missing before it
    /// becomes a gap; in mode `latest` offsets may skip.
    pub(crate) fn deliver(&mut self, push: &MessagePush, backlog: &mut Backlog) {
        let Some(last) = self.live_at().filter(|last| last.offset < push.offset) else {
            return;
        };
        let before = push.offset - 1;
        let previous = push.prev.map_or(before, |prev| prev.min(before));
        let here = Place { epoch: last.epoch.clone(), offset: push.offset };
        if self.mode == Mode::All && previous > last.offset {
            let missed = Missed::Offsets { from: last.offset + 1, to: previous };
            self.pass_over(missed, Place { offset: previous, ..here.clone() }, backlog);
        }
        let message = Message {
            topic: self.topic.clone(),
            epoch: Some(here.epoch.clone()),
            offset: push.offset,
            prev: push.prev,
            payload: push.payload.clone(),
        };
        self.last = Some(here);
        self.audience.hand_on(Update::Message(message), backlog);
    }

    /// The broker has told that messages are missing.
    pub(crate) fn miss(&mut self, gap: &GapEvent, backlog: &mut Backlog) {
        let Some(last) = self.live_at() else {
            return;
        };
        let missed = if *last.epoch != *gap.epoch {
            Missed::Unknown
        } else if gap.to > last.offset {
            Missed::Offsets { from: last.offset + 1, to: gap.to }
        } else {
            return;
        };
        let behind = Place { epoch: Arc::from(gap.epoch.as_str()), offset: gap.to };
        self.pass_over(missed, behind, backlog);
    }

    /// Passes on who came and who left.
    pub(crate) fn tell_presence(&mut self, event: PresenceEvent, backlog: &mut Backlog) {
        if !self.audience.is_live() || !self.audience.options.presence {
            return;
        }
        let PresenceEvent { version, count, joined, left, truncated, .. } = event;
        let before = self.presence_version.replace(version);
        let continues = before.is_none_or(|before| before.checked_add(1) == Some(version))
            && !std::mem::take(&mut self.presence_is_broken);
        let change = PresenceChange {
            topic: self.topic.clone(),
            version,
            count,
            joined,
            left,
            is_complete: continues && !truncated,
        };
        self.audience.hand_on(Update::Presence(change), backlog);
    }

    /// Whether something that the broker sent has not come, where it sent everything up to `head`.
    pub(crate) fn is_short_of(&self, head: u64) -> bool {
        self.live_at().is_some_and(|last| last.offset < head)
    }

    fn live_at(&self) -> Option<&Place> {
        self.last.as_ref().filter(|_| self.audience.is_live())
    }

    fn pass_over(&mut self, missed: Missed, behind: Place, backlog: &mut Backlog) {
        let resumes_after = Some(behind.position());
        self.last = Some(behind);
        let gap = Gap { filter: self.topic.clone().into(), missed, resumes_after };
        self.audience.hand_on(Update::Gap(gap), backlog);
    }
}
