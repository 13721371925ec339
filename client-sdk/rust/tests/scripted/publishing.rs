//! Publishing on a healthy connection.

use std::time::Duration;

use fanfare_client::{Codec, Error, ErrorCode, ErrorReply, Payload, PayloadKind, Position};
use fanfare_protocol::{Command, Request};

use crate::peer::{MESSAGE_BYTES_MAX, Peer, published_text};

fn published(command: &Command) -> (&str, PayloadKind, &[u8]) {
    match &command.request {
        Request::Publish(publish) => {
            (&publish.topic, publish.payload.kind(), publish.payload.bytes())
        }
        other => panic!("{other:?} instead of publish"),
    }
}

#[tokio::test]
async fn each_payload_kind_arrives_as_it_was_given_in_both_codecs() {
    for codec in Codec::ALL {
        let peer = Peer::bind().await;
        let (client, mut link) = peer.client(peer.builder().codec(codec)).await;
        for payload in [
            Payload::json(r#"{"p":187.2}"#).unwrap(),
            Payload::text("héllo"),
            Payload::binary(vec![0, 255, 7]),
        ] {
            let (position, ()) = tokio::join!(client.publish("ticks.A", payload.clone()), async {
                let command = link.command().await;
                let expected = ("ticks.A", payload.kind(), &payload.bytes()[..]);
                assert_eq!(published(&command), expected);
                link.confirm_publish(&command, 58).await;
            });
            let position = position.unwrap().position();
            assert_eq!(position, Position { epoch: "e1".to_owned(), offset: 58 });
        }
    }
}

#[tokio::test]
async fn a_serde_value_is_published_as_json() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let (position, ()) = tokio::join!(client.publish_json("t", &[1, 2]), async {
        let command = link.command().await;
        assert_eq!(published(&command), ("t", PayloadKind::Json, &b"[1,2]"[..]));
        link.confirm_publish(&command, 1).await;
    });
    position.unwrap();

    let no_json = std::collections::HashMap::from([((1, 2), 3)]);
    let error = client.publish_json("t", &no_json).await.unwrap_err();
    assert!(matches!(error, Error::BadPayload { .. }), "{error:?}");
}

#[tokio::test]
async fn an_unconfirmed_message_has_no_id_and_does_not_wait() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    client.publish_unconfirmed("t", Payload::text("one")).await.unwrap();
    client.publish_unconfirmed("t", Payload::text("two")).await.unwrap();
    for text in ["one", "two"] {
        let command = link.command().await;
        assert_eq!((published_text(&command), command.id), (text, None));
    }
}

#[tokio::test]
async fn replies_find_their_callers_in_any_order() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let publish = |text: &str| client.publish("t", Payload::text(text));
    let (one, two, ()) = tokio::join!(publish("one"), publish("two"), async {
        let (first, second) = (link.command().await, link.command().await);
        assert_eq!((published_text(&first), published_text(&second)), ("one", "two"));
        link.confirm_publish(&second, 2).await;
        link.confirm_publish(&first, 1).await;
    });
    assert_eq!((one.unwrap().offset, two.unwrap().offset), (1, 2));
}

#[tokio::test]
async fn a_refused_message_is_reported_as_the_broker_said_it() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let refusal = ErrorReply::new(ErrorCode::Unavailable, "not now");
    let (position, ()) = tokio::join!(client.publish("t", Payload::text("x")), async {
        let command = link.command().await;
        link.refuse(&command, refusal.clone()).await;
    });
    assert_eq!(position, Err(Error::Refused(refusal)));
}

#[tokio::test]
async fn a_message_over_the_brokers_limit_is_refused_before_it_is_sent() {
    let peer = Peer::bind().await;
    let (client, mut link) = peer.client(peer.builder()).await;
    let envelope = r#"{"publish":{"topic":"t","text":""}}"#.len();
    let fits = usize::try_from(MESSAGE_BYTES_MAX).unwrap() - envelope;
    client.publish_unconfirmed("t", Payload::text("x".repeat(fits))).await.unwrap();
    assert_eq!(published_text(&link.command().await).len(), fits);

    let too_long = Payload::text("x".repeat(fits + 1));
    let error = client.publish_unconfirmed("t", too_long).await.unwrap_err();
    let (bytes, bytes_max) = (envelope + fits + 1, MESSAGE_BYTES_MAX);
    assert_eq!(error, Error::TooLarge { bytes, bytes_max });
    link.nothing().await;
}

#[tokio::test]
async fn a_publish_without_reply_times_out_with_an_unknown_outcome() {
    let peer = Peer::bind().await;
    let timeout = Duration::from_millis(30);
    let (client, mut link) = peer.client(peer.builder().command_timeout(timeout)).await;
    let error = client.publish("t", Payload::text("x")).await.unwrap_err();
    assert_eq!(error, Error::TimedOut { after: timeout });
    assert!(error.outcome_is_unknown());
    assert_eq!(published_text(&link.command().await), "x");
}
