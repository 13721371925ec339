//! Faults that tests plant into the engine, to prove that what looks for faults finds them.
//!
//! Each is planted by one condition where a real slip would be. In the broker that condition is
//! the constant `false`, so no code of a fault is ever built into it; tests, the model checker and
//! the simulator read it from the thread that they run on.

/// A fault that can be planted; each name says what the engine then does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A push looks whether the shard sleeps before the message is in the queue.
    LookBeforePush,
    /// A shard falls asleep without looking once more for mail.
    SleepWithoutLook,
    /// The count of a mailbox's bytes is read and written as two steps.
    TornMailCount,
    /// A publish lets go of the topic before the message is in the mailboxes.
    PushOutsideLock,
    /// A publish puts its message on a topic that is out of the table.
    PublishOnRetired,
    /// A subscriber joins a topic that is out of the table.
    JoinRetired,
    /// A join reads the topic's newest offset before it is counted in.
    ReadHeadBeforeJoin,
    /// A request that is to wait reads the topic's newest offset before it is counted in.
    LookBeforeWait,
    /// A publish adds to the bytes of all rings when others have seen its message.
    CountHistoryLate,
    /// A new subscriber gets older messages that still wait in the mailbox.
    ForgetMailAtJoin,
    /// A subscriber that has caught up gets messages again that still wait in the mailbox.
    ForgetMailAfterCatchUp,
    /// What tells older mail apart is forgotten before the mailbox is empty.
    ForgetMailEarly,
    /// What the ring no longer holds is passed over in silence.
    HideGap,
    /// Catching up begins one message too late.
    CatchUpOneLate,
    /// A subscription that falls behind takes the first deferred message for served.
    DeferOneLate,
    /// Marked messages of a topic that is behind are queued all the same.
    QueueWhatIsOwed,
    /// Messages are queued beyond the high-water mark.
    IgnoreHighWater,
    /// A subscriber of the latest is given the oldest that it has not had.
    OldestForLatest,
    /// A position is called recovered although the ring has moved on.
    ClaimRecovery,
    /// A message that leaves the ring is still counted in its bytes.
    KeepRingBytes,
    /// Of a frame that is partly written, one byte too few is taken off.
    MiscountPartialWrite,
    /// A frame that is partly on the wire is dropped with the others.
    CutBegunFrame,
    /// What waited for a connection that is gone stays counted.
    LeakOutboxBytes,
    /// Frames that leave in one write are copied in the wrong order.
    ShuffleBatch,
    /// A copy of frames is used again when the frames are others.
    KeepStaleBatch,
    /// A connection is closed before it got what was published before.
    CloseEarly,
    /// A subscriber that moves in its list is not told its new place.
    ForgetWhoMoved,
    /// A pattern brings a message although another subscription of the connection decides.
    CountEveryPattern,
    /// A snapshot of a pattern is not brought up to one moment.
    TearSnapshot,
    /// A snapshot lacks its last topic.
    ForgetLastOfSnapshot,
    /// What a tier holds back is forgotten when its time comes.
    ForgetHeld,
    /// A shard does not ask what others have chosen for a tier.
    ChooseAlone,
    /// A ping tells the topic's newest offset, whatever was sent on the connection.
    TellHeadEarly,
    /// Who leaves a topic is not told to those who stay.
    ForgetWhoLeft,
    /// Changes of presence are told a second time.
    TellChangesTwice,
    /// A topic that knows as many keys as it may forgets the newest.
    ForgetNewestKey,
    /// A publish that is sent again is answered with the place of the topic's newest message.
    AnswerWithHead,
    /// A page of history begins one message too late.
    PageOneLate,
    /// A page says that more follows because it is full.
    MoreByCount,
    /// Marks that were halved stay low when the node has room again.
    KeepLowMarks,
    /// Nobody is closed when lower marks leave less room than is taken.
    SpareTheWorst,
}

/// Whether this fault is planted. Never, in the broker.
#[cfg(not(any(test, feature = "simulator")))]
#[inline(always)]
pub(crate) const fn planted(_: Fault) -> bool {
    false
}

#[cfg(any(test, feature = "simulator"))]
pub(crate) use planting::planted;
#[cfg(test)]
pub(crate) use planting::with_fault;

#[cfg(any(test, feature = "simulator"))]
mod planting {
    use std::cell::Cell;

    use super::Fault;

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    pub(crate) fn planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }

    /// Runs `body` on this thread with this fault planted.
    #[cfg(test)]
    pub(crate) fn with_fault<T>(fault: Fault, body: impl FnOnce() -> T) -> T {
        /// Takes the fault out again, also when the body panics, as it may well.
        struct Planted(Option<Fault>);

        impl Drop for Planted {
            fn drop(&mut self) {
                PLANTED.set(self.0);
            }
        }

        let _before = Planted(PLANTED.replace(Some(fault)));
        body()
    }
}
