//! The replies to the commands that open a session, picked out of what a server sends.
//!
//! Messages may stand between them: what a subscription is owed follows its reply at once. Such
//! frames are kept, in order, for whoever reads the connection afterwards.

use fanfare_protocol::{Codec, ReplyBody, ServerFrame, Subscribed};

use crate::frame::{self, Sender};
use crate::opening::ConnectError;

/// Replies that are awaited, and those that have come.
#[derive(Debug)]
pub(crate) struct Replies {
    codec: Codec,
    awaited: usize,
    /// The answers to `subscribe`, in the order of the commands.
    pub subscribed: Vec<Subscribed>,
    /// Whole frames that are no replies.
    pub others: Vec<u8>,
}

impl Replies {
    /// This many are awaited.
    #[must_use]
    pub(crate) fn new(codec: Codec, awaited: usize) -> Self {
        Self { codec, awaited, subscribed: Vec::new(), others: Vec::new() }
    }

    /// Whether all have come.
    #[must_use]
    pub(crate) fn are_complete(&self) -> bool {
        self.awaited == 0
    }

    /// Takes whole frames off the front of `input` until all replies have come.
    ///
    /// # Errors
    /// [`ConnectError`] if one of them is an error, or is no frame of a broker.
    pub(crate) fn read(&mut self, input: &mut Vec<u8>) -> Result<(), ConnectError> {
        let mut at = 0;
        while self.awaited > 0 {
            let Some(frame) = frame::read(&input[at..], Sender::Server)? else { break };
            let content = &input[at..][frame.content.clone()];
            let end = at + frame.content.end;
            let is_reply = match frame.opcode {
                frame::CLOSE => return Err(ConnectError::Closed(frame::close_text(content))),
                frame::TEXT | frame::BINARY => self.take(content)?,
                _ => false,
            };
            if !is_reply {
                self.others.extend_from_slice(&input[at..end]);
            }
            at = end;
        }
        input.drain(..at);
        Ok(())
    }

    /// Takes one frame; whether it is a reply.
    fn take(&mut self, content: &[u8]) -> Result<bool, ConnectError> {
        let ServerFrame::Reply(reply) = ServerFrame::decode(self.codec, content)? else {
            return Ok(false);
        };
        if let ReplyBody::Subscribe(subscribed) = reply.result? {
            self.subscribed.push(subscribed);
        }
        self.awaited -= 1;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(input: &mut Vec<u8>, content: &str) {
        frame::write_bare(input, frame::TEXT, content.as_bytes());
    }

    #[test]
    fn a_refused_command_is_an_error_in_the_servers_words() {
        let mut input = Vec::new();
        text(&mut input, r#"{"event":"ping"}"#);
        text(&mut input, r#"{"id":2,"error":{"code":"bad_topic","message":"no","retry":false}}"#);
        let refused = Replies::new(Codec::Json, 2).read(&mut input).unwrap_err();
        assert_eq!(refused.to_string(), "the server refused a command: no");
    }

    #[test]
    fn messages_between_replies_are_kept_in_order() {
        let (mut input, mut between) = (Vec::new(), Vec::new());
        let reply = |id| {
            format!(r#"{{"id":{id},"subscribe":{{"epoch":"e","offset":7,"recovered":true}}}}"#)
        };
        let message = |offset| format!(r#"{{"topic":"a","offset":{offset},"data":1}}"#);
        text(&mut input, &reply(2));
        for offset in [6, 7] {
            text(&mut input, &message(offset));
            text(&mut between, &message(offset));
        }
        text(&mut input, &reply(3));
        text(&mut input, &message(8));
        let mut replies = Replies::new(Codec::Json, 2);
        let mut some = input[..30].to_vec();
        replies.read(&mut some).unwrap();
        assert_eq!((replies.are_complete(), some.len()), (false, 30), "a part of a reply waits");
        replies.read(&mut input).unwrap();
        assert!(replies.are_complete());
        assert_eq!(replies.subscribed.len(), 2);
        assert_eq!(replies.others, between);
        let mut last = Vec::new();
        text(&mut last, &message(8));
        assert_eq!(input, last, "what follows the last reply is not touched");
    }
}
