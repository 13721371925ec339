//! The way to a broker: straight, or through an HTTP proxy by `CONNECT` (RFC 9110 section 9.3.6).
//! Gives out a TCP stream; what is spoken on it is none of its business.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::http::uri::Authority;

use crate::address::{Address, host_port};
use crate::error::Error;

/// The longest answer of a proxy to `CONNECT`.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// An HTTP proxy.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) host_port: String,
    /// The value of `Proxy-Authorization`, a secret.
    pub(crate) authorization: Option<Secret>,
}

/// Text that no debug output shows.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// A way that is open.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) stream: TcpStream,
    /// The stream ends at the proxy, which refused `CONNECT`: each request names the whole URL,
    /// and the proxy forwards it.
    pub(crate) is_forwarded: bool,
}

impl Proxy {
    /// Reads `http://host:port` or `http://user:password@host:port`; the port is 80 unless given.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let bad = |detail: &str| {
            let detail =
                format!("that is no proxy: {detail}; write it like http://proxy.example:3128");
            Error::BadOption { detail }
        };
        let rest = match url.trim().split_once("://") {
            Some(("http", rest)) => rest,
            None => url.trim(),
            Some(_) => return Err(bad("the scheme must be http")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(credentials), rest),
            None => (None, rest),
        };
        let authority: Authority = rest.parse().map_err(|_| bad("it names no host"))?;
        let host_port = host_port(&authority).map_err(bad)?;
        let authorization = credentials.map(|credentials| {
            let decoded = percent_encoding::percent_decode_str(credentials);
            Secret(format!("Basic {}", STANDARD.encode(decoded.collect::<Vec<u8>>())))
        });
        Ok(Self { host_port, authorization })
    }
}

/// Opens a way to the broker. Where the proxy does not open a tunnel the stream leads to the
/// proxy itself if `may_forward`.
///
/// # Errors
/// [`Error::Unreachable`] or [`Error::ProxyRefused`].
pub(crate) async fn connect(
    address: &Address,
    proxy: Option<&Proxy>,
    may_forward: bool,
) -> Result<Route, Error> {
    let Some(proxy) = proxy else {
        let stream = connect_to(&address.host_port).await?;
        return Ok(Route { stream, is_forwarded: false });
    };
    let mut stream = connect_to(&proxy.host_port).await?;
    let answer = ask_for_tunnel(&mut stream, address, proxy)
        .await
        .map_err(|error| unreachable(&proxy.host_port, &error))?;
    match status(&answer) {
        Some(200..=299) => Ok(Route { stream, is_forwarded: false }),
        // What the proxy asks for, or the failure of the broker, is the same without a tunnel.
        Some(status) if may_forward && !matches!(status, 407 | 500 | 502..=504) => {
            let stream = connect_to(&proxy.host_port).await?;
            Ok(Route { stream, is_forwarded: true })
        }
        Some(status @ (500 | 502..=504)) => Err(Error::Unreachable {
            address: address.host_port.clone(),
            detail: format!("the proxy {} answers {status}", proxy.host_port),
        }),
        Some(status) => Err(Error::ProxyRefused { proxy: proxy.host_port.clone(), status }),
        None => Err(Error::Unreachable {
            address: proxy.host_port.clone(),
            detail: "what is there is no HTTP proxy".to_owned(),
        }),
    }
}

async fn connect_to(host_port: &str) -> Result<TcpStream, Error> {
    let opened = async {
        let stream = TcpStream::connect(host_port).await?;
        stream.set_nodelay(true)?;
        bound_unsent(&stream)?;
        Ok(stream)
    };
    opened.await.map_err(|error: std::io::Error| unreachable(host_port, &error))
}

fn unreachable(host_port: &str, error: &std::io::Error) -> Error {
    Error::Unreachable { address: host_port.to_owned(), detail: error.to_string() }
}

/// Bounds how much the kernel takes ahead of what it can send. Without this it takes megabytes,
/// which grow old there while the buffered amount says that all is well.
#[cfg(any(target_os = "android", target_os = "linux"))]
fn bound_unsent(stream: &TcpStream) -> std::io::Result<()> {
    const UNSENT_BYTES_MAX: u32 = 64 * 1024;
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)
}

/// Other systems have no such bound that could be set here.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn bound_unsent(_: &TcpStream) -> std::io::Result<()> {
    Ok(())
}

/// Sends `CONNECT` and reads the head of the answer, not a byte more.
async fn ask_for_tunnel(
    stream: &mut TcpStream,
    address: &Address,
    proxy: &Proxy,
) -> std::io::Result<Vec<u8>> {
    let host_port = &address.host_port;
    let authorization = proxy.authorization.as_ref();
    let authorization = authorization
        .map_or_else(String::new, |secret| format!("Proxy-Authorization: {}\r\n", secret.0));
    let request =
        format!("CONNECT {host_port} HTTP/1.1\r\nHost: {host_port}\r\n{authorization}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while answer.len() < ANSWER_BYTES_MAX && !answer.ends_with(b"\r\n\r\n") {
        let mut waiting = [0; 1_024];
        let bytes = stream.peek(&mut waiting).await?;
        if bytes == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let begun = answer.len();
        answer.extend_from_slice(&waiting[..bytes]);
        let from = begun.saturating_sub(3);
        if let Some(end) = answer[from..].windows(4).position(|four| four == b"\r\n\r\n") {
            answer.truncate(from + end + 4);
        }
        let taken = answer.len() - begun;
        stream.read_exact(&mut waiting[..taken]).await?;
    }
    Ok(answer)
}

/// The status in the head of an answer.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_with_or_without_credentials() {
        for (url, host_port, authorization) in [
            ("http://proxy:3128", "proxy:3128", None),
            ("http://proxy:3128/", "proxy:3128", None),
            ("proxy", "proxy:80", None),
            ("http://[::1]:8", "[::1]:8", None),
            // The example of RFC 7617 section 2, its space encoded.
            (
                "http://Aladdin:open%20sesame@proxy:3128",
                "proxy:3128",
                Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ),
        ] {
            let proxy = Proxy::parse(url).unwrap();
            assert_eq!(proxy.host_port, host_port);
            assert_eq!(proxy.authorization.map(|secret| secret.0).as_deref(), authorization);
        }
        for url in ["", "https://proxy:1", "socks5://proxy:1", "http://:1", "http://a b"] {
            assert!(matches!(Proxy::parse(url), Err(Error::BadOption { .. })), "{url}");
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        let proxy = Proxy::parse("http://user:hunter2@proxy:3128").unwrap();
        assert!(!format!("{proxy:?}").contains("Basic"));
    }

    #[test]
    fn the_status_stands_in_the_first_line() {
        assert_eq!(status(b"HTTP/1.1 200 Connection established\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 407 x\r\nA: b\r\n\r\n"), Some(407));
        for wrong in [&b""[..], b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 x\r\n\r\n"] {
            assert_eq!(status(wrong), None);
        }
    }
}
