//! The opening handshake (RFC 6455 section 4), both halves: the client's, and the small server's
//! that the floor needs. Owns the texts of requests and answers; reads and writes no socket.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// Longest head of a request or an answer.
const HEAD_BYTES_MAX: usize = 8 * 1024;

const HEADERS_MAX: usize = 32;

/// Appended to the key before hashing (RFC 6455 section 1.3).
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// The peer's head is not HTTP/1.1 or is over 8 KiB; the peer's fault.
    #[error("the peer did not answer in HTTP: {0}")]
    NotHttp(String),
    /// The server answered with another status; the server says why.
    #[error("the server refused the upgrade: {status} {reason}")]
    Refused {
        /// The status code, anything but 101.
        status: u16,
        /// Its words, and the first line of the body where it came along.
        reason: String,
    },
    /// `Sec-WebSocket-Accept` does not fit the key; the server's fault.
    #[error("the server's Sec-WebSocket-Accept does not fit the key")]
    WrongAccept,
    /// A client asked for something that is no upgrade; the client's fault.
    #[error("the request is no WebSocket upgrade of version 13")]
    NoUpgrade,
}

/// A client's request for an upgrade.
#[derive(Debug)]
pub(crate) struct UpgradeRequest {
    key: String,
    text: String,
}

impl UpgradeRequest {
    /// A request for `path` (with its query) on `host`, offering `subprotocol` if there is one.
    #[must_use]
    pub(crate) fn new(host: &str, path: &str, subprotocol: Option<&str>) -> Self {
        let key = STANDARD.encode(fastrand::u128(..).to_ne_bytes());
        let offer = subprotocol
            .map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"))
            .unwrap_or_default();
        let text = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{offer}\r\n"
        );
        Self { key, text }
    }

    /// The same with further header lines, each with its line end.
    #[must_use]
    pub(crate) fn with_lines(mut self, lines: &str) -> Self {
        self.text.insert_str(self.text.len() - "\r\n".len(), lines);
        self
    }

    /// The request as it goes on the wire.
    #[must_use]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Reads the answer at the start of `bytes`: the length of its head, or `None` until all of
    /// it is there.
    ///
    /// # Errors
    /// [`HandshakeError`] if the server refused or answered wrongly.
    pub(crate) fn read_answer(&self, bytes: &[u8]) -> Result<Option<usize>, HandshakeError> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut answer = httparse::Response::new(&mut headers);
        let Some(head_bytes) = complete(answer.parse(bytes), bytes)? else { return Ok(None) };
        if answer.code != Some(101) {
            let body = String::from_utf8_lossy(&bytes[head_bytes..]);
            let sentence = body.lines().next().unwrap_or_default();
            let reason = format!("{} {sentence}", answer.reason.unwrap_or_default());
            let status = answer.code.unwrap_or_default();
            return Err(HandshakeError::Refused { status, reason: reason.trim().to_owned() });
        }
        match header(answer.headers, "sec-websocket-accept") {
            Some(accept) if accept == accept_of(&self.key) => Ok(Some(head_bytes)),
            _ => Err(HandshakeError::WrongAccept),
        }
    }
}

/// A request that a server reads, and what to answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReceivedUpgrade {
    /// The path with its query.
    pub path: String,
    /// The answer that completes the handshake.
    pub answer: Vec<u8>,
    /// The length of the request; what follows are frames.
    pub request_bytes: usize,
}

/// Reads a client's request at the start of `bytes`; `None` until all of it is there.
///
/// # Errors
/// [`HandshakeError`] if it is no upgrade request of version 13.
pub(crate) fn read_request(bytes: &[u8]) -> Result<Option<ReceivedUpgrade>, HandshakeError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let Some(request_bytes) = complete(request.parse(bytes), bytes)? else { return Ok(None) };
    let key = header(request.headers, "sec-websocket-key");
    let version = header(request.headers, "sec-websocket-version");
    let (Some(key), Some("13"), Some("GET")) = (key, version, request.method) else {
        return Err(HandshakeError::NoUpgrade);
    };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept_of(key)
    );
    let path = request.path.unwrap_or_default().to_owned();
    Ok(Some(ReceivedUpgrade { path, answer: answer.into_bytes(), request_bytes }))
}

fn complete(
    parsed: httparse::Result<usize>,
    bytes: &[u8],
) -> Result<Option<usize>, HandshakeError> {
    match parsed {
        Ok(httparse::Status::Complete(length)) => Ok(Some(length)),
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => Ok(None),
        Ok(httparse::Status::Partial) => {
            Err(HandshakeError::NotHttp(format!("its head is over {HEAD_BYTES_MAX} bytes")))
        }
        Err(error) => Err(HandshakeError::NotHttp(error.to_string())),
    }
}

fn header<'a>(headers: &[httparse::Header<'a>], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(found.value).ok().map(str::trim)
}

fn accept_of(key: &str) -> String {
    let digest = Sha1::new().chain_update(key.as_bytes()).chain_update(ACCEPT_GUID).finalize();
    STANDARD.encode(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_gets_the_accept_of_the_rfc() {
        assert_eq!(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn both_halves_agree() {
        let request = UpgradeRequest::new("localhost:1", "/floor?topics=1,2", Some("x"));
        for length in 0..request.bytes().len() {
            assert_eq!(read_request(&request.bytes()[..length]), Ok(None));
        }
        let received = read_request(request.bytes()).unwrap().unwrap();
        assert_eq!(received.path, "/floor?topics=1,2");
        assert_eq!(received.request_bytes, request.bytes().len());
        let mut answer = received.answer;
        let head_bytes = answer.len();
        answer.extend_from_slice(b"\x81\x00");
        assert_eq!(request.read_answer(&answer), Ok(Some(head_bytes)));
        assert_eq!(request.read_answer(&answer[..head_bytes - 1]), Ok(None));
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        let request = UpgradeRequest::new("h", "/", None);
        let answer = b"HTTP/1.1 426 Upgrade Required\r\nA: b\r\n\r\nspeak version 13\nplease";
        assert_eq!(
            request.read_answer(answer).unwrap_err().to_string(),
            "the server refused the upgrade: 426 Upgrade Required speak version 13"
        );
    }

    #[test]
    fn wrong_answers_and_requests_are_faults() {
        let request = UpgradeRequest::new("h", "/", None);
        let wrong = b"HTTP/1.1 101 X\r\nSec-WebSocket-Accept: abc\r\n\r\n";
        assert_eq!(request.read_answer(wrong), Err(HandshakeError::WrongAccept));
        let garbage = request.read_answer(b"SSH-2.0-OpenSSH\r\n");
        assert!(matches!(garbage, Err(HandshakeError::NotHttp(_))));
        let endless = vec![b'a'; HEAD_BYTES_MAX];
        assert!(matches!(read_request(&endless), Err(HandshakeError::NotHttp(_))));
        let plain = read_request(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(plain, Err(HandshakeError::NoUpgrade));
    }
}
