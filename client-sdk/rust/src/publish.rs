//! Publishing: how messages get from the application into the outgoing queue, and when they wait.

use std::time::Duration;

use fanfare_protocol::{Command, Payload, Publish, Published, Request as Body, TopicName};
use serde::Serialize;
use tokio::time::Instant;

use crate::client::Client;
use crate::error::Error;
use crate::options::PublishOptions;
use crate::request::{Awaited, Outcome, Outgoing, Repeats, Request};

/// How long after it was made a message with a key may be sent again. Half of the window within
/// which a broker by default knows a key: what was sent last may lie on the way for the other half.
const REPEATS_WITHIN: Duration = Duration::from_secs(60);

impl Client {
    /// Publishes a message and waits for the broker's confirmation: where it stands in the topic.
    /// As [`publish_with`](Self::publish_with) with the default options.
    ///
    /// # Errors
    /// As [`publish_with`](Self::publish_with).
    pub async fn publish(&self, topic: &str, payload: Payload) -> Result<Published, Error> {
        self.publish_with(topic, payload, PublishOptions::new()).await
    }

    /// Publishes a message, by default once there is room for it in the outgoing queue (see
    /// [`buffered_amount`](Self::buffered_amount)), and waits for the broker's confirmation: where
    /// it stands in the topic.
    ///
    /// While the client is reconnecting the message waits in the queue. A message whose future is
    /// dropped before it is written is not sent.
    ///
    /// With a [key](PublishOptions::key) the client repeats the message by itself if the
    /// connection was lost before the reply came, for up to a minute. [`Published::duplicate`]
    /// then says that the broker had it already, at this position.
    ///
    /// # Errors
    /// [`Error::BadTopic`], [`Error::BadOption`], [`Error::TooLarge`], [`Error::BufferFull`],
    /// [`Error::Refused`], [`Error::ClosedByBroker`] or [`Error::Closed`]: it was not published.
    /// [`Error::ConnectionLost`] or [`Error::TimedOut`]: the outcome is unknown (see
    /// [`Error::outcome_is_unknown`]).
    pub async fn publish_with(
        &self,
        topic: &str,
        payload: Payload,
        options: PublishOptions,
    ) -> Result<Published, Error> {
        let PublishOptions { key, wait_for_room } = options;
        let repeats = match key {
            Some(_) => Repeats::Until(Instant::now() + REPEATS_WITHIN),
            None => Repeats::Never,
        };
        let id = self.handle.shared.next_number();
        let command = publish_command(Some(id), topic, key, payload)?;
        self.command(&command, wait_for_room, |reply| Awaited {
            id,
            outcome: Outcome::Publish(reply),
            repeats,
        })
        .await
    }

    /// Publishes `value`, written as JSON; else as [`publish`](Self::publish).
    ///
    /// # Errors
    /// [`Error::BadPayload`] if the value cannot be written as JSON or is nested too deep; else
    /// as [`publish_with`](Self::publish_with).
    pub async fn publish_json<T>(&self, topic: &str, value: &T) -> Result<Published, Error>
    where
        T: Serialize + ?Sized,
    {
        self.publish(topic, json_payload(value)?).await
    }

    /// Publishes a message without confirmation: waits only for room in the outgoing queue. The
    /// message is lost if the connection is lost before it is written, or if the broker refuses
    /// it.
    ///
    /// # Errors
    /// [`Error::BadTopic`], [`Error::TooLarge`], [`Error::BufferFull`] if there is no room within
    /// the command timeout, [`Error::ClosedByBroker`] or [`Error::Closed`].
    pub async fn publish_unconfirmed(&self, topic: &str, payload: Payload) -> Result<(), Error> {
        let command = publish_command(None, topic, None, payload)?;
        let outgoing = self.reserve(&command, true).await?;
        self.enqueue(Request::Command { outgoing, awaited: None })
    }

    /// Publishes a message without confirmation, or refuses it at once if there is no room in the
    /// outgoing queue; otherwise as [`publish_unconfirmed`](Self::publish_unconfirmed). For what
    /// is worth nothing later, such as a quote: better one left out than all of them late.
    ///
    /// # Errors
    /// [`Error::BadTopic`], [`Error::TooLarge`], [`Error::BufferFull`],
    /// [`Error::ClosedByBroker`] or [`Error::Closed`].
    pub fn try_publish(&self, topic: &str, payload: Payload) -> Result<(), Error> {
        let command = publish_command(None, topic, None, payload)?;
        let frame = self.encode(&command)?;
        let outgoing: Outgoing = self.reserve_now(frame)?;
        self.enqueue(Request::Command { outgoing, awaited: None })
    }

    /// What this client has accepted and not yet handed to the network: the bytes of encoded
    /// frames that the operating system has not taken, as of a browser's
    /// `WebSocket.bufferedAmount`. It counts what is published and asked, with the commands around
    /// the payloads and the frames' headers, byte for byte; what waits for the next connection is
    /// in it, and what the client says of its own accord to keep its session is not. On Linux the
    /// operating system takes at most 64 KiB more than it has sent. Over another
    /// [transport](Self::transport) than a WebSocket a command counts until the broker has answered
    /// it.
    ///
    /// It rises when the application publishes faster than the network takes it, because the
    /// broker is busy, which holds back who publishes, or because the connection is slow or lost.
    /// At the [high-water mark](crate::ClientBuilder::high_water_mark) publishing waits.
    #[must_use]
    pub fn buffered_amount(&self) -> u64 {
        self.handle.shared.buffered.bytes()
    }
}

fn json_payload(value: &(impl Serialize + ?Sized)) -> Result<Payload, Error> {
    let bad = |detail: String| Error::BadPayload { detail };
    let json = serde_json::to_vec(value).map_err(|e| bad(e.to_string()))?;
    Payload::json(json).ok_or_else(|| bad("it is nested too deep".to_owned()))
}

fn publish_command(
    id: Option<u64>,
    topic: &str,
    key: Option<String>,
    payload: Payload,
) -> Result<Command, Error> {
    TopicName::check(topic)?;
    let publish = Publish { topic: topic.to_owned(), key, payload };
    publish.check().map_err(|error| Error::BadOption { detail: error.message })?;
    Ok(Command { id, request: Body::Publish(publish) })
}
