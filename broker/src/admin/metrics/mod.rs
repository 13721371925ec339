//! The node in Prometheus terms. Counters are summed over the shards when they are scraped, so
//! that counting costs nothing while messages flow. No label ever names a topic or a user.

mod exposition;
mod list;
mod process;
#[cfg(test)]
mod reference;
mod values;

use std::sync::Arc;
use std::time::SystemTime;

use fanfare_engine::TopicTable;
use prometheus::TextEncoder;
use tokio::sync::watch;

use crate::admission::Admission;
use crate::http::Meter;
use crate::logs::LogControl;
use values::Scrape;

/// Everything that metrics are read from.
pub(super) struct Metrics {
    pub(super) topics: Arc<TopicTable>,
    pub(super) meter: Meter,
    pub(super) logs: LogControl,
    pub(super) admission: Arc<Admission>,
    /// True while the broker stops.
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) started: SystemTime,
}

impl Metrics {
    /// The text that a scrape returns: every metric of the list, the ones at zero too.
    pub(super) fn encode(&self) -> prometheus::Result<String> {
        let scrape = Scrape::new(self);
        let families: Vec<_> = list::all().map(|one| exposition::family(one, &scrape)).collect();
        // The encoder refuses families without samples: what the system does not tell.
        let with_samples: Vec<_> =
            families.into_iter().filter(|family| !family.get_metric().is_empty()).collect();
        TextEncoder::new().encode_to_string(&with_samples)
    }
}
