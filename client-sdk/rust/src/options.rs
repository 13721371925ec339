//! What an application may ask of a subscription, a publish and a page of history.

use fanfare_protocol::limits::{HISTORY_MESSAGES_MAX, MAX_RATES};
use fanfare_protocol::{Filter, History, Mode, Position, Subscribe, TopicName};

use crate::error::Error;

/// Options of a subscription, for [`Client::subscribe_with`](crate::Client::subscribe_with).
///
/// ```
/// use fanfare_client::{Mode, Position, SubscribeOptions};
///
/// // A page that shows the newest price, five times a second at most.
/// let newest = SubscribeOptions::new().mode(Mode::Latest).max_rate(5);
///
/// // A program that goes on where it ended yesterday.
/// let kept = Position { epoch: "k3f9q2xw".to_owned(), offset: 41 };
/// let everything_since = SubscribeOptions::new().since(kept);
/// # drop((newest, everything_since));
/// ```
#[must_use = "options do nothing until something is subscribed with them"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    pub(crate) mode: Option<Mode>,
    pub(crate) since: Option<Position>,
    pub(crate) max_rate: Option<u32>,
    pub(crate) snapshot: Option<bool>,
    pub(crate) presence: bool,
}

impl SubscribeOptions {
    /// The defaults: from now on, in the mode of the topic's namespace.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the broker delivers while this client does not keep up. With [`Mode::All`] every
    /// message comes in order, or a [`Gap`](crate::Gap) says which do not. With [`Mode::Latest`]
    /// the newest message comes whenever there was no time for the ones before it; those are
    /// passed over without a word. By default the namespace decides: [`Mode::All`], unless the
    /// broker's operator says otherwise.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// The last message that the application has, such as a [`Subscription::position`] that it
    /// kept: what came after it is delivered first, as far as the broker still holds it. If it
    /// does not hold everything, the subscription begins with a [`Gap`](crate::Gap). Not with a
    /// pattern, which has no position.
    ///
    /// [`Subscription::position`]: crate::Subscription::position
    pub fn since(mut self, position: Position) -> Self {
        self.since = Some(position);
        self
    }

    /// The most messages per second and topic: 1, 2, 5 or 10. Those in between are passed over,
    /// so the mode is [`Mode::Latest`]; the newest message always arrives in the end. By default
    /// there is no such limit.
    pub fn max_rate(mut self, messages_per_second: u32) -> Self {
        self.max_rate = Some(messages_per_second);
        self
    }

    /// Whether the newest message that the broker keeps is delivered at once; with a pattern,
    /// that of every topic that matches. By default yes in mode [`Mode::Latest`] and in
    /// namespaces that keep the newest value, otherwise no.
    pub fn snapshot(mut self, snapshot: bool) -> Self {
        self.snapshot = Some(snapshot);
        self
    }

    /// Whether the stream tells also who comes to the topic and who leaves it, as
    /// [`Update::Presence`](crate::Update::Presence). The namespace must have presence. Not with
    /// a pattern. The default is no.
    pub fn presence(mut self, presence: bool) -> Self {
        self.presence = presence;
        self
    }

    /// The command that asks for it, or what is wrong with it.
    pub(crate) fn command(&self, filter: &Filter) -> Result<Subscribe, Error> {
        if let Some(rate) = self.max_rate.filter(|rate| !MAX_RATES.contains(rate)) {
            let allowed = MAX_RATES.map(|rate| rate.to_string()).join(", ");
            let detail = format!("there is no rate {rate}; use one of {allowed} messages a second");
            return Err(Error::BadOption { detail });
        }
        let subscribe = Subscribe {
            topic: filter.to_string(),
            since: self.since.clone(),
            mode: self.mode,
            max_rate: self.max_rate,
            snapshot: self.snapshot,
            presence: self.presence,
        };
        match subscribe.check() {
            Ok(()) => Ok(subscribe),
            Err(error) => Err(Error::BadOption { detail: error.message }),
        }
    }

    /// The mode that it comes to if the namespace has no mode of its own.
    pub(crate) fn likely_mode(&self) -> Mode {
        let implied = if self.max_rate.is_some() { Mode::Latest } else { Mode::All };
        self.mode.unwrap_or(implied)
    }
}

/// Options of a publish, for [`Client::publish_with`](crate::Client::publish_with).
///
/// ```
/// use fanfare_client::PublishOptions;
///
/// // Sent again by the client itself if the connection is lost, and yet published once.
/// let once = PublishOptions::new().key("order-17");
///
/// // A quote that is worth nothing a second later.
/// let now_or_never = PublishOptions::new().wait_for_room(false);
/// # drop((once, now_or_never));
/// ```
#[must_use = "options do nothing until something is published with them"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishOptions {
    pub(crate) key: Option<String>,
    pub(crate) wait_for_room: bool,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self { key: None, wait_for_room: true }
    }
}

impl PublishOptions {
    /// The defaults: no key, and a wait for room.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the message, in 1 to 128 bytes. The broker publishes only the first of the messages
    /// of a topic with the same key, within a window of 2 minutes and 1,000 keys by default. So
    /// the client repeats a message with a key by itself when the connection was lost before the
    /// reply came, and the application may do so too.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Whether to wait while the [buffered amount](crate::Client::buffered_amount) is at the
    /// high-water mark. If not, [`Error::BufferFull`](crate::Error::BufferFull) is returned at
    /// once. The default is to wait.
    pub fn wait_for_room(mut self, wait: bool) -> Self {
        self.wait_for_room = wait;
        self
    }
}

/// Options of a page of history, for [`Client::history`](crate::Client::history).
#[must_use = "options do nothing until history is asked for with them"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryOptions {
    pub(crate) after: Option<Position>,
    pub(crate) limit: Option<u32>,
}

impl HistoryOptions {
    /// The defaults: the newest messages, at most 100.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where to begin: the oldest messages behind this position are given, rather than the
    /// newest ones of all.
    pub fn after(mut self, position: Position) -> Self {
        self.after = Some(position);
        self
    }

    /// The most messages in the page, from 1 to 1,000. The default is 100.
    pub fn limit(mut self, messages: u32) -> Self {
        self.limit = Some(messages);
        self
    }

    /// The command that asks for it, or what is wrong with it.
    pub(crate) fn command(&self, topic: &TopicName) -> Result<History, Error> {
        match self.limit {
            None | Some(1..=HISTORY_MESSAGES_MAX) => Ok(History {
                topic: topic.to_string(),
                after: self.after.clone(),
                limit: self.limit,
            }),
            Some(limit) => {
                let detail = format!(
                    "a page of history has 1 to {HISTORY_MESSAGES_MAX} messages, not {limit}"
                );
                Err(Error::BadOption { detail })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(filter: &str, options: &SubscribeOptions) -> String {
        options.command(&Filter::new(filter).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn what_does_not_go_together_is_told_with_what_does() {
        let options = SubscribeOptions::new;
        let since = options().since(Position { epoch: "e".to_owned(), offset: 1 });
        for (filter, options, part) in [
            ("a", options().max_rate(3), "1, 2, 5, 10"),
            ("a", options().max_rate(5).mode(Mode::All), "`latest`"),
            ("a.*", since, "a pattern has no position"),
            (">", options().presence(true), "a pattern has no presence"),
        ] {
            let refusal = refusal(filter, &options);
            assert!(refusal.contains(part), "{refusal}");
        }
    }

    #[test]
    fn a_page_of_history_has_a_length() {
        let topic = TopicName::new("a").unwrap();
        for limit in [0, 1_001] {
            assert!(HistoryOptions::new().limit(limit).command(&topic).is_err());
        }
        for limit in [1, 1_000] {
            assert!(HistoryOptions::new().limit(limit).command(&topic).is_ok());
        }
    }
}
