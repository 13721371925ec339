//! What a client tells of its connection: the events and how a program listens to them.

use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use fanfare_protocol::{CloseCode, TopicName};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::broadcast;

use crate::transport::Transport;

/// Events kept for a listener that does not read; beyond this it loses the oldest ones.
const EVENTS_KEPT: usize = 64;

/// A change of a client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The client is about to connect.
    Connecting {
        /// Attempts since the last stable connection, this one included; from 1.
        attempt: u32,
    },
    /// The session is open.
    Connected {
        /// The broker's name for the connection; empty over another transport than a WebSocket.
        connection: String,
        /// The broker process; empty likewise.
        node: String,
        /// How the client and the broker talk.
        transport: Transport,
    },
    /// A transport does not get through; the client tries the next one.
    FallingBack {
        /// The transport that failed.
        from: Transport,
        /// The transport that is tried now.
        to: Transport,
        /// Why, for a person.
        reason: String,
    },
    /// The connection was lost, or an attempt to connect failed.
    Disconnected {
        /// The broker's close code; `None` if it sent none.
        code: Option<CloseCode>,
        /// Why, for a person.
        reason: String,
        /// The wait before the next attempt; `None` if there will be none.
        retry_in: Option<Duration>,
    },
    /// The broker will soon close the connection, as before a restart. The client comes back
    /// after a random time within the window.
    Draining {
        /// The time over which the broker's clients spread their return.
        window: Duration,
    },
    /// Messages of these topics were sent and have not arrived, as the broker's ping shows. The
    /// client subscribes to them again from where it was; what cannot be recovered stands in the
    /// subscriptions as a [`Gap`](crate::Gap).
    Repairing {
        /// The topics.
        topics: Vec<TopicName>,
    },
    /// The client has ended for good. No event follows.
    Closed,
}

impl Event {
    /// Whether it says how the connection stands, until the next one does.
    fn is_state(&self) -> bool {
        !matches!(self, Self::Draining { .. } | Self::FallingBack { .. } | Self::Repairing { .. })
    }
}

/// The events of one client, from the moment it was asked for them: a [`Stream`] that begins
/// with the newest event that says how the connection stands, and ends after [`Event::Closed`].
///
/// A listener that does not read loses the oldest events, never the newest.
pub struct Events(Pin<Box<dyn Stream<Item = Event> + Send>>);

impl Events {
    /// The next event; `None` after [`Event::Closed`]. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        StreamExt::next(self).await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// Where the driver puts events and listeners get them.
#[derive(Debug)]
pub(crate) struct EventHub {
    /// Locked while an event is sent, so that a new listener misses none and sees none twice.
    newest_state: Mutex<Event>,
    sender: broadcast::Sender<Event>,
}

impl EventHub {
    pub(crate) fn new() -> Self {
        let newest_state = Mutex::new(Event::Connecting { attempt: 1 });
        Self { newest_state, sender: broadcast::Sender::new(EVENTS_KEPT) }
    }

    pub(crate) fn emit(&self, event: Event) {
        let mut newest = self.newest_state.lock().unwrap_or_else(PoisonError::into_inner);
        if event.is_state() {
            newest.clone_from(&event);
        }
        // An error means that nobody listens.
        self.sender.send(event).ok();
    }

    pub(crate) fn listen(&self) -> Events {
        let newest = self.newest_state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = (Some(newest.clone()), self.sender.subscribe(), false);
        drop(newest);
        Events(Box::pin(stream::unfold(state, |(first, mut receiver, ended)| async move {
            if ended {
                return None;
            }
            let event = match first {
                Some(event) => event,
                None => receive(&mut receiver).await?,
            };
            let ended = event == Event::Closed;
            Some((event, (None, receiver, ended)))
        })))
    }
}

async fn receive(receiver: &mut broadcast::Receiver<Event>) -> Option<Event> {
    loop {
        match receiver.recv().await {
            Ok(event) => return Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_gets_the_newest_event_first_and_ends_after_closed() {
        let hub = EventHub::new();
        hub.emit(Event::Connecting { attempt: 2 });
        let events = hub.listen();
        hub.emit(Event::Connecting { attempt: 3 });
        hub.emit(Event::Closed);
        let seen: Vec<_> = events.collect().await;
        let expected =
            [Event::Connecting { attempt: 2 }, Event::Connecting { attempt: 3 }, Event::Closed];
        assert_eq!(seen, expected);
        assert_eq!(hub.listen().collect::<Vec<_>>().await, [Event::Closed]);
    }

    #[tokio::test]
    async fn a_new_listener_hears_how_the_connection_stands_not_what_happened_on_it() {
        let hub = EventHub::new();
        hub.emit(Event::Connecting { attempt: 2 });
        let early = hub.listen();
        hub.emit(Event::Draining { window: Duration::from_secs(1) });
        let late = hub.listen();
        hub.emit(Event::Closed);
        assert_eq!(early.collect::<Vec<_>>().await.len(), 3);
        let expected = [Event::Connecting { attempt: 2 }, Event::Closed];
        assert_eq!(late.collect::<Vec<_>>().await, expected);
    }

    #[tokio::test]
    async fn a_listener_that_does_not_read_loses_the_oldest() {
        let hub = EventHub::new();
        let events = hub.listen();
        (0..1_000).for_each(|attempt| hub.emit(Event::Connecting { attempt }));
        hub.emit(Event::Closed);
        let seen: Vec<_> = events.collect().await;
        assert_eq!(seen.len(), EVENTS_KEPT + 1);
        assert_eq!(seen.last(), Some(&Event::Closed));
    }
}
