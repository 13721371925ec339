//! The first connection: what is said, and what each refusal is reported as.

use std::time::Duration;

use fanfare_client::{Client, CloseCode, Codec, Error, ErrorCode, ErrorReply, Event, Transport};
use fanfare_protocol::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::peer::{Peer, SOON};

#[tokio::test]
async fn connect_with_the_token_is_the_first_command_in_both_codecs() {
    for codec in Codec::ALL {
        let peer = Peer::bind().await;
        let builder = peer.builder().codec(codec).token("secret");
        let (client, ()) = tokio::join!(builder.connect(), async {
            let mut link = peer.accept().await;
            assert_eq!(link.codec, codec);
            let command = link.command().await;
            match &command.request {
                Request::Connect(connect) => assert_eq!(connect.token.as_deref(), Some("secret")),
                other => panic!("{other:?} came first"),
            }
            link.confirm_connect(&command, SOON).await;
        });
        let mut events = client.unwrap().events();
        let connected = Event::Connected {
            connection: "c1".into(),
            node: "n1".into(),
            transport: Transport::WebSocket,
        };
        assert_eq!(events.next().await, Some(connected));
    }
}

#[tokio::test]
async fn a_port_without_a_server_is_told_at_once() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = Client::connect(&format!("ws://{port}")).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { address, .. } if *address == port.to_string()));
}

#[tokio::test]
async fn a_refused_upgrade_carries_status_and_body() {
    let error =
        connect_to_http("HTTP/1.1 403 Forbidden\r\nContent-Length: 19\r\n\r\nThe origin is wrong")
            .await;
    match error {
        Error::UpgradeRefused { status: 403, detail, .. } => {
            assert!("The origin is wrong".starts_with(&detail), "{detail}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_no_broker() {
    let error = connect_to_http("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    assert!(matches!(error, Error::NotABroker { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_without_the_subprotocol_is_no_broker() {
    let peer = Peer::bind().await;
    let (client, _) = tokio::join!(peer.builder().connect(), async {
        tokio_tungstenite::accept_async(peer.accept_tcp().await).await
    });
    let error = client.unwrap_err();
    assert!(matches!(&error, Error::NotABroker { .. }), "{error:?}");
}

#[tokio::test]
async fn a_refused_connect_command_is_reported_as_the_broker_said_it() {
    let peer = Peer::bind().await;
    let refusal = ErrorReply::new(ErrorCode::Unavailable, "the node is full");
    let (client, ()) = tokio::join!(peer.builder().connect(), async {
        let mut link = peer.accept().await;
        let command = link.command().await;
        link.refuse(&command, refusal.clone()).await;
    });
    assert_eq!(client.unwrap_err(), Error::Refused(refusal));
}

#[tokio::test]
async fn a_close_instead_of_a_reply_is_reported_with_its_code() {
    let peer = Peer::bind().await;
    let (client, ()) = tokio::join!(peer.builder().connect(), async {
        let mut link = peer.accept().await;
        link.command().await;
        link.close(CloseCode::TRY_AGAIN_LATER, "full").await;
    });
    let expected =
        Error::ClosedByBroker { code: CloseCode::TRY_AGAIN_LATER, reason: "full".to_owned() };
    assert_eq!(client.unwrap_err(), expected);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_after_the_connect_timeout() {
    let peer = Peer::bind().await;
    let builder = peer.builder().connect_timeout(Duration::from_millis(30));
    let (client, stream) = tokio::join!(builder.connect(), peer.accept_tcp());
    assert!(matches!(client.unwrap_err(), Error::Unreachable { .. }));
    drop(stream);
}

/// Connects to a server that reads the request and answers `response`.
async fn connect_to_http(response: &str) -> Error {
    let peer = Peer::bind().await;
    let (client, ()) = tokio::join!(peer.builder().connect(), async {
        let mut stream = peer.accept_tcp().await;
        let mut request = vec![0; 4_096];
        let bytes = stream.read(&mut request).await.expect("a request");
        assert!(request[..bytes].ends_with(b"\r\n\r\n"));
        stream.write_all(response.as_bytes()).await.expect("an open connection");
        stream.shutdown().await.expect("an open connection");
    });
    client.expect_err("no broker is there")
}
