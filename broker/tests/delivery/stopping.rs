//! A broker that is told to stop: what clients are told, and that nothing keeps it from stopping.

use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;

use crate::support::{SOON, Ws, frame, handshake, metric_becomes, start};

/// Publishes to a topic as fast as the broker takes it, until it takes no more.
async fn flood(server: &fanfare::Server, topic: &str) -> JoinHandle<()> {
    let mut stream = handshake(server, &format!("/v1/topics/{topic}?mode=latest")).await;
    let messages = frame(0x81, b"0123456789").repeat(10_000);
    tokio::spawn(async move { while stream.write_all(&messages).await.is_ok() {} })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_under_full_load_stops_when_it_is_told_to() {
    let server = start();
    let mut told = Ws::subscriber(&server, &["quiet"]).await;
    let mut floods = Vec::new();
    for i in 0..6 {
        floods.push(flood(&server, &format!("t.{i}")).await);
    }
    metric_becomes(&server, "fanfare_messages_in_total", |n| n > 50_000.0).await;
    let told = tokio::spawn(async move { told.closed().await });
    tokio::time::timeout(SOON, server.stop()).await.expect("an end");
    assert_eq!(told.await.unwrap().0, 1012);
    for flood in floods {
        tokio::time::timeout(SOON, flood).await.expect("an end").unwrap();
    }
}
