//! Through an HTTP proxy: by `CONNECT` where it allows that, else with the whole URL.

use fanfare_client::{Client, ClientBuilder, Error, Payload, Transport};
use tokio::io::AsyncWriteExt;

use crate::peer::Peer;
use crate::web::Web;

/// A client of a broker that only the proxy knows.
fn behind(proxy: &Web) -> ClientBuilder {
    let address = proxy.url.replace("http://", "http://user:pass%20word@");
    Client::builder("ws://broker.example:8080").proxy(address)
}

/// The credentials of [`behind`].
const CREDENTIALS: &str = "Basic dXNlcjpwYXNzIHdvcmQ=";

#[tokio::test]
async fn a_websocket_goes_through_a_tunnel() {
    let mut proxy = Web::bind().await;
    let peer = Peer::bind().await;
    let (client, ()) = tokio::join!(behind(&proxy).connect(), async {
        let asked = proxy.any().await;
        assert_eq!(asked.line(), "CONNECT broker.example:8080");
        assert_eq!(asked.headers["host"], "broker.example:8080");
        assert_eq!(asked.headers["proxy-authorization"], CREDENTIALS);
        let mut stream = asked.into_stream();
        stream.write_all(b"HTTP/1.1 200 Connection ").await.unwrap();
        stream.write_all(b"established\r\nVia: x\r\n\r\n").await.unwrap();
        let mut link = peer.accept_over(stream).await;
        let connect = link.command().await;
        link.confirm_connect(&connect, crate::peer::SOON).await;
    });
    assert_eq!(client.unwrap().transport(), Transport::WebSocket);
}

#[tokio::test]
async fn a_proxy_that_refuses_a_tunnel_forwards_requests() {
    let mut proxy = Web::bind().await;
    let (client, ()) = tokio::join!(behind(&proxy).connect(), async {
        // For the WebSocket, then for the stream.
        for _ in 0..2 {
            let asked = proxy.any().await;
            assert_eq!(asked.method, "CONNECT");
            asked.answer(403, "", "only port 443").await;
        }
        let asked = proxy.any().await;
        let target = "http://broker.example:8080/v1/topics?topic=fanfare.probe.%3E";
        assert_eq!(asked.target, target);
        assert_eq!(asked.headers["host"], "broker.example:8080");
        assert_eq!(asked.headers["proxy-authorization"], CREDENTIALS);
        asked.events().await.begin_pattern("fanfare.probe.>").await;
    });
    let client = client.unwrap();
    assert_eq!(client.transport(), Transport::Sse);
    let (published, ()) = tokio::join!(client.publish("t", Payload::text("x")), async {
        proxy.any().await.answer(403, "", "only port 443").await;
        let asked = proxy.any().await;
        assert_eq!(asked.line(), "POST http://broker.example:8080/v1/topics/t");
        asked.published(1).await;
    });
    assert_eq!(published.unwrap().offset, 1);
}

#[tokio::test]
async fn a_proxy_that_wants_other_credentials_says_so() {
    let mut proxy = Web::bind().await;
    let (client, ()) = tokio::join!(behind(&proxy).connect(), async {
        proxy.any().await.answer(407, "Proxy-Authenticate: Basic\r\n", "").await;
    });
    let error = client.unwrap_err();
    assert!(matches!(error, Error::ProxyRefused { status: 407, .. }), "{error:?}");
    proxy.nothing().await;
}

#[tokio::test]
async fn a_proxy_that_does_not_reach_the_broker_is_no_reason_to_fall_back() {
    let mut proxy = Web::bind().await;
    let (client, ()) = tokio::join!(behind(&proxy).connect(), async {
        proxy.any().await.answer(502, "", "no route").await;
    });
    let error = client.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    proxy.nothing().await;
}

#[tokio::test]
async fn what_is_no_proxy_is_told() {
    let mut proxy = Web::bind().await;
    let (client, ()) = tokio::join!(behind(&proxy).connect(), async {
        let mut stream = proxy.any().await.into_stream();
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").await.unwrap();
    });
    let error = client.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let error = behind(&proxy).proxy("socks5://127.0.0.1:1").connect().await.unwrap_err();
    assert!(matches!(error, Error::BadOption { .. }), "{error:?}");
}

#[tokio::test]
async fn the_secrets_of_a_client_are_not_shown() {
    let proxy = Web::bind().await;
    let builder = behind(&proxy);
    assert!(!format!("{builder:?}").contains("pass"), "{builder:?}");
}
