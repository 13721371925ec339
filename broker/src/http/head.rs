//! Heads of requests: what HTTP/1.1 demands of one before anybody looks at what it asks for
//! (RFC 9112), and how long its body is.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{Method, Request, StatusCode, Uri, Version};

/// Longest head of a request: request line and headers. Browsers with many cookies send a few
/// kibibytes.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1_024;

/// Most headers of a request.
const HEADERS_MAX: usize = 64;

/// A head that is whole and valid.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) request: Request<()>,
    /// Its bytes, the empty line included.
    pub(super) len: usize,
    pub(super) body: BodyLength,
    /// Whether the client allows further requests on its connection.
    pub(super) keeps_alive: bool,
    /// Whether the client waits to be told that its body is wanted.
    pub(super) expects_continue: bool,
}

/// How the end of a body is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// So many bytes.
    Known(u64),
    /// It is chunked.
    Chunked,
}

/// Why a head is refused. The client's fault; its connection cannot be used any more.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeadError {
    #[error("this is no HTTP/1.1 request: {0}")]
    Malformed(String),
    #[error("the request line is longer than {HEAD_BYTES_MAX} bytes, the most allowed")]
    TargetTooLong,
    #[error("the head is longer than {HEAD_BYTES_MAX} bytes, the most allowed")]
    TooLong,
    #[error("the head has over {HEADERS_MAX} headers, the most allowed")]
    TooManyHeaders,
    #[error("this broker speaks HTTP/1.1; send HTTP/1.1 or HTTP/1.0")]
    Version,
    #[error("a request of HTTP/1.1 has one Host header")]
    Host,
    #[error("the length of a body is told by one Content-Length, a number, or by chunks")]
    Length,
    #[error("the only transfer coding is chunked")]
    TransferCoding,
    #[error("the only expectation is 100-continue")]
    Expectation,
}

impl HeadError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::Host | Self::Length => StatusCode::BAD_REQUEST,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::TooLong | Self::TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
        }
    }
}

/// The head at the start of `bytes`; `None` if it has not come whole.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Head>, HeadError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let len = match parsed.parse(window) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) if window.contains(&b'\n') => return Err(HeadError::TooLong),
        Ok(httparse::Status::Partial) => return Err(HeadError::TargetTooLong),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyHeaders),
        Err(httparse::Error::Version) => return Err(HeadError::Version),
        Err(error) => return Err(HeadError::Malformed(error.to_string())),
    };
    let request = request(&parsed)?;
    let headers = request.headers();
    let is_current = request.version() == Version::HTTP_11;
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && is_current) {
        return Err(HeadError::Host);
    }
    let keeps_alive = if is_current {
        !has_token(headers, &CONNECTION, "close")
    } else {
        has_token(headers, &CONNECTION, "keep-alive")
    };
    let (body, expects_continue) = (body_length(&request)?, expects_continue(headers)?);
    Ok(Some(Head { request, len, body, keeps_alive, expects_continue }))
}

fn request(parsed: &httparse::Request<'_, '_>) -> Result<Request<()>, HeadError> {
    let malformed = |what: &str| HeadError::Malformed(what.to_owned());
    let mut request = Request::new(());
    *request.version_mut() = match parsed.version {
        Some(1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    };
    let method = parsed.method.unwrap_or_default().as_bytes();
    *request.method_mut() = Method::from_bytes(method).map_err(|_| malformed("the method"))?;
    let target = parsed.path.unwrap_or_default();
    *request.uri_mut() = Uri::try_from(target).map_err(|_| malformed("the request target"))?;
    let headers = request.headers_mut();
    headers.reserve(parsed.headers.len());
    for header in parsed.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_bytes(header.value);
        match (name, value) {
            (Ok(name), Ok(value)) => headers.append(name, value),
            _ => return Err(malformed("a header")),
        };
    }
    Ok(request)
}

/// Strict, because whoever understands a length otherwise than what stands in front of the broker
/// can be fed a request inside of another (RFC 9112 section 11.2).
fn body_length(request: &Request<()>) -> Result<BodyLength, HeadError> {
    let headers = request.headers();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (length, further) = (lengths.next(), lengths.next());
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if length.is_some() || request.version() != Version::HTTP_11 {
            return Err(HeadError::Length);
        }
        let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        return match codings.next() {
            None if is_chunked => Ok(BodyLength::Chunked),
            _ => Err(HeadError::TransferCoding),
        };
    }
    let Some(length) = length else { return Ok(BodyLength::Known(0)) };
    let digits = length.as_bytes();
    let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
    match number {
        Some(number) if further.is_none() && digits.iter().all(u8::is_ascii_digit) => {
            Ok(BodyLength::Known(number))
        }
        _ => Err(HeadError::Length),
    }
}

fn expects_continue(headers: &HeaderMap) -> Result<bool, HeadError> {
    match headers.get(EXPECT) {
        None => Ok(false),
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(true),
        Some(_) => Err(HeadError::Expectation),
    }
}

/// The elements of all headers of this name, which are comma-separated lists.
pub(super) fn tokens<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|t| t.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(head: &str) -> Option<u16> {
        parse(head.as_bytes()).err().map(|error| error.status().as_u16())
    }

    fn with(headers: &str) -> String {
        format!("POST /x HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
    }

    fn head(text: &str) -> Head {
        parse(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn a_head_is_taken_when_it_is_whole() {
        let text = "GET /v1/topics/a?x=1 HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
        for end in 0..text.len() {
            assert!(parse(&text.as_bytes()[..end]).unwrap().is_none(), "{end}");
        }
        let head = head(&format!("{text}behind"));
        assert_eq!(
            (head.len, head.body, head.keeps_alive),
            (text.len(), BodyLength::Known(0), true)
        );
        assert_eq!(head.request.uri().path(), "/v1/topics/a");
        assert_eq!(head.request.headers()["x"], "y");
    }

    #[test]
    fn each_way_to_be_wrong_has_its_status() {
        for (text, status) in [
            (with("Host: b\r\n"), 400),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), 505),
            ("GET /\r\n\r\n".to_owned(), 400),
            ("\u{16}\u{3}\u{1} no HTTP".to_owned(), 400),
            (with(" folded: x\r\n"), 400),
            (with("X : y\r\n"), 400),
            (with("Content-Length: 5\r\nContent-Length: 5\r\n"), 400),
            (with("Content-Length: +5\r\n"), 400),
            (with("Content-Length: 5, 5\r\n"), 400),
            (with("Content-Length: 99999999999999999999\r\n"), 400),
            (with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400),
            (with("Transfer-Encoding: gzip, chunked\r\n"), 501),
            (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 501),
            (with("Expect: cake\r\n"), 417),
            (with(&"X: y\r\n".repeat(HEADERS_MAX)), 431),
            (with(&format!("X: {}\r\n", "y".repeat(HEAD_BYTES_MAX))), 431),
            (format!("GET /{}", "y".repeat(HEAD_BYTES_MAX)), 414),
        ] {
            assert_eq!(error(&text), Some(status), "{}", &text[..text.len().min(80)]);
        }
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(error(old), Some(400));
    }

    #[test]
    fn bodies_and_connections_are_as_the_head_says() {
        assert_eq!(head(&with("Content-Length: 7\r\n")).body, BodyLength::Known(7));
        assert_eq!(head(&with("Transfer-Encoding: Chunked\r\n")).body, BodyLength::Chunked);
        assert!(head(&with("Expect: 100-Continue\r\n")).expects_continue);
        assert!(!head(&with("Connection: x, Close\r\n")).keeps_alive);
        assert!(!head("GET / HTTP/1.0\r\n\r\n").keeps_alive);
        assert!(head("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keeps_alive);
    }
}
