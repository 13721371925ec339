//! Replies on their way to the sockets, and what is kept where one takes no more.

use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;

use fanfare_engine::Now;
use mio::Interest;
use mio::net::TcpStream;

use super::{End, READ_BYTES, Requests, token};

impl Requests {
    /// Writes what is in `out`, behind what waits. `false`: the socket is broken, or the shard
    /// keeps too much already for those who do not read.
    pub(super) fn write(&mut self, index: usize, now: Now) -> bool {
        let Some(client) = self.clients.get_mut(index) else { return true };
        if self.out.is_empty() {
            return true;
        }
        if !client.unsent.is_empty() {
            self.unsent_bytes += self.out.len();
            client.unsent.append(&mut self.out);
            return self.unsent_bytes <= self.unsent_bytes_max;
        }
        let written = write_all(&mut client.stream, &self.out);
        let is_sound = written.is_ok();
        let rest = &self.out[written.unwrap_or(self.out.len())..];
        if !rest.is_empty() {
            client.unsent.extend_from_slice(rest);
            self.unsent_bytes += rest.len();
            client.sent = now;
            let interest = Interest::READABLE | Interest::WRITABLE;
            let watched = self.registry.reregister(&mut client.stream, token(index), interest);
            self.out.clear();
            return watched.is_ok() && self.unsent_bytes <= self.unsent_bytes_max;
        }
        self.out.clear();
        if self.out.capacity() > READ_BYTES {
            self.out = Vec::new();
        }
        is_sound
    }

    /// Writes what the socket did not take before.
    pub(super) fn flush(&mut self, index: usize, now: Now) {
        let Some(client) = self.clients.get_mut(index) else { return };
        let Ok(written) = write_all(&mut client.stream, &client.unsent) else {
            return self.remove(index, now);
        };
        if written > 0 {
            client.sent = now;
            client.unsent.drain(..written);
            self.unsent_bytes -= written;
        }
        if client.unsent.is_empty() {
            client.unsent = Vec::new();
            let interest = Interest::READABLE;
            if self.registry.reregister(&mut client.stream, token(index), interest).is_err() {
                return self.remove(index, now);
            }
            self.end_if_written(index, now);
            self.make_ready(index);
        }
        self.set_timer(index);
    }

    pub(super) fn end_if_written(&mut self, index: usize, now: Now) {
        let Some(client) = self.clients.get_mut(index) else { return };
        match client.end {
            End::AtOnce if client.unsent.is_empty() => self.remove(index, now),
            End::Lingering if client.unsent.is_empty() => {
                client.end = End::Told;
                // Fails where the peer is gone already.
                if client.stream.shutdown(Shutdown::Write).is_err() {
                    return self.remove(index, now);
                }
                client.has_more = true;
                self.make_ready(index);
            }
            _ => {}
        }
    }
}

/// Writes as much as the socket takes; how much that was.
fn write_all(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => written += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(written)
}
