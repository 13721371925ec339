//! Fan-out in progress: which frames wait to be written to which connections.
//!
//! Marking a message for a subscriber appends a node to the connection's list in one arena and,
//! the first time, the connection to the queue. A connection that comes up in the queue gets all
//! its frames in one write, so batches form by themselves while writes are running.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Key;
use crate::time::Now;
use crate::topics::FrameParts;

/// A connection's list of nodes in the arena; empty while nothing waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    head: u32,
    tail: u32,
}

const NONE: u32 = u32::MAX;

impl Default for Pending {
    fn default() -> Self {
        Self { head: NONE, tail: NONE }
    }
}

impl Pending {
    pub(super) fn is_empty(self) -> bool {
        self.head == NONE
    }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    frame: u32,
    next: u32,
}

/// A frame of the current fan-out.
#[derive(Debug)]
pub(super) struct OutgoingFrame {
    pub(super) bytes: Bytes,
    pub(super) parts: FrameParts,
    pub(super) published: Now,
    /// The topic's place in the shard.
    pub(super) local: u32,
    /// `None` for what is not a message and may be left out for a slow reader.
    pub(super) offset: Option<u64>,
}

/// Most nodes before the arena must run empty once. Bounds its memory to 2 MiB while leaving
/// room for a quarter of a million deliveries in one go.
const NODES_MAX: usize = 256 * 1_024;

#[derive(Debug, Default)]
pub(super) struct Fanout {
    frames: Vec<OutgoingFrame>,
    nodes: Vec<Node>,
    queue: VecDeque<Key>,
}

impl Fanout {
    /// Whether another message may be taken from the mailbox now.
    pub(super) fn has_room(&self) -> bool {
        self.nodes.len() < NODES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds a frame for [`Self::mark`].
    pub(super) fn add_frame(&mut self, frame: OutgoingFrame) -> u32 {
        self.frames.push(frame);
        self.frames.len() as u32 - 1
    }

    /// Marks `frame` for the connection `key`, whose list is `pending`.
    pub(super) fn mark(&mut self, key: Key, pending: &mut Pending, frame: u32) {
        let node = self.nodes.len() as u32;
        self.nodes.push(Node { frame, next: NONE });
        if pending.is_empty() {
            pending.head = node;
            self.queue.push_back(key);
        } else {
            self.nodes[pending.tail as usize].next = node;
        }
        pending.tail = node;
    }

    /// The next connection to write to. It may be gone, or served already.
    pub(super) fn next(&mut self) -> Option<Key> {
        self.queue.pop_front()
    }

    /// Moves the frames of a list into `list`, in order, and empties the list.
    pub(super) fn take(&self, pending: &mut Pending, list: &mut Vec<u32>) {
        list.clear();
        let mut next = std::mem::take(pending).head;
        while let Some(node) = self.nodes.get(next as usize) {
            list.push(node.frame);
            next = node.next;
        }
    }

    pub(super) fn frame(&self, index: u32) -> &OutgoingFrame {
        &self.frames[index as usize]
    }

    /// Forgets all frames once every connection is served. Lists that connections still hold
    /// would dangle, so this waits for an empty queue.
    pub(super) fn reset_if_served(&mut self) -> bool {
        let served = self.queue.is_empty() && !self.frames.is_empty();
        if served {
            self.frames.clear();
            self.nodes.clear();
        }
        served
    }
}
