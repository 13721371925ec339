//! Asking the broker what it keeps and who is there.

use fanfare_protocol::limits::PRESENCE_MEMBERS_MAX;
use fanfare_protocol::{
    Command, HistoryPage as PageReply, Position, Presence, PresenceList, Request as Body, TopicName,
};

use crate::client::Client;
use crate::error::Error;
use crate::options::HistoryOptions;
use crate::request::{Awaited, Outcome, Repeats};
use crate::update::Message;

/// Some of the messages that the broker keeps of a topic, from [`Client::history`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryPage {
    /// The topic.
    pub topic: TopicName,
    /// The messages, oldest first. A page may hold fewer than were asked for because its bytes
    /// are limited too.
    pub messages: Vec<Message>,
    /// The place of the topic's newest message; its offset is 0 if there was none in this epoch.
    pub head: Position,
    /// Whether everything behind the position that was asked for is still kept. `false` if none
    /// was.
    pub is_recovered: bool,
    /// What to ask for to get what follows; `None` if nothing does.
    pub next: Option<HistoryOptions>,
}

impl HistoryPage {
    fn new(topic: TopicName, options: HistoryOptions, page: PageReply) -> Self {
        let PageReply { epoch, offset, recovered, more, messages } = page;
        let shared_epoch: std::sync::Arc<str> = epoch.as_str().into();
        let messages: Vec<_> = messages
            .into_iter()
            .map(|message| Message {
                topic: topic.clone(),
                epoch: Some(shared_epoch.clone()),
                offset: message.offset,
                prev: message.prev,
                payload: message.payload,
            })
            .collect();
        // A page that holds nothing leads nowhere, whatever it says.
        let last = messages.last().filter(|_| more).and_then(Message::position);
        let next = last.map(|after| HistoryOptions { after: Some(after), ..options });
        let head = Position { epoch, offset };
        Self { topic, messages, head, is_recovered: recovered, next }
    }
}

impl Client {
    /// Asks for messages that the broker keeps of a topic: the newest ones, or those behind a
    /// position, page by page.
    ///
    /// ```
    /// use fanfare_client::{Client, HistoryOptions, Payload};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = fanfare::Server::start(fanfare::ServerConfig::default_for_tests())?;
    /// # let client = Client::connect(&server.url()).await?;
    /// let first = client.publish("ticks.AAPL", Payload::text("187.2")).await?;
    /// client.publish("ticks.AAPL", Payload::text("187.3")).await?;
    ///
    /// let mut wanted = Some(HistoryOptions::new().after(first.position()));
    /// while let Some(options) = wanted {
    ///     let page = client.history("ticks.AAPL", options).await?;
    ///     for message in &page.messages {
    ///         println!("#{}: {:?}", message.offset, message.payload.as_text());
    /// #       assert_eq!(message.offset, 2);
    ///     }
    ///     wanted = page.next;
    /// }
    /// # client.close().await;
    /// # server.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadTopic`], [`Error::BadOption`], [`Error::Refused`] (with
    /// [`UnknownTopic`](crate::ErrorCode::UnknownTopic) if there is no such topic),
    /// [`Error::TooLarge`], [`Error::BufferFull`], [`Error::TimedOut`], [`Error::ClosedByBroker`]
    /// or [`Error::Closed`].
    pub async fn history(
        &self,
        topic: &str,
        options: HistoryOptions,
    ) -> Result<HistoryPage, Error> {
        let topic = TopicName::new(topic)?;
        let request = Body::History(options.command(&topic)?);
        let id = self.handle.shared.next_number();
        let command = Command { id: Some(id), request };
        let repeats = Repeats::Always;
        let page = self
            .command(&command, true, |reply| Awaited {
                id,
                outcome: Outcome::History(reply),
                repeats,
            })
            .await?;
        Ok(HistoryPage::new(topic, options, page))
    }

    /// Asks who is subscribed to a topic by name: how many connections, and up to 1,000 of them.
    /// The topic's namespace must have presence.
    ///
    /// Together with [`SubscribeOptions::presence`](crate::SubscribeOptions::presence) a program
    /// follows who is there: it subscribes, asks for the list, and then applies each
    /// [`PresenceChange`](crate::PresenceChange) whose version is above that of the list.
    ///
    /// # Errors
    /// [`Error::BadTopic`], [`Error::Refused`] (with
    /// [`NotEnabled`](crate::ErrorCode::NotEnabled) if the namespace has no presence),
    /// [`Error::TooLarge`], [`Error::BufferFull`], [`Error::TimedOut`], [`Error::ClosedByBroker`]
    /// or [`Error::Closed`].
    pub async fn presence(&self, topic: &str) -> Result<PresenceList, Error> {
        TopicName::check(topic)?;
        let request =
            Body::Presence(Presence { limit: Some(PRESENCE_MEMBERS_MAX), ..Presence::new(topic) });
        let id = self.handle.shared.next_number();
        let command = Command { id: Some(id), request };
        let repeats = Repeats::Always;
        self.command(&command, true, |reply| Awaited {
            id,
            outcome: Outcome::Presence(reply),
            repeats,
        })
        .await
    }
}
