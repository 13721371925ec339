//! Listening sockets, one for each shard on the same address.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted; the kernel cuts it to `somaxconn`.
const BACKLOG: i32 = 16_384;

/// Bytes that the kernel may hold unsent for one connection before it takes no more. Small, so
/// that what a slow reader has not got yet waits where it can still be counted and replaced.
const NOTSENT_LOWAT_BYTES: u32 = 64 * 1_024;

/// Binds `count` listeners to `addr`, among which the kernel spreads connections. A port of 0
/// is chosen once for all.
///
/// `user_timeout`: how long sent bytes may stay unacknowledged, or a peer's window closed, before
/// the kernel gives a connection up (`TCP_USER_TIMEOUT`). Longer than what the broker itself waits
/// for a slow reader or a pong, or the kernel would end them without a word.
///
/// # Errors
/// Whatever the kernel says, an address in use first of all: with `SO_REUSEPORT` alone a second
/// broker would silently share the port, so a plain bind is tried before.
pub(crate) fn listen(
    addr: SocketAddr,
    count: usize,
    user_timeout: Duration,
) -> io::Result<Vec<TcpListener>> {
    let probe = socket(addr)?;
    probe.bind(&addr.into())?;
    let addr = TcpListener::from(probe).local_addr()?;
    (0..count).map(|_| listener(addr, user_timeout)).collect()
}

/// `count` handles of one listener that was opened by somebody else, such as systemd, and stays
/// open for them when this broker ends. What inherits is set as for [`listen`].
///
/// # Errors
/// Whatever the kernel says.
pub(crate) fn share(
    listener: TcpListener,
    count: usize,
    user_timeout: Duration,
) -> io::Result<Vec<TcpListener>> {
    let socket = Socket::from(listener);
    socket.set_nonblocking(true)?;
    prepare(&socket, user_timeout)?;
    (0..count).map(|_| socket.try_clone().map(TcpListener::from)).collect()
}

fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn listener(addr: SocketAddr, user_timeout: Duration) -> io::Result<TcpListener> {
    let socket = socket(addr)?;
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    prepare(&socket, user_timeout)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Sets what accepted sockets inherit, which saves three system calls for each of them.
fn prepare(socket: &Socket, user_timeout: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(NOTSENT_LOWAT_BYTES)?;
    socket.set_tcp_user_timeout(Some(user_timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER_TIMEOUT: Duration = Duration::from_secs(30);

    #[test]
    fn a_port_in_use_is_refused_although_listeners_share_it() {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let listeners = listen(any, 3, USER_TIMEOUT).unwrap();
        let addr = listeners[0].local_addr().unwrap();
        assert!(listeners.iter().all(|l| l.local_addr().unwrap() == addr));
        let error = listen(addr, 1, USER_TIMEOUT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
