//! The subscriptions of a link: which requests carry them, and what these bring.

use std::time::Duration;

use fanfare_protocol::{
    CloseCode, ErrorCode, ErrorReply, Event, Filter, Reply, ReplyBody, ServerFrame, Subscribe,
    Unsubscribed,
};
use tokio::time::Instant;

use super::book::{Begun, Entry};
use super::groups::{self, Asked};
use super::http::Caller;
use super::long_poll::Poll;
use super::sse::Stream;
use super::{HttpLink, Pushed};
use crate::link::{Loss, Progress};
use crate::transport::Transport;

/// How long subscriptions gather that go into one request.
const GATHER: Duration = Duration::from_millis(5);

/// So many streams that ask for the same may run before one takes their place. A program that
/// subscribes to one topic after the other would hold a connection for each.
const SMALL_STREAMS_MAX: usize = 4;

/// A stream of fewer topics is small.
const SMALL_STREAM_TOPICS: usize = 50;

impl HttpLink {
    pub(super) fn subscribe(&mut self, id: Option<u64>, subscribe: Subscribe) {
        let Some(id) = id else { return };
        let Ok(filter) = Filter::new(&subscribe.topic) else { return };
        let is_pattern = matches!(filter, Filter::Pattern(_));
        if subscribe.presence {
            return self.refuse(Some(id), self.not_over("presence"));
        }
        if is_pattern && self.plan.transport == Transport::LongPoll {
            return self.refuse(Some(id), self.not_over("a pattern"));
        }
        self.forget(&subscribe.topic);
        self.gathered.push((filter, Entry::new(id, subscribe)));
        self.ask_at.get_or_insert_with(|| Instant::now() + GATHER);
    }

    pub(super) fn unsubscribe(&mut self, id: Option<u64>, topic: &str) {
        self.forget(topic);
        if let Some(id) = id {
            let result = Ok(ReplyBody::Unsubscribe(Unsubscribed {}));
            self.reply(ServerFrame::Reply(Reply { id, result }));
        }
    }

    /// Ends a subscription. One that has not begun still gets its reply.
    fn forget(&mut self, topic: &str) {
        let gathered = self.gathered.iter().position(|(filter, _)| filter.as_str() == topic);
        let forgotten = match gathered {
            Some(place) => Some(self.gathered.remove(place).1),
            None => self.book.remove(topic),
        };
        if let Some(entry) = forgotten.filter(|entry| !entry.has_begun) {
            let ended = ErrorReply::new(ErrorCode::NotSubscribed, "the subscription has ended");
            self.refuse(Some(entry.id), ended);
        }
    }

    /// Acts on what a request has brought.
    pub(super) fn take(&mut self, carrier: u64, pushed: Pushed) {
        match pushed {
            Pushed::Begun { filter, body } => match self.book.begin(carrier, &filter, &body) {
                Some(Begun::Now(id)) => {
                    self.reply(ServerFrame::Reply(Reply { id, result: Ok(body) }));
                }
                Some(Begun::Broken) => {
                    self.lose(Loss::without_code("a stream could not go on where it was"));
                }
                Some(Begun::Before) | None => {}
            },
            Pushed::Message(message) => {
                if self.book.accepts(carrier, &message) {
                    self.reply(ServerFrame::Message(message));
                }
            }
            Pushed::Event(Event::Gap(gap)) => {
                if self.book.miss(carrier, &gap) {
                    self.reply(ServerFrame::Event(Event::Gap(gap)));
                }
            }
            Pushed::Event(event) => self.reply(ServerFrame::Event(event)),
            Pushed::Born { topic, epoch } => {
                if self.book.bear(carrier, &topic, &epoch) {
                    self.ready.push_back(Progress::Born { topic, epoch });
                }
            }
            Pushed::Refused(refusal) => self.take_refusal(carrier, refusal),
            Pushed::Lost(loss) if self.book.knows(carrier) => {
                let is_full = loss.code == Some(CloseCode::TRY_AGAIN_LATER);
                if is_full && self.book.is_beginning(carrier) {
                    self.take_rest(carrier, &loss.reason);
                } else {
                    self.lose(loss);
                }
            }
            Pushed::Lost(_) => {}
        }
    }

    /// A request was refused. One of several subscriptions may be the reason, so each half is
    /// asked for on its own.
    fn take_refusal(&mut self, carrier: u64, refusal: ErrorReply) {
        let mut carried = self.book.take_carrier(carrier);
        if carried.iter().any(|(_, entry)| entry.has_begun) && (carried.len() < 2 || refusal.retry)
        {
            return self.lose(Loss::without_code(refusal.message));
        }
        if carried.len() < 2 || refusal.retry {
            for (_, entry) in carried {
                self.refuse(Some(entry.id), refusal.clone());
            }
            return;
        }
        let behind = carried.split_off(carried.len() / 2);
        for half in [carried, behind] {
            self.ask_for(half, &[]);
        }
    }

    /// A stream was ended in the middle of its beginning: the broker is at a limit. What had begun
    /// goes on by itself.
    fn take_rest(&mut self, carrier: u64, reason: &str) {
        let carried = self.book.take_carrier(carrier);
        let (begun, rest): (Vec<_>, Vec<_>) =
            carried.into_iter().partition(|(_, entry)| entry.has_begun);
        for (_, entry) in rest {
            self.refuse(Some(entry.id), ErrorReply::new(ErrorCode::LimitExceeded, reason));
        }
        self.ask_for(begun, &[]);
    }

    pub(super) fn ask_for_gathered(&mut self) {
        self.ask_at = None;
        while self.tasks.try_join_next().is_some() {}
        for entries in groups::of(std::mem::take(&mut self.gathered)) {
            let is_polled = self.plan.transport == Transport::LongPoll;
            let entries = if is_polled { self.join_running(entries) } else { entries };
            for entries in groups::cut(entries) {
                let joined = if is_polled { Vec::new() } else { self.joinable(&entries) };
                self.ask_for(entries, &joined);
            }
        }
    }

    /// The topics of small streams of the same kind, where there are so many that one shall take
    /// their place.
    fn joinable(&self, entries: &[Asked]) -> Vec<Asked> {
        let Some((_, first)) = entries.first() else { return Vec::new() };
        let alike = |subscribe: &Subscribe| groups::are_alike(subscribe, &first.subscribe);
        let running = self
            .book
            .carriers()
            .filter(|carrier| alike(carrier.subscribe) && carrier.topics < SMALL_STREAM_TOPICS);
        let running: Vec<u64> = running.map(|carrier| carrier.number).collect();
        if running.len() < SMALL_STREAMS_MAX {
            return Vec::new();
        }
        groups::fitting(entries, self.book.topics_of(&running))
    }

    /// Adds what the running loops of the same kind poll, so that they become one.
    fn join_running(&mut self, mut entries: Vec<Asked>) -> Vec<Asked> {
        let Some((_, first)) = entries.first() else { return entries };
        let alike = |subscribe: &Subscribe| groups::are_polled_alike(subscribe, &first.subscribe);
        let running = self.book.carriers().filter(|carrier| alike(carrier.subscribe));
        let running: Vec<u64> = running.map(|carrier| carrier.number).collect();
        for carrier in running {
            entries.extend(self.book.take_carrier(carrier));
        }
        entries
    }

    /// Makes the request that carries these, and takes over `joined`.
    fn ask_for(&mut self, entries: Vec<Asked>, joined: &[Asked]) {
        let Some((_, first)) = entries.first() else { return };
        self.requests_made += 1;
        let (number, pushed) = (self.requests_made, self.pushed_sender.clone());
        let (dialer, grace) = (self.plan.dialer.clone(), self.plan.grace);
        let task = if self.plan.transport == Transport::LongPoll {
            let poll = Poll {
                number,
                base: dialer.topics.clone(),
                caller: Caller::new(dialer, None),
                topics: groups::polled(&entries),
                mode: first.mode(),
                max_rate: first.subscribe.max_rate,
                wait: self.plan.poll_wait,
                grace,
                pushed,
            };
            self.tasks.spawn(poll.run())
        } else {
            let target = groups::stream_url(&dialer.topics, &[&entries, joined].concat())
                .as_str()
                .to_owned();
            self.tasks.spawn(Stream { number, dialer, target, grace, pushed }.run())
        };
        self.book.carry(number, task, entries, joined);
    }
}
