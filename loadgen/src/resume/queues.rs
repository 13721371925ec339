//! What the kernel holds of a connection whose two ends are on this machine.
//!
//! Owns the reading of `/proc/net/tcp` and `/proc/net/tcp6` (proc_pid_net(5)): a row for each end,
//! with the bytes that were sent and not acknowledged (`tx_queue`) and those that were received
//! and not read (`rx_queue`). While nothing moves, no byte is in both.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Longer than an acknowledgement is delayed.
const LOOK_INTERVAL: Duration = Duration::from_millis(60);

const LOOKS_MAX: u32 = 20;

const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// Why the queues are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueueError {
    /// The system does not tell.
    #[error("the kernel's queues cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// An end is not on this machine, or not in this network namespace, or is closed.
    #[error("the kernel shows no connection from {0} to {1}; the server has to be on this machine")]
    NotHere(SocketAddr, SocketAddr),
}

/// Bytes between a server that has written them and a reader that has not read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queues {
    /// In the server's socket.
    pub unsent_bytes: u64,
    /// In the reader's socket.
    pub unread_bytes: u64,
}

impl Queues {
    /// Those of the connection between `reader` and `server`, once nothing moves any more: what
    /// was received and is not acknowledged yet stands in both.
    ///
    /// # Errors
    /// [`QueueError`] if they are not known.
    pub(super) fn look_up_at_rest(
        reader: SocketAddr,
        server: SocketAddr,
    ) -> Result<Self, QueueError> {
        let mut queues = Self::look_up(reader, server)?;
        for _ in 0..LOOKS_MAX {
            std::thread::sleep(LOOK_INTERVAL);
            let before = std::mem::replace(&mut queues, Self::look_up(reader, server)?);
            if queues == before {
                break;
            }
        }
        Ok(queues)
    }

    fn look_up(reader: SocketAddr, server: SocketAddr) -> Result<Self, QueueError> {
        let mut rows = Vec::new();
        for table in TABLES {
            match std::fs::read_to_string(table) {
                Ok(text) => rows.extend(text.lines().filter_map(Row::read)),
                // A system without IPv6 has one table.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        let find = |local, remote| {
            let row = rows.iter().find(|row| row.local == local && row.remote == remote);
            row.ok_or(QueueError::NotHere(local, remote))
        };
        let (reader, server) = (canonical(reader), canonical(server));
        Ok(Self {
            unsent_bytes: find(server, reader)?.tx_bytes,
            unread_bytes: find(reader, server)?.rx_bytes,
        })
    }
}

/// One socket.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    local: SocketAddr,
    remote: SocketAddr,
    tx_bytes: u64,
    rx_bytes: u64,
}

impl Row {
    /// Reads a line; `None` for the headline.
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace().skip(1);
        let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
        let (tx, rx) = fields.nth(1)?.split_once(':')?;
        let bytes = |hex| u64::from_str_radix(hex, 16).ok();
        Some(Self { local, remote, tx_bytes: bytes(tx)?, rx_bytes: bytes(rx)? })
    }
}

/// Reads `0100007F:1F90`: words in the machine's own byte order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok();
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?.to_ne_bytes()).into(),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?].map(u32::to_ne_bytes);
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?)))
}

/// A socket of both families shows IPv4 addresses within IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn bytes_that_were_written_and_not_read_are_found() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else { continue };
            let mut reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, from) = listener.accept().unwrap();
            let address = server.local_addr().unwrap();
            let look_up = || {
                let queues = Queues::look_up_at_rest(from, address).unwrap();
                queues.unsent_bytes + queues.unread_bytes
            };
            assert_eq!(look_up(), 0);
            (&server).write_all(&[0; 1_000]).unwrap();
            assert_eq!(look_up(), 1_000, "{host}");
            reader.read_exact(&mut [0; 400]).unwrap();
            assert_eq!(look_up(), 600);
            server.set_nonblocking(true).unwrap();
            let mut written = 1_000;
            while let Ok(count) = server.write(&[0; 65_536]) {
                written += count as u64;
            }
            assert_eq!(look_up(), written - 400);
            assert!(Queues::look_up(from, address).unwrap().unsent_bytes > 0);
        }
    }

    #[test]
    fn rows_of_both_families_are_read() {
        let row = "  1: 0100007F:1F90 0200007F:C350 01 0000000A:000000FF 00:00000000 00000000";
        let (local, remote) = ("127.0.0.1:8080", "127.0.0.2:50000");
        let expected = Row {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            tx_bytes: 10,
            rx_bytes: 255,
        };
        assert_eq!(Row::read(row).unwrap(), expected);
        let mapped = "0000000000000000FFFF00000100007F:1F90";
        assert_eq!(address(mapped).unwrap().to_string(), local);
        assert_eq!(Row::read("  sl  local_address rem_address   st tx_queue rx_queue"), None);
        assert!(Queues::look_up(expected.local, expected.local).is_err());
    }
}
