//! Where a broker is: reads what a person writes as its address.

use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::http::uri::{Authority, InvalidUri, PathAndQuery};

use crate::error::Error;

/// The route of the SDK protocol, used where an address names no path.
const SDK_PATH: &str = "/v1/ws";

/// Where the topics are, beside it.
const TOPICS_PATH: &str = "/v1/topics";

/// A checked address of a broker.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// The address as the upgrade request needs it; its scheme is `ws`.
    pub(crate) uri: Uri,
    /// Host and port, for the TCP connection and for error messages.
    pub(crate) host_port: String,
    /// The path of all topics, for transports over HTTP. `None` if the address names a path of
    /// its own, from which nothing follows.
    pub(crate) topics: Option<String>,
}

impl Address {
    /// Reads `ws://host:port`, `http://host:port` or `host:port`, each with or without a path.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let bad = |detail: &str| Error::BadUrl { url: url.to_owned(), detail: detail.to_owned() };
        let trimmed = url.trim();
        if trimmed.is_empty() {
            return Err(bad("it is empty"));
        }
        let rest = match trimmed.split_once("://") {
            None => trimmed,
            Some(("ws" | "http", rest)) => rest,
            Some(("wss" | "https", _)) => {
                return Err(bad("this client has no TLS; put a TLS tunnel before it"));
            }
            Some(_) => return Err(bad("the scheme must be ws or http")),
        };
        let uri: Uri = format!("ws://{rest}").parse().map_err(|e| bad(&format!("{e}")))?;
        let mut parts = uri.into_parts();
        let authority = parts.authority.take().ok_or_else(|| bad("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it holds a user name; give a token to the client instead"));
        }
        let host_port = host_port(&authority).map_err(bad)?;
        let path_and_query = match parts.path_and_query {
            Some(given) if given.path() != "/" => given,
            given => default_path(given.as_ref().and_then(PathAndQuery::query))
                .map_err(|e| bad(&e.to_string()))?,
        };
        let before = path_and_query.path().strip_suffix(SDK_PATH);
        let topics = before.map(|before| format!("{before}{TOPICS_PATH}"));
        parts.path_and_query = Some(path_and_query);
        parts.authority = Some(authority);
        let uri = Uri::from_parts(parts).map_err(|e| bad(&e.to_string()))?;
        Ok(Self { uri, host_port, topics })
    }
}

pub(crate) fn host_port(authority: &Authority) -> Result<String, &'static str> {
    let host = authority.host();
    let port = match authority.as_str().strip_prefix(host) {
        Some("") => 80,
        _ => authority.port_u16().ok_or("its port must be a number from 0 to 65535")?,
    };
    if host.is_empty() { Err("it names no host") } else { Ok(format!("{host}:{port}")) }
}

fn default_path(query: Option<&str>) -> Result<PathAndQuery, InvalidUri> {
    match query {
        None => PathAndQuery::from_maybe_shared(SDK_PATH),
        Some(query) => PathAndQuery::from_maybe_shared(format!("{SDK_PATH}?{query}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_added_where_it_is_missing() {
        for (url, uri, host_port) in [
            ("ws://127.0.0.1:8080", "ws://127.0.0.1:8080/v1/ws", "127.0.0.1:8080"),
            ("http://127.0.0.1:8080/", "ws://127.0.0.1:8080/v1/ws", "127.0.0.1:8080"),
            ("127.0.0.1:8080", "ws://127.0.0.1:8080/v1/ws", "127.0.0.1:8080"),
            ("ws://broker/?a=b", "ws://broker/v1/ws?a=b", "broker:80"),
            ("ws://broker/v1/ws", "ws://broker/v1/ws", "broker:80"),
            ("ws://broker/behind/v1/ws", "ws://broker/behind/v1/ws", "broker:80"),
            ("ws://[::1]:9000", "ws://[::1]:9000/v1/ws", "[::1]:9000"),
            (" localhost ", "ws://localhost/v1/ws", "localhost:80"),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!(
                (address.uri.to_string().as_str(), address.host_port.as_str()),
                (uri, host_port)
            );
        }
    }

    #[test]
    fn topics_stand_beside_the_route_of_the_sdk_protocol() {
        for (url, topics) in [
            ("ws://broker", Some("/v1/topics")),
            ("ws://broker/behind/v1/ws", Some("/behind/v1/topics")),
            ("ws://broker/somewhere", None),
        ] {
            assert_eq!(Address::parse(url).unwrap().topics.as_deref(), topics);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (url, reason) in [
            ("", "it is empty"),
            ("wss://broker", "no TLS"),
            ("ftp://broker", "ws or http"),
            ("ws://user:secret@broker", "user name"),
            ("ws://:8080", "no host"),
            ("ws://broker:notaport", "port must be"),
            ("ws://broker:70000", "port must be"),
            ("ws://bro ker", "invalid"),
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url:?} gave: {error}");
        }
    }
}
