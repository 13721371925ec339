//! Opens many subscribing connections at once: up to 256 are under way together, on one thread.
//!
//! Owns connections until they are live; what they receive afterwards is the receiver's.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Poll};
use serde::{Deserialize, Serialize};

use crate::latency::Latencies;
use crate::opening::{ConnectError, SILENCE_MAX};
use crate::openings::{Arrived, Openings};
use crate::plan::{Plan, Share};
use crate::stamp::now_ns;

/// Connections under way at once: enough to keep a server busy, few enough for any backlog.
const UNDER_WAY_MAX: usize = 256;

/// How opening a share of the connections went.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ConnectReport {
    /// Connections that are live.
    pub opened: u32,
    /// Connections that are not.
    pub failed: u32,
    /// Why the first of those failed.
    pub first_error: Option<String>,
    /// From the first SYN until the last subscription was confirmed, of each live connection.
    pub latency: Latencies,
}

impl ConnectReport {
    /// Adds the report of another share.
    pub(crate) fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.failed += other.failed;
        self.first_error = self.first_error.take().or(other.first_error);
        self.latency.merge(&other.latency);
    }
}

/// A live connection.
#[derive(Debug)]
pub(crate) struct Live {
    /// Registered with [`Opened::poll`] under its place in the share.
    pub stream: TcpStream,
    /// What came behind the last reply and is not read yet.
    pub unread: Vec<u8>,
}

/// The connections of a share, each at its place; `None` where it failed.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Where all live connections are registered, edge-triggered.
    pub poll: Poll,
    /// The connections.
    pub connections: Vec<Option<Live>>,
    /// How it went.
    pub report: ConnectReport,
}

/// Opens the connections of `share` and subscribes them; `count` follows how many are live.
///
/// # Errors
/// Only if the poll itself cannot be set up; a connection that fails is counted in the report.
pub(crate) fn open(plan: &Plan, share: Share, count: &AtomicU32) -> io::Result<Opened> {
    let opened = Opened {
        poll: Poll::new()?,
        connections: (0..share.count).map(|_| None).collect(),
        report: ConnectReport::default(),
    };
    let mut opener = Opener { plan, share, count, opened, openings: Openings::default(), next: 0 };
    opener.run()?;
    Ok(opener.opened)
}

struct Opener<'a> {
    plan: &'a Plan,
    share: Share,
    count: &'a AtomicU32,
    opened: Opened,
    openings: Openings,
    /// The place of the connection that is started next.
    next: u32,
}

impl Opener<'_> {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(UNDER_WAY_MAX);
        loop {
            while self.openings.len() < UNDER_WAY_MAX && self.next < self.share.count {
                self.start();
            }
            if self.openings.len() == 0 {
                return Ok(());
            }
            match self.opened.poll.poll(&mut events, Some(SILENCE_MAX)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            if events.is_empty() {
                self.give_up();
            }
            for event in &events {
                self.advance(event.token().0);
            }
        }
    }

    fn start(&mut self) {
        let place = self.next as usize;
        self.next += 1;
        let poll = &self.opened.poll;
        if let Err(error) = self.openings.start(self.plan, self.share, (place, &[]), poll) {
            self.failed(&error);
        }
    }

    fn advance(&mut self, place: usize) {
        match self.openings.advance(place) {
            Some(Ok(arrived)) => self.live(place, arrived),
            Some(Err(error)) => self.failed(&error),
            None => {}
        }
    }

    fn live(&mut self, place: usize, arrived: Arrived) {
        let report = &mut self.opened.report;
        report.opened += 1;
        report.latency.record(now_ns() - arrived.started_ns);
        self.count.store(report.opened, Ordering::Relaxed);
        self.opened.connections[place] = Some(arrived.live);
    }

    fn failed(&mut self, error: &ConnectError) {
        let report = &mut self.opened.report;
        report.failed += 1;
        report.first_error.get_or_insert_with(|| error.to_string());
    }

    fn give_up(&mut self) {
        let silent = self.openings.give_up(Duration::ZERO).len();
        (0..silent).for_each(|_| self.failed(&ConnectError::Silent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Shape, Target, Transport};

    #[test]
    fn ports_where_nothing_listens_fail_each_connection() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        drop(listener);
        let shape =
            Shape { connections: 2, topics: vec!["a".to_owned()], topics_per_connection: 1 };
        let target = Target::parse(&url).unwrap();
        let plan = Plan::new(target, Transport::Json, shape);
        let share = Share { first: 0, count: 2, source: None };
        let opened = open(&plan, share, &AtomicU32::new(0)).unwrap();
        assert_eq!((opened.report.opened, opened.report.failed), (0, 2));
        assert!(opened.report.first_error.unwrap().contains("refused"));
    }
}
