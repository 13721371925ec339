//! Publishers that are faster than the broker delivers: they are held back, nothing is lost, and
//! the broker's memory stays bounded.

use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::{Ws, frame, handshake, metric, metric_becomes, start_with};

const PUBLISHERS: usize = 3;
/// Messages of each publisher.
const MESSAGES: usize = 40_000;
const BODY_BYTES: usize = 20;
/// Messages in one read of a shard at most, which it takes before it looks at the mark.
const READ_MESSAGES: usize = 256 * 1_024 / (BODY_BYTES + 10);
/// Bytes that the kernel takes for a publisher: enough to fill a read of the shard, and far less
/// than is published.
const SEND_BYTES: usize = 256 * 1_024;
const MARK: usize = 500;

/// Writes all its messages as fast as the socket takes them; how often it took none.
fn flood(stream: TcpStream, name: usize) -> JoinHandle<(TcpStream, usize)> {
    socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BYTES).unwrap();
    let body = |i| format!("{name} {i} {}", "x".repeat(BODY_BYTES));
    let bytes: Vec<u8> = (0..MESSAGES).flat_map(|i| frame(0x81, body(i).as_bytes())).collect();
    tokio::spawn(async move {
        let (mut written, mut refused) = (0, 0);
        while written < bytes.len() {
            match stream.try_write(&bytes[written..]) {
                Ok(n) => written += n,
                Err(_) => {
                    refused += 1;
                    stream.writable().await.unwrap();
                }
            }
        }
        (stream, refused)
    })
}

/// Reads a raw stream until it has everything of every publisher, each in order.
fn follow(mut ws: Ws) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut next = [0; PUBLISHERS];
        while next != [MESSAGES; PUBLISHERS] {
            let text = ws.data().await.into_text().unwrap();
            let mut words = text.split(' ').map(|word| word.parse::<usize>().unwrap_or(0));
            let (name, i) = (words.next().unwrap(), words.next().unwrap());
            assert_eq!(i, next[name], "publisher {name}");
            next[name] += 1;
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_faster_than_everyone_is_held_back_and_nothing_is_lost() {
    let server = start_with(|l| {
        l.mailbox_messages_mark = MARK;
        // A subscriber of this test that is slower than the broker shall not be told a gap.
        l.namespaces.default_mut().history_messages = PUBLISHERS * MESSAGES;
        l.namespaces.default_mut().history_bytes = usize::MAX;
    });
    let mut subscribers = Vec::new();
    for _ in 0..4 {
        subscribers.push(follow(Ws::raw(&server, "t").await));
    }
    let mut publishers = Vec::new();
    for name in 0..PUBLISHERS {
        // It never reads what comes back to it.
        publishers.push(flood(handshake(&server, "/v1/topics/t?mode=latest").await, name));
    }
    let mut most = 0.0f64;
    while !subscribers.iter().all(JoinHandle::is_finished) {
        most = most.max(metric(&server, "fanfare_mailbox_messages").await);
        assert_eq!(metric(&server, "fanfare_gaps_total").await, 0.0);
    }
    let bound = 2 * (MARK + PUBLISHERS * READ_MESSAGES);
    assert!(most <= bound as f64, "{most} messages waited; {bound} are bounded");
    for subscriber in subscribers {
        subscriber.await.unwrap();
    }
    let mut refused = 0;
    for publisher in publishers {
        refused += publisher.await.unwrap().1;
    }
    println!("most {most} of {bound}, refused {refused}");
    assert!(refused > 0, "the sockets of publishers were full");
    metric_becomes(&server, "fanfare_mailbox_messages", |n| n == 0.0).await;
    assert_eq!(metric(&server, "fanfare_mailbox_bytes").await, 0.0);
    let mut after = Ws::subscriber(&server, &["t"]).await;
    let expected = (PUBLISHERS * MESSAGES + 1) as u64;
    assert_eq!(after.publish("t", json!("goes on")).await, expected);
    assert_eq!(after.json().await["data"], "goes on");
    server.stop().await;
}
