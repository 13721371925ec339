//! Closing connections because an operator says so.

use std::net::{IpAddr, SocketAddr};

use fanfare_protocol::CloseCode;

use super::connection::{Connection, Phase};
use super::{Key, Shard, Socket};
use crate::time::Now;
use crate::topics::MemberId;

/// Which connections an operator means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionTarget {
    /// The one of this name.
    Name(String),
    /// All that come from this address.
    Address(IpAddr),
    /// The one that comes from this address and port.
    Peer(SocketAddr),
}

impl<S: Socket> Shard<S> {
    /// Closes up to `connections_max` connections that `target` means and that are not being
    /// closed yet: behind what they are owed, as at every other end. Returns how many.
    pub fn disconnect(
        &mut self,
        target: &ConnectionTarget,
        (code, reason): (CloseCode, &str),
        connections_max: usize,
        now: Now,
    ) -> usize {
        let meant = match target {
            ConnectionTarget::Name(name) => {
                let id = MemberId::of_connection(name, &self.node);
                let serial = id.filter(|id| id.shard as usize == self.index).map(|id| id.serial);
                self.find(1, |connection| Some(connection.serial) == serial)
            }
            ConnectionTarget::Address(ip) => self.find(connections_max, |connection| {
                connection.socket.peer().is_some_and(|peer| peer.ip().to_canonical() == *ip)
            }),
            ConnectionTarget::Peer(addr) => self.find(1, |connection| {
                let peer = connection.socket.peer();
                let same_ip = |peer: &SocketAddr| peer.ip().to_canonical() == addr.ip();
                peer.is_some_and(|peer| same_ip(&peer) && peer.port() == addr.port())
            }),
        };
        for key in &meant {
            self.close(*key, code, reason, now);
        }
        meant.len()
    }

    /// Up to `limit` connections that are as `is_meant` says and not being closed.
    fn find(&self, limit: usize, is_meant: impl Fn(&Connection<S>) -> bool) -> Vec<Key> {
        let open = self.connections.iter().filter(|(_, one)| one.phase != Phase::Closing);
        open.filter(|(_, one)| is_meant(one)).map(|(key, _)| key).take(limit).collect()
    }
}
