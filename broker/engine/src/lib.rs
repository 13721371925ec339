//! The sans-IO core of Fanfare: everything between bytes read and bytes written.
//!
//! Owns the RFC 6455 codec, connections, the topic table, fan-out, outboxes and history. Opens no
//! socket and reads no clock: sockets are a type parameter ([`Socket`]) and time is an argument
//! ([`Now`]), so a test or a simulation can be both.

mod counters;
mod event_frame;
mod fault;
mod greatest;
mod histogram;
mod limits;
mod mailbox;
#[cfg(test)]
#[cfg(feature = "shuttle")]
mod models;
mod namespace;
mod outbox;
mod sdk_frame;
mod shard;
#[cfg(any(test, feature = "simulator"))]
pub mod simulator;
mod sync;
mod time;
mod topics;
pub mod ws;

pub use counters::{
    FormCounters, NAMESPACES_COUNTED, NamespaceCounters, PartCounters, ShardCounters, SharedCounter,
};
pub use histogram::{Histogram, HistogramSnapshot};
pub use limits::{Limits, LimitsError, MemoryBudget};
pub use mailbox::Mailbox;
pub use namespace::{NamespaceOptions, Namespaces, SlowConsumer};
pub use outbox::Outbox;
pub use shard::{
    Closed, ConnectionKind, ConnectionOrder, ConnectionQuery, ConnectionReport, ConnectionState,
    ConnectionTarget, EventSource, Key, NodeName, ReadOutcome, Shard, Socket, StreamOptions,
    WaitError, WaiterKey,
};
pub use time::Now;
pub use topics::{
    Epoch, HistoryPage, MemberId, Message, PresenceSnapshot, PublishError, Published, Topic,
    TopicOrder, TopicReport, TopicTable, WireForm,
};
