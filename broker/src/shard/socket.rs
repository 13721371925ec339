//! The engine's [`Socket`] over a TCP connection.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;

use fanfare_engine::Socket;
use tracing::trace;

use crate::logs::target;

/// An established connection, out of tokio's hands.
#[derive(Debug)]
pub(crate) struct DataSocket {
    stream: mio::net::TcpStream,
    /// Whether it will be read without waiting for an event.
    pub(super) awaits_turn: bool,
}

impl DataSocket {
    pub(crate) fn new(stream: mio::net::TcpStream) -> Self {
        Self { stream, awaits_turn: false }
    }

    pub(crate) fn stream_mut(&mut self) -> &mut mio::net::TcpStream {
        &mut self.stream
    }
}

impl Drop for DataSocket {
    fn drop(&mut self) {
        let descriptor = self.stream.as_raw_fd();
        trace!(target: target::CONNECTIONS, descriptor, "connection closed");
    }
}

impl Read for DataSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for DataSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for DataSocket {
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    fn unsent_bytes(&self) -> usize {
        // Fails only for a socket that is gone, and that has nothing unsent.
        fanfare_kernel::unsent_bytes(&self.stream).unwrap_or(0)
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }
}
