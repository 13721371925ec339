//! Replies as they are written.

use std::cell::RefCell;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{Response, StatusCode};

/// An answer to a request, whole.
pub(crate) type Reply = Response<Bytes>;

/// What of a reply is decided by the connection that it goes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Framing {
    /// Whether further requests may follow.
    pub(super) keeps_alive: bool,
    /// Whether the client has to be told that they may, as HTTP/1.0 does.
    pub(super) is_old: bool,
    /// Whether only the head was asked for.
    pub(super) is_head: bool,
}

/// Writes a reply to the end of `out`; the bytes of its head.
pub(super) fn write(
    reply: &Reply,
    framing: Framing,
    clock: &DateClock,
    out: &mut Vec<u8>,
) -> usize {
    let begin = out.len();
    let status = reply.status();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in reply.headers() {
        line(name.as_str().as_bytes(), value.as_bytes(), out);
    }
    if !is_bodiless(status) {
        let mut digits = itoa::Buffer::new();
        line(b"content-length", digits.format(reply.body().len()).as_bytes(), out);
    }
    match framing {
        _ if reply.headers().contains_key(CONNECTION) => {}
        Framing { keeps_alive: false, .. } => line(b"connection", b"close", out),
        Framing { is_old: true, .. } => line(b"connection", b"keep-alive", out),
        _ => {}
    }
    clock.with(|date| line(b"date", date.as_bytes(), out));
    out.extend_from_slice(b"\r\n");
    let head = out.len() - begin;
    if !framing.is_head && !is_bodiless(status) {
        out.extend_from_slice(reply.body());
    }
    head
}

/// Whether a reply itself says that no further request may follow.
pub(super) fn closes(reply: &Reply) -> bool {
    super::head::has_token(reply.headers(), &CONNECTION, "close")
}

/// Statuses whose replies have neither a body nor its length (RFC 9110 section 6.4.1).
fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

fn line(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The date as replies tell it, written once a second.
#[derive(Debug, Default)]
pub(crate) struct DateClock(RefCell<(u64, String)>);

impl DateClock {
    fn with<T>(&self, use_date: impl FnOnce(&str) -> T) -> T {
        let now = SystemTime::now();
        // A clock before 1970 is taken for 1970.
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut cached = self.0.borrow_mut();
        if cached.0 != seconds {
            *cached = (seconds, httpdate::fmt_http_date(now));
        }
        use_date(&cached.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: &Reply, framing: Framing) -> String {
        let mut out = Vec::new();
        let head = write(reply, framing, &DateClock::default(), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text[..head].ends_with("\r\n\r\n") && text[..head].contains("\r\ndate: "),
            "{text}"
        );
        text
    }

    #[test]
    fn a_reply_says_how_long_it_is_and_whether_more_may_follow() {
        let reply = Response::new(Bytes::from_static(b"hello"));
        let plain = Framing { keeps_alive: true, is_old: false, is_head: false };
        let text = written(&reply, plain);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ndate: "), "{text}");
        assert!(text.ends_with("\r\n\r\nhello"), "{text}");
        let head = written(&reply, Framing { is_head: true, ..plain });
        assert!(head.contains("content-length: 5") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(
            written(&reply, Framing { keeps_alive: false, ..plain }).contains("connection: close")
        );
        assert!(
            written(&reply, Framing { is_old: true, ..plain }).contains("connection: keep-alive")
        );
        let mut same = Response::new(Bytes::new());
        *same.status_mut() = StatusCode::NOT_MODIFIED;
        assert!(!written(&same, plain).contains("content-length"));
    }
}
