//! HTTP/1.1 as clients of a broker need it: requests as text, answers with a known length.

use super::meter::Meter;
use super::talk::{Fault, Setup};

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;

const HEADERS_MAX: usize = 64;

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    /// The status code.
    pub status: u16,
    /// Its length with the blank line.
    pub bytes: usize,
    /// `Content-Length`, and 0 where there can be no body.
    pub body_bytes: Option<usize>,
    /// `ETag`.
    pub etag: Option<&'a str>,
}

/// Reads the head at the start of `input`; `None` until it is there whole.
///
/// # Errors
/// [`Fault::NotHttp`] if it is none, or if the body is in chunks.
pub(super) fn read_head(input: &[u8]) -> Result<Option<Head<'_>>, Fault> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let bytes = match answer.parse(input) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) if input.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => {
            return Err(Fault::NotHttp(format!("its head is over {HEAD_BYTES_MAX} bytes")));
        }
        Err(error) => return Err(Fault::NotHttp(error.to_string())),
    };
    let header = |name: &str| {
        let found = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    if header("transfer-encoding").is_some() {
        return Err(Fault::NotHttp("its body comes in chunks".to_owned()));
    }
    let status = answer.code.unwrap_or_default();
    let length = match header("content-length") {
        Some(text) => {
            let wrong = |_| Fault::NotHttp(format!("its Content-Length is {text}"));
            Some(text.parse().map_err(wrong)?)
        }
        None => None,
    };
    let body_bytes = if status < 200 || matches!(status, 204 | 304) { Some(0) } else { length };
    Ok(Some(Head { status, bytes, body_bytes, etag: header("etag") }))
}

/// An answer that has come whole, its body behind its head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    /// Its head.
    pub head: Head<'a>,
    /// Its body.
    pub body: &'a [u8],
}

/// Reads the answer at the start of `input`; `None` until it is there whole.
///
/// # Errors
/// [`Fault`] if it is no HTTP, or has another status than 200 or 304.
pub(super) fn read_answer(input: &[u8]) -> Result<Option<Answer<'_>>, Fault> {
    let Some(head) = read_head(input)? else { return Ok(None) };
    let no_length = || Fault::NotHttp("it tells no length".to_owned());
    let end = head.bytes + head.body_bytes.ok_or_else(no_length)?;
    let Some(body) = input.get(head.bytes..end) else { return Ok(None) };
    match head.status {
        200 | 304 => Ok(Some(Answer { head, body })),
        status => Err(Fault::Status { status, detail: start_of(body) }),
    }
}

/// The start of a body, for a person.
#[must_use]
pub(super) fn start_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

/// Appends a GET request with the preset's headers and `more` lines.
pub(super) fn write_get(
    setup: &Setup,
    target: &str,
    more: &[&str],
    meter: &mut Meter,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let connection = match setup.way.is_fresh() {
        true => "Connection: close\r\n",
        false if setup.says_keep_alive => "Connection: keep-alive\r\n",
        false => "",
    };
    let host = format!("Host: {}\r\n", setup.address);
    for text in ["GET ", target, " HTTP/1.1\r\n", &host, connection, &setup.lines] {
        out.extend_from_slice(text.as_bytes());
    }
    more.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
    out.extend_from_slice(b"\r\n");
    meter.sent.head += (out.len() - start) as u64;
    meter.records += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        let text = b"HTTP/1.1 200 OK\r\nETag: \"k3:7\"\r\nContent-Length: 3\r\n\r\nabcHTTP";
        for length in 0..text.len() - 4 {
            assert_eq!(read_answer(&text[..length]).unwrap(), None);
        }
        let answer = read_answer(text).unwrap().unwrap();
        assert_eq!((answer.body, answer.head.bytes), (&b"abc"[..], text.len() - 7));
        assert_eq!(answer.head.etag, Some("\"k3:7\""));
    }

    #[test]
    fn not_modified_has_no_body_whatever_length_it_tells() {
        let text = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n";
        let answer = read_answer(text).unwrap().unwrap();
        assert_eq!((answer.head.status, answer.body), (304, &b""[..]));
    }

    #[test]
    fn other_answers_are_faults_in_the_servers_words() {
        let text = b"HTTP/1.1 429 Too Many\r\nContent-Length: 9\r\n\r\nslow down";
        assert_eq!(
            read_answer(text).unwrap_err().to_string(),
            "the server answered 429: slow down"
        );
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(matches!(read_answer(chunked), Err(Fault::NotHttp(_))));
        assert!(matches!(read_answer(b"SSH-2.0\r\n"), Err(Fault::NotHttp(_))));
        let endless = vec![b'a'; HEAD_BYTES_MAX];
        assert!(read_answer(&endless).is_err());
        let no_length = b"HTTP/1.1 200 OK\r\n\r\n";
        assert!(read_answer(no_length).unwrap_err().to_string().contains("no length"));
    }
}
