//! Clients whose network vanishes, with neither FIN nor RST: what the broker does about them, what
//! they do themselves, and that nobody else notices.
//!
//! Needs Linux with user namespaces, and `unshare`, `ip` and `nft`. `cargo test` leaves it out;
//! `cargo xtask test --only network` gets what it needs, and
//! `cargo test -p fanfare-client --test network` runs it.

mod broker;
mod namespace;

use std::ops::RangeInclusive;
use std::time::Duration;

use broker::Broker;
use fanfare_client::{Client, Event, Events, Payload, Subscription, Transport, Update};
use tokio::time::{sleep, timeout};

/// Long enough for anything that does happen, on a busy machine too.
const SOON: Duration = Duration::from_secs(60);

/// How long a pong may take: longer than a reader on a busy machine is silent, and so much longer
/// than the stall timeout that who is sent something is found by that.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);

/// What the payloads of a busy topic hold beside their number. Some thousand of them are more than
/// the kernel takes for a peer that does not answer.
const BODY_BYTES: usize = 4_000;

async fn publish(publisher: &Client, topic: &str, numbers: RangeInclusive<u64>) {
    let body = "x".repeat(BODY_BYTES);
    for number in numbers {
        let published = publisher.publish(topic, Payload::text(format!("{number} {body}"))).await;
        assert_eq!(published.expect("published").offset, number);
    }
}

/// Takes these messages, and nothing beside them.
async fn take(subscription: &mut Subscription, numbers: RangeInclusive<u64>) {
    for number in numbers {
        let update = timeout(SOON, subscription.next()).await.expect("in time").expect("a stream");
        let Update::Message(message) = update else { panic!("{update:?} instead of {number}") };
        let text = message.payload.as_text().expect("text");
        let told = text.split(' ').next().expect("a number");
        assert_eq!((message.offset, told), (number, &*number.to_string()));
    }
}

/// The next event that says that the connection was lost: why.
async fn lost(events: &mut Events) -> String {
    loop {
        let event = timeout(SOON, events.next()).await.expect("in time").expect("an event");
        if let Event::Disconnected { code, reason, .. } = event {
            assert_eq!(code, None, "nothing came through");
            return reason;
        }
    }
}

#[test]
fn a_busy_reader_that_vanishes_is_ended_by_its_stall_and_comes_back_without_loss() {
    const NAME: &str =
        "a_busy_reader_that_vanishes_is_ended_by_its_stall_and_comes_back_without_loss";
    namespace::alone(NAME, async {
        let broker = Broker::start(PONG_TIMEOUT);
        let publisher = broker.near().await;
        let mut near = Vec::new();
        for _ in 0..3 {
            near.push(broker.near().await.subscribe("busy").await.expect("subscribed"));
        }
        let client = broker.far().await;
        let mut events = client.events();
        let mut far = client.subscribe("busy").await.expect("subscribed");
        publish(&publisher, "busy", 1..=100).await;
        take(&mut far, 1..=100).await;

        namespace::cut();
        let readers: Vec<_> = near
            .into_iter()
            .map(|mut reader| {
                tokio::spawn(async move {
                    take(&mut reader, 1..=3_000).await;
                    reader
                })
            })
            .collect();
        let publishing = publish(&publisher, "busy", 101..=3_000);
        // All the while the broker counts what it holds for who has vanished, and ends it.
        let ending = async {
            let mut held = 0;
            while broker.closed("slow_consumer").await < 1.0 {
                let connections = broker.connections().await;
                let amounts = connections.iter().filter_map(|c| c["buffered_amount"].as_u64());
                held = amounts.max().unwrap_or(0).max(held);
                sleep(Duration::from_millis(10)).await;
            }
            held
        };
        let (held, ()) = timeout(SOON, async { tokio::join!(ending, publishing) })
            .await
            .expect("a reader that takes nothing is ended");
        assert!(held > BODY_BYTES as u64, "{held} bytes waited for the vanished reader");
        let mut near = Vec::new();
        for reader in readers {
            near.push(reader.await.expect("every message, in order"));
        }
        forgets_who_is_far(&broker, 4).await;

        assert_eq!(lost(&mut events).await, "the broker fell silent");
        publish(&publisher, "busy", 3_001..=3_100).await;
        // It tries again and again, and nothing answers.
        assert_ne!(lost(&mut events).await, "the broker fell silent");
        namespace::mend();
        take(&mut far, 101..=3_100).await;
        publish(&publisher, "busy", 3_101..=3_101).await;
        take(&mut far, 3_101..=3_101).await;
        for reader in &mut near {
            take(reader, 3_001..=3_101).await;
        }
        assert_eq!(
            (broker.closed("slow_consumer").await, broker.closed("no_pong").await),
            (1.0, 0.0)
        );
        broker.stop().await;
    });
}

#[test]
fn a_quiet_reader_that_vanishes_is_ended_by_its_missing_pong_and_comes_back_without_loss() {
    const NAME: &str =
        "a_quiet_reader_that_vanishes_is_ended_by_its_missing_pong_and_comes_back_without_loss";
    namespace::alone(NAME, async {
        let broker = Broker::start(PONG_TIMEOUT);
        let publisher = broker.near().await;
        let client = broker.far().await;
        let mut events = client.events();
        let mut far = client.subscribe("quiet").await.expect("subscribed");
        let mut near = broker.near().await.subscribe("quiet").await.expect("subscribed");
        publish(&publisher, "quiet", 1..=1).await;
        take(&mut far, 1..=1).await;

        namespace::cut();
        // So little that the kernel takes it all: nothing waits, and nothing stalls.
        publish(&publisher, "quiet", 2..=3).await;
        take(&mut near, 1..=3).await;
        broker.closes("no_pong", 1.0).await;
        forgets_who_is_far(&broker, 2).await;
        assert_eq!(lost(&mut events).await, "the broker fell silent");
        publish(&publisher, "quiet", 4..=4).await;
        namespace::mend();
        take(&mut far, 2..=4).await;
        take(&mut near, 4..=4).await;
        assert_eq!(
            (broker.closed("slow_consumer").await, broker.closed("no_pong").await),
            (0.0, 1.0)
        );
        broker.stop().await;
    });
}

#[test]
fn a_reader_of_events_that_vanishes_notices_by_the_told_interval_and_loses_nothing() {
    const NAME: &str =
        "a_reader_of_events_that_vanishes_notices_by_the_told_interval_and_loses_nothing";
    namespace::alone(NAME, async {
        let broker = Broker::start(PONG_TIMEOUT);
        let publisher = broker.near().await;
        let client = broker.far_over(&[Transport::Sse]).await;
        let mut events = client.events();
        let mut far = client.subscribe("quiet").await.expect("subscribed");
        publish(&publisher, "quiet", 1..=1).await;
        take(&mut far, 1..=1).await;

        namespace::cut();
        publish(&publisher, "quiet", 2..=3).await;
        // By the interval that is usual it would take 30 s.
        let reason = timeout(Duration::from_secs(25), lost(&mut events)).await;
        assert_eq!(reason.expect("the broker has told its interval"), "the broker fell silent");
        // No pong is asked of it, so the kernel is the one who finds out.
        forgets_who_is_far(&broker, 1).await;
        publish(&publisher, "quiet", 4..=4).await;
        namespace::mend();
        take(&mut far, 2..=4).await;
        broker.stop().await;
    });
}

/// Waits until the broker, and the kernel on its behalf, hold nothing of a connection that has
/// vanished: only `others` are left.
async fn forgets_who_is_far(broker: &Broker, others: usize) {
    let mut last = String::new();
    let forgotten = async {
        loop {
            let connections = broker.connections().await;
            let waiting = broker.metric("fanfare_outbox_bytes").await;
            let far = broker.far_sockets();
            if connections.len() == others && waiting == 0.0 && far == (0, 0) {
                return;
            }
            last = format!("{} connections, {waiting} bytes, sockets {far:?}", connections.len());
            sleep(Duration::from_millis(20)).await;
        }
    };
    let forgotten = timeout(SOON, forgotten).await;
    assert!(forgotten.is_ok(), "not given back: {last}");
}
