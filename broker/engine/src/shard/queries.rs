//! Commands that ask and change nothing: history and presence.

use fanfare_protocol::limits::{HISTORY_MESSAGES_DEFAULT, PRESENCE_MEMBERS_DEFAULT};
use fanfare_protocol::{
    ErrorCode, ErrorReply, History, HistoryMessage, HistoryPage, Presence, PresenceList, ReplyBody,
};

use super::session::{join_error, topic_name};
use super::{Shard, Socket};
use crate::topics::member;

impl<S: Socket> Shard<S> {
    pub(super) fn history(&self, history: &History) -> Result<ReplyBody, ErrorReply> {
        let name = topic_name(&history.topic)?;
        let limit = history.limit.unwrap_or(HISTORY_MESSAGES_DEFAULT) as usize;
        let Some(page) = self.topics.history(&name, history.after.as_ref(), limit) else {
            let message = format!("there is no topic {name} now, and nothing is kept of it");
            return Err(ErrorReply::new(ErrorCode::UnknownTopic, message));
        };
        let messages = page.messages.iter().map(|message| HistoryMessage {
            offset: message.offset(),
            prev: None,
            payload: message.payload().clone(),
        });
        Ok(ReplyBody::History(HistoryPage {
            epoch: page.epoch.to_string(),
            offset: page.head,
            recovered: page.recovered,
            more: page.more,
            messages: messages.collect(),
        }))
    }

    pub(super) fn presence(&self, presence: &Presence) -> Result<ReplyBody, ErrorReply> {
        let name = topic_name(&presence.topic)?;
        let limit = presence.limit.unwrap_or(PRESENCE_MEMBERS_DEFAULT) as usize;
        let snapshot = self.topics.presence(&name, limit).map_err(|error| join_error(&error))?;
        let members = snapshot.members.iter();
        Ok(ReplyBody::Presence(PresenceList {
            count: snapshot.count,
            version: snapshot.version,
            members: members.map(|(id, name)| member(*id, name, &self.node)).collect(),
        }))
    }
}
