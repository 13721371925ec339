//! Which pages may use the broker from a browser, and what browsers must be told for it (CORS).
//!
//! Browsers let any page open a WebSocket to any host and tell the server only where the page
//! came from, so the server must check (RFC 6455 section 10.2).

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, HOST, HeaderValue, ORIGIN, VARY,
};
use http::{Request, StatusCode, Uri};

use super::Reply;

/// What a refused page's developer is told.
pub(super) const REFUSAL: &str = "pages of this origin may not connect; the broker's own pages \
                                  may, and origins named with --allow-origin";

/// Whether the request is not from a page, or from a page that may use the broker: one that the
/// broker's own address served, or one of an allowed origin.
pub(super) fn is_allowed<B>(request: &Request<B>, allowed: &[String]) -> bool {
    let Some(origin) = request.headers().get(ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    if allowed.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin)) {
        return true;
    }
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    match (origin.parse::<Uri>(), host) {
        (Ok(origin), Some(host)) => {
            origin.scheme_str() == Some("http")
                && origin.authority().is_some_and(|a| a.as_str().eq_ignore_ascii_case(host))
        }
        _ => false,
    }
}

/// Lets the page of an allowed origin read a reply. Caches must keep replies to different origins
/// apart wherever origins are told apart.
pub(super) fn allow(reply: &mut Reply, origin: Option<&HeaderValue>, allowed: &[String]) {
    let headers = reply.headers_mut();
    if origin.is_some() || !allowed.is_empty() {
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let exposed = HeaderValue::from_static("ETag, Retry-After");
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// What a browser asks before a page may use methods and headers that forms do not have.
pub(super) fn preflight() -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = StatusCode::NO_CONTENT;
    let headers = reply.headers_mut();
    for (name, value) in [
        (ALLOW, "GET, HEAD, POST, OPTIONS"),
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (
            ACCESS_CONTROL_ALLOW_HEADERS,
            "Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID",
        ),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origin: Option<&str>, allowed: &[&str]) -> bool {
        let mut request = Request::builder().header(HOST, "127.0.0.1:8080");
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        let allowed: Vec<String> = allowed.iter().map(|s| (*s).to_owned()).collect();
        is_allowed(&request.body(()).unwrap(), &allowed)
    }

    #[test]
    fn programs_and_the_brokers_own_pages_may_connect() {
        assert!(check(None, &[]));
        assert!(check(Some("http://127.0.0.1:8080"), &[]));
    }

    #[test]
    fn other_pages_may_not_unless_named() {
        for origin in [
            "http://evil.example",
            "http://127.0.0.1:8081",
            "http://127.0.0.1:8080.evil.example",
            "https://127.0.0.1:8080",
            "null",
            "",
        ] {
            assert!(!check(Some(origin), &[]), "{origin}");
        }
        assert!(check(Some("https://app.example"), &["https://app.example"]));
        assert!(!check(Some("https://app.example:444"), &["https://app.example"]));
        assert!(check(Some("https://anything.example"), &["*"]));
    }
}
