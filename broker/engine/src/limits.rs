//! Every maximum of the broker, with its reason. Limits of the wire itself are in the protocol
//! crate. A value over one of these is refused with a message that names it.

use std::num::NonZeroUsize;

use documented::DocumentedFields;

use crate::namespace::Namespaces;
use crate::ws::DecodeLimits;

/// What one node allows. Sizes in bytes, times in milliseconds. What is said of a field here is
/// also what the broker's configuration reference says of its setting.
#[derive(Clone, Debug, PartialEq, Eq, DocumentedFields)]
pub struct Limits {
    /// Most connections of the node, those that speak HTTP included; further ones are told to come
    /// back later (503). `auto` is what the limit of open files allows, less a reserve for the
    /// admin port; more than that there never are.
    pub connections_max: Option<NonZeroUsize>,
    /// Memory from which new connections are told to come back later (503), until there is a
    /// twentieth less; those that are open go on. From a tenth more on the marks of outboxes are
    /// halved as by `outbox_total`. A size is compared with the resident memory of the process.
    /// `auto` is 85 % of what its control group (version 2) allows, compared with what the group
    /// has in use, sockets included and files not; where the group has no limit there is no budget,
    /// nor with `none`.
    pub memory: MemoryBudget,
    /// Longest message from a client. Ticks and headlines have a few hundred bytes; 64 KiB leaves
    /// room for a batch of subscriptions and keeps what one connection can pin small.
    pub message_bytes_max: usize,
    /// Most empty fragments in one message: they carry nothing and cost work.
    pub empty_fragments_max: u32,
    /// Most control frames of one connection in one second. A client needs a pong every ping
    /// interval; more than this is a flood.
    pub control_frames_per_second_max: u32,
    /// `buffered_amount` from which a connection is lagging: messages are no longer queued for it
    /// but remembered by offset, to be taken from the topics' rings once it has drained.
    pub outbox_high_water_bytes: usize,
    /// `buffered_amount` up to which a lagging connection is queued for again. Well below the
    /// high-water mark, so that a connection does not change sides with every message.
    pub outbox_low_water_bytes: usize,
    /// `buffered_amount` from which a connection is closed as a slow consumer. Messages stop at
    /// the high-water mark, so only replies that the client does not read come this far. One
    /// frame may always pass it, so the true bound is this plus one frame.
    pub outbox_bytes_max: usize,
    /// Bytes in all outboxes of the node beyond which the marks of the outbox are halved, again and
    /// again, down to a sixteenth. Room for 4,096 connections at the high-water mark.
    pub outbox_total_bytes_max: usize,
    /// How long a connection with something to be sent may take no byte. Longer than a phone needs
    /// to change networks; a reader that is gone holds its outbox no longer than this.
    pub stall_timeout_ms: u64,
    /// Most subscriptions of one connection. A page of quotes needs a few hundred.
    pub subscriptions_per_connection_max: usize,
    /// Most of these that are patterns. Each may have its connection looked at for many topics.
    pub patterns_per_connection_max: usize,
    /// Topics that one connection may have looked through in one second by subscribing to
    /// patterns. A new pattern is compared with every topic, some 50 ns each, and a snapshot looks
    /// at every topic that matches; this keeps a client that does nothing else from taking a
    /// shard's time.
    pub pattern_topics_per_second_max: usize,
    /// Most topics on the node; each costs about half a kibibyte beside its history.
    pub topics_max: usize,
    /// Most bytes of messages kept for all topics; beyond it a topic keeps nothing new. Keys of
    /// publishes count as well.
    pub history_total_bytes_max: usize,
    /// What topics keep and what their subscribers get, by namespace.
    pub namespaces: Namespaces,
    /// Messages in one page of history, in bytes of payload; one message at least. As much as may
    /// wait for a connection, so that asking for history costs no more than a slow reader does.
    pub history_page_bytes_max: usize,
    /// How long a publish with a key is remembered, so that it is not published twice. A client
    /// that lost its connection is back long before.
    pub publish_key_window_ms: u64,
    /// Most keys remembered for each topic: eight keyed publishes a second for the whole window.
    pub publish_keys_max: usize,
    /// Most patterns that the node's connections subscribe to, each counted once. Bounds the work
    /// of finding those that match a new topic.
    pub patterns_max: usize,
    /// How often the broker pings each connection. Below the 30 s and 60 s after which proxies and
    /// mobile networks forget a silent connection.
    pub ping_interval_ms: u64,
    /// How long after a ping a connection may stay silent. Several round trips of a slow network.
    pub pong_timeout_ms: u64,
    /// How long a connection may take from the first byte to the end of its handshake, and an SDK
    /// connection from there to its `connect` command. Whoever only opens connections holds each no
    /// longer.
    pub handshake_timeout_ms: u64,
    /// How long a message may stay unfinished, apart from the time that its bytes need at the
    /// slowest rate allowed. Ends those who send a byte now and then to keep the rest.
    pub message_timeout_ms: u64,
    /// Slowest rate at which a large message may arrive, in bytes a second. A bad mobile network is
    /// faster.
    pub message_bytes_per_second_min: u64,
    /// Most requests that wait for a message on one shard (long polling), each counted for each of
    /// its topics. A topic takes some hundred bytes of a request that waits for it.
    pub waiting_requests_max: usize,
    /// Longest body of a batch that is published over HTTP. Its messages are each as long as any
    /// other may be; a thousand ticks fit.
    pub batch_bytes_max: usize,
    /// How long an HTTP connection may be silent between two requests. Longer than most pollers
    /// pause, and than the minute for which proxies keep theirs.
    pub http_idle_timeout_ms: u64,
    /// Most requests on topics from one address in one second; 0: any number. Off unless the
    /// operator knows who asks: behind a proxy or a company's gateway thousands of clients have
    /// one address.
    pub requests_per_second_max: u32,
    /// How long a closing connection may take to say goodbye before it is cut.
    pub close_timeout_ms: u64,
    /// How long a broker that stops may take to close all connections. Longer than the close
    /// timeout; a supervisor that kills it must wait longer still.
    pub drain_timeout_ms: u64,
    /// Messages in a shard's mailbox from which publishers are not read: some milliseconds of work
    /// for the shard.
    pub mailbox_messages_mark: usize,
    /// Bytes of messages in a shard's mailbox from which publishers are not read. Bounds what a
    /// burst of large messages takes.
    pub mailbox_bytes_mark: usize,
    /// Bytes that one shard keeps of unfinished messages of all its connections; the connection
    /// that passes it is closed.
    pub unfinished_bytes_max: usize,
}

/// How much memory a node may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryBudget {
    /// A part of what the system allows the process.
    #[default]
    Auto,
    /// Any amount.
    None,
    /// So many bytes.
    Bytes(u64),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: None,
            memory: MemoryBudget::Auto,
            message_bytes_max: 64 * KIB,
            empty_fragments_max: 16,
            control_frames_per_second_max: 100,
            outbox_high_water_bytes: 64 * KIB,
            outbox_low_water_bytes: 16 * KIB,
            outbox_bytes_max: 1_024 * KIB,
            outbox_total_bytes_max: 256 * 1_024 * KIB,
            stall_timeout_ms: 30_000,
            subscriptions_per_connection_max: 4_096,
            patterns_per_connection_max: 128,
            pattern_topics_per_second_max: 1_000_000,
            topics_max: 200_000,
            history_total_bytes_max: 512 * 1_024 * KIB,
            namespaces: Namespaces::default(),
            history_page_bytes_max: 64 * KIB,
            publish_key_window_ms: 120_000,
            publish_keys_max: 1_000,
            patterns_max: 10_000,
            ping_interval_ms: 25_000,
            pong_timeout_ms: 10_000,
            handshake_timeout_ms: 10_000,
            message_timeout_ms: 10_000,
            message_bytes_per_second_min: 64 * KIB as u64,
            waiting_requests_max: 100_000,
            batch_bytes_max: 1_024 * KIB,
            http_idle_timeout_ms: 75_000,
            requests_per_second_max: 0,
            close_timeout_ms: 5_000,
            drain_timeout_ms: 30_000,
            mailbox_messages_mark: 16_384,
            mailbox_bytes_mark: 32 * 1_024 * KIB,
            unfinished_bytes_max: 256 * 1_024 * KIB,
        }
    }
}

const KIB: usize = 1_024;

/// Largest [`Limits::message_bytes_max`]: a message is held in one buffer and copied into one
/// frame for each wire form, so a larger one would stall its shard.
pub(crate) const MESSAGE_BYTES_CEILING: usize = 64 * 1_024 * KIB;

/// Why limits contradict each other. The operator's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// A message would not fit the broker's buffers.
    #[error("the message limit is {0} bytes; use 125 to {MESSAGE_BYTES_CEILING}")]
    MessageBytes(usize),
    /// The marks of the outbox are in the wrong order.
    #[error("the outbox's marks must rise: low water {0}, high water {1}, hard limit {2}")]
    Outbox(usize, usize, usize),
    /// A time is zero.
    #[error("{0} must be at least 1 ms")]
    Zero(&'static str),
}

impl LimitsError {
    /// The fields of [`Limits`] that it is about.
    #[must_use]
    pub fn fields(&self) -> Vec<&'static str> {
        match self {
            Self::MessageBytes(_) => vec!["message_bytes_max"],
            Self::Outbox(..) => {
                vec!["outbox_low_water_bytes", "outbox_high_water_bytes", "outbox_bytes_max"]
            }
            Self::Zero(field) => vec![field],
        }
    }
}

impl Limits {
    /// Checks that the limits fit each other.
    ///
    /// # Errors
    /// [`LimitsError`] naming the first that does not.
    pub fn check(&self) -> Result<(), LimitsError> {
        if !(125..=MESSAGE_BYTES_CEILING).contains(&self.message_bytes_max) {
            return Err(LimitsError::MessageBytes(self.message_bytes_max));
        }
        let (low, high) = (self.outbox_low_water_bytes, self.outbox_high_water_bytes);
        if low >= high || high >= self.outbox_bytes_max {
            return Err(LimitsError::Outbox(low, high, self.outbox_bytes_max));
        }
        let times = [
            (self.ping_interval_ms, "ping_interval_ms"),
            (self.pong_timeout_ms, "pong_timeout_ms"),
            (self.stall_timeout_ms, "stall_timeout_ms"),
            (self.handshake_timeout_ms, "handshake_timeout_ms"),
            (self.message_timeout_ms, "message_timeout_ms"),
            (self.close_timeout_ms, "close_timeout_ms"),
            (self.drain_timeout_ms, "drain_timeout_ms"),
        ];
        match times.into_iter().find(|(ms, _)| *ms == 0) {
            Some((_, name)) => Err(LimitsError::Zero(name)),
            None => Ok(()),
        }
    }

    pub(crate) fn decode(&self) -> DecodeLimits {
        DecodeLimits {
            message_bytes_max: self.message_bytes_max,
            empty_fragments_max: self.empty_fragments_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_each_other() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn contradictions_are_named() {
        let with = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            limits.check()
        };
        assert_eq!(with(|l| l.message_bytes_max = 1), Err(LimitsError::MessageBytes(1)));
        assert_eq!(
            with(|l| l.outbox_bytes_max = 65_536),
            Err(LimitsError::Outbox(16_384, 65_536, 65_536))
        );
        assert_eq!(with(|l| l.close_timeout_ms = 0), Err(LimitsError::Zero("close_timeout_ms")));
    }
}
