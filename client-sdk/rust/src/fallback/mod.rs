//! A link without a WebSocket: to the session it looks like one, on the network it is HTTP
//! requests that each stand alone.
//!
//! Messages come over streams of server-sent events, or over long polling; what the session
//! publishes and asks goes through a lane of requests. Whatever breaks ends the whole link: the
//! session then knows where each subscription stands, and begins it anew from there.

mod book;
mod carrying;
mod event_stream;
mod groups;
mod http;
mod lane;
mod long_poll;
mod opening;
mod sse;
mod url;

use std::collections::VecDeque;
use std::sync::Arc;

use fanfare_protocol::{
    Command, ErrorCode, ErrorReply, Event, MessagePush, ReplyBody, Request, ServerFrame,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::book::Book;
use self::groups::Asked;
use self::http::Caller;
pub(crate) use self::http::Dialer;
use self::lane::{Item, Lane, Line, Settled, refused};
pub(crate) use self::opening::Plan;
use crate::link::{Loss, Progress};
use crate::request::Outgoing;

/// Commands that may wait in the lane before no more are taken from the queue.
const LANE_ITEMS_MAX: usize = 1_000;

/// What may have come of the streams and not been looked at yet. Then they are not read.
const PUSHED_MAX: usize = 64;

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
}
