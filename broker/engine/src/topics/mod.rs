//! Topics: who they are, their sequence, what is kept of them, and which shards want them.
//!
//! Knows shards only as mailboxes; which connection subscribes is the shards' own business.

#[cfg(any(test, feature = "simulator"))]
mod audit;
mod choices;
mod epoch;
mod frame_parts;
mod history;
mod interest;
mod keys;
mod message;
mod patterns;
mod presence;
mod report;
mod ring;
mod table;
mod topic;
mod waiting;

pub use epoch::Epoch;
pub use history::HistoryPage;
pub use message::{Message, WireForm};
pub use presence::{MemberId, PresenceSnapshot};
pub use report::{TopicOrder, TopicReport};
pub use table::{PublishError, Published, TopicTable};
pub use topic::Topic;

pub(crate) use choices::{Offer, Turn};
pub(crate) use frame_parts::FrameParts;
#[cfg(all(test, feature = "shuttle"))]
pub(crate) use interest::Joined;
pub(crate) use interest::{Join, JoinError};
pub(crate) use patterns::PatternTree;
pub(crate) use presence::{MemberName, PresenceUpdate, member};
pub(crate) use topic::CatchUp;
pub(crate) use waiting::Awaited;
