//! Asking the admin port again and again, beside the screen, so that keys are heard meanwhile.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::super::admin::Admin;
use super::scrape::{Rows, Scrape, Wanted};

/// What has come.
#[derive(Debug)]
pub(super) enum Update {
    /// Everything, on time.
    All(Scrape, Rows, Wanted),
    /// The rows of a table that somebody has just asked for.
    Rows(Rows, Wanted),
    /// Why nothing has come.
    Trouble(String),
}

/// How long one answer may take before it counts as trouble.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks at once and then every `interval`, until nobody listens.
pub(super) async fn ask_for_ever(
    admin: Admin,
    interval: Duration,
    mut wanted: watch::Receiver<Wanted>,
    updates: mpsc::Sender<Update>,
) {
    loop {
        let next = Instant::now() + interval;
        let table = *wanted.borrow_and_update();
        let update = match patiently(all(&admin, table)).await {
            Ok((scrape, rows)) => Update::All(scrape, rows, table),
            Err(trouble) => Update::Trouble(trouble),
        };
        if updates.send(update).await.is_err() {
            return;
        }
        loop {
            tokio::select! {
                () = sleep_until(next) => break,
                changed = wanted.changed() => {
                    let table = *wanted.borrow_and_update();
                    if changed.is_err() || !tell_rows(&admin, table, &updates).await {
                        return;
                    }
                }
            }
        }
    }
}

async fn tell_rows(admin: &Admin, table: Wanted, updates: &mpsc::Sender<Update>) -> bool {
    let update = match patiently(Rows::take(admin, table)).await {
        Ok(rows) => Update::Rows(rows, table),
        Err(trouble) => Update::Trouble(trouble),
    };
    updates.send(update).await.is_ok()
}

/// Everything that one view is made of.
pub(super) async fn all(admin: &Admin, table: Wanted) -> anyhow::Result<(Scrape, Rows)> {
    let scrape = Scrape::take(admin).await?;
    Ok((scrape, Rows::take(admin, table).await?))
}

async fn patiently<T>(asking: impl Future<Output = anyhow::Result<T>>) -> Result<T, String> {
    match timeout(PATIENCE, asking).await {
        Ok(answer) => answer.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}
