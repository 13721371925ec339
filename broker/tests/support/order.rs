//! What a subscriber of mode `all` is promised: each message once and in order, or the exact gap.

use serde_json::Value;

/// How far a subscriber of one topic has come.
#[derive(Debug, Default)]
pub(crate) struct InOrder {
    /// The last message that it got, or knows to be lost.
    pub(crate) last: u64,
    pub(crate) messages: u64,
    pub(crate) gaps: u64,
    pub(crate) lost: u64,
}

impl InOrder {
    /// A subscriber that has everything up to this offset.
    pub(crate) fn after(offset: u64) -> Self {
        Self { last: offset, ..Self::default() }
    }

    /// Takes a message or a gap, which must follow the one before.
    pub(crate) fn take(&mut self, push: &Value) {
        if push["event"] == "gap" {
            assert_eq!(push["from"].as_u64(), Some(self.last + 1), "{push} in {self:?}");
            let to = push["to"].as_u64().expect("a number");
            assert!(to > self.last, "{push} in {self:?}");
            self.lost += to - self.last;
            self.last = to;
            self.gaps += 1;
        } else {
            assert_eq!(push["offset"].as_u64(), Some(self.last + 1), "{push} in {self:?}");
            self.last += 1;
            self.messages += 1;
        }
    }
}
