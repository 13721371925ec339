//! The client and a real broker with something between that does not let WebSockets through.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fanfare::{Server, ServerConfig};
use fanfare_client::{
    Client, ClientBuilder, HistoryOptions, Missed, Mode, Payload, PublishOptions, SubscribeOptions,
    Transport,
};
use tokio::time::timeout;

use crate::web_proxy::{Refuses, WebProxy};
use crate::{SOON, next, next_missed, next_snapshot, start, start_with_history};

/// What each transport falls back from.
const BLOCKED: [(Refuses, Transport); 2] =
    [(Refuses::Upgrades, Transport::Sse), (Refuses::UpgradesAndStreams, Transport::LongPoll)];

fn builder(url: &str) -> ClientBuilder {
    Client::builder(url).backoff(Duration::from_millis(5), Duration::from_millis(50))
}

/// How long a transport may take: little where it is held back, all the time where it works.
fn patience(refuses: Refuses) -> Duration {
    match refuses {
        Refuses::UpgradesAndStreams => Duration::from_millis(300),
        _ => SOON,
    }
}

/// A client behind such a proxy, over the transport that is left.
async fn client_behind(server: &Server, refuses: Refuses) -> (WebProxy, Client) {
    let proxy = WebProxy::before(server.addr(), refuses).await;
    let builder = builder(&proxy.url()).fallback_after(patience(refuses));
    (proxy, builder.connect().await.expect("connected"))
}

#[tokio::test]
async fn everything_but_presence_works_over_what_is_left() {
    let server = start();
    let direct = Client::connect(&server.url()).await.unwrap();
    for (refuses, transport) in BLOCKED {
        let (_proxy, client) = client_behind(&server, refuses).await;
        assert_eq!(client.transport(), transport);
        let topic = format!("over.{transport}");
        let mut subscription = client.subscribe(&topic).await.unwrap();
        let payloads = [
            Payload::json("{\"p\":\n187.2}").unwrap(),
            Payload::text("héllo\n\u{1F3BA}"),
            Payload::binary(vec![0, 159, 146, 150]),
        ];
        for (offset, payload) in (1..).zip(&payloads) {
            let published = client.publish(&topic, payload.clone()).await.unwrap();
            assert_eq!(published.offset, offset);
            let message = next(&mut subscription).await;
            assert_eq!(message.position(), Some(published.position()));
            assert_eq!(message.payload, *payload);
        }
        let published = direct.publish(&topic, Payload::text("from elsewhere")).await.unwrap();
        assert_eq!(next(&mut subscription).await.position(), Some(published.position()));

        let once = || PublishOptions::new().key("order-17");
        let first = client.publish_with(&topic, Payload::text("x"), once()).await.unwrap();
        let again = client.publish_with(&topic, Payload::text("x"), once()).await.unwrap();
        assert_eq!((first.position(), again.duplicate), (again.position(), true));

        let page = client.history(&topic, HistoryOptions::new().limit(2)).await.unwrap();
        assert_eq!((page.head.offset, page.messages.len()), (5, 2));
        assert!(client.presence(&topic).await.is_err());
        client.close().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn many_messages_in_flight_keep_their_order() {
    const MESSAGES: u64 = 2_500;
    let server = start_with_history(3_000);
    for (refuses, transport) in BLOCKED {
        let (_proxy, client) = client_behind(&server, refuses).await;
        let topic = format!("many.{transport}");
        let mut subscription = client.subscribe(&topic).await.unwrap();
        let publisher = client.clone();
        let publishing = tokio::spawn(async move {
            for n in 0..MESSAGES {
                let payload = Payload::text(n.to_string());
                publisher.publish_unconfirmed(&topic, payload).await.expect("room");
            }
        });
        for n in 0..MESSAGES {
            let message = next(&mut subscription).await;
            assert_eq!(message.payload.as_text(), Some(n.to_string().as_str()));
            assert_eq!(message.offset, n + 1);
        }
        publishing.await.unwrap();
    }
    server.stop().await;
}

#[tokio::test]
async fn a_cut_loses_and_repeats_nothing_that_the_history_holds() {
    let server = start_with_history(1_000);
    let direct = Client::connect(&server.url()).await.unwrap();
    for (refuses, transport) in BLOCKED {
        let proxy = WebProxy::before(server.addr(), refuses).await;
        // Or so many cuts would be a reason to try another one.
        let client = builder(&proxy.url()).transports([transport]).connect().await.unwrap();
        let topic = format!("cut.{transport}");
        let mut subscription = client.subscribe(&topic).await.unwrap();
        let mut offset = 0;
        for _ in 0..5 {
            for _ in 0..20 {
                direct.publish(&topic, Payload::text("x")).await.unwrap();
            }
            proxy.cut();
            for _ in 0..20 {
                direct.publish(&topic, Payload::text("x")).await.unwrap();
            }
            for _ in 0..40 {
                offset += 1;
                assert_eq!(next(&mut subscription).await.offset, offset);
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_restarted_broker_gets_its_subscribers_back_over_what_is_left() {
    for (refuses, transport) in BLOCKED {
        let first = start();
        let listen = first.addr();
        let (_proxy, client) = client_behind(&first, refuses).await;
        let mut subscription = client.subscribe("t").await.unwrap();
        client.publish("t", Payload::text("before")).await.unwrap();
        assert_eq!(next(&mut subscription).await.payload, Payload::text("before"));
        first.stop().await;
        let second = ServerConfig { listen, ..ServerConfig::default_for_tests() };
        let second = Server::start(second).unwrap();
        // Long polling may not even notice. What is published before a subscription stands again
        // is in its gap, so one message is not enough.
        let publishing = async {
            loop {
                // An error means that the restart came in between.
                client.publish("t", Payload::text("after")).await.ok();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let receiving = async {
            assert_eq!(next_missed(&mut subscription).await, Missed::Unknown);
            assert_eq!(next(&mut subscription).await.payload, Payload::text("after"));
        };
        tokio::select! {
            () = publishing => {}
            () = receiving => {}
        }
        assert_eq!(client.transport(), transport);
        second.stop().await;
    }
}

#[tokio::test]
async fn a_slow_application_holds_the_broker_back_and_loses_nothing_that_it_holds() {
    const MESSAGES: u64 = 2_000;
    let server = start_with_history(3_000);
    let direct = Client::connect(&server.url()).await.unwrap();
    for (refuses, transport) in BLOCKED {
        let proxy = WebProxy::before(server.addr(), refuses).await;
        let builder = builder(&proxy.url()).fallback_after(patience(refuses));
        let client = builder.subscription_buffer(4).connect().await.unwrap();
        let topic = format!("slow.{transport}");
        let mut subscription = client.subscribe(&topic).await.unwrap();
        for n in 0..MESSAGES {
            let payload = Payload::text(format!("{n:200}"));
            direct.publish_unconfirmed(&topic, payload).await.unwrap();
        }
        direct.publish(&topic, Payload::text("last")).await.unwrap();
        for n in 0..=MESSAGES {
            assert_eq!(next(&mut subscription).await.offset, n + 1);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn patterns_modes_and_rates_work_over_events() {
    let server = start();
    let (_proxy, client) = client_behind(&server, Refuses::Upgrades).await;
    client.publish("ticks.A", Payload::text("1")).await.unwrap();
    let options = SubscribeOptions::new().mode(Mode::Latest).max_rate(10);
    let mut newest = client.subscribe_with("ticks.A", options).await.unwrap();
    assert_eq!(next(&mut newest).await.payload, Payload::text("1"));
    let mut all = client.subscribe("news.>").await.unwrap();
    client.publish("news.a.b", Payload::text("2")).await.unwrap();
    let message = next(&mut all).await;
    assert_eq!((message.topic.as_str(), message.payload.as_text()), ("news.a.b", Some("2")));
    client.publish("ticks.A", Payload::text("3")).await.unwrap();
    assert_eq!(next(&mut newest).await.payload, Payload::text("3"));
    client.publish("stocks.A", Payload::text("4")).await.unwrap();
    let snapshot = SubscribeOptions::new().snapshot(true);
    let mut stocks = client.subscribe_with("stocks.*", snapshot).await.unwrap();
    assert_eq!(next(&mut stocks).await.payload, Payload::text("4"));
    assert_eq!(next_snapshot(&mut stocks).await, ("stocks.*".to_owned(), 1, 0));
    server.stop().await;
}

#[tokio::test]
async fn when_the_network_changes_so_does_the_transport() {
    let server = start_with_history(100);
    let proxy = WebProxy::before(server.addr(), Refuses::Upgrades).await;
    let quick = builder(&proxy.url()).connect_timeout(Duration::from_secs(2));
    let client = quick.transport_retry(Duration::ZERO).connect().await.unwrap();
    let direct = Client::connect(&server.url()).await.unwrap();
    let mut subscription = client.subscribe("t").await.unwrap();
    direct.publish("t", Payload::text("x")).await.unwrap();
    assert_eq!(next(&mut subscription).await.offset, 1);
    for (offset, (refuses, transport)) in (2..).zip([
        (Refuses::UpgradesAndStreams, Transport::LongPoll),
        (Refuses::Upgrades, Transport::Sse),
    ]) {
        proxy.refuse(refuses);
        proxy.cut();
        direct.publish("t", Payload::text("x")).await.unwrap();
        assert_eq!(next(&mut subscription).await.offset, offset);
        let changed = async {
            while client.transport() != transport {
                proxy.cut();
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        timeout(SOON, changed).await.expect("another transport");
    }
    server.stop().await;
}

#[tokio::test]
async fn everything_goes_through_a_tunnel() {
    let server = start();
    for transport in Transport::ALL {
        let proxy = WebProxy::before(server.addr(), Refuses::AllButTunnels).await;
        let builder = Client::builder("ws://broker.example").proxy(proxy.url());
        let client = builder.transports([transport]).connect().await.unwrap();
        let topic = format!("tunnel.{transport}");
        let mut subscription = client.subscribe(&topic).await.unwrap();
        client.publish(&topic, Payload::text("x")).await.unwrap();
        assert_eq!(next(&mut subscription).await.payload, Payload::text("x"));
        assert!(proxy.tunnels.load(Ordering::Relaxed) >= 1);
        client.close().await;
    }
    server.stop().await;
}
