//! Topics: who they are, their sequence, what is kept of them, and which shards want them.
//!
//! Knows shards only as mailboxes; which connection subscribes is the shards' own business.

#[cfg(any(test, feature = "simulator"))]
mod audit;
mod epoch;
mod message;
mod table;
mod topic;

pub use epoch::Epoch;
pub use message::{Message, WireForm};
pub use table::{PublishError, Published, TopicTable};
pub use topic::{Topic, TopicSnapshot};

pub(crate) use table::JoinError;
pub(crate) use topic::CatchUp;
