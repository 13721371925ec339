//! Reading what a topic keeps, a page at a time.

use std::sync::Arc;

use fanfare_protocol::{Position, TopicName};

use super::epoch::Epoch;
use super::message::Message;
use super::table::TopicTable;

/// A part of what a topic keeps, at one moment.
#[derive(Clone, Debug)]
pub struct HistoryPage {
    /// The life of the sequence.
    pub epoch: Epoch,
    /// The offset of the newest message.
    pub head: u64,
    /// Whether everything after the position that was asked for is kept.
    pub recovered: bool,
    /// Whether more follows behind the last message here.
    pub more: bool,
    /// Oldest first.
    pub messages: Vec<Arc<Message>>,
}

impl TopicTable {
    /// The life of a topic's sequence and the offset of its newest message. `None` if there is no
    /// such topic.
    #[must_use]
    pub fn head(&self, name: &TopicName) -> Option<(Epoch, u64)> {
        let topic = self.find(name)?;
        let head = topic.lock().head();
        Some((topic.epoch(), head))
    }

    /// The newest messages of a topic or, with `after`, the oldest that follow this position: at
    /// most `limit`, which may be 0, and no more bytes than a page may have. `None` if there is no
    /// such topic.
    ///
    /// Where the position cannot be recovered the page begins with the oldest that is kept.
    #[must_use]
    pub fn history(
        &self,
        name: &TopicName,
        after: Option<&Position>,
        limit: usize,
    ) -> Option<HistoryPage> {
        let topic = self.find(name)?;
        let epoch = topic.epoch();
        let state = topic.lock();
        let head = state.head();
        let mut room = self.limits().history_page_bytes_max as isize;
        let mut fits = |message: &&Arc<Message>| {
            let fits = room > 0;
            room -= message.payload_len() as isize;
            fits
        };
        let Some(after) = after else {
            let newest = state.ring.newest_first().take(limit).take_while(&mut fits);
            let mut messages: Vec<Arc<Message>> = newest.cloned().collect();
            messages.reverse();
            return Some(HistoryPage { epoch, head, recovered: false, more: false, messages });
        };
        let known = Some(after.offset).filter(|_| epoch.to_string() == after.epoch);
        let recovered = known.is_some_and(|offset| state.holds_all_after(offset));
        // A position past the head is as wrong as one of another epoch.
        let from = known.filter(|offset| *offset <= head).unwrap_or(0);
        let following = state.ring.after(from).take(limit).take_while(&mut fits);
        let messages: Vec<Arc<Message>> = following.cloned().collect();
        let last = messages.last().map_or(from, |last| last.offset());
        let more = state.ring.newest().is_some_and(|newest| last < newest.offset());
        Some(HistoryPage { epoch, head, recovered, more, messages })
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{name, publish, table};
    use super::*;

    fn offsets(page: &HistoryPage) -> Vec<u64> {
        page.messages.iter().map(|message| message.offset()).collect()
    }

    #[test]
    fn pages_follow_each_other_without_a_hole() {
        let table = table(1, |l| l.namespaces.default_mut().history_messages = 8);
        assert!(table.history(&name("a"), None, 5).is_none());
        let epoch = (0..10).map(|_| publish(&table, "a", "x", 0)).last().unwrap().epoch;
        let newest = table.history(&name("a"), None, 3).unwrap();
        assert_eq!((offsets(&newest), newest.head, newest.more), (vec![8, 9, 10], 10, false));
        let mut after = Position { epoch: epoch.to_string(), offset: 2 };
        let mut all = Vec::new();
        loop {
            let page = table.history(&name("a"), Some(&after), 3).unwrap();
            assert!(page.recovered);
            all.extend(offsets(&page));
            if !page.more {
                break;
            }
            after.offset = *all.last().unwrap();
        }
        assert_eq!(all, [3, 4, 5, 6, 7, 8, 9, 10]);
        let at_head = Position { epoch: epoch.to_string(), offset: 10 };
        let page = table.history(&name("a"), Some(&at_head), 3).unwrap();
        assert!(page.recovered && page.messages.is_empty() && !page.more);
    }

    #[test]
    fn a_position_that_is_gone_or_strange_is_told_and_gets_the_oldest() {
        let table = table(1, |l| l.namespaces.default_mut().history_messages = 3);
        let epoch = (0..5).map(|_| publish(&table, "a", "x", 0)).last().unwrap().epoch;
        for (epoch, offset) in
            [(epoch.to_string(), 1), (epoch.to_string(), 6), ("other".to_owned(), 4)]
        {
            let page = table.history(&name("a"), Some(&Position { epoch, offset }), 2).unwrap();
            assert_eq!((page.recovered, offsets(&page), page.more), (false, vec![3, 4], true));
        }
    }

    #[test]
    fn a_page_has_bounded_bytes_but_one_message_at_least() {
        let table = table(1, |l| l.history_page_bytes_max = 1_000);
        for _ in 0..3 {
            publish(&table, "a", &"x".repeat(2_000), 0);
        }
        assert_eq!(offsets(&table.history(&name("a"), None, 5).unwrap()), [3]);
        let epoch = table.history(&name("a"), None, 5).unwrap().epoch.to_string();
        let page = table.history(&name("a"), Some(&Position { epoch, offset: 0 }), 5).unwrap();
        assert_eq!((offsets(&page), page.more), (vec![1], true));
    }
}
