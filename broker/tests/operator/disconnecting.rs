//! Connections that an operator closes, and whether their clients come back.

use fanfare::Server;
use fanfare_client::{Client, Error, Update};
use fanfare_protocol::{CloseCode, Payload, TopicName};
use serde_json::json;

use crate::support::{Answer, EventReader, SOON, Ws, admin, admin_post, metric, start};

async fn disconnect(server: &Server, body: serde_json::Value) -> Answer {
    admin_post(server, "/v1/disconnect", "", &body.to_string()).await
}

#[tokio::test]
async fn one_connection_is_closed_by_name_wherever_it_is() {
    let server = start();
    for shard in [0, 1] {
        let mut ws = Ws::on_shard(&server, shard).await;
        ws.subscribe(json!({"topic": "t"})).await;
        let view = admin(&server, "/v1/connections?sort=subscriptions&limit=1").await.json();
        let name = view["connections"][0]["connection"].clone();
        let answer = disconnect(&server, json!({"connection": name})).await;
        assert_eq!((answer.status, answer.json()), (200, json!({"closed": 1, "code": 3004})));
        assert_eq!(ws.closed().await, (3004, "closed by the operator".to_owned()));
        let again = disconnect(&server, json!({"connection": name})).await;
        assert_eq!(again.status, 404);
        assert!(again.detail().contains(name.as_str().unwrap()), "{again:?}");
    }
    let closed = "fanfare_connections_closed_total{code=\"disconnected\"}";
    assert_eq!(metric(&server, closed).await, 2.0);
    server.stop().await;
}

#[tokio::test]
async fn all_connections_of_an_address_are_closed_however_many() {
    let server = start();
    let mut readers = Vec::new();
    for _ in 0..200 {
        readers.push(Ws::raw(&server, "t").await);
    }
    let body = json!({"peer": "127.0.0.1", "reconnect": false, "reason": "enough"});
    let answer = disconnect(&server, body).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"closed": 200, "code": 3503})));
    for mut reader in readers {
        assert_eq!(reader.closed().await, (3503, "enough".to_owned()));
    }
    let nobody = disconnect(&server, json!({"peer": "10.9.8.7"})).await;
    assert!(nobody.status == 404 && nobody.detail().contains("10.9.8.7"), "{nobody:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_reader_of_events_is_closed_with_an_event() {
    let server = start();
    let mut reader = EventReader::open(&server, "/v1/topics/t").await;
    let answer = disconnect(&server, json!({"peer": "127.0.0.1"})).await;
    assert_eq!(answer.json()["closed"], 1);
    assert_eq!(reader.closed().await.json()["code"], 3004);
    server.stop().await;
}

#[tokio::test]
async fn a_client_comes_back_unless_it_is_told_not_to() {
    let server = start();
    let client = Client::connect(&server.url()).await.unwrap();
    let mut updates = client.subscribe("t").await.unwrap();
    // Not published by the client: what it says on a connection that ends may be lost.
    let mut publisher = server.publisher();
    let topic = TopicName::new("t").unwrap();
    for offset in 1..=2 {
        publisher.publish(&topic, &Payload::text("x")).unwrap();
        let update = tokio::time::timeout(SOON, updates.next()).await.expect("an update in time");
        let Some(Update::Message(message)) = update else { panic!("{update:?}") };
        assert_eq!(message.offset, offset, "nothing is lost by coming back");
        if offset == 1 {
            let answer = disconnect(&server, json!({"peer": "127.0.0.1"})).await;
            assert_eq!(answer.json()["code"], 3004);
        }
    }
    let answer = disconnect(&server, json!({"peer": "127.0.0.1", "reconnect": false})).await;
    assert_eq!(answer.json()["code"], 3503);
    let told = async {
        loop {
            match client.publish_json("t", &3).await {
                Err(Error::ClosedByBroker { code, .. }) => return code,
                // Said before the client had heard of the end.
                Err(_) => {}
                Ok(position) => panic!("it came back: {position:?}"),
            }
        }
    };
    let code = tokio::time::timeout(SOON, told).await.expect("the end in time");
    assert_eq!(code, CloseCode::DISCONNECTED_FOR_GOOD);
    server.stop().await;
}

#[tokio::test]
async fn what_it_does_not_understand_closes_nobody() {
    let server = start();
    let reader = Ws::raw(&server, "t").await;
    for body in [
        "",
        "{}",
        r#"{"connection":"a","peer":"127.0.0.1"}"#,
        r#"{"peer":"localhost"}"#,
        r#"{"peer":"127.0.0.1","code":1000}"#,
    ] {
        let answer = admin_post(&server, "/v1/disconnect", "", body).await;
        assert_eq!(answer.status, 400, "{body} {answer:?}");
        assert!(answer.detail().contains("\"reconnect\""), "{body} {answer:?}");
    }
    let all = r#"{"peer":"127.0.0.1"}"#;
    let page = admin_post(&server, "/v1/disconnect", "Origin: http://evil.example\r\n", all).await;
    assert_eq!(page.status, 403, "{page:?}");
    let large = "x".repeat(20_000);
    assert_eq!(admin_post(&server, "/v1/disconnect", "", &large).await.status, 413);
    assert_eq!(admin(&server, "/v1/disconnect").await.status, 405);
    assert_eq!(server.connection_count(), 1);
    drop(reader);
    server.stop().await;
}
