//! One publish reaches every subscriber, once and in order, whatever its form and its shard.

mod support;

use fanfare_protocol::{Codec, Command, Connect, Request, ServerFrame, Subscribe};
use futures_util::SinkExt;
use support::{Ws, eventually, http, metric, start};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn every_form_gets_the_same_messages() {
    let server = start();
    let mut raw = Ws::raw(&server, "t").await;
    let mut json = Ws::subscriber(&server, &["t"]).await;
    let mut msgpack = Ws::open(&server, "/v1/ws", Some("fanfare.v1.msgpack")).await;
    let subscribe = Subscribe::new("t");
    let commands = [
        Command { id: None, request: Request::Connect(Connect::default()) },
        Command { id: Some(2), request: Request::Subscribe(subscribe) },
    ];
    let mut batch = Vec::new();
    Command::encode_batch(&commands, Codec::MsgPack, &mut batch);
    msgpack.stream.send(Message::binary(batch)).await.unwrap();
    let reply = msgpack.data().await;
    assert!(reply.is_binary());
    let reply = ServerFrame::decode(Codec::MsgPack, &reply.into_data()).unwrap();
    assert!(matches!(reply, ServerFrame::Reply(reply) if reply.id == 2 && reply.result.is_ok()));

    raw.send(r#"{"p": 187.20}"#).await;
    assert_eq!(raw.data().await, Message::text(r#"{"p": 187.20}"#));
    let verbatim = r#"{"topic":"t","offset":1,"data":{"p": 187.20}}"#;
    assert_eq!(json.data().await, Message::text(verbatim));
    let push = ServerFrame::decode(Codec::MsgPack, &msgpack.data().await.into_data()).unwrap();
    let ServerFrame::Message(push) = push else { panic!("{push:?}") };
    assert_eq!((push.offset, push.payload.bytes().as_ref()), (1, &br#"{"p":187.2}"#[..]));
    server.stop().await;
}

#[tokio::test]
async fn many_subscribers_on_all_shards_hear_two_publishers_in_one_order() {
    const SUBSCRIBERS: usize = 60;
    const MESSAGES: usize = 500;
    let server = start();
    let mut subscribers = Vec::new();
    for _ in 0..SUBSCRIBERS {
        subscribers.push(Ws::raw(&server, "t").await);
    }
    let mut publishers = Vec::new();
    for name in ["a", "b"] {
        let mut publisher = Ws::subscriber(&server, &[]).await;
        publishers.push(tokio::spawn(async move {
            for i in 0..MESSAGES {
                let body = format!(r#"{{"publish":{{"topic":"t","text":"{name} {i}"}}}}"#);
                publisher.send(&body).await;
            }
            publisher
        }));
    }
    let mut heard = Vec::new();
    for subscriber in &mut subscribers {
        let mut messages = Vec::with_capacity(2 * MESSAGES);
        while messages.len() < 2 * MESSAGES {
            messages.push(subscriber.data().await.into_text().unwrap().to_string());
        }
        heard.push(messages);
    }
    assert!(heard.iter().all(|messages| *messages == heard[0]), "one order everywhere");
    for name in ["a", "b"] {
        let own: Vec<String> = heard[0].iter().filter(|m| m.starts_with(name)).cloned().collect();
        let sent: Vec<String> = (0..MESSAGES).map(|i| format!("{name} {i}")).collect();
        assert_eq!(own, sent, "the order of each publisher");
    }
    for shard in 0..2 {
        let name = format!("fanfare_shard_connections{{shard=\"{shard}\"}}");
        assert!(metric(&server, &name).await > 0.0, "{name}: both shards took part");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_metrics_add_up() {
    let server = start();
    let mut a = Ws::subscriber(&server, &["t", "u"]).await;
    let mut b = Ws::raw(&server, "t").await;
    for body in ["1", "22", "333"] {
        http(&server, "POST /v1/topics/t", &[], body.as_bytes()).await;
        a.data().await;
        b.data().await;
    }
    for (name, expected) in [
        ("fanfare_connections", 2.0),
        ("fanfare_subscriptions", 3.0),
        ("fanfare_topics", 2.0),
        ("fanfare_messages_in_total", 3.0),
        ("fanfare_message_in_bytes_total", 6.0),
        ("fanfare_messages_out_total", 6.0),
        ("fanfare_fanout_size_count", 3.0),
        ("fanfare_fanout_size_sum", 6.0),
        ("fanfare_outbox_bytes", 0.0),
    ] {
        assert_eq!(metric(&server, name).await, expected, "{name}");
    }
    assert!(metric(&server, "fanfare_delivery_seconds_count").await >= 3.0);
    assert!(metric(&server, "fanfare_out_bytes_total").await > 0.0);
    let text = support::admin(&server, "/metrics").await.body;
    assert!(!text.contains("topic="), "a topic must never be a label");
    b.stream.close(None).await.unwrap();
    drop(a);
    eventually("both are gone", || server.connection_count() == 0).await;
    assert_eq!(metric(&server, "fanfare_subscriptions").await, 0.0);
    assert_eq!(metric(&server, "fanfare_connections_closed_total{code=\"other\"}").await, 2.0);
    server.stop().await;
}
