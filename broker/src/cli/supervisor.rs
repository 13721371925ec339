//! What systemd, or whoever else supervises the broker by its protocol, is told (`sd_notify(3)`).
//! Without a supervisor nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::Server;

/// Tells that the broker accepts connections, and goes on to tell that it lives where it is
/// watched. To be called inside a runtime.
pub(super) fn tell_ready(server: &Server) {
    let status = format!("listening on http://{}", server.addr());
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
    if let Some(timeout) = sd_notify::watchdog_enabled() {
        tokio::spawn(tell_alive(timeout / 2));
    }
}

/// Tells that connections are being closed, so that nobody takes it for a failure.
pub(super) fn tell_stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("closing connections")]);
}

async fn tell_alive(interval: Duration) {
    let mut interval = tokio::time::interval(interval);
    loop {
        interval.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // A supervisor that does not listen any more is no reason to end.
    let _ = sd_notify::notify(states);
}
