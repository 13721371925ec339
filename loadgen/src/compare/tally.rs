//! What all clients of a crew counted: bytes, messages, what was missed and what went wrong.

use serde::{Deserialize, Serialize};

use super::meter::Meter;
use super::talk::{Fault, Setup};
use super::way::Rhythm;
use crate::latency::Latencies;
use crate::stamp::Stamp;

/// In place of a client's next number: it has seen nothing yet.
pub(super) const ANY: u32 = u32::MAX;

/// Which time something belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Book {
    /// Until a client follows the topic.
    #[default]
    Opening,
    /// Between that and the measurement, and behind it.
    Aside,
    /// While it is measured.
    Running,
}

/// All counts of one crew, or of several added up.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Where counts go now.
    pub book: Book,
    /// Until each client followed the topic.
    pub opening: Meter,
    aside: Meter,
    /// While it was measured.
    pub running: Meter,
    /// Counts of the measured time.
    pub counts: Counts,
    /// Messages that came for the first time, since the start.
    pub received: u64,
    /// From when a message should have been sent until it was read.
    pub latency: Latencies,
    /// From asking to the end of the answer; polling only.
    pub answer: Latencies,
    /// Clients whose connection failed or was ended, and polls that failed.
    pub failed: u64,
    /// Why the first of them did.
    pub first_fault: Option<String>,
}

/// Counts of the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Messages that came for the first time, over all clients.
    pub messages: u64,
    /// Messages that came to a poller again because nothing was newer.
    pub repeated: u64,
    /// Messages that a poller never saw because a newer one was there when it asked.
    pub missed: u64,
    /// Messages that should have come and did not.
    pub lost: u64,
    /// Messages that should have come once and came again.
    pub doubled: u64,
    /// Questions: requests to which an answer came.
    pub polls: u64,
    /// Answers that said only that nothing is newer.
    pub not_modified: u64,
    /// Polls that began more than a tenth of the interval late.
    pub late: u64,
}

impl Tally {
    /// The meter of the moment.
    pub(super) fn meter(&mut self) -> &mut Meter {
        self.meter_of(self.book)
    }

    /// The meter of a time.
    pub(super) fn meter_of(&mut self, book: Book) -> &mut Meter {
        match book {
            Book::Opening => &mut self.opening,
            Book::Aside => &mut self.aside,
            Book::Running => &mut self.running,
        }
    }

    /// The counts of the moment, if it is measured.
    pub(super) fn counts(&mut self) -> Option<&mut Counts> {
        (self.book == Book::Running).then_some(&mut self.counts)
    }

    /// Judges a message of this measurement by what its client has seen.
    pub(super) fn message(&mut self, next: &mut u32, stamp: &Stamp, now_ns: u64, setup: &Setup) {
        let polls = setup.way.rhythm() == Rhythm::Interval;
        if *next != ANY && stamp.sequence < *next {
            if polls {
                self.counts().into_iter().for_each(|counts| counts.repeated += 1);
            } else {
                self.counts.doubled += 1;
            }
            return;
        }
        let skipped = if *next == ANY { 0 } else { u64::from(stamp.sequence - *next) };
        *next = stamp.sequence + 1;
        self.received += 1;
        if polls {
            self.counts().into_iter().for_each(|counts| counts.missed += skipped);
        } else {
            self.counts.lost += skipped;
        }
        if self.book == Book::Running {
            self.counts.messages += 1;
            let latency_ns = now_ns.saturating_sub(stamp.intended_ns) + setup.one_way_ns;
            self.latency.record(latency_ns);
        }
    }

    /// Notes that a client or a poll failed.
    pub(super) fn fault(&mut self, fault: &Fault) {
        self.failed += 1;
        self.first_fault.get_or_insert_with(|| fault.to_string());
    }

    /// Adds the counts of another crew.
    pub(super) fn add(&mut self, other: &Self) {
        self.opening += other.opening;
        self.running += other.running;
        self.counts.add(other.counts);
        self.received += other.received;
        self.latency.merge(&other.latency);
        self.answer.merge(&other.answer);
        self.failed += other.failed;
        if self.first_fault.is_none() {
            self.first_fault.clone_from(&other.first_fault);
        }
    }
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.repeated += other.repeated;
        self.missed += other.missed;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.polls += other.polls;
        self.not_modified += other.not_modified;
        self.late += other.late;
    }
}
