//! What a server has taken from a publisher for sure: it has answered a ping behind it.
//!
//! A pong comes when everything before its ping was read, and costs the server less than a reply to
//! each message would. Owns the pings and their count, no socket.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::frame;

/// How many messages of each topic the server has taken at least; shared between threads.
#[derive(Debug)]
pub(crate) struct Accepted(Vec<AtomicU32>);

impl Accepted {
    /// None of any topic.
    #[must_use]
    pub(crate) fn new(topics: usize) -> Arc<Self> {
        Arc::new(Self((0..topics).map(|_| AtomicU32::new(0)).collect()))
    }

    /// How many of each topic.
    pub(crate) fn counts(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|count| count.load(Ordering::Acquire))
    }
}

/// The publisher's side of it.
#[derive(Debug)]
pub(crate) struct Asking {
    accepted: Arc<Accepted>,
    /// Pings without an answer: their numbers, and what had been sent of each topic before each.
    asked: VecDeque<(u64, Vec<u32>)>,
    number: u64,
}

impl Asking {
    /// Tells `accepted` what is answered.
    #[must_use]
    pub(crate) fn new(accepted: &Arc<Accepted>) -> Self {
        Self { accepted: Arc::clone(accepted), asked: VecDeque::new(), number: 0 }
    }

    /// Appends a ping to what is sent, unless there is nothing new to ask for.
    pub(crate) fn ask(&mut self, sent: &[u32], output: &mut Vec<u8>) {
        if self.asked.back().is_some_and(|(_, before)| before == sent) {
            return;
        }
        self.number += 1;
        frame::write_masked(output, frame::PING, &self.number.to_be_bytes());
        self.asked.push_back((self.number, sent.to_vec()));
    }

    /// Takes a pong. One may stand for several pings (RFC 6455 section 5.5.3).
    pub(crate) fn answered(&mut self, content: &[u8]) {
        let Ok(number) = content.try_into().map(u64::from_be_bytes) else { return };
        while let Some((_, sent)) = self.asked.pop_front_if(|(asked, _)| *asked <= number) {
            let counts = self.accepted.0.iter().zip(sent);
            counts.for_each(|(count, sent)| count.store(sent, Ordering::Release));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Sender;

    fn content(output: &mut Vec<u8>) -> Vec<u8> {
        let frame = frame::read(output, Sender::Client).unwrap().unwrap();
        assert_eq!(frame.opcode, frame::PING);
        let mut content = output[frame.content.clone()].to_vec();
        frame::apply_mask(&mut content, frame.mask);
        output.drain(..frame.content.end);
        content
    }

    #[test]
    fn what_was_sent_before_a_ping_is_taken_once_it_is_answered() {
        let accepted = Accepted::new(2);
        let counts = || accepted.counts().collect::<Vec<_>>();
        let (mut asking, mut output) = (Asking::new(&accepted), Vec::new());
        for sent in [[1, 0], [1, 0], [2, 1], [2, 2]] {
            asking.ask(&sent, &mut output);
        }
        let pings = [content(&mut output), content(&mut output), content(&mut output)];
        assert!(output.is_empty(), "nothing new, nothing asked");
        asking.answered(b"of somebody else");
        assert_eq!(counts(), [0, 0]);
        asking.answered(&pings[0]);
        assert_eq!(counts(), [1, 0]);
        asking.answered(&pings[2]);
        assert_eq!(counts(), [2, 2], "it stands for the one before it too");
        asking.answered(&pings[1]);
        assert_eq!(counts(), [2, 2]);
    }
}
