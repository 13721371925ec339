//! A link without a WebSocket: to the session it looks like one, on the network it is HTTP
//! requests that each stand alone.
//!
//! Messages come over streams of server-sent events, or over long polling; what the session
//! publishes and asks goes through a lane of requests. Whatever breaks ends the whole link: the
//! session then knows where each subscription stands, and begins it anew from there.

mod book;
mod event_stream;
mod groups;
mod http;
mod lane;
mod long_poll;
mod sse;
mod url;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{
    Codec, Command, Connected, ErrorCode, ErrorReply, Event, Filter, MessagePush, Reply, ReplyBody,
    Request, ServerFrame, Subscribe, Unsubscribed,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::book::{Book, Entry};
use self::groups::Asked;
pub(crate) use self::http::Dialer;
use self::http::{Caller, HttpConnection};
use self::lane::{Item, Lane, Line, Settled, refused};
use self::long_poll::{Answered, Poll};
use self::sse::{NotOpened, OpenStream, Stream};
use self::url::Url;
use crate::error::Error;
use crate::link::{Loss, Progress};
use crate::proxy::Route;
use crate::request::Outgoing;
use crate::transport::Transport;

/// How long subscriptions gather that go into one request.
const GATHER: Duration = Duration::from_millis(5);

/// Commands that may wait in the lane before no more are taken from the queue.
const LANE_ITEMS_MAX: usize = 1_000;

/// What may have come of the streams and not been looked at yet. Then they are not read.
const PUSHED_MAX: usize = 64;

/// Something nobody publishes to; asked for to see whether the transport works.
const PROBE: &str = "fanfare.probe";

/// What a link needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) transport: Transport,
    pub(crate) codec: Codec,
    pub(crate) dialer: Arc<Dialer>,
    /// How much longer than it should the broker may be silent.
    pub(crate) grace: Duration,
    /// How long an answer to a publish or a question may take.
    pub(crate) answer_timeout: Duration,
    /// How long the broker shall hold a poll.
    pub(crate) poll_wait: Duration,
}

/// What a request that carries subscriptions has brought.
#[derive(Debug)]
enum Pushed {
    Begun { filter: String, body: ReplyBody },
    Message(MessagePush),
    Event(Event),
    Born { topic: String, epoch: Arc<str> },
    Refused(ErrorReply),
    Lost(Loss),
}

/// The session's end of its requests.
#[derive(Debug)]
pub(crate) struct HttpLink {
    plan: Plan,
    /// `None` once the link is closing.
    lane: Option<mpsc::UnboundedSender<Item>>,
    settled: mpsc::UnboundedReceiver<Settled>,
    /// Items that are not settled.
    unsettled: usize,
    /// What follows the subscriptions with which the link was opened, until they have begun: as on
    /// a WebSocket, a message is not published before them. `None` from then on.
    held: Option<Vec<Item>>,
    pushed: mpsc::Receiver<(u64, Pushed)>,
    pushed_sender: mpsc::Sender<(u64, Pushed)>,
    book: Book,
    requests_made: u64,
    /// Subscriptions that are about to be asked for, and when.
    gathered: Vec<Asked>,
    ask_at: Option<Instant>,
    ready: VecDeque<Progress>,
    /// Everything that runs for the link; ends with it.
    tasks: JoinSet<()>,
}

impl HttpLink {
    /// Makes sure that the transport works, on a way that is open.
    pub(crate) async fn open(plan: Plan, route: Route) -> Result<(Self, Connected), Error> {
        let connection = plan.dialer.begin(route).await?;
        let base = Url::of_topics(&plan.dialer.topics);
        let lane_caller = match plan.transport {
            Transport::LongPoll => {
                let url = base.with("topic", PROBE).with("limit", "1");
                let mut caller = Caller::new(plan.dialer.clone(), Some(connection));
                let answered = long_poll::probe(&mut caller, &url, plan.answer_timeout).await;
                answered.map_err(|answered| plan.unusable(answered))?;
                caller
            }
            _ => {
                let url = base.with("topic", &format!("{PROBE}.>"));
                plan.probe_stream(connection, &url).await.map_err(|error| match error {
                    NotOpened::Refused(answer) => plan.unusable(Answered::Otherwise(answer)),
                    NotOpened::Lost(loss) => plan.unusable(Answered::Not(loss)),
                })?;
                Caller::new(plan.dialer.clone(), None)
            }
        };
        // Nobody names a connection that is not there, nor a longest message.
        let connected = Connected {
            connection: String::new(),
            node: String::new(),
            ping_interval_ms: u64::MAX,
            message_bytes_max: u64::MAX,
        };
        Ok((Self::new(plan, lane_caller), connected))
    }

    fn new(plan: Plan, lane_caller: Caller) -> Self {
        let (lane, queue) = mpsc::unbounded_channel();
        let (settled_sender, settled) = mpsc::unbounded_channel();
        let (pushed_sender, pushed) = mpsc::channel(PUSHED_MAX);
        let mut tasks = JoinSet::new();
        let task = Lane {
            caller: lane_caller,
            topics: plan.dialer.topics.clone(),
            silence_max: plan.answer_timeout,
            queue,
            settled: settled_sender,
        };
        tasks.spawn(task.run());
        Self {
            plan,
            lane: Some(lane),
            settled,
            unsettled: 0,
            held: Some(Vec::new()),
            pushed,
            pushed_sender,
            book: Book::default(),
            requests_made: 0,
            gathered: Vec::new(),
            ask_at: None,
            ready: VecDeque::new(),
            tasks,
        }
    }

    /// Carries out the commands of a frame.
    pub(crate) fn send(&mut self, outgoing: Outgoing) {
        let Outgoing { frame, mut charge } = outgoing;
        let bytes = frame.into_data();
        // The session has encoded them itself.
        let commands = Command::decode_frame(self.plan.codec, &bytes).unwrap_or_default();
        for command in commands {
            let id = command.id;
            match command.request {
                Ok(Request::Publish(publish)) => {
                    self.enqueue(Item::Publish(Line { id, publish, _charge: charge.take() }));
                }
                Ok(Request::History(history)) => {
                    let Some(id) = id else { continue };
                    self.enqueue(Item::History { id, history, charge: charge.take() });
                }
                Ok(Request::Subscribe(subscribe)) => self.subscribe(id, subscribe),
                Ok(Request::Unsubscribe(unsubscribe)) => {
                    self.unsubscribe(id, &unsubscribe.topic);
                }
                // Each request says itself who the client is.
                Ok(Request::Connect(_)) => {}
                Ok(Request::Presence(_)) => self.refuse(id, self.not_over("presence")),
                Ok(_) => self.refuse(id, self.not_over("this command")),
                Err(error) => self.refuse(id, error),
            }
        }
    }

    fn enqueue(&mut self, item: Item) {
        self.unsettled += 1;
        match (&mut self.held, &self.lane) {
            (Some(held), _) => held.push(item),
            // An error means that the lane has ended, which is about to be told.
            (None, Some(lane)) => drop(lane.send(item)),
            (None, None) => {}
        }
    }

    /// Lets go what was held, once every subscription of the opening has begun or was refused.
    fn let_go(&mut self) {
        if self.gathered.is_empty() && self.book.has_begun() {
            for item in self.held.take().unwrap_or_default() {
                self.unsettled -= 1;
                self.enqueue(item);
            }
        }
    }

    fn subscribe(&mut self, id: Option<u64>, subscribe: Subscribe) {
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

    fn unsubscribe(&mut self, id: Option<u64>, topic: &str) {
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

    fn not_over(&self, what: &str) -> ErrorReply {
        let transport = self.plan.transport;
        let message = format!("{what} is not available over {transport}; it needs a WebSocket");
        ErrorReply::new(ErrorCode::NotEnabled, message)
    }

    fn refuse(&mut self, id: Option<u64>, error: ErrorReply) {
        if let Some(id) = id {
            self.reply(refused(id, error));
        }
    }

    fn reply(&mut self, frame: ServerFrame) {
        self.ready.push_back(Progress::Received(frame));
    }

    /// Takes no more commands; the link ends once those in the lane are settled.
    pub(crate) fn send_close(&mut self) {
        self.book.clear();
        self.gathered.clear();
        self.ask_at = None;
        self.let_go();
        self.lane = None;
    }

    /// Whether the lane can take more.
    pub(crate) fn is_flushed(&self) -> bool {
        self.unsettled < LANE_ITEMS_MAX
    }

    /// Waits until something has happened; takes messages only if `read`. Cancel safe.
    pub(crate) async fn progress(&mut self, read: bool) -> Progress {
        loop {
            if let Some(progress) = self.ready.pop_front() {
                return progress;
            }
            if self.held.is_some() {
                self.let_go();
            }
            let ask_at = self.ask_at;
            tokio::select! {
                settled = self.settled.recv() => self.settle(settled),
                Some((carrier, pushed)) = self.pushed.recv(), if read => self.take(carrier, pushed),
                () = sleep_until(ask_at.unwrap_or_else(Instant::now)), if ask_at.is_some() => {
                    self.ask_for_gathered();
                }
            }
        }
    }

    fn settle(&mut self, settled: Option<Settled>) {
        let Some(Settled { items, replies }) = settled else {
            return self.lose(Loss::without_code("the link is closed"));
        };
        self.unsettled = self.unsettled.saturating_sub(items);
        match replies {
            Ok(replies) => {
                replies.into_iter().for_each(|reply| self.reply(reply));
                self.ready.push_back(Progress::Flushed);
            }
            Err(loss) => self.lose(loss),
        }
    }

    fn lose(&mut self, loss: Loss) {
        self.ready.push_back(Progress::Lost(loss));
    }

    /// Acts on what a request has brought.
    fn take(&mut self, carrier: u64, pushed: Pushed) {
        match pushed {
            Pushed::Begun { filter, body } => {
                if let Some(id) = self.book.begin(carrier, &filter, &body) {
                    self.reply(ServerFrame::Reply(Reply { id, result: Ok(body) }));
                }
            }
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
            Pushed::Lost(loss) if self.book.knows(carrier) => self.lose(loss),
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
            self.ask_for(half);
        }
    }

    fn ask_for_gathered(&mut self) {
        self.ask_at = None;
        while self.tasks.try_join_next().is_some() {}
        for entries in groups::of(std::mem::take(&mut self.gathered)) {
            let joined = match self.plan.transport {
                Transport::LongPoll => self.join_running(entries),
                _ => entries,
            };
            for entries in groups::cut(joined) {
                self.ask_for(entries);
            }
        }
    }

    /// Adds what the running loops of the same kind poll, so that they become one.
    fn join_running(&mut self, mut entries: Vec<Asked>) -> Vec<Asked> {
        let Some((_, first)) = entries.first() else { return entries };
        let alike = |subscribe: &Subscribe| groups::are_polled_alike(subscribe, &first.subscribe);
        let running = self.book.carriers().filter(|(_, subscribe)| alike(subscribe));
        let running: Vec<u64> = running.map(|(number, _)| number).collect();
        for carrier in running {
            entries.extend(self.book.take_carrier(carrier));
        }
        entries
    }

    /// Makes the request that carries these.
    fn ask_for(&mut self, entries: Vec<Asked>) {
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
            let target = groups::stream_url(&dialer.topics, &entries).as_str().to_owned();
            self.tasks.spawn(Stream { number, dialer, target, grace, pushed }.run())
        };
        self.book.carry(number, task, entries);
    }
}

impl Plan {
    /// Opens a stream and waits for its first event, which something between may hold back.
    async fn probe_stream(&self, connection: HttpConnection, url: &Url) -> Result<(), NotOpened> {
        let mut stream = OpenStream::open(&self.dialer, connection, url.as_str()).await?;
        let event = stream.next(self.answer_timeout).await?;
        if event.name != "subscribed" {
            return Err(
                Loss::without_code(format!("the stream begins with {:?}", event.name)).into()
            );
        }
        Ok(())
    }

    fn unusable(&self, answered: Answered) -> Error {
        let address = self.dialer.address.host_port.clone();
        let transport = self.transport;
        match answered {
            Answered::Not(loss) => {
                Error::NotABroker { address, detail: format!("over {transport}: {}", loss.reason) }
            }
            Answered::Otherwise(answer) if answer.status.is_success() => Error::NotABroker {
                address,
                detail: format!("the answer is not what {transport} needs"),
            },
            Answered::Otherwise(answer) => {
                let status = answer.status.as_u16();
                Error::UpgradeRefused { address, status, detail: answer.detail() }
            }
        }
    }
}
