//! What only the kernel knows about a socket.
//!
//! The one package of Fanfare with unsafe code, because the bytes that a TCP socket has not sent
//! yet are told by an `ioctl` alone. Owns that question and nothing else.

use std::ffi::c_int;
use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Getter, Opcode, ioctl};

/// `SIOCOUTQNSD` of Linux (`linux/sockios.h`).
const UNSENT_BYTES: Opcode = 0x894b;

/// Bytes that were written to a TCP socket and that the kernel has not sent even once. Bytes that
/// are sent and wait for the peer's acknowledgement do not count.
///
/// # Errors
/// Those of `ioctl(2)`: `socket` is not a connected TCP socket.
pub fn unsent_bytes(socket: impl AsFd) -> io::Result<usize> {
    // SAFETY: SIOCOUTQNSD takes nothing and writes one C int through its argument (tcp(7) and
    // `tcp_ioctl` in the kernel), which is what this getter hands it.
    #[expect(unsafe_code, reason = "the only way to ask")]
    let question = unsafe { Getter::<UNSENT_BYTES, c_int>::new() };
    // SAFETY: as above; the descriptor is borrowed, so it is open for the whole call.
    #[expect(unsafe_code, reason = "the only way to ask")]
    let bytes = unsafe { ioctl(socket, question) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn what_a_stalled_peer_leaves_unsent_is_counted_and_goes_away() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let mut writer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut reader, _) = listener.accept().unwrap();
        assert_eq!(unsent_bytes(&writer).unwrap(), 0);
        writer.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(n) = writer.write(&[0; 65_536]) {
            written += n;
        }
        let unsent = unsent_bytes(&writer).unwrap();
        assert!(0 < unsent && unsent < written, "{unsent} of {written}");
        writer.shutdown(std::net::Shutdown::Write).unwrap();
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), written);
        assert_eq!(unsent_bytes(&writer).unwrap(), 0);
    }

    #[test]
    fn something_that_is_no_socket_is_an_error() {
        assert!(unsent_bytes(std::io::stdin()).is_err());
    }
}
