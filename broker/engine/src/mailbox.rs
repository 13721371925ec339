//! How messages reach a shard: a lock-free queue and one wake-up for each time it is drained.

use std::fmt;
use std::sync::Arc;

use crate::fault::{Fault, planted};
use crate::sync::SegQueue;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::topics::{Message, PresenceUpdate};

/// What is sent to a shard.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A message for the subscribers of its topic.
    Message(Arc<Message>),
    /// Who came and went, for those who want to know.
    Presence(Arc<PresenceUpdate>),
}

impl Mail {
    fn payload_len(&self) -> usize {
        match self {
            Self::Message(message) => message.payload_len(),
            Self::Presence(_) => 0,
        }
    }
}

/// The messages that wait for one shard. Any thread pushes, the shard alone takes.
pub struct Mailbox {
    queue: SegQueue<Mail>,
    bytes: AtomicUsize,
    /// Set while the shard is awake or has been woken: then nobody need wake it.
    awake: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("messages", &self.queue.len()).finish_non_exhaustive()
    }
}

impl Mailbox {
    /// An empty mailbox; `wake` is called from any thread when a sleeping shard has mail.
    #[must_use]
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            queue: SegQueue::new(),
            bytes: AtomicUsize::new(0),
            awake: AtomicBool::new(false),
            wake: Box::new(wake),
        }
    }

    pub(crate) fn push(&self, mail: Mail) {
        self.bytes.fetch_add(mail.payload_len(), Ordering::Relaxed);
        if planted(Fault::LookBeforePush) {
            self.wake_if_asleep();
            return self.queue.push(mail);
        }
        self.queue.push(mail);
        // Swap after the push: a shard that falls asleep sees either the message or the swap.
        self.wake_if_asleep();
    }

    fn wake_if_asleep(&self) {
        if !self.awake.swap(true, Ordering::SeqCst) {
            (self.wake)();
        }
    }

    pub(crate) fn pop(&self) -> Option<Mail> {
        let mail = self.queue.pop()?;
        if planted(Fault::TornMailCount) {
            let left = self.bytes().wrapping_sub(mail.payload_len());
            self.bytes.store(left, Ordering::Relaxed);
            return Some(mail);
        }
        self.bytes.fetch_sub(mail.payload_len(), Ordering::Relaxed);
        Some(mail)
    }

    /// Messages that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether no message waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Payload bytes of the messages that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Tells pushers that the shard is awake and will look before it sleeps.
    pub fn stay_awake(&self) {
        self.awake.store(true, Ordering::SeqCst);
    }

    /// Asks to sleep. `false`: there is mail, so stay awake; `true`: the next push wakes.
    #[must_use]
    pub fn try_sleep(&self) -> bool {
        self.awake.store(false, Ordering::SeqCst);
        if self.queue.is_empty() || planted(Fault::SleepWithoutLook) {
            return true;
        }
        self.awake.store(true, Ordering::SeqCst);
        false
    }
}
