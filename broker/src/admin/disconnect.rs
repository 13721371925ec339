//! Closing connections by request.

use std::net::{IpAddr, SocketAddr};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use fanfare_engine::ConnectionTarget;
use fanfare_protocol::CloseCode;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::Admin;
use super::problem::{problem, refuse_pages};
use super::view::json;
use crate::logs::target;
use crate::shard::{self, Disconnect};

/// The body of `POST /v1/disconnect`: which connections, by one of the first two.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Request {
    /// The name of a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connection: Option<String>,
    /// An address, or an address with a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<String>,
    /// Whether the client may come back, which its library does by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reconnect: Option<bool>,
    /// What the client is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Disconnected {
    /// Connections that were closed.
    pub(crate) closed: usize,
    /// With which code.
    pub(crate) code: u16,
}

const ALLOWED: &str = "the body is {\"connection\": NAME} or {\"peer\": ADDRESS or ADDRESS:PORT}, \
                       with \"reconnect\", true unless told otherwise, and \"reason\", a text of \
                       up to 123 bytes, if you like";

const REASON_BYTES_MAX: usize = 123;

/// `POST /v1/disconnect`. 404 where no connection was meant.
pub(super) async fn disconnect(
    State(admin): State<Admin>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refusal) = refuse_pages(&headers, "close connections") {
        return refusal;
    }
    let order = match order(&body) {
        Ok(order) => order,
        Err(wrong) => {
            return problem(StatusCode::BAD_REQUEST, &format!("{wrong}; {ALLOWED}"));
        }
    };
    let (target, code) = (order.target.clone(), order.code.0);
    match shard::disconnect(&admin.questions, order).await {
        0 => problem(StatusCode::NOT_FOUND, &nobody(&target)),
        closed => {
            info!(target: target::CONNECTIONS, closed, code, by = "an operator", "disconnected");
            json(&Disconnected { closed, code })
        }
    }
}

/// What a body asks for, or what is wrong with it.
fn order(body: &[u8]) -> Result<Disconnect, String> {
    let request: Request = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let target = match (request.connection, request.peer) {
        (Some(name), None) => ConnectionTarget::Name(name),
        (None, Some(peer)) => {
            peer_target(&peer).ok_or_else(|| format!("{peer:?} is no address"))?
        }
        _ => return Err("exactly one of connection and peer is needed".to_owned()),
    };
    let reason = request.reason.unwrap_or_else(|| "closed by the operator".to_owned());
    if reason.len() > REASON_BYTES_MAX || reason.contains(char::is_control) {
        return Err("the reason is too long, or has control characters".to_owned());
    }
    let code = match request.reconnect {
        Some(false) => CloseCode::DISCONNECTED_FOR_GOOD,
        Some(true) | None => CloseCode::DISCONNECTED,
    };
    Ok(Disconnect { target, code, reason })
}

fn peer_target(peer: &str) -> Option<ConnectionTarget> {
    if let Ok(ip) = peer.parse::<IpAddr>() {
        return Some(ConnectionTarget::Address(ip.to_canonical()));
    }
    let addr: SocketAddr = peer.parse().ok()?;
    Some(ConnectionTarget::Peer((addr.ip().to_canonical(), addr.port()).into()))
}

fn nobody(target: &ConnectionTarget) -> String {
    match target {
        ConnectionTarget::Name(name) => {
            format!("this node has no connection {name:?}, or it is being closed already")
        }
        ConnectionTarget::Address(ip) => format!("no connection comes from {ip}"),
        ConnectionTarget::Peer(addr) => format!("no connection comes from {addr}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(body: &str) -> Result<ConnectionTarget, String> {
        order(body.as_bytes()).map(|order| order.target)
    }

    #[test]
    fn a_peer_is_an_address_with_a_port_or_without() {
        let ip = "10.0.0.7".parse().unwrap();
        let address = Ok(ConnectionTarget::Address(ip));
        assert_eq!(target(r#"{"peer":"10.0.0.7"}"#), address);
        assert_eq!(target(r#"{"peer":"::ffff:10.0.0.7"}"#), address);
        let peer = Ok(ConnectionTarget::Peer((ip, 5).into()));
        assert_eq!(target(r#"{"peer":"10.0.0.7:5"}"#), peer);
        assert_eq!(target(r#"{"peer":"[::ffff:10.0.0.7]:5"}"#), peer);
    }

    #[test]
    fn the_code_says_whether_to_come_back() {
        let order = |body: &str| order(body.as_bytes()).unwrap();
        let usual = order(r#"{"connection":"a-0-1"}"#);
        assert_eq!(
            (usual.code, usual.reason.as_str()),
            (CloseCode::DISCONNECTED, "closed by the operator")
        );
        assert!(usual.code.reconnects());
        let last = order(r#"{"connection":"a-0-1","reconnect":false,"reason":"enough"}"#);
        assert_eq!((last.code, last.reason.as_str()), (CloseCode::DISCONNECTED_FOR_GOOD, "enough"));
        assert!(!last.code.reconnects());
    }

    #[test]
    fn a_body_that_means_nothing_or_too_much_is_refused() {
        let long = format!(r#"{{"peer":"::1","reason":"{}"}}"#, "x".repeat(124));
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"connection":"a","peer":"::1"}"#,
            r#"{"peer":"example.org"}"#,
            r#"{"peer":7}"#,
            r#"{"connection":"a","code":1000}"#,
            r#"{"connection":"a","reason":"a\nb"}"#,
            &long,
        ] {
            assert!(order(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
