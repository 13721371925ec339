//! What the admin port says at one moment: metrics, shards and the rows of one table.

use std::collections::HashMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fanfare_engine::{ConnectionOrder, TopicOrder};

use super::super::admin::Admin;
use super::super::table::Table;
use super::super::views;
use crate::admin::{Connection, Connections, Shard, ShardOrder, Shards, Topic, Topics};

/// All that one view is made of, but for its rows.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) at: Instant,
    /// Seconds of Unix time.
    pub(super) unix_seconds: f64,
    pub(super) samples: Samples,
    pub(super) shards: Shards,
}

impl Scrape {
    /// Asks for it.
    pub(super) async fn take(admin: &Admin) -> anyhow::Result<Self> {
        let samples = Samples::parse(&admin.text("/metrics").await?);
        let at = Instant::now();
        let (_, by_number) = ShardOrder::ALL[0];
        let path = format!("/v1/shards?sort={by_number}&limit={}", crate::admin::LIMIT_MAX);
        let shards = admin.view(&path).await?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { at, unix_seconds: since.as_secs_f64(), samples, shards })
    }

    /// A shard by its number.
    pub(super) fn shard(&self, number: usize) -> Option<&Shard> {
        self.shards.shards.iter().find(|shard| shard.shard == number)
    }
}

/// The values of metrics, by name and labels as they are written.
#[derive(Debug, Default)]
pub(super) struct Samples(HashMap<String, f64>);

impl Samples {
    /// Reads Prometheus' text format, as far as the broker uses it.
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(lines.filter_map(sample).collect())
    }

    /// A value; 0 where there is none.
    pub(super) fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// The values of a metric that has this label alone, with those of the label.
    pub(super) fn by_label<'a>(
        &'a self,
        metric: &'a str,
        label: &'a str,
    ) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.iter().filter_map(move |(name, value)| {
            let labels = name.strip_prefix(metric)?.strip_prefix('{')?.strip_suffix('}')?;
            let quoted = labels.strip_prefix(label)?.strip_prefix('=')?;
            Some((quoted.strip_prefix('"')?.strip_suffix('"')?, *value))
        })
    }
}

/// The table below, and what it is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) shows_topics: bool,
    /// Places in the lists of orders: each table keeps its own.
    connection_order: usize,
    topic_order: usize,
}

impl Wanted {
    /// The worst readers.
    pub(super) const WORST: Self =
        Self { shows_topics: false, connection_order: 0, topic_order: 0 };

    /// The other table.
    pub(super) fn other_table(self) -> Self {
        Self { shows_topics: !self.shows_topics, ..self }
    }

    /// The same table by the next measure.
    pub(super) fn next_order(self) -> Self {
        match self.shows_topics {
            true => Self { topic_order: (self.topic_order + 1) % TopicOrder::ALL.len(), ..self },
            false => {
                let next = (self.connection_order + 1) % ConnectionOrder::ALL.len();
                Self { connection_order: next, ..self }
            }
        }
    }

    /// The names of the table and of its order.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self.shows_topics {
            true => ("topics", TopicOrder::ALL[self.topic_order].1),
            false => ("connections", ConnectionOrder::ALL[self.connection_order].1),
        }
    }
}

/// The rows of the table below.
#[derive(Debug)]
pub(super) enum Rows {
    Connections(Vec<Connection>),
    Topics(Vec<Topic>),
}

/// More than any terminal has lines.
const ROWS_MAX: usize = 200;

impl Rows {
    /// Asks for them.
    pub(super) async fn take(admin: &Admin, wanted: Wanted) -> anyhow::Result<Self> {
        let (view, order) = wanted.names();
        let path = format!("/v1/{view}?sort={order}&limit={ROWS_MAX}");
        Ok(match wanted.shows_topics {
            true => Self::Topics(admin.view::<Topics>(&path).await?.topics),
            false => Self::Connections(admin.view::<Connections>(&path).await?.connections),
        })
    }

    /// Leaves only the first ones.
    pub(super) fn truncate(&mut self, len: usize) {
        match self {
            Self::Connections(rows) => rows.truncate(len),
            Self::Topics(rows) => rows.truncate(len),
        }
    }

    /// The same as text.
    pub(super) fn table(&self) -> Table {
        match self {
            Self::Connections(rows) => views::connections(rows),
            Self::Topics(rows) => views::topics(rows),
        }
    }

    /// The states of the connections among them, row by row.
    pub(super) fn states(&self) -> impl Iterator<Item = &str> {
        let rows = match self {
            Self::Connections(rows) => rows.as_slice(),
            Self::Topics(_) => &[],
        };
        rows.iter().map(|row| row.state.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_by_label() {
        let samples = Samples::parse(
            "# HELP a Something.\n# TYPE a gauge\na 5\nb{state=\"open\"} 3\nb{state=\"x y\"} 1e3\n\
             b_bucket{le=\"+Inf\"} 7\nnonsense\n",
        );
        assert_eq!((samples.get("a"), samples.get("unknown")), (5.0, 0.0));
        let mut states: Vec<(&str, f64)> = samples.by_label("b", "state").collect();
        states.sort_by(|one, other| one.0.cmp(other.0));
        assert_eq!(states, [("open", 3.0), ("x y", 1_000.0)]);
        assert_eq!(samples.by_label("b_bucket", "le").collect::<Vec<_>>(), [("+Inf", 7.0)]);
    }

    #[test]
    fn each_table_goes_round_its_own_orders() {
        let mut wanted = Wanted::WORST;
        assert_eq!(wanted.names(), ("connections", "buffered_amount"));
        wanted = wanted.next_order().other_table();
        assert_eq!(wanted.names(), ("topics", "rate"));
        for (_, name) in TopicOrder::ALL {
            assert_eq!(wanted.names(), ("topics", *name));
            wanted = wanted.next_order();
        }
        assert_eq!(wanted.names(), ("topics", "rate"));
        assert_eq!(wanted.other_table().names(), ("connections", "oldest_unsent"));
    }
}
