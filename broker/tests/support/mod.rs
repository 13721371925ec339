//! What the scenario tests share: a broker in this process, plain HTTP, and two WebSocket
//! clients: one with the manners of a library, one that does by hand what a library would not.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that fails")]
#![allow(dead_code, unused_imports, reason = "each test program uses a part of this")]

mod balancer;
mod events;
mod http;
mod order;
pub(crate) mod process;
mod wire;
mod ws;

use std::time::Duration;

use fanfare::{Limits, Server, ServerConfig};

pub(crate) use balancer::{Balancer, is_ready};
pub(crate) use events::{Event, EventReader};
pub(crate) use http::{
    Answer, Kept, admin, admin_at, admin_post, exchange, http, metric, parse, position, publish,
};
pub(crate) use order::InOrder;
pub(crate) use wire::{Frame, Wire, close_code, frame, handshake, handshake_at};
pub(crate) use ws::Ws;

/// Long enough for anything that does happen, on a busy machine too.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A broker with some limits changed.
pub(crate) fn start_with(change: impl FnOnce(&mut Limits)) -> Server {
    let mut config = ServerConfig::default_for_tests();
    // Clients of tests seldom say goodbye; do not wait for it.
    config.limits.close_timeout_ms = 300;
    change(&mut config.limits);
    Server::start(config).expect("a broker")
}

pub(crate) fn start() -> Server {
    start_with(|_| {})
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Waits until a metric of the broker is as `condition` says; its value then.
pub(crate) async fn metric_becomes(
    server: &Server,
    name: &str,
    condition: impl Fn(f64) -> bool,
) -> f64 {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let value = metric(server, name).await;
        if condition(value) {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "{name} stays at {value}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
