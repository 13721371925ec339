//! What can be told of the connections that a shard itself has closed, apart from its counters.
//!
//! Owns one example for each close code and how many there were like it, until the shard's owner
//! takes them. So a storm of ends costs a count each, and no more room than there are codes.

use std::net::SocketAddr;

use fanfare_protocol::CloseCode;

use super::connection::Phase;
use super::{Key, Shard, Socket};
use crate::topics::MemberId;

/// Connections that were closed with one code, and the first of them as an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// What they were closed with.
    pub code: CloseCode,
    /// How many they are.
    pub count: u64,
    /// The name of the first on the wire.
    pub connection: String,
    /// Where it came from.
    pub peer: Option<SocketAddr>,
    /// What it was told.
    pub reason: String,
    /// Bytes of frames that were accepted for it and that the network had not taken.
    pub buffered_amount: usize,
}

impl<S: Socket> Shard<S> {
    /// The connections that the shard has closed since this was last asked, by code; those of
    /// [`Self::shut_down`] are left out.
    #[must_use]
    pub fn take_closed(&mut self) -> Vec<Closed> {
        std::mem::take(&mut self.closed)
    }

    /// Notes that a connection is about to be closed.
    pub(super) fn note_closed(&mut self, key: Key, code: CloseCode, reason: &str) {
        let connection = self.connections.get(key).filter(|c| c.phase != Phase::Closing);
        let Some(connection) = connection else { return };
        if let Some(alike) = self.closed.iter_mut().find(|closed| closed.code == code) {
            alike.count += 1;
            return;
        }
        let id = MemberId { shard: self.index as u32, serial: connection.serial };
        self.closed.push(Closed {
            code,
            count: 1,
            connection: id.connection(&self.node),
            peer: connection.socket.peer(),
            reason: reason.to_owned(),
            buffered_amount: connection.outbox_bytes() + connection.socket.unsent_bytes(),
        });
    }
}
