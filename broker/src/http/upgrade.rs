//! The WebSocket opening handshake (RFC 6455 section 4.2), checked strictly.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanfare_engine::ConnectionKind;
use fanfare_protocol::{Codec, TopicName};
use http::header::{
    CONNECTION, HOST, HeaderMap, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, Request, StatusCode, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Reply;
use super::counters::Transport;
use super::head::{has_token, tokens};
use super::problem::problem;

/// The one version of the protocol (RFC 6455 section 4.1).
const VERSION: &str = "13";

/// A valid handshake.
#[derive(Debug)]
pub(super) struct Accepted {
    accept_key: String,
    /// The client's offer, if it made one.
    codec: Option<Codec>,
}

/// Whether a request on a topic is meant as a WebSocket handshake, a valid one or not. Includes
/// what the drafts before RFC 6455 sent, so that their clients learn why it does not work.
pub(super) fn is_wanted<B>(request: &Request<B>) -> bool {
    has_token(request.headers(), &UPGRADE, "websocket")
        || [SEC_WEBSOCKET_KEY.as_str(), SEC_WEBSOCKET_VERSION.as_str(), "sec-websocket-key1"]
            .iter()
            .any(|name| request.headers().contains_key(*name))
}

/// Checks a handshake; the refusal says what is missing.
pub(super) fn accept<B>(request: &Request<B>) -> Result<Accepted, Box<Reply>> {
    let headers = request.headers();
    let refuse = |detail: &str| Err(Box::new(problem(StatusCode::BAD_REQUEST, detail)));
    if request.method() != Method::GET {
        return Err(Box::new(super::method_not_allowed("GET")));
    }
    if !has_token(headers, &UPGRADE, "websocket") {
        let detail = "this is a WebSocket endpoint; send Upgrade: websocket";
        return Err(Box::new(upgrade_required(detail)));
    }
    if request.version() != Version::HTTP_11 {
        return refuse("a WebSocket handshake needs HTTP/1.1");
    }
    if headers.get_all(SEC_WEBSOCKET_VERSION).iter().ne([VERSION]) {
        let detail = "this broker speaks version 13 of the WebSocket protocol (RFC 6455) only";
        return Err(Box::new(upgrade_required(detail)));
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return refuse("a WebSocket handshake needs Connection: Upgrade");
    }
    if headers.get_all(HOST).iter().count() != 1 {
        return refuse("a WebSocket handshake needs one Host header");
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) if is_key(key) => key,
        _ => return refuse("Sec-WebSocket-Key must be there once, 16 bytes in base64"),
    };
    let accept_key = derive_accept_key(key.as_bytes());
    let codec = offered_codec(headers).map_err(|()| {
        let names = Codec::ALL.map(Codec::subprotocol).join(" and ");
        let detail = format!("none of the offered subprotocols is spoken here; there are {names}");
        Box::new(problem(StatusCode::BAD_REQUEST, &detail))
    })?;
    Ok(Accepted { accept_key, codec })
}

/// A handshake that succeeds: its answer, and what the connection becomes.
#[derive(Debug)]
pub(super) struct Upgrade {
    pub(super) kind: ConnectionKind,
    accept_key: String,
    subprotocol: Option<&'static str>,
}

impl Accepted {
    /// An SDK connection.
    pub(super) fn into_sdk(self) -> Upgrade {
        Upgrade {
            kind: ConnectionKind::Sdk(self.codec.unwrap_or(Codec::Json)),
            accept_key: self.accept_key,
            subprotocol: self.codec.map(Codec::subprotocol),
        }
    }

    /// A raw stream, which has no subprotocol.
    pub(super) fn into_raw(
        self,
        topic: TopicName,
        query: Option<&str>,
    ) -> Result<Upgrade, Box<Reply>> {
        let refuse = |detail: &str| Box::new(problem(StatusCode::BAD_REQUEST, detail));
        if self.codec.is_some() {
            let detail = "the raw stream has no subprotocol; the SDK protocol is at /v1/ws";
            return Err(refuse(detail));
        }
        let (since, options) = super::query::stream(query).map_err(|detail| refuse(&detail))?;
        let kind = ConnectionKind::Raw { topic, since, options };
        Ok(Upgrade { kind, accept_key: self.accept_key, subprotocol: None })
    }
}

impl Upgrade {
    /// What the connection is counted as.
    pub(super) fn transport(&self) -> Transport {
        match self.kind {
            ConnectionKind::Raw { .. } => Transport::Raw,
            _ => Transport::Sdk,
        }
    }

    /// The answer as it is written.
    pub(super) fn reply_bytes(&self) -> Vec<u8> {
        let mut reply = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n",
            self.accept_key
        );
        if let Some(name) = self.subprotocol {
            reply.push_str("Sec-WebSocket-Protocol: ");
            reply.push_str(name);
            reply.push_str("\r\n");
        }
        reply.push_str("\r\n");
        reply.into_bytes()
    }
}

fn upgrade_required(detail: &str) -> Reply {
    let mut reply = problem(StatusCode::UPGRADE_REQUIRED, detail);
    let headers = reply.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade, close"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
    reply
}

fn is_key(key: &HeaderValue) -> bool {
    STANDARD.decode(key.as_bytes()).is_ok_and(|key| key.len() == 16)
}

/// The first codec among the offered subprotocols. `Err`: there are offers, but none is ours.
fn offered_codec(headers: &HeaderMap) -> Result<Option<Codec>, ()> {
    let mut offers = tokens(headers, &SEC_WEBSOCKET_PROTOCOL).peekable();
    if offers.peek().is_none() {
        return Ok(None);
    }
    offers.find_map(Codec::from_subprotocol).map(Some).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The handshake of RFC 6455 section 1.3, with one header changed or, with "", left out.
    fn request(change: (&str, &str)) -> Request<()> {
        let mut request = Request::builder().method("GET").uri("/v1/ws");
        for (name, value) in [
            ("host", "server.example.com"),
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", ""),
        ] {
            let value = if name == change.0 { change.1 } else { value };
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        request.body(()).unwrap()
    }

    fn status(request: &Request<()>) -> u16 {
        accept(request).map_or_else(|refusal| refusal.status().as_u16(), |_| 101)
    }

    #[test]
    fn the_accept_key_is_that_of_the_rfc() {
        let accepted = accept(&request(("", ""))).unwrap();
        assert_eq!(accepted.accept_key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accepted.codec, None);
    }

    #[test]
    fn the_first_known_subprotocol_is_chosen() {
        let codec = |offer| accept(&request(("sec-websocket-protocol", offer))).unwrap().codec;
        assert_eq!(codec("fanfare.v1.msgpack, fanfare.v1.json"), Some(Codec::MsgPack));
        assert_eq!(codec("chat, fanfare.v1.json"), Some(Codec::Json));
        assert_eq!(status(&request(("sec-websocket-protocol", "chat"))), 400);
    }

    #[test]
    fn each_missing_part_has_its_status() {
        for (change, expected) in [
            (("upgrade", ""), 426),
            (("upgrade", "h2c"), 426),
            (("connection", ""), 400),
            (("connection", "keep-alive"), 400),
            (("host", ""), 400),
            (("sec-websocket-key", ""), 400),
            (("sec-websocket-key", "c2hvcnQ="), 400),
            (("sec-websocket-key", "not base64 at all!!!!!=="), 400),
            (("sec-websocket-version", ""), 426),
            (("sec-websocket-version", "8"), 426),
            (("sec-websocket-version", "13, 8"), 426),
        ] {
            assert_eq!(status(&request(change)), expected, "{change:?}");
        }
    }

    #[test]
    fn old_drafts_are_told_the_version_that_is_spoken() {
        for version in ["", "7", "8"] {
            let refusal = accept(&request(("sec-websocket-version", version))).unwrap_err();
            assert_eq!(refusal.headers()[SEC_WEBSOCKET_VERSION], VERSION);
        }
        let hixie = Request::builder()
            .header("upgrade", "WebSocket")
            .header("connection", "Upgrade")
            .header("sec-websocket-key1", "4 @1  46546xW%0l 1 5")
            .header("sec-websocket-key2", "12998 5 Y3 1  .P00");
        let hixie = hixie.body(()).unwrap();
        assert!(is_wanted(&hixie));
        assert_eq!(status(&hixie), 426);
    }

    #[test]
    fn other_methods_and_versions_are_refused() {
        let mut post = request(("", ""));
        *post.method_mut() = Method::POST;
        assert_eq!(status(&post), 405);
        let mut old = request(("", ""));
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(status(&old), 400);
    }
}
