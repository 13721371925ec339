//! The background task of a client: connects, serves the connection until it is lost, waits and
//! comes back, until the client is closed or the broker says not to come back.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fanfare_protocol::{CloseCode, Command, Request as Body};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::address::Address;
use crate::alarm::{Alarm, Ring};
use crate::backlog::Backlog;
use crate::backoff::Backoff;
use crate::builder::Config;
use crate::client::{Client, Handle, Shared};
use crate::error::Error;
use crate::event::Event;
use crate::link::{Link, Loss, Progress};
use crate::opener::{Failure, Opened, Opener};
use crate::queue::Queue;
use crate::request::{Control, Request};
use crate::session::{Mismatch, Session};
use crate::transport::Choice;

/// Requests that are taken from the queue in one go and written together.
const REQUESTS_PER_TURN: usize = 64;

/// Connects and starts the task.
pub(crate) async fn start(address: Address, config: Arc<Config>) -> Result<Client, Error> {
    let (requests, request_queue) = mpsc::unbounded_channel();
    let (controls, control_queue) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared::new(config.high_water_bytes));
    let backlog = Backlog::new(config.subscription_buffer);
    let opener =
        Opener { address: Arc::new(address), config: config.clone(), shared: shared.clone() };
    let mut driver = Driver {
        opener,
        choice: Choice::new(config.transports.clone(), config.transport_retry),
        session: Session::new(config.codec, shared.clone(), backlog),
        backoff: config.backoff.clone(),
        requests: Queue::new(request_queue),
        controls: control_queue,
        closers: Vec::new(),
        config: config.clone(),
        shared: shared.clone(),
    };
    let opened = driver.open().await;
    let opened = driver.note(opened)?;
    tokio::spawn(driver.run(opened));
    Ok(Client::new(Handle { config, shared, requests, controls }))
}

struct Driver {
    opener: Opener,
    choice: Choice,
    config: Arc<Config>,
    shared: Arc<Shared>,
    session: Session,
    backoff: Backoff,
    requests: Queue,
    controls: mpsc::UnboundedReceiver<Control>,
    /// Those who wait for the end; they hear it when the driver is dropped.
    closers: Vec<oneshot::Sender<()>>,
}

/// Why there is no connection, and whether coming back makes sense.
struct Outage {
    loss: Loss,
    /// Set if the client must not come back.
    fatal: Option<Error>,
    /// How long the broker wants to be left alone.
    at_least: Duration,
}

impl From<Error> for Outage {
    fn from(error: Error) -> Self {
        let fatal = error.is_final().then(|| error.clone());
        let at_least = error.retry_after().unwrap_or_default();
        Self { loss: error.into(), fatal, at_least }
    }
}

impl From<Loss> for Outage {
    fn from(loss: Loss) -> Self {
        let fatal = loss.code.filter(|code| !code.reconnects());
        let reason = loss.reason.clone();
        let fatal = fatal.map(|code| Error::ClosedByBroker { code, reason });
        Self { loss, fatal, at_least: Duration::ZERO }
    }
}

impl Driver {
    async fn run(mut self, first: Opened) {
        let mut opened = Ok(first);
        let error = loop {
            let outage = match opened {
                Ok(opened) => match self.live(opened).await {
                    Some(loss) => loss.into(),
                    None => break Error::Closed,
                },
                Err(error) => Outage::from(error),
            };
            let Loss { code, reason, retry_in: asked } = outage.loss;
            let disconnected = |retry_in| Event::Disconnected { code, reason, retry_in };
            if let Some(fatal) = outage.fatal {
                self.shared.events.emit(disconnected(None));
                break fatal;
            }
            let drain_window = self.session.take_drain_window();
            // Many are told the same time, so the usual wait comes on top of it.
            let wait = outage.at_least + asked.unwrap_or_else(|| self.backoff.wait(drain_window));
            self.shared.events.emit(disconnected(Some(wait)));
            opened = match self.open_after(wait).await {
                Some(opened) => opened,
                None => break Error::Closed,
            };
        };
        self.end(&error);
    }

    /// Waits, then tries to connect. `None` if the client was closed meanwhile.
    async fn open_after(&mut self, wait: Duration) -> Option<Result<Opened, Error>> {
        self.unless_closed(tokio::time::sleep(wait)).await?;
        self.shared.events.emit(Event::Connecting { attempt: self.backoff.attempt() });
        let opening = self.open();
        let opened = self.unless_closed(opening).await?;
        let opened = self.note(opened);
        if opened.is_err() {
            self.session.disconnected();
        }
        Some(opened)
    }

    /// One attempt to open a session with everything that the client is subscribed to.
    fn open(&mut self) -> impl Future<Output = Result<Opened, Failure>> + use<> {
        let id = self.shared.next_number();
        let request = Body::Connect(self.config.connect());
        let frames = self.session.open(Command { id: Some(id), request });
        self.opener.clone().open(self.choice.order(Instant::now()), id, frames)
    }

    /// Notes how an attempt has ended. Of a session that is open the handles hear before
    /// `connect` returns to the caller.
    fn note(&mut self, opened: Result<Opened, Failure>) -> Result<Opened, Error> {
        let opened = opened.map_err(|Failure { error, is_blocked }| {
            if is_blocked {
                self.choice.failed();
            }
            error
        })?;
        let Opened { connected, transport, .. } = &opened;
        self.choice.opened(*transport, Instant::now());
        self.shared.message_bytes_max.store(connected.message_bytes_max, Ordering::Relaxed);
        self.shared.set_transport(*transport);
        self.shared.events.emit(Event::Connected {
            connection: connected.connection.clone(),
            node: connected.node.clone(),
            transport: *transport,
        });
        Ok(opened)
    }

    /// Lets `work` finish unless the client is closed first. Subscriptions may end meanwhile, and
    /// what has come for them is handed on.
    async fn unless_closed<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                control = self.controls.recv() => if self.is_closed_by(control) { return None },
                outcome = &mut work => return Some(outcome),
                () = self.session.backlog.drain() => {}
                () = self.requests.hold() => {}
            }
        }
    }

    /// Serves a connection to its end. `None` if the client was closed.
    async fn live(&mut self, opened: Opened) -> Option<Loss> {
        let Opened { mut link, connected, .. } = opened;
        let opened_at = Instant::now();
        let ping_interval = Duration::from_millis(connected.ping_interval_ms);
        let silence_max = ping_interval.saturating_add(self.config.liveness_grace);
        let loss = self.serve(&mut link, Alarm::new(silence_max)).await;
        let lifetime = opened_at.elapsed();
        self.backoff.connection_lived(lifetime);
        match loss {
            Some(ref loss) => {
                self.choice.lost(lifetime, loss.code.is_some());
                self.session.disconnected();
            }
            // Whoever reads slowly or not at all must not hold up the end.
            None => drop(timeout(self.config.command_timeout, self.close(link)).await),
        }
        loss
    }

    async fn serve(&mut self, link: &mut Link, mut alarm: Alarm) -> Option<Loss> {
        self.session.opened();
        let mut taken = Vec::with_capacity(REQUESTS_PER_TURN);
        loop {
            self.session.take_outgoing().for_each(|outgoing| link.send(outgoing));
            let reading = self.session.backlog.has_room(self.session.awaits_reply());
            alarm.reading(reading);
            if self.session.take_renewal_wanted() {
                alarm.renew_after(self.config.backoff.max());
            }
            tokio::select! {
                control = self.controls.recv() => if self.is_closed_by(control) { return None },
                // Once every handle is gone the controls say it, after what was said before.
                () = self.requests.take(&mut taken, REQUESTS_PER_TURN),
                    if link.is_flushed() && !self.requests.is_over() => {
                    taken.drain(..).for_each(|request| self.session.request(request));
                }
                progress = link.progress(reading) => {
                    if !matches!(progress, Progress::Flushed) {
                        alarm.heard();
                    }
                    if let Some(loss) = self.advance(progress) {
                        return Some(loss);
                    }
                }
                () = self.session.backlog.drain() => {}
                ring = alarm.rings() => match ring {
                    Ring::Early => {}
                    Ring::Renew => self.session.renew(),
                    Ring::Silent => return Some(Loss::without_code("the broker fell silent")),
                },
            }
        }
    }

    /// Acts on what happened on the socket.
    fn advance(&mut self, progress: Progress) -> Option<Loss> {
        match progress {
            Progress::Received(frame) => match self.session.receive(frame) {
                Ok(()) => None,
                Err(Mismatch) => Some(Loss::without_code("a reply did not fit its command")),
            },
            Progress::Born { topic, epoch } => {
                self.session.bear(&topic, &epoch);
                None
            }
            Progress::Heard | Progress::Flushed => None,
            Progress::Lost(loss) => Some(loss),
        }
    }

    /// Acts on a control; true if the client shall be closed, as also when every handle is gone.
    fn is_closed_by(&mut self, control: Option<Control>) -> bool {
        match control {
            Some(Control::Leave { filter, number, done }) => {
                self.session.leave(&filter, number, done);
                false
            }
            Some(Control::Close(closer)) => {
                self.closers.push(closer);
                true
            }
            None => true,
        }
    }

    /// Sends what is queued and closes the connection as RFC 6455 section 7.1.2 wants it. Replies
    /// that come before the broker's close frame are still taken.
    async fn close(&mut self, mut link: Link) {
        self.session.end_subscriptions(&Error::Closed);
        for request in self.requests.close() {
            match request {
                Request::Subscribe { .. } => request.fail(Error::Closed),
                Request::Command { .. } => self.session.request(request),
            }
        }
        self.session.take_outgoing().for_each(|outgoing| link.send(outgoing));
        link.send_close(CloseCode::NORMAL);
        while self.advance(link.progress(true).await).is_none() {}
    }

    /// Tells everyone that the client has ended.
    fn end(mut self, error: &Error) {
        self.shared.ended.set(error.clone()).ok();
        self.session.end(error);
        self.requests.close().into_iter().for_each(|request| request.fail(error.clone()));
        self.shared.events.emit(Event::Closed);
    }
}
