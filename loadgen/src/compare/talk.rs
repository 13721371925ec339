//! What one client says and hears on its connection, whatever the way.
//!
//! A talk knows no socket and no time-table: it is given bytes and gives bytes, so that each way's
//! counting can be tested on given ones. When to ask and when to connect is the crew's.

use std::io;
use std::net::SocketAddr;

use super::meter::Meter;
use super::tally::Tally;
use super::way::Way;
use crate::frame::FrameFault;
use crate::handshake::HandshakeError;
use crate::stamp::Stamp;

/// What the clients of one measurement have in common.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    /// How messages come.
    pub way: Way,
    /// The broker.
    pub address: SocketAddr,
    /// The topic's name.
    pub topic: String,
    /// Header lines of the preset, each with its line end.
    pub lines: String,
    /// Whether requests on connections that are kept say so, as browsers' do.
    pub says_keep_alive: bool,
    /// Clients of all crews.
    pub clients: u32,
    /// From one poll to the next, in ns.
    pub interval_ns: u64,
    /// Emulated: how long anything takes from one end to the other, in ns.
    pub one_way_ns: u64,
    /// The number in the stamps of this measurement.
    pub run: u8,
    /// Length of each payload in the form that this way carries it, in bytes.
    pub payload_bytes: u64,
}

/// What goes wrong with one client.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// The upgrade failed.
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    /// The server's frames are not what a server may send.
    #[error("the server sent {0}")]
    Frame(#[from] FrameFault),
    /// The server's frames are not the SDK protocol.
    #[error("the server does not speak the SDK protocol: {0}")]
    Protocol(#[from] fanfare_protocol::FrameError),
    /// The server refused a command.
    #[error("the server refused a command: {0}")]
    Command(#[from] fanfare_protocol::ErrorReply),
    /// The server answered with another status than is expected.
    #[error("the server answered {status}: {detail}")]
    Status {
        /// The status.
        status: u16,
        /// The start of the body.
        detail: String,
    },
    /// The answer is not HTTP/1.1 as this program reads it.
    #[error("the answer is no HTTP that this program reads: {0}")]
    NotHttp(String),
    /// The server ended the connection.
    #[error("the server closed the connection {0}")]
    Closed(String),
}

/// What a client has understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing whole; more bytes are needed.
    Nothing,
    /// Something, so many bytes long.
    Part(usize),
    /// The same, and with it the client follows the topic.
    Live(usize),
    /// The end of the answer to its question, so many bytes.
    Answer(usize),
}

/// Where a talk notes what it hears.
#[derive(Debug)]
pub(super) struct Notes<'a> {
    /// What is common to all.
    pub setup: &'a Setup,
    /// All counts.
    pub tally: &'a mut Tally,
    /// The sequence number that this client expects next.
    pub next: &'a mut u32,
    /// When the bytes were read, in ns of [`crate::stamp::now_ns`].
    pub now_ns: u64,
}

impl Notes<'_> {
    /// The meter of the moment.
    pub(super) fn meter(&mut self) -> &mut Meter {
        self.tally.meter()
    }

    /// Takes content that may hold messages: their payloads, and what stands around them.
    pub(super) fn content(&mut self, content: &[u8]) {
        let mut payloads = 0;
        for stamp in Stamp::find_all(content) {
            payloads += self.setup.payload_bytes;
            if stamp.run == self.setup.run {
                self.tally.message(self.next, &stamp, self.now_ns, self.setup);
            }
        }
        let payloads = payloads.min(content.len() as u64);
        let received = &mut self.meter().received;
        received.payload += payloads;
        received.envelope += content.len() as u64 - payloads;
    }
}

/// One client's side of the conversation.
pub(super) trait Talk: std::fmt::Debug {
    /// Appends the next question to `out`, or what opens a new connection.
    fn ask(&mut self, setup: &Setup, meter: &mut Meter, out: &mut Vec<u8>);

    /// Takes what stands at the start of `input`; appends to `out` what must be said at once.
    ///
    /// # Errors
    /// [`Fault`]; the connection is of no use afterwards.
    fn hear(
        &mut self,
        input: &[u8],
        notes: &mut Notes<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Heard, Fault>;
}

impl Setup {
    /// The topic's path.
    #[must_use]
    pub(super) fn path(&self) -> String {
        format!("/v1/topics/{}", self.topic)
    }

    /// A client of this way.
    #[must_use]
    pub(super) fn talk(&self) -> Box<dyn Talk> {
        match self.way {
            Way::PollFresh | Way::PollFreshEtag | Way::PollKept | Way::PollKeptEtag => {
                Box::new(super::polling::Polling::default())
            }
            Way::LongPoll => Box::new(super::long_polling::LongPolling::default()),
            Way::Sse => Box::new(super::events::Events::default()),
            Way::Raw | Way::SdkJson | Way::SdkMsgpack => {
                Box::new(super::websocket::WebSocket::default())
            }
        }
    }
}

#[cfg(test)]
mod tests;
