//! Bytes and packets of connections, each byte counted once and by what it is for.
//!
//! Bytes are those that were written to and read from sockets. What is computed from them, TCP/IP
//! and TLS, has its own names and is in no sum of measured bytes.

use fanfare_kernel::Segments;
use serde::{Deserialize, Serialize};

/// Header of a packet over IPv4: 20 bytes of IP, 20 of TCP and 12 of its timestamp option, which
/// Linux, macOS and Android use on every packet.
pub(crate) const TCP_IP_BYTES: u64 = 52;

/// What TLS 1.3 adds to a record: header, authentication tag and content type (RFC 8446 section
/// 5.2).
pub(crate) const TLS_RECORD_BYTES: u64 = 5 + 16 + 1;

/// Bytes of one direction by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parts {
    /// HTTP heads: request or status line, headers, blank line; of WebSocket handshakes too.
    pub head: u64,
    /// WebSocket headers, masks, pings and pongs; field names and line ends of event streams.
    pub framing: u64,
    /// What stands around payloads in JSON or MessagePack, commands and replies, values of `id:`.
    pub envelope: u64,
    /// What was published.
    pub payload: u64,
}

impl Parts {
    /// All of them.
    #[must_use]
    pub(crate) fn total(self) -> u64 {
        self.head + self.framing + self.envelope + self.payload
    }

    /// All but the payload.
    #[must_use]
    pub(crate) fn overhead(self) -> u64 {
        self.total() - self.payload
    }
}

impl std::ops::AddAssign for Parts {
    fn add_assign(&mut self, other: Self) {
        self.head += other.head;
        self.framing += other.framing;
        self.envelope += other.envelope;
        self.payload += other.payload;
    }
}

impl std::ops::Add for Parts {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

/// What went over some connections, seen from the clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meter {
    /// Bytes to the server.
    pub sent: Parts,
    /// Bytes from the server.
    pub received: Parts,
    /// Packets to the server, bare acknowledgements included (`TCP_INFO`).
    pub segments_sent: u64,
    /// Packets from the server.
    pub segments_received: u64,
    /// Requests, answers, events and frames: at most so many TLS records would carry them.
    pub records: u64,
    /// Connections that were opened.
    pub connections: u64,
}

impl Meter {
    /// Bytes of both directions.
    #[must_use]
    pub(crate) fn both(&self) -> Parts {
        self.sent + self.received
    }

    /// Packets of both directions.
    #[must_use]
    pub(crate) fn segments(&self) -> u64 {
        self.segments_sent + self.segments_received
    }

    /// Computed: headers of these packets over IPv4.
    #[must_use]
    pub(crate) fn tcp_ip_bytes(&self) -> u64 {
        self.segments() * TCP_IP_BYTES
    }

    /// Computed: what TLS 1.3 would add, its handshakes aside.
    #[must_use]
    pub(crate) fn tls_bytes(&self) -> u64 {
        self.records * TLS_RECORD_BYTES
    }

    /// Counts the packets from `before` until `now`.
    pub(crate) fn add_segments(&mut self, before: Segments, now: Segments) {
        // The kernel's counts wrap around.
        self.segments_sent += u64::from(now.sent.wrapping_sub(before.sent));
        self.segments_received += u64::from(now.received.wrapping_sub(before.received));
    }
}

impl std::ops::AddAssign for Meter {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.segments_sent += other.segments_sent;
        self.segments_received += other.segments_received;
        self.records += other.records;
        self.connections += other.connections;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_computed_is_in_no_sum_of_what_was_counted() {
        let parts = Parts { head: 1, framing: 2, envelope: 4, payload: 8 };
        let mut meter = Meter { sent: parts, received: parts, records: 3, ..Meter::default() };
        let before = Segments { sent: u32::MAX, received: 1 };
        meter.add_segments(before, Segments { sent: 1, received: 4 });
        assert_eq!((meter.segments_sent, meter.segments_received), (2, 3));
        assert_eq!((meter.both().total(), meter.both().overhead()), (30, 14));
        assert_eq!((meter.tcp_ip_bytes(), meter.tls_bytes()), (5 * 52, 3 * 22));
    }
}
