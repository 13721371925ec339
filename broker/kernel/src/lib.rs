//! What only the kernel knows about a socket.
//!
//! The one package of Fanfare with unsafe code, because the bytes that a TCP socket has not sent
//! yet are told by an `ioctl` alone, and its packets by a socket option that no safe crate reads.
//! Owns these two questions and nothing else.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

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

/// Packets of one TCP connection since its first SYN, that included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    /// Those that this end sent, resent ones and bare acknowledgements included.
    pub sent: u32,
    /// Those that came.
    pub received: u32,
}

/// Places of `tcpi_segs_out` and `tcpi_segs_in` in `struct tcp_info` (`linux/tcp.h`), in words of
/// four bytes. The structure only ever grows at its end.
const SEGMENTS_SENT: usize = 34;
const SEGMENTS_RECEIVED: usize = 35;

/// How many packets a TCP socket has sent and received (`TCP_INFO`, Linux 4.2 or later).
///
/// # Errors
/// Those of `getsockopt(2)`: `socket` is no TCP socket; `Unsupported` if the kernel is older.
pub fn segments(socket: impl AsFd) -> io::Result<Segments> {
    let mut info = [0_u32; 64];
    let mut length = size_of_val(&info) as libc::socklen_t;
    let descriptor = socket.as_fd().as_raw_fd();
    let (info_start, length_place) = (info.as_mut_ptr().cast(), &raw mut length);
    // SAFETY: the kernel writes at most `length` bytes at `info_start`, which is as long as the
    // array there, and the new length at `length_place`; any bits are valid `u32`s. Array, length
    // and descriptor outlive the call.
    #[expect(unsafe_code, reason = "the only way to ask")]
    let status = unsafe {
        libc::getsockopt(descriptor, libc::IPPROTO_TCP, libc::TCP_INFO, info_start, length_place)
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    if (length as usize) < (SEGMENTS_RECEIVED + 1) * size_of::<u32>() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(Segments { sent: info[SEGMENTS_SENT], received: info[SEGMENTS_RECEIVED] })
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
    fn the_packets_of_both_ends_are_the_same() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let opened = segments(&client).unwrap();
        assert_eq!(opened, Segments { sent: 2, received: 1 }, "SYN, ACK and SYN+ACK");
        for _ in 0..10 {
            client.write_all(b"ping").unwrap();
            server.read_exact(&mut [0; 4]).unwrap();
            server.write_all(b"pong").unwrap();
            client.read_exact(&mut [0; 4]).unwrap();
        }
        let (ours, theirs) = (segments(&client).unwrap(), segments(&server).unwrap());
        assert!(ours.sent >= opened.sent + 10 && ours.received >= 11, "{ours:?}");
        // The acknowledgement of the last bytes may still be on its way, and the SYN belongs to
        // the listener.
        assert!(ours.sent.abs_diff(theirs.received) <= 2, "{ours:?} {theirs:?}");
    }

    #[test]
    fn something_that_is_no_socket_is_an_error() {
        assert!(unsent_bytes(std::io::stdin()).is_err());
        assert!(segments(std::io::stdin()).is_err());
    }
}
