//! The closed loop: at most so many publishes whose deliveries have not all been received.
//!
//! Owns the count of open deliveries of each publish in flight. A publish is complete when every
//! subscriber has its message, not when the broker has said yes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::Thread;

use crate::plan::Shape;

/// Shared by the one publisher and the receivers of its process.
#[derive(Debug)]
pub(crate) struct Window {
    size: u32,
    subscribers: Vec<u32>,
    /// Deliveries still to come, at `(topic, sequence % size)`. No two publishes in flight share a
    /// place: those of a topic complete in order, so they are within `size` of each other.
    open: Vec<AtomicU32>,
    completed: AtomicU64,
    publisher: Mutex<Option<Thread>>,
}

impl Window {
    /// A window of `size` publishes over the topics of `shape`.
    #[must_use]
    pub(crate) fn new(size: u32, shape: &Shape) -> Self {
        let topics = shape.topics.len();
        Self {
            size,
            subscribers: (0..topics as u32).map(|topic| shape.subscribers(topic)).collect(),
            open: (0..topics * size as usize).map(|_| AtomicU32::new(0)).collect(),
            completed: AtomicU64::new(0),
            publisher: Mutex::new(None),
        }
    }

    /// How many publishes may be in flight.
    #[must_use]
    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// Names the calling thread as the publisher that is woken when publishes complete.
    pub(crate) fn attach(&self) {
        if let Ok(mut publisher) = self.publisher.lock() {
            *publisher = Some(std::thread::current());
        }
    }

    /// Notes that a message is about to be published.
    pub(crate) fn published(&self, topic: u32, sequence: u32) {
        let subscribers = self.subscribers[topic as usize];
        self.open[self.place(topic, sequence)].store(subscribers, Ordering::Release);
    }

    /// Notes one delivery; true if it was the last of its message.
    #[must_use]
    pub(crate) fn delivered(&self, topic: u32, sequence: u32) -> bool {
        self.open[self.place(topic, sequence)].fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Notes that `count` messages are complete, and wakes the publisher.
    pub(crate) fn completed(&self, count: u64) {
        self.completed.fetch_add(count, Ordering::Release);
        if let Ok(publisher) = self.publisher.lock() {
            publisher.as_ref().inspect(|publisher| publisher.unpark());
        }
    }

    /// How many messages are complete since the start.
    #[must_use]
    pub(crate) fn completed_total(&self) -> u64 {
        self.completed.load(Ordering::Acquire)
    }

    fn place(&self, topic: u32, sequence: u32) -> usize {
        topic as usize * self.size as usize + (sequence % self.size) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_is_complete_with_its_last_delivery() {
        let topics = vec!["a".to_owned(), "b".to_owned()];
        let shape = Shape { connections: 3, topics, topics_per_connection: 2 };
        let window = Window::new(2, &shape);
        window.published(0, 0);
        window.published(1, 0);
        assert!(!window.delivered(0, 0));
        assert!(!window.delivered(1, 0));
        assert!(!window.delivered(0, 0));
        assert!(window.delivered(0, 0));
        window.completed(1);
        window.published(0, 1);
        assert!(!window.delivered(0, 1));
        assert!(!window.delivered(1, 0));
        assert!(window.delivered(1, 0));
        window.completed(1);
        assert_eq!(window.completed_total(), 2);
    }

    #[test]
    fn completion_wakes_the_attached_publisher() {
        let shape =
            Shape { connections: 1, topics: vec!["a".to_owned()], topics_per_connection: 1 };
        let window = Window::new(1, &shape);
        window.attach();
        std::thread::scope(|scope| {
            scope.spawn(|| window.completed(1));
            while window.completed_total() == 0 {
                std::thread::park();
            }
        });
    }
}
