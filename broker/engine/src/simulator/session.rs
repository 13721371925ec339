//! One connection as its client sees it: what it has asked, what it subscribes to, and whether
//! what comes is what it may be told.

use std::collections::VecDeque;

use fanfare_protocol::{
    CloseCode, Codec, Command, ErrorCode, Event, Mode, Payload, Position, Published, Reply,
    ReplyBody, ServerFrame, Subscribed,
};

use super::asked::{Asked, Sent};
use super::intake::{Answer, ConnectionId};
use super::pages;
use super::plan::{ClientPlan, Pace};
use super::presence::Listening;
use super::record::{Place, Record};
use super::snapshots::Snapshot;
use super::stream::EventReader;
use super::track::Start;
use super::ways::{PatternWay, Ways};
use super::wire::{BINARY, CLOSE, Frame, FrameReader, PING, PONG, TEXT, Wire};
use super::wish::Wish;
use crate::time::Now;
use crate::topics::WireForm;

/// A connection from its handshake to its end.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) wire: Wire,
    id: ConnectionId,
    form: WireForm,
    reader: FrameReader,
    /// In place of `reader` where the form is one of event streams.
    pub(super) events: EventReader,
    /// What an event stream was opened for.
    pub(super) sources: Vec<Asked>,
    /// Commands whose replies have not come, in their order.
    pub(super) asked: VecDeque<(u64, Sent)>,
    next_id: u64,
    /// Subscriptions that are live.
    pub(super) ways: Ways,
    /// Whether it reads at once, so that it is never behind.
    is_prompt: bool,
    /// Which topics, and patterns, it subscribes to once all that it asked is done.
    wanted: Vec<bool>,
    wanted_patterns: Vec<usize>,
    /// By topic: where its last page of history ended, if more follows.
    pub(super) page_ends: Vec<Option<Position>>,
    /// By topic: whether it is told who comes and goes.
    listening: Vec<Option<Listening>>,
    /// Of the pattern that was subscribed to last.
    snapshot: Option<Snapshot>,
    /// Messages that snapshots did not hold, to come later.
    promised: Vec<Place>,
    /// Contents of pings that were not answered.
    pings: VecDeque<Vec<u8>>,
    /// Whether the broker may, or must, refuse to go on from the position that was named.
    may_be_refused: bool,
    must_be_refused: bool,
    /// The code and the reason of the close frame that came.
    pub(super) closed: Option<(CloseCode, String)>,
}

impl Session {
    pub(super) fn new(wire: Wire, id: ConnectionId, plan: &ClientPlan, topics: usize) -> Self {
        Self {
            wire,
            id,
            form: plan.form,
            is_prompt: plan.pace == Pace::Prompt,
            reader: FrameReader::default(),
            events: EventReader::default(),
            sources: Vec::new(),
            asked: VecDeque::new(),
            next_id: 1,
            ways: Ways::new(topics),
            wanted: vec![false; topics],
            wanted_patterns: Vec::new(),
            page_ends: vec![None; topics],
            listening: vec![None; topics],
            snapshot: None,
            promised: Vec::new(),
            pings: VecDeque::new(),
            may_be_refused: false,
            must_be_refused: false,
            closed: None,
        }
    }

    pub(super) fn form(&self) -> WireForm {
        self.form
    }

    pub(super) fn wants(&self, topic: usize) -> bool {
        self.wanted[topic]
    }

    pub(super) fn wants_pattern(&self, pattern: usize) -> bool {
        self.wanted_patterns.contains(&pattern)
    }

    /// Notes that a raw stream is opened. Nothing tells its client where it begins, or that it
    /// goes on where it should: a stream that cannot is refused.
    pub(super) fn begin_raw(
        &mut self,
        topic: usize,
        wish: Wish,
        since: Option<Position>,
        record: &Record,
    ) {
        self.wanted[topic] = true;
        let options = record.options(topic);
        let terms = wish.terms(options);
        let mode = terms.mode;
        self.may_be_refused = since.is_some() && mode == Mode::All;
        let Some(ring) = record.table.ring(record.topic_name(topic)) else {
            self.must_be_refused = true;
            return;
        };
        let (epoch, offset) = (ring.epoch.to_string(), ring.head);
        let known = since.filter(|since| since.epoch == epoch && since.offset <= offset);
        let recovered = known.map(|since| since.offset);
        self.must_be_refused = self.may_be_refused && recovered.is_none();
        // Where the newest is wanted, a position is of use only if nothing came after it.
        let recovered = recovered.filter(|since| mode == Mode::All || *since == offset);
        let wants_newest = wish.wants_newest(options);
        let snapshot = recovered.is_none() && wants_newest && !ring.messages.is_empty();
        let asked = record.now;
        let start = Start { topic, terms, epoch, offset, recovered, snapshot, asked };
        self.ways.begin(start, record);
    }

    /// Sends commands in one frame.
    pub(super) fn ask(&mut self, asked: Vec<Asked>, record: &mut Record) {
        let WireForm::Sdk(codec) = self.form else { panic!("a raw stream has no commands") };
        let mut commands = Vec::new();
        let weight = asked.iter().map(|asked| asked.reply_weight(record)).sum::<usize>();
        let sent = asked.clone();
        for asked in asked {
            let request = asked.request(record);
            self.want(&asked);
            commands.push(Command { id: Some(self.next_id), request });
            let sent = Sent { asked, now: record.now, heads: record.heads() };
            self.asked.push_back((self.next_id, sent));
            self.next_id += 1;
        }
        let mut out = Vec::new();
        Command::encode_batch(&commands, codec, &mut out);
        let opcode = if codec == Codec::Json { TEXT } else { BINARY };
        let mut pipe = self.wire.pipe();
        pipe.replies_due += weight;
        pipe.send(opcode, &out);
        sent.into_iter().for_each(|asked| record.intake.send(self.id, pipe.sent_bytes, asked));
    }

    /// Notes what it subscribes to once this is done.
    pub(super) fn want(&mut self, asked: &Asked) {
        match *asked {
            Asked::Subscribe { topic, .. } => self.wanted[topic] = true,
            Asked::Unsubscribe { topic } => self.wanted[topic] = false,
            Asked::SubscribePattern { pattern, .. } => self.wanted_patterns.push(pattern),
            Asked::UnsubscribePattern { pattern } => {
                self.wanted_patterns.retain(|wanted| *wanted != pattern);
            }
            _ => {}
        }
    }

    /// Publishes on a raw stream.
    pub(super) fn send_raw(&self, payload: &Payload) {
        let is_binary = payload.kind() == fanfare_protocol::PayloadKind::Binary;
        let opcode = if is_binary { BINARY } else { TEXT };
        self.wire.pipe().send(opcode, payload.bytes());
    }

    pub(super) fn ping(&mut self, content: Vec<u8>) {
        let mut pipe = self.wire.pipe();
        pipe.replies_due += 1;
        pipe.send(PING, &content);
        drop(pipe);
        self.pings.push_back(content);
    }

    /// Reads up to `bytes` of what has come, answers what wants an answer, and judges it all.
    pub(super) fn hear(&mut self, bytes: usize, record: &mut Record) {
        let bytes = self.wire.pipe().take(bytes);
        if self.form.is_events() {
            return self.hear_events(&bytes, record);
        }
        self.reader.push(&bytes);
        while let Some(frame) = self.reader.next() {
            match (frame.opcode, self.form) {
                (PING, _) => self.wire.pipe().send(PONG, frame.payload()),
                (PONG, _) => {
                    let content = self.pings.pop_front();
                    assert_eq!(content.as_deref(), Some(frame.payload()), "pongs answer in order");
                }
                (CLOSE, _) => {
                    let reason = frame.payload().get(2..).unwrap_or_default();
                    let reason = String::from_utf8_lossy(reason).into_owned();
                    self.closed = frame.close_code().map(|code| (CloseCode(code), reason));
                    record.summary.count("connections closed by the broker");
                    self.wire.pipe().send(CLOSE, frame.payload());
                }
                (_, WireForm::Raw) => self.hear_raw(frame, record),
                (_, WireForm::Sdk(codec)) => self.hear_sdk(codec, frame, record),
                (_, form) => panic!("frames of {form:?}"),
            }
        }
    }

    fn hear_raw(&mut self, frame: Frame, record: &mut Record) {
        let bytes = frame.payload().to_vec();
        let payload = match (frame.opcode, String::from_utf8(bytes)) {
            (BINARY, Ok(text)) => Payload::binary(text),
            (BINARY, Err(error)) => Payload::binary(error.into_bytes()),
            (_, Ok(text)) => Payload::from_checked(Payload::kind_of_text(&text), text.into()),
            (_, Err(error)) => panic!("a text frame without UTF-8: {error}"),
        };
        assert!(!self.must_be_refused, "what it asked for cannot be recovered");
        let place = record.place(&payload).clone();
        self.hear_message(place, frame, &payload, record);
    }

    pub(super) fn hear_sdk(&mut self, codec: Codec, frame: Frame, record: &mut Record) {
        let decoded = ServerFrame::decode(codec, frame.payload());
        match decoded.unwrap_or_else(|error| panic!("{error}: {frame:?}")) {
            ServerFrame::Reply(reply) => self.hear_reply(reply, record),
            ServerFrame::Message(message) => {
                assert_eq!(message.prev, None, "on one node offsets are dense");
                let place = record.place(&message.payload).clone();
                let told = (record.topic(&message.topic), message.offset);
                assert_eq!((place.topic, place.offset), told, "where it was published");
                self.hear_message(place, frame, &message.payload, record);
            }
            ServerFrame::Event(Event::Gap(gap)) => {
                let topic = record.topic(&gap.topic);
                let oldest = record.oldest_kept(topic, &gap.epoch);
                let track = self.ways.track(topic, &gap.epoch, record);
                let track = track.unwrap_or_else(|| panic!("not subscribed: {gap:?}"));
                track.miss(&gap, record, oldest);
                record.summary.count("gaps");
            }
            ServerFrame::Event(Event::Ping(ping)) => {
                record.summary.count("pings");
                for (name, head) in ping.heads {
                    let track = self.ways.of_name(record.topic(&name));
                    let has = track.is_some_and(|track| {
                        // Where the node has no room for the newest, the head says what is lost.
                        let is_kept = track.terms.mode == Mode::All || record.rings_have_room();
                        track.has(head) || !is_kept
                    });
                    assert!(has, "a ping tells {head} of {name}, which did not come: {track:?}");
                    record.summary.count("heads told by pings");
                }
            }
            ServerFrame::Event(Event::Snapshot(end)) => {
                let snapshot = self.snapshot.take();
                let snapshot = snapshot.unwrap_or_else(|| panic!("none is due: {end:?}"));
                self.promised.extend(snapshot.end(&end, record));
            }
            ServerFrame::Event(Event::Presence(change)) => {
                let topic = record.topic(&change.topic);
                let listening = self.listening[topic].as_mut();
                let listening = listening.unwrap_or_else(|| panic!("nobody listens: {change:?}"));
                listening.hear(topic, &change, self.is_prompt, &record.attendance);
                record.summary.count("presence events");
            }
            ServerFrame::Event(Event::Drain(_)) => record.summary.count("drains"),
            other => panic!("unexpected: {other:?}"),
        }
    }

    pub(super) fn hear_message(
        &mut self,
        place: Place,
        frame: Frame,
        payload: &Payload,
        record: &mut Record,
    ) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.hear(&place, record);
        }
        let track = self.ways.track(place.topic, &place.epoch, record);
        let track = track.unwrap_or_else(|| panic!("not subscribed: {place:?}"));
        let passed_over = track.hear(place.offset);
        if self.is_prompt {
            track.check_rate(record.now);
        }
        record.summary.add("messages passed over", passed_over);
        record.check_frame(&place, self.form, frame, payload);
    }

    pub(super) fn hear_reply(&mut self, reply: Reply, record: &mut Record) {
        let asked = self.asked.pop_front();
        let (id, sent) = asked.unwrap_or_else(|| panic!("nothing was asked: {reply:?}"));
        assert_eq!(reply.id, id, "replies come in order: {sent:?}, {reply:?}");
        let answer = record.intake.take_answer(self.id);
        match (sent.asked, reply.result) {
            (Asked::Connect { .. }, Ok(ReplyBody::Connect(connected))) => {
                assert_eq!(connected.connection, self.id.name(), "what it is called");
            }
            (Asked::History(wish), Ok(ReplyBody::History(page))) => {
                let Answer::Kept(kept) = answer else { panic!("{answer:?}: {page:?}") };
                pages::check(&wish, &kept, &page, record);
                self.page_ends[wish.topic] = page
                    .messages
                    .last()
                    .filter(|_| page.more)
                    .map(|last| Position { epoch: page.epoch.clone(), offset: last.offset });
                record.summary.count("pages of history");
            }
            (Asked::History(wish), Err(error)) => {
                assert_eq!(error.code, ErrorCode::UnknownTopic);
                let Answer::Kept(kept) = answer else { panic!("{answer:?}: {wish:?}") };
                assert!(!kept.is_certain(), "there is a topic: {wish:?}, {kept:?}");
            }
            (Asked::Presence { .. }, Ok(ReplyBody::Presence(list))) => {
                let Answer::Attended(attended) = answer else { panic!("{answer:?}: {list:?}") };
                record.attendance.check_list(&attended, &list);
                record.summary.count("lists of members");
            }
            (
                Asked::Subscribe { topic, wish, since, presence },
                Ok(ReplyBody::Subscribe(reply)),
            ) => {
                if presence {
                    let Answer::Joined { version: begun } = answer else { panic!("{answer:?}") };
                    let epoch = reply.epoch.clone();
                    self.listening[topic] = Some(Listening { epoch, begun, last: None });
                }
                self.begin((topic, wish, sent.now), since, reply, record);
            }
            (Asked::Unsubscribe { topic }, Ok(ReplyBody::Unsubscribe(_))) => {
                self.ways.end(topic, sent.now, record);
                self.promised.clear();
                self.listening[topic] = None;
                record.summary.count("subscriptions ended");
            }
            (Asked::SubscribePattern { pattern, wish }, Ok(ReplyBody::SubscribePattern(reply))) => {
                let options = record.pattern_options(pattern);
                let (terms, wants_newest) = (wish.terms(options), wish.wants_newest(options));
                assert_eq!(reply.mode, terms.mode, "the mode of pattern {pattern}");
                assert!(self.snapshot.is_none(), "it has not ended: {:?}", self.snapshot);
                let known = self.ways.known(record);
                let snapshot = || Snapshot::new(pattern, known, sent.heads.clone());
                self.snapshot = wants_newest.then(snapshot);
                let (before, after, asked) = (sent.heads, record.heads(), sent.now);
                let way = PatternWay { pattern, terms, wants_newest, before, after, asked };
                self.ways.begin_pattern(way, record);
                record.summary.count("patterns subscribed");
            }
            (Asked::UnsubscribePattern { pattern }, Ok(ReplyBody::Unsubscribe(_))) => {
                self.ways.end_pattern(pattern, sent.now, record);
                self.promised.clear();
                record.summary.count("patterns ended");
            }
            (Asked::Publish { topic, payload, .. }, Ok(ReplyBody::Publish(published))) => {
                let (place, duplicate) = match answer {
                    Answer::Published { place, duplicate } => (place, duplicate),
                    _ => (record.place(&payload).clone(), false),
                };
                let Published { epoch, offset, .. } = published;
                assert_eq!(place, Place { topic, epoch, offset }, "the acknowledged place");
                assert_eq!(published.duplicate, duplicate, "whether it was published before");
                record.summary.count("publishes acknowledged");
            }
            (Asked::Mistake { code, .. }, Err(error)) => assert_eq!(error.code, code),
            (asked, result) => panic!("{asked:?} was answered with {result:?}"),
        }
    }

    fn begin(
        &mut self,
        (topic, wish, asked): (usize, Wish, Now),
        since: Option<Position>,
        reply: Subscribed,
        record: &mut Record,
    ) {
        let options = record.options(topic);
        let terms = wish.terms(options);
        assert_eq!(reply.mode, terms.mode, "the mode of {topic}");
        let wants_newest = wish.wants_newest(options);
        assert!(!reply.snapshot || (wants_newest && !reply.recovered), "a snapshot of {topic}");
        let Subscribed { epoch, offset, recovered, snapshot, .. } = reply;
        assert!(offset <= record.head(topic, &epoch), "an offset that is not there yet");
        let known = since.filter(|since| since.epoch == epoch && since.offset <= offset);
        assert!(known.is_some() || !recovered, "recovered from nowhere");
        let known = known.map(|since| since.offset);
        let recovered_from = known.filter(|_| recovered);
        let place = |offset| Place { topic, epoch: epoch.clone(), offset };
        if wants_newest && !recovered && !snapshot {
            let is_kept = offset > 0 && record.must_be_kept(&place(offset));
            assert!(!is_kept, "the newest of {topic} is kept, but does not come");
        }
        if let Some(since) = known.filter(|_| !recovered) {
            let could = since == offset || record.must_be_kept(&place(since + 1));
            assert!(!could, "what follows {since} on {topic} is kept, but not recovered");
        }
        record.summary.count(if recovered { "subscriptions recovered" } else { "fresh starts" });
        let recovered = recovered_from;
        let start = Start { topic, terms, epoch, offset, recovered, snapshot, asked };
        self.ways.begin(start, record);
    }

    /// Demands that there was a reason to close the connection.
    pub(super) fn check_closed(&self, is_prompt: bool, record: &Record) {
        let Some((code, reason)) = &self.closed else { return };
        match *code {
            CloseCode::NOT_RECOVERABLE => {
                assert!(self.may_be_refused, "nothing was asked for that could be refused");
                for track in self.ways.named() {
                    let could = !self.must_be_refused && track.could_recover(record);
                    assert!(!could, "refused, but it is kept: {track:?}");
                }
            }
            // Also what a rate held back.
            CloseCode::SERVICE_RESTART if is_prompt => {
                for (track, _) in self.ways.all(record) {
                    assert!(track.is_complete(record), "the restart cut it short: {track:?}");
                }
            }
            CloseCode::SERVICE_RESTART => {}
            CloseCode::SLOW_CONSUMER
            | CloseCode::NO_PONG
            | CloseCode::CONNECT_TIMEOUT
            | CloseCode::MESSAGE_TIMEOUT => assert!(!is_prompt, "a prompt reader: {reason}"),
            other => panic!("closed with {other:?}: {reason}"),
        }
    }

    /// Demands that everything has come that was published, of one who reads at once.
    pub(super) fn check_prompt(&self, record: &Record) {
        let all = self.ways.all(record);
        // With a rate some of it may be held back.
        for (track, _) in all.iter().filter(|(track, _)| track.terms.rate.is_none()) {
            assert!(track.is_complete(record), "a prompt reader is not served: {track:?}");
        }
        for (topic, listening) in self.listening.iter().enumerate() {
            let Some(listening) = listening else { continue };
            listening.check_complete(topic, &record.attendance);
        }
    }

    /// Demands that everything has come that was asked for or published.
    pub(super) fn check_complete(&self, record: &Record) {
        for (track, is_by_name) in self.ways.all(record) {
            track.check_complete(record, is_by_name);
        }
        assert!(!self.must_be_refused, "what it asked for cannot be recovered");
        assert!(self.asked.is_empty(), "no reply to {:?}", self.asked);
        assert!(self.snapshot.is_none(), "it has not ended: {:?}", self.snapshot);
        assert!(self.pings.is_empty(), "no pong to {:?}", self.pings);
        for place in &self.promised {
            let track = self.ways.track_of(place.topic, &place.epoch);
            let has = track.is_some_and(|track| track.has(place.offset));
            assert!(has, "what a snapshot put off never came: {place:?}, {track:?}");
        }
    }
}
