//! Where WebSockets do not get through: what the client tries next, and when it tries them again.

use std::time::Duration;

use fanfare_client::{Client, CloseCode, Error, Event, Transport};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::peer::SOON;
use crate::web::{Events, UNKNOWN, Web};

async fn next(events: &mut fanfare_client::Events) -> Event {
    timeout(SOON, events.next()).await.expect("an event in time").expect("an open client")
}

/// Waits until the client is connected again, and tells over what.
async fn connected_over(client: &Client, events: &mut fanfare_client::Events) -> Transport {
    loop {
        if let Event::Connected { transport, connection, .. } = next(events).await {
            assert_eq!(client.transport(), transport);
            assert_eq!(connection.is_empty(), transport != Transport::WebSocket);
            return transport;
        }
    }
}

#[tokio::test]
async fn a_refused_upgrade_is_followed_by_events() {
    let mut web = Web::bind().await;
    let client = web.sse_client(web.builder()).await;
    assert_eq!((client.transport(), web.upgrades), (Transport::Sse, 1));
    let (connection, node) = (String::new(), String::new());
    let connected = Event::Connected { connection, node, transport: Transport::Sse };
    assert_eq!(next(&mut client.events()).await, connected);
    client.close().await;
}

#[tokio::test]
async fn an_upgrade_that_is_stripped_cut_or_swallowed_is_followed_by_events() {
    for fate in ["stripped", "cut", "swallowed"] {
        let mut web = Web::bind().await;
        // The last transport has all the time.
        let allowed = [Transport::WebSocket, Transport::Sse];
        let builder = web.builder().transports(allowed);
        let builder = builder.fallback_after(Duration::from_millis(30));
        let (client, held) = tokio::join!(builder.connect(), async {
            let upgrade = web.any().await;
            assert!(upgrade.is_upgrade());
            let mut held = None;
            match fate {
                "stripped" => upgrade.json("{}").await,
                "cut" => drop(upgrade),
                _ => held = Some(upgrade),
            }
            web.let_in_over_sse().await;
            held
        });
        assert_eq!(client.expect("connected").transport(), Transport::Sse, "{fate}");
        drop(held);
    }
}

#[tokio::test]
async fn events_that_are_refused_or_held_back_are_followed_by_long_polling() {
    for is_held_back in [false, true] {
        let mut web = Web::bind().await;
        let builder = web.builder().fallback_after(Duration::from_millis(50));
        let (client, held) = tokio::join!(builder.connect(), async {
            let stream = web.asked().await;
            assert_eq!(stream.headers["accept"], "text/event-stream");
            let mut held = None;
            if is_held_back {
                held = Some(stream.events().await);
            } else {
                stream.json("{}").await;
            }
            web.let_in_over_long_poll().await;
            held
        });
        assert_eq!(client.expect("connected").transport(), Transport::LongPoll);
        drop(held);
    }
}

#[tokio::test]
async fn if_nothing_gets_through_the_error_is_that_of_the_preferred_transport() {
    let mut web = Web::bind().await;
    let (client, ()) = tokio::join!(web.builder().connect(), async {
        for _ in 0..2 {
            web.asked().await.problem(404, "not here").await;
        }
    });
    let error = client.unwrap_err();
    assert!(matches!(error, Error::UpgradeRefused { status: 403, .. }), "{error:?}");
}

#[tokio::test]
async fn a_broker_that_is_full_is_left_alone_as_long_as_it_asks_over_every_transport() {
    const FULL: &str = "Content-Type: application/problem+json\r\nRetry-After: 1\r\n";
    for transports in [&[Transport::WebSocket, Transport::Sse][..], &[Transport::LongPoll]] {
        let mut web = Web::bind().await;
        let builder = || web.builder().transports(transports.iter().copied());
        let (client, ()) = tokio::join!(builder().connect(), async {
            web.any().await.answer(503, FULL, r#"{"detail":"full"}"#).await;
        });
        match client.unwrap_err() {
            Error::UpgradeRefused { status: 503, detail, retry_after, .. } => {
                assert_eq!((&*detail, retry_after), ("full", Some(Duration::from_secs(1))));
            }
            other => panic!("{other:?}"),
        }
        web.nothing().await;
    }
}

#[tokio::test]
async fn only_the_allowed_transports_are_tried_in_their_order() {
    let mut web = Web::bind().await;
    let builder = web.builder().transports([Transport::LongPoll, Transport::Sse]);
    let (client, ()) = tokio::join!(builder.connect(), async {
        web.any().await.problem(404, "not here").await;
        web.let_in_over_sse().await;
    });
    assert_eq!((client.expect("connected").transport(), web.upgrades), (Transport::Sse, 0));

    let error = web.builder().transports([]).connect().await.unwrap_err();
    assert!(matches!(error, Error::BadOption { .. }), "{error:?}");
    let elsewhere = format!("{}/elsewhere", web.url);
    let builder = Client::builder(&elsewhere).transports([Transport::Sse]);
    let error = builder.connect().await.unwrap_err();
    assert!(matches!(error, Error::BadOption { .. }), "{error:?}");
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_not_tried_over_every_transport() {
    let address = Web::bind().await.url.clone();
    let error = Client::builder(&address).connect().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

/// Subscribes to `t` from the beginning and gives the stream.
async fn subscribed(web: &mut Web, client: &Client) -> (fanfare_client::Subscription, Events) {
    let (subscription, events) = tokio::join!(client.subscribe("t"), async {
        let mut events = web.asked().await.events().await;
        events.begin("t", "e1", 0, false).await;
        events
    });
    (subscription.expect("subscribed"), events)
}

#[tokio::test]
async fn what_works_is_kept_and_the_websocket_is_tried_again_later() {
    let mut web = Web::bind().await;
    let client = web.sse_client(web.builder().transport_retry(SOON)).await;
    let mut events = client.events();
    next(&mut events).await;
    let (_subscription, stream) = subscribed(&mut web, &client).await;
    drop(stream);
    web.let_in_over_sse().await;
    assert_eq!(web.upgrades, 1, "it was tried too early");
    assert_eq!(connected_over(&client, &mut events).await, Transport::Sse);

    let mut web = Web::bind().await;
    let client = web.sse_client(web.builder().transport_retry(Duration::ZERO)).await;
    let mut events = client.events();
    next(&mut events).await;
    let (_subscription, stream) = subscribed(&mut web, &client).await;
    drop(stream);
    web.let_in_over_sse().await;
    assert_eq!(web.upgrades, 2, "it was not tried again");
    assert!(matches!(next(&mut events).await, Event::Disconnected { code: None, .. }));
    assert!(matches!(next(&mut events).await, Event::Connecting { .. }));
    match next(&mut events).await {
        Event::FallingBack { from: Transport::WebSocket, to: Transport::Sse, reason } => {
            assert!(reason.contains("403"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(connected_over(&client, &mut events).await, Transport::Sse);
}

#[tokio::test]
async fn a_stream_that_the_broker_closes_says_when_to_come_back() {
    let mut web = Web::bind().await;
    let builder = web.builder().backoff(SOON, SOON);
    let client = web.sse_client(builder).await;
    let mut events = client.events();
    next(&mut events).await;
    let (_subscription, mut stream) = subscribed(&mut web, &client).await;
    stream.write("event: close\nretry: 15\ndata: {\"code\":1012,\"reason\":\"bye\"}\n\n").await;
    let disconnected = Event::Disconnected {
        code: Some(CloseCode::SERVICE_RESTART),
        reason: "bye".to_owned(),
        retry_in: Some(Duration::from_millis(15)),
    };
    assert_eq!(next(&mut events).await, disconnected);
    web.let_in_over_sse().await;
    stream.stream.shutdown().await.ok();
}

#[tokio::test]
async fn a_code_that_forbids_to_come_back_ends_the_client() {
    let mut web = Web::bind().await;
    let client = web.sse_client(web.builder()).await;
    let (mut subscription, mut stream) = subscribed(&mut web, &client).await;
    stream.write("event: close\ndata: {\"code\":3500,\"reason\":\"no\"}\n\n").await;
    assert_eq!(timeout(SOON, subscription.next()).await.expect("an end"), None);
    let error = subscription.error().expect("a reason");
    assert!(matches!(error, Error::ClosedByBroker { code: CloseCode(3500), .. }), "{error:?}");
}

#[tokio::test]
async fn silence_ends_a_stream_and_heartbeats_end_the_silence() {
    let mut web = Web::bind().await;
    let client = web.sse_client(web.builder().liveness_grace(Duration::from_millis(50))).await;
    let mut events = client.events();
    next(&mut events).await;
    let (subscription, mut stream) = tokio::join!(client.subscribe("t"), async {
        let mut events = web.asked().await.events().await;
        let fields = r#""epoch":"e1","offset":0,"recovered":false,"ping_interval_ms":1000"#;
        events.begin_with("t", fields).await;
        events
    });
    let mut subscription = subscription.expect("subscribed");
    // Twice as long as it may be silent.
    for _ in 0..11 {
        stream.heartbeat().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stream.message("t", 1, "alive").await;
    let update = timeout(SOON, subscription.next()).await.expect("in time").expect("an update");
    assert_eq!(update.into_message().expect("a message").offset, 1);
    match next(&mut events).await {
        Event::Disconnected { code: None, reason, .. } => assert!(reason.contains("silent")),
        other => panic!("{other:?}"),
    }
    stream.is_closed().await;
}

#[tokio::test]
async fn closing_ends_streams_and_polls() {
    let mut web = Web::bind().await;
    let client = web.sse_client(web.builder()).await;
    let (mut subscription, mut stream) = subscribed(&mut web, &client).await;
    client.close().await;
    stream.is_closed().await;
    assert_eq!(subscription.next().await, None);

    let mut web = Web::bind().await;
    let client = web.polling_client(web.builder()).await;
    let (subscription, ()) = tokio::join!(client.subscribe("t"), async {
        web.asked().await.pages(&[UNKNOWN]).await;
    });
    let mut subscription = subscription.expect("subscribed");
    let poll = web.asked().await;
    client.close().await;
    Events { stream: poll.into_stream() }.is_closed().await;
    assert_eq!(subscription.next().await, None);
}
