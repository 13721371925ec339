//! What a page of history may hold: it begins where it was asked to, has no hole, and tells truly
//! whether something is lost before it and whether more follows.

use fanfare_protocol::{HistoryPage, Position};

use super::record::{Place, Record};

/// A page that was asked for.
#[derive(Clone, Debug)]
pub(super) struct PageWish {
    pub(super) topic: usize,
    pub(super) after: Option<Position>,
    pub(super) limit: u32,
}

/// What the topic had when the page was made: between the reading of the command and its end.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// The topic's life before, and now if there is such a topic.
    pub(super) epochs: [Option<String>; 2],
    pub(super) head_before: u64,
    pub(super) head: u64,
    /// The oldest message that is kept now.
    pub(super) oldest: Option<u64>,
}

impl Kept {
    /// Whether the topic was there all the time, so that what it had is known.
    pub(super) fn is_certain(&self) -> bool {
        self.epochs[0].is_some() && self.epochs[0] == self.epochs[1]
    }
}

/// Demands that a page holds what was asked for.
pub(super) fn check(wish: &PageWish, kept: &Kept, page: &HistoryPage, record: &Record) {
    let PageWish { topic, after, limit } = wish;
    let offsets: Vec<u64> = page.messages.iter().map(|message| message.offset).collect();
    let told = || format!("{wish:?}: {offsets:?} of {}, {kept:?}", page.offset);
    assert!(offsets.windows(2).all(|pair| pair[1] == pair[0] + 1), "a hole: {}", told());
    assert!(offsets.len() <= *limit as usize, "too many: {}", told());
    for message in &page.messages {
        let place = record.place(&message.payload);
        let is = Place { topic: *topic, epoch: page.epoch.clone(), offset: message.offset };
        assert_eq!(*place, is, "where it was published: {}", told());
    }
    if !kept.is_certain() {
        return;
    }
    assert_eq!(Some(&page.epoch), kept.epochs[0].as_ref(), "the life of {topic}");
    assert!((kept.head_before..=kept.head).contains(&page.offset), "the head: {}", told());
    let is_full = offsets.len() == *limit as usize || record.fills_page(&page.messages);
    let last = offsets.last().copied();
    // Later messages may have come in the same turn.
    let oldest = kept.oldest.filter(|oldest| *oldest <= page.offset);
    match after {
        None => {
            assert!(!page.recovered && !page.more, "asked for no position: {}", told());
            assert!(last.is_none_or(|last| last == page.offset), "the newest: {}", told());
            let first = offsets.first().copied().unwrap_or(u64::MAX);
            // What is kept now was kept then.
            let is_all = oldest.is_none_or(|oldest| first <= oldest);
            assert!(is_full || is_all, "more would have fitted: {}", told());
        }
        Some(after) => {
            let known =
                Some(after.offset).filter(|at| after.epoch == page.epoch && *at <= page.offset);
            check_begin(known, oldest, page, &told());
            let more = last.is_some_and(|last| last < page.offset);
            assert_eq!(page.more, more, "whether more follows: {}", told());
            assert!(!more || is_full, "more would have fitted: {}", told());
        }
    }
}

/// Demands that a page behind a position begins there if that is to be had, and says so.
fn check_begin(known: Option<u64>, oldest: Option<u64>, page: &HistoryPage, told: &str) {
    let first = page.messages.first().map(|message| message.offset);
    let follows = known.is_some_and(|at| first == Some(at + 1) || at == page.offset);
    assert!(!page.recovered || follows, "called recovered: {told}");
    let is_kept = |at: u64| oldest.is_some_and(|oldest| oldest <= at + 1);
    let could = known.is_some_and(|at| at == page.offset || is_kept(at));
    assert!(page.recovered || !could, "not called recovered: {told}");
    let begins_at = first.unwrap_or(u64::MAX);
    let is_oldest = oldest.is_none_or(|oldest| begins_at <= oldest);
    assert!(page.recovered || is_oldest, "not from the oldest on: {told}");
}
